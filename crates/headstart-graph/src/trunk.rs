//! The frozen part of a network, compiled for inference and run image by image.
//!
//! Buffers are planned once and reused; a workspace is kept for every thread that ever ran the trunk, so the
//! steady state allocates nothing. One image's result never depends on the others, on how many are run at once, or on
//! the thread count.

mod run;

use self::run::Workspace;
use crate::call::{Call, CompiledLayer};
use crate::compile::{Kernel, Source, Step, compile};
use crate::format::{Calibration, Precision};
use crate::lower::lower;
use crate::plan::Plan;
use crate::{Graph, GraphError, Params};
use headstart_kernels::{Isa, Pool};
use headstart_tensor::{Shape, Tensor};
use std::sync::Mutex;

/// Images that are run at once where kernels gain from it: enough for Winograd's weights, read once a group.
const GROUP: usize = 8;

/// Tokens of several sequences that are run at once: enough that weights, which come from memory once for all of them, cost little
/// beside the products.
const TOKENS: usize = 512;

/// The most words that a thread's buffers may take (2 GiB).
const MAX_MEMORY: usize = 1 << 29;

/// A compiled network (usually the frozen prefix of one). Immutable and shared between threads.
#[derive(Debug)]
pub struct Trunk {
    input: Shape,
    output: Shape,
    precision: Precision,
    products: Vec<Precision>,
    calls: Vec<Call>,
    /// The node of each call's output.
    outputs: Vec<String>,
    plan: Plan,
    /// Images that [`Trunk::run_many`] takes at once.
    group: usize,
    scratch: usize,
    /// Of a network of sequences: which calls have an output for every token.
    by_token: Vec<bool>,
    /// Where the output is after the last step.
    result: Source,
    spare: Mutex<Vec<Workspace>>,
}

impl Trunk {
    /// Compiles `graph` with its parameters in f32, for the instructions of this process ([`Isa::current`]).
    ///
    /// # Errors
    /// Where a parameter is missing or misshapen.
    pub fn compile(graph: &Graph, params: &Params) -> Result<Trunk, GraphError> {
        Trunk::compile_in(Precision::F32, graph, params, &Calibration::default())
    }

    /// As [`Trunk::compile`], in any precision. Only int8 looks at the calibration.
    ///
    /// # Errors
    /// As [`Trunk::compile`], and for int8 where the calibration is of another network.
    pub fn compile_in(
        precision: Precision,
        graph: &Graph,
        params: &Params,
        calibration: &Calibration,
    ) -> Result<Trunk, GraphError> {
        let steps = compile(graph, params, true)?;
        let input = (graph.nodes()[0].name.as_str(), graph.input());
        let (steps, result) = lower(steps, input, precision, calibration)?;
        Trunk::of(graph, steps, result, precision)
    }

    /// The least and the largest value at every node over `images` `[n, ..input]`, and 0.
    ///
    /// # Errors
    /// As [`Trunk::run`] and [`Trunk::compile`], and where a value is not finite; without images, every range is empty.
    pub fn calibrate(
        graph: &Graph,
        params: &Params,
        pool: &Pool,
        images: &Tensor,
    ) -> Result<Calibration, GraphError> {
        let (steps, result) = compile(graph, params, false)?;
        let trunk = Trunk::of(graph, steps, result, Precision::F32)?;
        trunk.expect(images)?;
        let one = trunk.input.len();
        let n = images.data().len() / one.max(1);
        // Not a number where a value is none.
        let extremes = |values: &[f32]| {
            let none = values.iter().find(|v| v.is_nan()).copied().unwrap_or(0.0);
            let (low, high) =
                values.iter().fold((0.0f32, 0.0f32), |(low, high), &v| (low.min(v), high.max(v)));
            (low + none, high + none)
        };
        let ranges = pool.map(n, |i| {
            let image = &images.data()[i * one..(i + 1) * one];
            let mut ranges = vec![extremes(image)];
            trunk.trace(&Pool::single(), image, |_, values| ranges.push(extremes(values)));
            ranges
        });
        let nodes = std::iter::once(&graph.nodes()[0].name).chain(&trunk.outputs);
        let range = |at: usize| {
            ranges.iter().fold((0.0f32, 0.0f32), |(low, high), r| (low.min(r[at].0), high.max(r[at].1)))
        };
        let finite =
            |at: usize| ranges.iter().all(|image| image[at].0.is_finite() && image[at].1.is_finite());
        if let Some((_, node)) = nodes.clone().enumerate().find(|(at, _)| !finite(*at)) {
            return Err(GraphError::NotFinite { node: node.clone() });
        }
        Ok(Calibration { ranges: nodes.enumerate().map(|(at, node)| (node.clone(), range(at))).collect() })
    }

    fn of(
        graph: &Graph,
        steps: Vec<Step>,
        result: Source,
        precision: Precision,
    ) -> Result<Trunk, GraphError> {
        let isa = Isa::current();
        let outputs: Vec<String> =
            steps.iter().map(|s| s.nodes.last().cloned().unwrap_or_default()).collect();
        let by_token = by_token(graph, &outputs);
        let grouped_from = match by_token.is_empty() {
            true => steps.iter().position(|step| Call::wants_company(step, isa)).unwrap_or(steps.len()),
            false => 0,
        };
        let plan = Plan::of(&steps, result, grouped_from);
        let multiplies = |step: &&Step| {
            matches!(
                step.kernel,
                Kernel::Dense { .. }
                    | Kernel::Pooled { .. }
                    | Kernel::Grouped { .. }
                    | Kernel::Expand { .. }
                    | Kernel::Linear { .. }
                    | Kernel::Dynamic { .. }
            )
        };
        let multiplied = |step: &Step| match step.kernel {
            Kernel::Dynamic { .. } => Precision::Int8,
            _ => step.reads.precision(),
        };
        let mut products: Vec<Precision> = steps.iter().filter(multiplies).map(multiplied).collect();
        products.sort_unstable();
        products.dedup();
        let calls: Vec<Call> = steps.into_iter().map(|step| Call::of(step, isa)).collect();
        let group = match (by_token.is_empty(), grouped_from < calls.len()) {
            (false, _) => (TOKENS / graph.input().len().max(1)).clamp(1, TOKENS),
            (true, true) => GROUP,
            (true, false) => 1,
        };
        // Short sequences of a group may be more tokens together than long ones, and as many sequences as tokens.
        let together = |i: usize| match by_token.get(i) {
            _ if i < grouped_from => 1,
            None => group,
            Some(true) => TOKENS.div_ceil(graph.input().len().max(1)),
            Some(false) => TOKENS,
        };
        let scratch = calls.iter().enumerate().map(|(i, c)| c.scratch(together(i)));
        let scratch = scratch.max().unwrap_or(0);
        let buffers = plan.singles.iter().copied().chain(plan.groups.iter().map(|n| n.saturating_mul(group)));
        let memory = buffers.fold(scratch, usize::saturating_add);
        if memory > MAX_MEMORY {
            return Err(GraphError::TooMuchMemory { found: memory, limit: MAX_MEMORY });
        }
        Ok(Trunk {
            input: graph.input().clone(),
            output: graph.output().clone(),
            precision,
            products,
            calls,
            outputs,
            plan,
            group,
            scratch,
            by_token,
            result,
            spare: Mutex::new(Vec::new()),
        })
    }

    /// The precision it was compiled in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The precisions that its convolutions and linear layers multiply in, the most exact first: not every layer has
    /// kernels of bytes.
    pub fn products(&self) -> &[Precision] {
        &self.products
    }

    /// How many images a thread should run at once; more than one where kernels share weights between images.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Whether the input is a sequence of tokens, so that [`Trunk::run_sequences`] takes shorter ones too.
    pub fn takes_sequences(&self) -> bool {
        !self.by_token.is_empty()
    }

    /// How many sequences of `tokens` a thread should run at once.
    pub fn group_of(&self, tokens: usize) -> usize {
        (TOKENS / tokens.max(1)).max(1)
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
}

/// Which of a network's `outputs` are longer for a longer sequence; none where its input is none.
fn by_token(graph: &Graph, outputs: &[String]) -> Vec<bool> {
    let &[tokens] = graph.input().dims() else { return Vec::new() };
    let other = if tokens > 1 { tokens - 1 } else { 2 };
    let Ok(other) = graph.with_input([other]) else { return Vec::new() };
    let shape = |graph: &Graph, name: &String| graph.node(name).map(|(_, node)| node.shape.clone());
    let grows = |name: &String| shape(graph, name) != shape(&other, name);
    // An output a token, and no other number of them: what else grows, as behind a class token, has no kernels for it.
    let fits = |name: &String| !grows(name) || shape(graph, name).is_some_and(|s| s.dims()[0] == tokens);
    if outputs.iter().all(fits) { outputs.iter().map(grows).collect() } else { Vec::new() }
}

impl Graph {
    /// What this network compiles to on this machine, whatever its weights.
    ///
    /// # Errors
    /// As [`Trunk::compile`].
    pub fn compiled(&self, precision: Precision) -> Result<Vec<CompiledLayer>, GraphError> {
        let params = self.params().into_iter().map(|p| (p.name, Tensor::zeros(p.shape))).collect();
        let ranges = self.nodes().iter().map(|n| (n.name.clone(), (0.0, 1.0))).collect();
        Ok(Trunk::compile_in(precision, self, &params, &Calibration { ranges })?.layers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, BnStats, Freeze, GraphBuilder, Op, Padding, Trainer};
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

    fn seeded_params(graph: &Graph) -> Params {
        let seeded = |p: crate::ParamSpec| (p.name.clone(), seeded(&p.name, p.shape.dims(), 1, 1.0));
        graph.params().into_iter().map(seeded).collect()
    }

    /// The network as training runs it.
    fn plain(graph: &Graph, params: &Params, x: &Tensor) -> Tensor {
        let mut trainer = Trainer::new(graph.clone(), Freeze::everything(), BnStats::Running);
        trainer.forward(params, x, &Pool::new(1)).unwrap().clone()
    }

    #[test]
    fn the_compiled_network_equals_the_plain_one_at_every_node() {
        let graph = odd_network();
        let params = seeded_params(&graph);
        let x = input(3, 9, 7, 3, 1);
        for i in 0..graph.nodes().len() {
            let prefix = graph.prefix(crate::NodeId(i)).unwrap();
            let expected = plain(&prefix, &params, &x);
            let trunk = Trunk::compile(&prefix, &params).unwrap();
            let found = trunk.run(&Pool::new(1), &x).unwrap();
            let apart = relative_l2(found.data(), expected.data());
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
    fn lower_precisions_stay_close_at_every_node() {
        let graph = odd_network();
        let params = seeded_params(&graph);
        let (x, pool) = (input(3, 9, 7, 3, 1), Pool::new(2));
        for i in 0..graph.nodes().len() {
            let prefix = graph.prefix(crate::NodeId(i)).unwrap();
            let expected = Trunk::compile(&prefix, &params).unwrap().run(&pool, &x).unwrap();
            let calibration = Trunk::calibrate(&prefix, &params, &pool, &x).unwrap();
            assert_eq!(calibration, Trunk::calibrate(&prefix, &params, &Pool::single(), &x).unwrap());
            for (precision, most) in [(Precision::F32, 0.0), (Precision::Bf16, 1e-2), (Precision::Int8, 0.1)]
            {
                let trunk = Trunk::compile_in(precision, &prefix, &params, &calibration).unwrap();
                let found = trunk.run(&pool, &x).unwrap();
                let apart = relative_l2(found.data(), expected.data());
                assert!(apart <= most, "{} in {precision}: {apart}", graph.nodes()[i].name);
                assert_eq!(found, trunk.run(&Pool::new(5), &x).unwrap(), "the same bytes with five threads");
            }
        }
    }

    #[test]
    fn a_large_convolution_is_pooled_band_by_band_and_nothing_behind_the_pooling_moves_before_it() {
        let mut b = GraphBuilder::new([99, 97, 3]);
        let x = b.conv("conv", b.input(), 66, (5, 2), Padding::Same).unwrap();
        let x = b.batch_norm("bn", x, 1e-5).unwrap();
        let x = b.max_pool("max", x, 3, 2, 1).unwrap();
        let y = b.batch_norm("bn2", x, 1e-5).unwrap();
        let y = b.add("add", Op::Add, &[y, x]).unwrap();
        let y = b.activation("relu", y, Activation::Relu).unwrap();
        b.conv("last", y, 4, (1, 1), Padding::Same).unwrap();
        let graph = b.finish();
        let params = seeded_params(&graph);
        let (x, pool) = (input(2, 99, 97, 3, 1), Pool::new(2));
        let calibration = Trunk::calibrate(&graph, &params, &pool, &x).unwrap();
        for (precision, most) in [(Precision::F32, 1e-6), (Precision::Bf16, 1e-2), (Precision::Int8, 0.1)] {
            for (name, first) in [
                ("max", "direct 5x5/2 + max pool 3x3/2"),
                ("last", "direct 5x5/2 + max pool 3x3/2"),
                ("bn", "direct 5x5/2"),
            ] {
                let node = graph.nodes().iter().position(|n| n.name == name).unwrap();
                let prefix = graph.prefix(crate::NodeId(node)).unwrap();
                let expected = plain(&prefix, &params, &x);
                let trunk = Trunk::compile_in(precision, &prefix, &params, &calibration).unwrap();
                assert!(
                    trunk.layers().iter().any(|l| l.kernel.starts_with(&format!("{first} "))),
                    "{name} in {precision}"
                );
                let found = trunk.run(&pool, &x).unwrap();
                let apart = relative_l2(found.data(), expected.data());
                assert!(apart <= most, "{name} in {precision}: {apart}");
                assert_eq!(found, trunk.run(&Pool::single(), &x).unwrap(), "the same bytes with one thread");
            }
        }
    }

    #[test]
    fn sums_of_bytes_that_could_overflow_are_not_of_bytes() {
        let mut b = GraphBuilder::new([2, 2, 3]);
        let input = b.input();
        let x = b.conv("wide", input, 70_000, (1, 1), Padding::Same).unwrap();
        let x = b.conv("long", x, 4, (1, 1), Padding::Same).unwrap();
        let x = b.conv("short", x, 4, (1, 1), Padding::Same).unwrap();
        b.conv("last", x, 4, (1, 1), Padding::Same).unwrap();
        let layers = b.finish().compiled(Precision::Int8).unwrap();
        let of = |name: &str| &layers.iter().rfind(|l| l.nodes == name).unwrap().kernel;
        assert_eq!((of("long").as_str(), of("short").as_str()), ("direct 1x1/1 bf16", "direct 1x1/1 int8"));
    }

    #[test]
    fn values_that_are_no_numbers_have_no_scale() {
        let graph = odd_network();
        let mut params = seeded_params(&graph);
        let pool = Pool::new(1);
        for (value, node) in [(f32::NAN, "relu1"), (f32::INFINITY, "relu1")] {
            let mut bias = params.get("bn1.bias").unwrap().clone();
            bias.data_mut()[0] = value;
            params.insert("bn1.bias", bias);
            let error = Trunk::calibrate(&graph, &params, &pool, &input(1, 9, 7, 3, 1));
            // Relu6 makes 6 of infinity, but not a number of none.
            assert_eq!(matches!(&error, Err(GraphError::NotFinite { node: n }) if n == node), value.is_nan());
        }
        let ranges = graph.nodes().iter().map(|n| (n.name.clone(), (0.0, f32::INFINITY))).collect();
        let params = seeded_params(&graph);
        let error = Trunk::compile_in(Precision::Int8, &graph, &params, &Calibration { ranges }).unwrap_err();
        assert!(error.to_string().contains("are not finite"), "{error}");
    }

    #[test]
    fn a_calibration_of_another_network_is_refused() {
        let graph = odd_network().prefix(crate::NodeId(3)).unwrap();
        let params: Params = graph.params().into_iter().map(|p| (p.name, Tensor::zeros(p.shape))).collect();
        let error = Trunk::compile_in(Precision::Int8, &graph, &params, &Calibration::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the calibration has no range for node `bn0`: calibrate this very network"
        );
    }

    #[test]
    fn fusing_leaves_one_step_a_kernel() {
        let graph = odd_network();
        let params = seeded_params(&graph);
        // bn0, conv1+bn1+relu1, bn1b, twice, conv2, shortcut+bn2+add, relu2 (add is read twice),
        // add2+relu3 (copy), max, relu4, pool, fc: 12 of 17 nodes.
        assert_eq!(compile(&graph, &params, true).unwrap().0.len(), 12);
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
        let params = seeded_params(&graph);
        let x = input(2, 2, 2, 3, 1);
        let expected = plain(&graph, &params, &x);
        let found = Trunk::compile(&graph, &params).unwrap().run(&Pool::new(1), &x).unwrap();
        assert!(relative_l2(found.data(), expected.data()) < 1e-6);
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
