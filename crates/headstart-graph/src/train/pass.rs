//! One forward pass and one backward pass over the units of a network.

use super::Gradients;
use super::single::Single;
use super::unit::{Chain, Kind, Unit};
use crate::ops::conv::Epilogue;
use crate::ops::norm::{BatchNorm2d, NormParams, Normed};
use crate::ops::{Conv2d, Engine, batch_shape};
use crate::params::full_name;
use crate::{BnStats, Freeze, Graph, GraphError, Node, Op, Params};
use headstart_kernels::{self as kernels, Buffer, Masked, Spare};
use headstart_tensor::{Shape, Tensor};

/// A norm for which the batch was looked at; with its input, where that is no unit's output.
type Moved = (Normed, Option<Buffer>);

/// What a forward pass leaves to the backward pass.
#[derive(Debug, Clone)]
pub(super) struct Activations {
    /// The outputs of the units, and the input, by node.
    values: Vec<Option<Buffer>>,
    /// The norms for which the batch was looked at, by node.
    normed: Vec<Option<Moved>>,
    output: Tensor,
}

impl Activations {
    /// The network's output, `[n, ..]`.
    pub(super) fn output(&self) -> &Tensor {
        &self.output
    }

    /// Gives all buffers back.
    pub(super) fn recycle(self, spare: &Spare) {
        let inputs = self.normed.into_iter().flatten().filter_map(|(_, x)| x);
        self.values.into_iter().flatten().chain(inputs).for_each(|buffer| spare.give(buffer));
    }

    /// The output of the unit that ends in node `i`.
    pub(super) fn value(&self, i: usize) -> &[f32] {
        self.values[i].as_deref().unwrap_or_default()
    }

    pub(super) fn update_statistics(
        &self,
        graph: &Graph,
        momentum: f64,
        params: &mut Params,
    ) -> Result<(), GraphError> {
        for (node, normed) in graph.nodes().iter().zip(&self.normed) {
            let Some(moments) = normed.as_ref().and_then(|(n, _)| n.moments.as_ref()) else { continue };
            let [mut mean, mut var] =
                [params.of(&node.name, "running_mean")?, params.of(&node.name, "running_var")?]
                    .map(Tensor::clone);
            moments.update(momentum, mean.data_mut(), var.data_mut());
            params.insert(format!("{}.running_mean", node.name), mean);
            params.insert(format!("{}.running_var", node.name), var);
        }
        Ok(())
    }
}

/// The parts of a chain, looked up.
struct Parts<'a> {
    chain: &'a Chain,
    /// The shape of its input for one image.
    shape: &'a Shape,
    conv: Option<(&'a Node, &'a Conv2d, kernels::Conv)>,
    norm: Option<(usize, &'a Node, &'a BatchNorm2d)>,
}

impl<'a> Parts<'a> {
    fn of(graph: &'a Graph, unit: &Unit, chain: &'a Chain) -> Parts<'a> {
        let nodes = graph.nodes();
        let shape = &nodes[unit.input].shape;
        let conv = chain.conv.map(|i| &nodes[i]).and_then(|node| match &node.op {
            Op::Conv2d(conv) => Some((node, conv, conv.sizes(shape, &node.shape))),
            _ => None,
        });
        let norm = chain.norm.and_then(|i| match &nodes[i].op {
            Op::BatchNorm2d(norm) => Some((i, &nodes[i], norm)),
            _ => None,
        });
        Parts { chain, shape, conv, norm }
    }
}

/// `norms`: by which statistics each node normalises, if it is a norm.
pub(super) fn forward(
    engine: &Engine,
    graph: &Graph,
    units: &[Unit],
    params: &Params,
    input: &Tensor,
    norms: &[BnStats],
) -> Result<Activations, GraphError> {
    let nodes = graph.nodes();
    let mut found = Activations {
        values: (0..nodes.len()).map(|_| None).collect(),
        normed: (0..nodes.len()).map(|_| None).collect(),
        output: Tensor::default(),
    };
    found.values[0] = Some(engine.spare.copy(input.data()));
    for unit in units {
        let out = match &unit.kind {
            Kind::Chain(chain) => {
                let x = found.value(unit.input);
                let parts = Parts::of(graph, unit, chain);
                let (out, normed) = parts.forward(engine, params, &found, x, norms)?;
                if let Some((i, ..)) = parts.norm {
                    found.normed[i] = normed;
                }
                out
            }
            Kind::Single => Single::of(engine, graph, unit, params, &found).forward()?,
        };
        found.values[unit.output] = Some(out);
    }
    let n = input.dims().first().copied().unwrap_or(0);
    let output = found.value(nodes.len() - 1);
    found.output = Tensor::from_fn(batch_shape(n, graph.output()), |i| output[i]);
    Ok(found)
}

impl Parts<'_> {
    /// The chain's output, and its norm where the batch was looked at for it.
    fn forward(
        &self,
        engine: &Engine,
        params: &Params,
        found: &Activations,
        x: &[f32],
        norms: &[BnStats],
    ) -> Result<(Buffer, Option<Moved>), GraphError> {
        let residual = self.chain.other.map(|i| found.value(i));
        let activation = self.chain.activation.map(|a| a.kernel());
        let then = |by: Option<&Normed>, x: &[f32]| {
            let mut out = engine.spare.take(x.len());
            let by = by.map(|n| (&n.scale[..], &n.shift[..]));
            kernels::scale_and_shift(engine.isa, engine.pool, x, by, residual, activation, &mut out);
            out
        };
        let looked_at = self.norm.filter(|(i, ..)| norms[*i] != BnStats::Running);
        let running = |n: (usize, &Node, &BatchNorm2d)| Ok(n.2.running(norm_params(params, n.1)?));
        let Some((node, conv, sizes)) = &self.conv else {
            return match (self.norm, looked_at) {
                (_, Some((i, node, norm))) => {
                    let normed = looked(engine, params, (node, norm, norms[i]), x)?;
                    Ok((then(Some(&normed), x), Some((normed, None))))
                }
                (Some(norm), None) => Ok((then(Some(&running(norm)?), x), None)),
                (None, None) => Ok((then(None, x), None)),
            };
        };
        let weight = params.of(&node.name, "weight")?.data();
        let bias = conv.bias.then(|| params.of(&node.name, "bias")).transpose()?.map(Tensor::data);
        if let Some((i, norm_node, norm)) = looked_at {
            let z = conv.forward(engine, sizes, x, weight, Epilogue { bias, ..Epilogue::default() });
            let normed = looked(engine, params, (norm_node, norm, norms[i]), &z)?;
            return Ok((then(Some(&normed), &z), Some((normed, Some(z)))));
        }
        let normed = self.norm.map(running).transpose()?;
        let scale = normed.as_ref().map(|n| &n.scale[..]);
        let bias = normed.as_ref().map_or(bias, |n| Some(&n.shift[..]));
        let epilogue = Epilogue { scale, bias, residual, activation };
        Ok((conv.forward(engine, sizes, x, weight, epilogue), None))
    }
}

/// A norm of the batch `x`, with its statistics.
fn looked(
    engine: &Engine,
    params: &Params,
    (node, norm, stats): (&Node, &BatchNorm2d, BnStats),
    x: &[f32],
) -> Result<Normed, GraphError> {
    if x.len() <= norm.channels {
        return Err(GraphError::LoneValue { node: node.name.clone() });
    }
    let params = norm_params(params, node)?;
    Ok(match stats {
        BnStats::Batch { .. } => norm.batch(engine, params, x),
        BnStats::Running | BnStats::Watched { .. } => norm.watched(engine, params, x),
    })
}

/// Gradients on their way down, by node, and those that have arrived.
pub(super) struct Flow<'a> {
    pending: Vec<Option<Buffer>>,
    /// A node needs its gradient where it or one before it is trained.
    pub(super) needed: Vec<bool>,
    freeze: &'a Freeze,
    gradients: &'a mut Gradients,
}

impl Flow<'_> {
    pub(super) fn trains(&self, node: &Node, part: &str) -> bool {
        self.trains_parameter(&full_name(&node.name, part))
    }

    pub(super) fn trains_parameter(&self, name: &str) -> bool {
        self.freeze.is_trainable(name)
    }

    /// The memory of a trained parameter's gradient.
    pub(super) fn slot(&mut self, node: &Node, part: &str, shape: &Shape) -> &mut [f32] {
        let slot = self.gradients.entry(full_name(&node.name, part)).or_default();
        if slot.shape() != shape {
            *slot = Tensor::zeros(shape.clone());
        }
        slot.data_mut()
    }

    pub(super) fn keep(&mut self, node: &Node, part: &str, values: impl ExactSizeIterator<Item = f64>) {
        if self.trains(node, part) {
            let slot = self.slot(node, part, &Shape::from([values.len()]));
            slot.iter_mut().zip(values).for_each(|(to, v)| *to = v as f32);
        }
    }

    /// Keeps a parameter's gradient where it is trained.
    pub(super) fn put(&mut self, node: &Node, part: &str, gradient: Tensor) {
        if self.trains(node, part) {
            self.gradients.insert(full_name(&node.name, part), gradient);
        }
    }

    pub(super) fn add(&mut self, engine: &Engine, node: usize, term: Buffer) {
        match &mut self.pending[node] {
            slot @ None => *slot = Some(term),
            Some(sum) => {
                kernels::accumulate(engine.isa, engine.pool, sum, &term);
                engine.spare.give(term);
            }
        }
    }
}

/// Adds the gradients of what `freeze` leaves free to `gradients`, whose memory is used again.
pub(super) fn backward(
    engine: &Engine,
    (graph, units, freeze): (&Graph, &[Unit], &Freeze),
    params: &Params,
    found: &Activations,
    gradient: &Tensor,
    gradients: &mut Gradients,
) -> Result<(), GraphError> {
    if gradient.shape() != found.output.shape() {
        let (expected, found) = (found.output.shape().clone(), gradient.shape().clone());
        return Err(GraphError::Input { expected, found });
    }
    let nodes = graph.nodes();
    let mut needed: Vec<bool> =
        nodes.iter().map(|n| n.params().iter().any(|p| freeze.is_trainable(&p.name))).collect();
    for (i, node) in nodes.iter().enumerate() {
        needed[i] |= node.inputs.iter().any(|input| needed[input.index()]);
    }
    let mut flow = Flow { pending: (0..nodes.len()).map(|_| None).collect(), needed, freeze, gradients };
    flow.pending[nodes.len() - 1] = Some(engine.spare.copy(gradient.data()));
    for unit in units.iter().rev() {
        let Some(g) = flow.pending[unit.output].take() else { continue };
        let dx = match &unit.kind {
            _ if !flow.needed[unit.output] => None,
            Kind::Chain(chain) => {
                Parts::of(graph, unit, chain).backward(engine, params, found, unit, &mut flow, g)?;
                continue;
            }
            Kind::Single => Single::of(engine, graph, unit, params, found).backward(&g, &mut flow)?,
        };
        engine.spare.give(g);
        if let Some(dx) = dx {
            flow.add(engine, unit.input, dx);
        }
    }
    Ok(())
}

impl Parts<'_> {
    fn backward(
        &self,
        engine: &Engine,
        params: &Params,
        found: &Activations,
        unit: &Unit,
        flow: &mut Flow,
        mut g: Buffer,
    ) -> Result<(), GraphError> {
        let Engine { isa, pool, spare } = *engine;
        let x = found.value(unit.input);
        let activation = self.chain.activation.map(|a| (a.kernel(), found.value(unit.output)));
        let running = |n: (usize, &Node, &BatchNorm2d)| Ok(n.2.running(norm_params(params, n.1)?));
        // The norm and its input; a norm that its convolution took over has none.
        let stored = self.norm.and_then(|(i, ..)| found.normed[i].as_ref());
        let folded = stored.is_none() && self.conv.is_some();
        let normed = match stored {
            Some((normed, _)) => Some(normed.clone()),
            None => self.norm.map(running).transpose()?,
        };
        let before = match stored {
            Some((_, Some(z))) => &z[..],
            _ => x,
        };
        let channels = match &self.conv {
            Some((_, conv, _)) => conv.out_channels,
            None => self.shape.dims().last().copied().unwrap_or(1),
        };
        let against = normed.as_ref().filter(|_| !folded).map(|n| (before, &n.mean[..]));
        let (sums, products) = kernels::masked(isa, pool, Masked { channels, activation, against }, &mut g);
        let below = flow.needed[unit.input];
        let other = self.chain.other.filter(|&i| flow.needed[i]);
        // The gradient of what the norm, or the sum, takes in.
        let (dz, rest) = match normed.as_ref().filter(|_| !folded) {
            Some(normed) => {
                if let Some((_, node, _)) = self.norm {
                    flow.keep(node, "weight", products.iter().zip(&normed.deviation).map(|(p, d)| p / d));
                    flow.keep(node, "bias", sums.iter().copied());
                }
                let factors = normed.gradient_factors(&sums, &products);
                let [a, b, c] = [&factors[0][..], &factors[1][..], &factors[2][..]];
                let mut dz = spare.take(g.len());
                kernels::norm_input_gradient(isa, pool, &g, before, &normed.mean, [a, b, c], &mut dz);
                (dz, Some(g))
            }
            None => (g, None),
        };
        let Some((node, conv, sizes)) = &self.conv else {
            match (other, rest) {
                (Some(other), Some(g)) => flow.add(engine, other, g),
                (Some(other), None) => flow.add(engine, other, spare.copy(&dz)),
                (None, Some(g)) => spare.give(g),
                (None, None) => {}
            }
            match below {
                true => flow.add(engine, unit.input, dz),
                false => spare.give(dz),
            }
            return Ok(());
        };
        let weight = params.of(&node.name, "weight")?;
        let scale = normed.as_ref().filter(|_| folded).map(|n| &n.scale[..]);
        self.weight_gradient(engine, weight, x, &dz, &sums, normed.as_ref().filter(|_| folded), flow);
        if conv.bias {
            flow.keep(node, "bias", sums.iter().copied());
        }
        if below {
            let residual = flow.pending[unit.input].take();
            let dx = conv.input_gradient(engine, sizes, weight.data(), scale, &dz, residual.as_deref());
            residual.into_iter().for_each(|r| spare.give(r));
            flow.pending[unit.input] = Some(dx);
        }
        let (shared, done) = match rest {
            Some(g) => (g, Some(dz)),
            None => (dz, None),
        };
        done.into_iter().for_each(|dz| spare.give(dz));
        match other {
            Some(other) => flow.add(engine, other, shared),
            None => spare.give(shared),
        }
        Ok(())
    }

    /// The gradients of the convolution's weight, and of the norm that it took over: with `y = scale (w * x) + shift`
    /// and `d` the weight's gradient without its scale, that of `w` is `scale d`, and that of `scale` is `w d`.
    #[expect(clippy::too_many_arguments, reason = "one call's operands")]
    fn weight_gradient(
        &self,
        engine: &Engine,
        weight: &Tensor,
        x: &[f32],
        gradient: &[f32],
        sums: &[f64],
        folded: Option<&Normed>,
        flow: &mut Flow,
    ) {
        let Some((node, conv, sizes)) = &self.conv else { return };
        let norm = self.norm.filter(|_| folded.is_some());
        let of_norm = norm.is_some_and(|(_, norm, _)| flow.trains(norm, "weight"));
        let trains = flow.trains(node, "weight");
        if let (Some((_, norm, _)), true) = (norm, folded.is_some()) {
            flow.keep(norm, "bias", sums.iter().copied());
        }
        if !trains && !of_norm {
            return;
        }
        let mut own = if trains { Tensor::default() } else { Tensor::zeros(weight.shape().clone()) };
        let to = if trains { flow.slot(node, "weight", weight.shape()) } else { own.data_mut() };
        conv.weight_gradient(engine, sizes, x, gradient, to);
        let Some(normed) = folded else { return };
        let row = weight.row_len();
        let mut products = vec![0.0f64; conv.out_channels];
        for (o, (d, w)) in to.chunks_exact_mut(row).zip(weight.data().chunks_exact(row)).enumerate() {
            products[o] = d.iter().zip(w).map(|(&d, &w)| f64::from(d) * f64::from(w)).sum();
            d.iter_mut().for_each(|d| *d *= normed.scale[o]);
        }
        if let Some((_, norm, _)) = norm {
            let one = |c: usize| (products[c] - f64::from(normed.mean[c]) * sums[c]) / normed.deviation[c];
            flow.keep(norm, "weight", (0..conv.out_channels).map(one));
        }
    }
}

fn norm_params<'a>(params: &'a Params, node: &Node) -> Result<NormParams<'a>, GraphError> {
    let of = |part| params.of(&node.name, part).map(Tensor::data);
    Ok(NormParams {
        weight: of("weight")?,
        bias: of("bias")?,
        mean: of("running_mean")?,
        var: of("running_var")?,
    })
}
