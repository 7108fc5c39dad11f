//! Inputs of a trunk that wait for others: what a group shares, its weights above all, passes once.

use headstart_graph::Trunk;

/// Inputs that wait to be run together, each with its place `P` among the results.
pub(super) struct Company<'a, P> {
    trunk: &'a Trunk,
    /// Values of each input: all that wait are as long.
    len: usize,
    inputs: Vec<f32>,
    places: Vec<P>,
}

impl<'a, P> Company<'a, P> {
    pub(super) fn new(trunk: &'a Trunk) -> Self {
        Company { trunk, len: 0, inputs: Vec::new(), places: Vec::new() }
    }

    /// Adds an input, which `append` writes. Those before it are run where it has another length, and all where they are a
    /// group: `each` gets their places and outputs.
    pub(super) fn push(
        &mut self,
        place: P,
        append: impl FnOnce(&mut Vec<f32>),
        each: &mut dyn FnMut(P, &[f32]),
    ) {
        let before = self.inputs.len();
        append(&mut self.inputs);
        let len = self.inputs.len() - before;
        if !self.places.is_empty() && len != self.len {
            let own = self.inputs.split_off(before);
            self.run(each);
            self.inputs = own;
        }
        self.len = len;
        self.places.push(place);
        let sequences = self.trunk.takes_sequences();
        if self.places.len() >= if sequences { self.trunk.group_of(len) } else { self.trunk.group() } {
            self.run(each);
        }
    }

    /// Runs what waits.
    pub(super) fn run(&mut self, each: &mut dyn FnMut(P, &[f32])) {
        if self.places.is_empty() {
            return;
        }
        let dim = self.trunk.output().len();
        let mut outputs = vec![0.0; self.places.len() * dim];
        match self.trunk.takes_sequences() {
            true => self.trunk.run_sequences(self.len, &self.inputs, &mut outputs),
            false => self.trunk.run_many(&self.inputs, &mut outputs),
        }
        self.inputs.clear();
        self.places.drain(..).zip(outputs.chunks_exact(dim)).for_each(|(place, output)| each(place, output));
    }
}
