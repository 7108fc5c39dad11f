//! Running a trunk: image by image, a group at once, or sequences at their own length.

use super::Trunk;
use crate::GraphError;
use crate::Precision;
use crate::compile::Source;
use crate::kernels::Data;
use crate::ops::batch_shape;
use crate::plan::Slot;
use headstart_kernels::{Buffer, Pool};
use headstart_tensor::{Shape, Tensor};
use std::ops::Range;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The buffers of a thread.
#[derive(Debug)]
pub(super) struct Workspace {
    singles: Vec<Buffer>,
    groups: Vec<Buffer>,
    scratch: Buffer,
}

impl Workspace {
    fn buffer(&mut self, slot: Slot) -> &mut Buffer {
        match slot {
            Slot::Single(s) => &mut self.singles[s],
            Slot::Group(s) => &mut self.groups[s],
        }
    }
}

impl Trunk {
    /// Runs a batch `[n, ..input]` to `[n, ..output]`: the images spread over the pool, or the rows of each layer where
    /// there are fewer images than threads. The bytes are the same either way.
    ///
    /// # Errors
    /// Where the batch has another shape.
    pub fn run(&self, pool: &Pool, images: &Tensor) -> Result<Tensor, GraphError> {
        let n = self.expect(images)?;
        let mut out = Tensor::zeros(batch_shape(n, &self.output));
        let (one, size) = (self.input.len(), self.output.len());
        if n < pool.threads() {
            for (image, out) in images.data().chunks(one).zip(out.data_mut().chunks_mut(size)) {
                self.each_call(pool, image, out, |_, _, _| {});
            }
        } else {
            let group = self.group.min(n.div_ceil(pool.threads())).max(1);
            pool.chunks_mut(out.data_mut(), size * group, |i, out| {
                let first = i * group * one;
                self.run_many(&images.data()[first..first + out.len() / size * one], out);
            });
        }
        Ok(out)
    }

    /// How many images a batch of them holds.
    pub(super) fn expect(&self, images: &Tensor) -> Result<usize, GraphError> {
        let n = images.dims().first().copied().unwrap_or(0);
        match *images.shape() == batch_shape(n, &self.input) {
            true => Ok(n),
            false => Err(GraphError::Input { expected: self.input.clone(), found: images.shape().clone() }),
        }
    }

    /// Runs whole images one after the other, `[n, ..input]` to `[n, ..output]`, on the calling thread,
    /// [`Trunk::group`] at once.
    ///
    /// # Panics
    /// Where the slices do not hold the same number of whole images and outputs.
    pub fn run_many(&self, images: &[f32], out: &mut [f32]) {
        let (one, size) = (self.input.len(), self.output.len());
        assert_eq!(images.len() * size, out.len() * one, "an output for every image");
        for (images, out) in images.chunks(self.group * one).zip(out.chunks_mut(self.group * size)) {
            self.each_call(&Pool::single(), images, out, |_, _, _| {});
        }
    }

    /// The shape of the output for a sequence of `tokens`.
    ///
    /// # Panics
    /// Where the network takes no sequences.
    pub fn output_of(&self, tokens: usize) -> Shape {
        assert!(self.takes_sequences(), "a network of sequences");
        let grows = match self.result {
            Source::Input => true,
            Source::Step(s) => self.by_token[s],
        };
        let mut dims = self.output.dims().to_vec();
        if grows {
            dims[0] = tokens;
        }
        Shape::from(dims)
    }

    /// Runs sequences of `tokens` each, not more than the input has, `[n, tokens]` to `[n, ..]` ([`Trunk::output_of`]), on the
    /// calling thread, [`Trunk::group_of`] at once. A sequence's output does not depend on the others, and there is no padding.
    ///
    /// # Panics
    /// Where the network takes no sequences or none so long, or the slices do not hold the same number of whole sequences
    /// and outputs.
    pub fn run_sequences(&self, tokens: usize, sequences: &[f32], out: &mut [f32]) {
        assert!(
            self.takes_sequences() && (1..=self.input.len()).contains(&tokens),
            "sequences of such a length"
        );
        let size = self.output_of(tokens).len();
        assert_eq!(sequences.len() * size, out.len() * tokens, "an output for every sequence");
        let group = self.group_of(tokens);
        for (some, out) in sequences.chunks(group * tokens).zip(out.chunks_mut(group * size)) {
            self.each_call_of(tokens, &Pool::single(), some, out, |_, _, _| {});
        }
    }

    /// As [`Trunk::run_many`], for one group; adds the time of each call of [`Trunk::layers`] to `times`.
    ///
    /// # Panics
    /// As [`Trunk::run_many`], and for more than [`Trunk::group`] images.
    pub fn run_timed(&self, images: &[f32], out: &mut [f32], times: &mut [Duration]) {
        self.each_call(&Pool::single(), images, out, |i, time, _| times[i] += time);
    }

    /// Runs one image in f32 and tells the node and the values of every call's output in turn; nodes that a kernel computes on
    /// the way to its own output are not told.
    ///
    /// # Panics
    /// Where `image` is not one image, or the trunk is in another precision.
    pub fn trace(&self, pool: &Pool, image: &[f32], mut told: impl FnMut(&str, &[f32])) {
        assert_eq!(self.precision, Precision::F32, "other precisions keep words, not values");
        assert_eq!(image.len(), self.input.len(), "one image");
        let mut out = vec![0.0; self.output.len()];
        self.each_call(pool, image, &mut out, |i, _, values| told(&self.outputs[i], values));
    }

    /// Runs a group: the first calls image by image, the others over all of them. Tells each call's number, time, and
    /// the words it wrote.
    fn each_call(
        &self,
        pool: &Pool,
        images: &[f32],
        out: &mut [f32],
        told: impl FnMut(usize, Duration, &[f32]),
    ) {
        let one = self.input.len();
        let n = images.len() / one;
        assert!(n <= self.group && images.len() == n * one, "whole images, at most a group");
        self.each_call_of(one, pool, images, out, told);
    }

    /// As [`Trunk::each_call`], of images with `one` value each: fewer than the input where they are sequences.
    fn each_call_of(
        &self,
        one: usize,
        pool: &Pool,
        images: &[f32],
        out: &mut [f32],
        mut told: impl FnMut(usize, Duration, &[f32]),
    ) {
        let n = images.len() / one;
        let mut workspace = self.lend(n, one);
        for image in 0..n {
            for i in 0..self.plan.grouped_from {
                self.call((pool, one), &mut workspace, images, i, image..image + 1, &mut told);
            }
        }
        for i in self.plan.grouped_from..self.calls.len() {
            self.call((pool, one), &mut workspace, images, i, 0..n, &mut told);
        }
        out.copy_from_slice(match self.result {
            Source::Input => images,
            Source::Step(s) => self.value(&workspace, s, one, 0..n),
        });
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }

    /// The tokens that call `s` has an output for, of images of `one` value each, and those it was made for.
    fn tokens(&self, s: usize, one: usize) -> (usize, usize) {
        if self.by_token.get(s) == Some(&true) { (one, self.input.len()) } else { (1, 1) }
    }

    /// The output of step `s` for some images of the group, of `one` value each.
    fn value<'a>(&self, workspace: &'a Workspace, s: usize, one: usize, images: Range<usize>) -> &'a [f32] {
        let len = self.calls[s].words_of(self.tokens(s, one));
        match self.plan.slots[s] {
            Slot::Single(slot) => &workspace.singles[slot][..len],
            Slot::Group(slot) => &workspace.groups[slot][images.start * len..images.end * len],
        }
    }

    fn call(
        &self,
        (pool, one): (&Pool, usize),
        workspace: &mut Workspace,
        inputs: &[f32],
        i: usize,
        images: Range<usize>,
        told: &mut impl FnMut(usize, Duration, &[f32]),
    ) {
        let started = Instant::now();
        let (call, slot, tokens) = (&self.calls[i], self.plan.slots[i], self.tokens(i, one));
        let words = call.words_of(tokens);
        let mut buffer = std::mem::take(workspace.buffer(slot));
        let mut scratch = std::mem::take(&mut workspace.scratch);
        let at = |source: Source| match source {
            Source::Input => &inputs[images.start * one..images.end * one],
            Source::Step(s) => self.value(workspace, s, one, images.clone()),
        };
        let out = match slot {
            Slot::Single(_) => &mut buffer[..words],
            Slot::Group(_) => &mut buffer[images.start * words..images.end * words],
        };
        let (x, residual, scratch_of) = (at(call.input), call.residual.map(at), &mut scratch);
        call.run(
            pool,
            Data { images: images.len(), tokens, x, residual, scratch: scratch_of, out: &mut *out },
        );
        told(i, started.elapsed(), out);
        *workspace.buffer(slot) = buffer;
        workspace.scratch = scratch;
    }

    /// Buffers for `n` images of `one` value each.
    fn lend(&self, n: usize, one: usize) -> Workspace {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = spare.unwrap_or_else(|| Workspace {
            singles: self.plan.singles.iter().map(|&n| Buffer::zeros(n)).collect(),
            groups: vec![Buffer::default(); self.plan.groups.len()],
            scratch: Buffer::zeros(self.scratch),
        });
        for (s, slot) in self.plan.slots.iter().enumerate() {
            if let Slot::Group(slot) = *slot {
                let len = n * self.calls[s].words_of(self.tokens(s, one));
                let buffer = &mut workspace.groups[slot];
                if buffer.len() < len {
                    *buffer = Buffer::zeros(len);
                }
            }
        }
        workspace
    }
}
