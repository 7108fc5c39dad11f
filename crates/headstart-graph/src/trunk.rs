//! The frozen part of a network, compiled for inference and run image by image.
//!
//! Buffers are planned once and reused; a workspace is kept for every thread that ever ran the trunk, so the
//! steady state allocates nothing. One image's result never depends on the others or on the thread count.

use crate::call::{Call, CompiledLayer};
use crate::compile::{Source, Step, compile};
use crate::ops::batch_shape;
use crate::{Graph, GraphError, Params};
use headstart_kernels::{Isa, Pool};
use headstart_tensor::{Shape, Tensor};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most values that one image's buffers may take (2 GiB in f32).
const MAX_MEMORY: usize = 1 << 29;

/// A compiled network (usually the frozen prefix of one). Immutable and shared between threads.
#[derive(Debug)]
pub struct Trunk {
    input: Shape,
    output: Shape,
    calls: Vec<Call>,
    /// The buffer each step writes, and the buffers' sizes.
    slots: Vec<usize>,
    sizes: Vec<usize>,
    scratch: usize,
    /// Where the output is after the last step.
    result: Source,
    spare: Mutex<Vec<Workspace>>,
}

#[derive(Debug)]
struct Workspace {
    buffers: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

impl Trunk {
    /// Compiles `graph` with its parameters, for the instructions of this process ([`Isa::current`]).
    ///
    /// # Errors
    /// Where a parameter is missing or misshapen.
    pub fn compile(graph: &Graph, params: &Params) -> Result<Trunk, GraphError> {
        let (steps, result) = compile(graph, params)?;
        let (slots, sizes) = plan(&steps, result);
        let calls: Vec<Call> = steps.into_iter().map(|step| Call::of(step, Isa::current())).collect();
        let scratch = calls.iter().map(Call::scratch).max().unwrap_or(0);
        let memory = sizes.iter().fold(scratch, |sum, &n| sum.saturating_add(n));
        if memory > MAX_MEMORY {
            return Err(GraphError::TooMuchMemory { found: memory, limit: MAX_MEMORY });
        }
        Ok(Trunk {
            input: graph.input().clone(),
            output: graph.output().clone(),
            scratch,
            result,
            calls,
            slots,
            sizes,
            spare: Mutex::new(Vec::new()),
        })
    }

    /// The shape of one input image.
    pub fn input(&self) -> &Shape {
        &self.input
    }

    /// The shape of the output for one image.
    pub fn output(&self) -> &Shape {
        &self.output
    }

    /// What was compiled, a kernel call a row.
    pub fn layers(&self) -> Vec<CompiledLayer> {
        self.calls.iter().map(Call::layer).collect()
    }

    /// Runs a batch `[n, ..input]` to `[n, ..output]`: the images spread over the pool, or the rows of each layer where
    /// there are fewer images than threads. The bytes are the same either way.
    ///
    /// # Errors
    /// Where the batch has another shape.
    pub fn run(&self, pool: &Pool, images: &Tensor) -> Result<Tensor, GraphError> {
        let n = images.dims().first().copied().unwrap_or(0);
        if *images.shape() != batch_shape(n, &self.input) {
            return Err(GraphError::Input { expected: self.input.clone(), found: images.shape().clone() });
        }
        let mut out = Tensor::zeros(batch_shape(n, &self.output));
        let size = self.output.len();
        if n < pool.threads() {
            for (i, out) in out.data_mut().chunks_mut(size).enumerate() {
                self.each_call(pool, images.row(i), out, |_, _| {});
            }
        } else {
            pool.chunks_mut(out.data_mut(), size, |i, out| self.run_one(images.row(i), out));
        }
        Ok(out)
    }

    /// Runs one image on the calling thread; `image` and `out` hold as many values as the shapes say.
    ///
    /// # Panics
    /// Where they do not.
    pub fn run_one(&self, image: &[f32], out: &mut [f32]) {
        self.each_call(&Pool::single(), image, out, |_, _| {});
    }

    /// Runs one image on the calling thread and adds the time of each call of [`Trunk::layers`] to `times`.
    ///
    /// # Panics
    /// As [`Trunk::run_one`].
    pub fn run_timed(&self, image: &[f32], out: &mut [f32], times: &mut [Duration]) {
        self.each_call(&Pool::single(), image, out, |i, time| times[i] += time);
    }

    fn each_call(&self, pool: &Pool, image: &[f32], out: &mut [f32], mut told: impl FnMut(usize, Duration)) {
        assert_eq!(image.len(), self.input.len(), "the image has another size than the network's input");
        let mut workspace = self.lend();
        for (i, call) in self.calls.iter().enumerate() {
            let started = Instant::now();
            let mut buffer = std::mem::take(&mut workspace.buffers[self.slots[i]]);
            let at = |source: Source| match source {
                Source::Input => image,
                Source::Step(s) => &workspace.buffers[self.slots[s]][..self.calls[s].len],
            };
            let (x, residual) = (at(call.input), call.residual.map(at));
            call.run(pool, x, residual, &mut workspace.scratch, &mut buffer[..call.len]);
            workspace.buffers[self.slots[i]] = buffer;
            told(i, started.elapsed());
        }
        out.copy_from_slice(match self.result {
            Source::Step(s) => &workspace.buffers[self.slots[s]][..self.calls[s].len],
            Source::Input => image,
        });
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }

    fn lend(&self) -> Workspace {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Workspace {
            buffers: self.sizes.iter().map(|&n| vec![0.0; n]).collect(),
            scratch: vec![0.0; self.scratch],
        })
    }
}

impl Graph {
    /// What this network compiles to on this machine, whatever its weights.
    ///
    /// # Errors
    /// As [`Trunk::compile`].
    pub fn compiled(&self) -> Result<Vec<CompiledLayer>, GraphError> {
        let params = self.params().into_iter().map(|p| (p.name, Tensor::zeros(p.shape))).collect();
        Ok(Trunk::compile(self, &params)?.layers())
    }
}

/// Gives every step a buffer that no value still needed lies in; returns the buffers' sizes too.
fn plan(steps: &[Step], result: Source) -> (Vec<usize>, Vec<usize>) {
    let mut last_use: Vec<usize> = (0..steps.len()).collect();
    if let Source::Step(s) = result {
        last_use[s] = steps.len();
    }
    for (i, step) in steps.iter().enumerate() {
        for source in [Some(step.input), step.residual].into_iter().flatten() {
            if let Source::Step(s) = source {
                last_use[s] = last_use[s].max(i);
            }
        }
    }
    let (mut slots, mut sizes, mut free_from) = (Vec::new(), Vec::<usize>::new(), Vec::<usize>::new());
    for (i, step) in steps.iter().enumerate() {
        // Of the free buffers the one that has to grow least, else that is cut least.
        let len = step.shape.len();
        let fits = |s: &usize| (len.saturating_sub(sizes[*s]), sizes[*s]);
        let free = (0..sizes.len()).filter(|&s| free_from[s] <= i).min_by_key(fits);
        let slot = free.unwrap_or_else(|| {
            sizes.push(0);
            free_from.push(0);
            sizes.len() - 1
        });
        sizes[slot] = sizes[slot].max(len);
        // Free again only for the step after the last reader: no kernel works in place.
        free_from[slot] = last_use[i] + 1;
        slots.push(slot);
    }
    (slots, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, GraphBuilder, Op, Padding, forward};
    use headstart_testing::{input, relative_l2, seeded};

    /// Everything that can be fused, and everything that cannot: a norm after an activation, an activation
    /// of a value with two readers, a sum of a value with itself, a residual made later than its partner.
    fn odd_network() -> Graph {
        let mut b = GraphBuilder::new([9, 7, 3]);
        let x = b.batch_norm("bn0", b.input(), 1e-5).unwrap();
        let x = b.conv("conv1", x, 6, (3, 1), Padding::Same).unwrap();
        let x = b.batch_norm("bn1", x, 1e-3).unwrap();
        let x = b.activation("relu1", x, Activation::Relu6).unwrap();
        let x = b.batch_norm("bn1b", x, 1e-3).unwrap();
        let twice = b.add("twice", Op::Add, &[x, x]).unwrap();
        let y = b.depthwise("conv2", twice, (3, 1), Padding::Same).unwrap();
        let shortcut = b.conv("shortcut", twice, 6, (1, 1), Padding::Same).unwrap();
        let shortcut = b.batch_norm("bn2", shortcut, 1e-3).unwrap();
        let z = b.add("add", Op::Add, &[y, shortcut]).unwrap();
        let r = b.activation("relu2", z, Activation::Relu).unwrap();
        let z = b.add("add2", Op::Add, &[r, z]).unwrap();
        let z = b.activation("relu3", z, Activation::Relu).unwrap();
        let z = b.max_pool("max", z, 3, 2, 1).unwrap();
        let z = b.activation("relu4", z, Activation::Relu6).unwrap();
        let z = b.add("pool", Op::GlobalAvgPool, &[z]).unwrap();
        b.linear("fc", z, 5).unwrap();
        b.finish()
    }

    #[test]
    fn the_compiled_network_equals_the_plain_one_at_every_node() {
        let graph = odd_network();
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 1, 1.0)))
            .collect();
        let x = input(3, 9, 7, 3, 1);
        for i in 0..graph.nodes().len() {
            let prefix = graph.prefix(crate::NodeId(i)).unwrap();
            let expected = forward(&prefix, &params, x.clone(), &Pool::new(1)).unwrap();
            let trunk = Trunk::compile(&prefix, &params).unwrap();
            let found = trunk.run(&Pool::new(1), &x).unwrap();
            let apart = relative_l2(found.data(), expected.output().data());
            assert!(apart < 1e-6, "{}: {apart}", graph.nodes()[i].name);
            for threads in [2, 5] {
                assert_eq!(
                    found,
                    trunk.run(&Pool::new(threads), &x).unwrap(),
                    "the same bytes with {threads} threads"
                );
            }
        }
    }

    #[test]
    fn fusing_leaves_one_step_a_kernel() {
        let graph = odd_network();
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 1, 1.0)))
            .collect();
        // bn0, conv1+bn1+relu1, bn1b, twice, conv2, shortcut+bn2+add, relu2 (add is read twice),
        // add2+relu3 (copy), max, relu4, pool, fc: 12 of 17 nodes.
        assert_eq!(compile(&graph, &params).unwrap().0.len(), 12);
    }

    #[test]
    fn a_missing_parameter_and_a_wrong_batch_are_named() {
        let graph = odd_network();
        let error = Trunk::compile(&graph, &Params::new()).unwrap_err();
        assert!(matches!(error, GraphError::MissingParam { name, .. } if name == "bn0.weight"));
        let trunk = Trunk::compile(&graph.prefix(crate::NodeId(0)).unwrap(), &Params::new()).unwrap();
        let error = trunk.run(&Pool::new(1), &input(2, 9, 8, 3, 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the input has shape [2, 9, 8, 3], the network takes [9, 7, 3] for each image"
        );
    }

    #[test]
    fn an_output_that_was_folded_into_an_early_step_is_found() {
        let mut b = GraphBuilder::new([2, 2, 3]);
        let pool = b.add("pool", Op::GlobalAvgPool, &[b.input()]).unwrap();
        let wide = b.linear("wide", pool, 100).unwrap();
        let dead = b.linear("dead1", pool, 2).unwrap();
        b.linear("dead2", dead, 2).unwrap();
        b.activation("relu", wide, Activation::Relu).unwrap();
        let graph = b.finish();
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 1, 1.0)))
            .collect();
        let x = input(2, 2, 2, 3, 1);
        let expected = forward(&graph, &params, x.clone(), &Pool::new(1)).unwrap();
        let found = Trunk::compile(&graph, &params).unwrap().run(&Pool::new(1), &x).unwrap();
        assert!(relative_l2(found.data(), expected.output().data()) < 1e-6);
    }

    #[test]
    fn a_network_that_wants_too_much_memory_is_refused() {
        let mut b = GraphBuilder::new([4096, 4096, 16]);
        let input = b.input();
        let x = b.conv("a", input, 16, (3, 1), Padding::Same).unwrap();
        b.conv("b", x, 16, (3, 1), Padding::Same).unwrap();
        let weight = |name: &str| (format!("{name}.weight"), Tensor::zeros([16, 16, 3, 3]));
        let params: Params = ["a", "b"].map(weight).into_iter().collect();
        assert!(matches!(Trunk::compile(&b.finish(), &params), Err(GraphError::TooMuchMemory { .. })));
    }
}
