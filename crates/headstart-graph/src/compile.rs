//! From a graph to the steps that inference runs: batch norm folded into the convolution before it; bias,
//! residual and activation in the epilogue of the kernel that makes the value; weights in the kernels' order.
//!
//! Folding is computed in f64 and rounded once.

use crate::format::Format;
use crate::op::image;
use crate::ops::linear::transposed;
use crate::ops::norm::NormParams;
use crate::rows::Rows;
use crate::{Graph, GraphError, Node, NodeId, Op, Params};
use headstart_kernels::{Activation, Conv, PackedExpand, PackedPooled, Scales};
use headstart_tensor::Shape;

/// Where a step reads: the trunk's input, or the output of an earlier step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Input,
    Step(usize),
}

/// What a step computes before its epilogue.
#[derive(Debug, Clone)]
pub(crate) enum Kernel {
    Dense {
        conv: Conv,
        weights: Vec<f32>,
    },
    Depthwise {
        conv: Conv,
        weights: Vec<f32>,
    },
    /// A convolution whose channels fall into groups, the weights `[taps * in / groups, out]`.
    Grouped {
        conv: Conv,
        groups: usize,
        weights: Vec<f32>,
    },
    /// A pointwise convolution of rows, its epilogue, and the depthwise one that alone reads it.
    Expand {
        point: Conv,
        point_weights: Vec<f32>,
        bias: Vec<f32>,
        activation: Option<Activation>,
        /// The node in between, and how its values are stored.
        node: String,
        between: Format,
        conv: Conv,
        weights: Vec<f32>,
    },
    /// A convolution, and the max pooling that alone reads its activation.
    Pooled {
        conv: Conv,
        weights: Vec<f32>,
        /// The node in between.
        node: String,
        pool: Conv,
    },
    /// `x weights`, the weights `[in, out]`.
    Linear {
        weights: Vec<f32>,
    },
    /// As `Linear`, in bytes: each row of `x`, f32 or bf16, gets a scale of its own on the way.
    Dynamic {
        weights: Vec<f32>,
    },
    /// `x scale`, channel by channel: a batch norm that no convolution took.
    Scale {
        scale: Vec<f32>,
    },
    MaxPool {
        pool: Conv,
    },
    /// The mean over the pixels of `inputs` values.
    GlobalAvgPool {
        inputs: usize,
    },
    Copy,
    /// From what it reads to what it writes.
    Convert,
    /// Has no epilogue; its second input is the step's residual.
    Rows(Rows),
}

/// One kernel call and its epilogue.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) kernel: Kernel,
    pub(crate) input: Source,
    /// Added before the activation; as long as the last extent of the output, or (a copy's) as the whole of it. Empty:
    /// the step has no epilogue.
    pub(crate) bias: Vec<f32>,
    pub(crate) residual: Option<Source>,
    pub(crate) activation: Option<Activation>,
    /// The nodes it computes.
    pub(crate) nodes: Vec<String>,
    /// The output's shape for one image.
    pub(crate) shape: Shape,
    /// What the input is stored as.
    pub(crate) reads: Format,
    /// What the output and the residual are stored as.
    pub(crate) writes: Format,
    pub(crate) scales: Scales,
}

impl Step {
    /// An f32 step without an epilogue, of no nodes so far.
    pub(crate) fn new(kernel: Kernel, input: Source) -> Step {
        Step {
            kernel,
            input,
            bias: Vec::new(),
            residual: None,
            activation: None,
            nodes: Vec::new(),
            shape: Shape::from([]),
            reads: Format::F32,
            writes: Format::F32,
            scales: Scales::ONE,
        }
    }

    /// 32-bit words of the output for one image.
    pub(crate) fn words(&self) -> usize {
        self.writes.words(self.shape.len())
    }
}

/// The steps of a graph, and where its output is. Without `fuse`, the output of every convolution, its norm and its
/// activation is that of a step.
pub(crate) fn compile(graph: &Graph, params: &Params, fuse: bool) -> Result<(Vec<Step>, Source), GraphError> {
    params.check(graph)?;
    let nodes = graph.nodes();
    let mut uses = vec![0usize; nodes.len()];
    nodes.iter().flat_map(|n| &n.inputs).for_each(|i| uses[i.index()] += 1);
    let mut compiler = Compiler { steps: Vec::new(), place: vec![Source::Input; nodes.len()], uses, fuse };
    for (i, node) in nodes.iter().enumerate().skip(1) {
        let place = compiler.add(graph, params, NodeId(i))?;
        compiler.place[i] = place;
        if let Source::Step(step) = place {
            compiler.steps[step].nodes.push(node.name.clone());
        }
        debug_assert!(matches!(place, Source::Step(s) if compiler.steps[s].shape == node.shape));
    }
    let output = compiler.place[nodes.len() - 1];
    Ok((compiler.steps, output))
}

struct Compiler {
    steps: Vec<Step>,
    place: Vec<Source>,
    uses: Vec<usize>,
    fuse: bool,
}

impl Compiler {
    fn add(&mut self, graph: &Graph, params: &Params, id: NodeId) -> Result<Source, GraphError> {
        let node = &graph.nodes()[id.index()];
        let x = node.inputs[0];
        let shape_in = &graph.nodes()[x.index()].shape;
        let channels = node.shape.dims().last().copied().unwrap_or(0);
        let data = |part| params.of(&node.name, part).map(|t| t.data());
        match &node.op {
            Op::Input => return Ok(Source::Input),
            Op::Conv2d(op) => {
                let conv = op.sizes(shape_in, &node.shape);
                let one_pixel = shape_in.dims()[..2] == [1, 1] && op.kernel == [1, 1] && op.groups == 1;
                let weights = op.pack(data("weight")?);
                let bias = if op.bias { data("bias")?.to_vec() } else { vec![0.0; channels] };
                if op.is_depthwise() && self.fuse && self.expands(x, &conv) {
                    return Ok(self.join(conv, weights, bias, &node.shape));
                }
                let kernel = if one_pixel && op.bias && conv.pad == [0, 0] {
                    // Squeeze-and-excitation's: a linear layer.
                    Kernel::Linear { weights }
                } else if op.is_depthwise() {
                    Kernel::Depthwise { conv, weights }
                } else if op.is_grouped() {
                    Kernel::Grouped { conv, groups: op.groups, weights }
                } else {
                    Kernel::Dense { conv, weights }
                };
                self.push(kernel, x, bias, &node.shape);
            }
            Op::BatchNorm2d(norm) => {
                let p = NormParams {
                    weight: data("weight")?,
                    bias: data("bias")?,
                    mean: data("running_mean")?,
                    var: data("running_var")?,
                };
                let (scale, shift) = norm.scale_and_shift(p);
                if let Some(place) = self.fold_scale(x, &scale, &shift) {
                    return Ok(place);
                }
                let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
                self.push(Kernel::Scale { scale: single(scale) }, x, single(shift), &node.shape);
            }
            Op::Linear(op) => {
                let weights = transposed(data("weight")?, op.out_features, op.in_features);
                self.push(Kernel::Linear { weights }, x, data("bias")?.to_vec(), &node.shape);
            }
            Op::Linears(op) => {
                let (weight, bias) = op.join(|part| params.of(&node.name, part))?;
                let weights = transposed(weight.data(), op.joint().out_features, op.in_features);
                self.push(Kernel::Linear { weights }, x, bias.into_data(), &node.shape);
            }
            Op::AddRows(op) => {
                // A copy with a bias for every value, or with one row of them for all tokens.
                let tokens = if op.step == 0 { 1 } else { node.shape.len() / channels.max(1) };
                let rows = op.rows(data(op.part())?, tokens);
                self.push(Kernel::Copy, x, rows, &node.shape);
            }
            Op::LayerNorm(op) => {
                let (weight, bias) = (data("weight")?.to_vec(), data("bias")?.to_vec());
                self.push_rows(Rows::LayerNorm { weight, bias, eps: op.eps }, node);
            }
            Op::Smooth { function } => self.push_rows(Rows::Smooth(function.kernel()), node),
            Op::Attention(op) => self.push_rows(Rows::Attention(op.kernel(shape_in.dims())), node),
            Op::Embedding(op) => {
                let table = data("weight")?.to_vec();
                self.push_rows(Rows::Embedding { table, features: op.features }, node);
            }
            Op::PadMask { pad } => self.push_rows(Rows::PadMask { pad: *pad }, node),
            Op::ClassToken(_) => self.push_rows(Rows::ClassToken { token: data("")?.to_vec() }, node),
            Op::TokenPool(op) => self.push_rows(Rows::TokenPool(op.clone()), node),
            Op::AdaptiveAvgPool(op) if op.output == [1, 1] => {
                let inputs = shape_in.len();
                self.push(Kernel::GlobalAvgPool { inputs }, x, Vec::new(), &node.shape);
            }
            Op::AdaptiveAvgPool(op) => {
                let input = image(&node.name, shape_in)?;
                self.push_rows(Rows::AdaptiveAvgPool { pool: op.clone(), input }, node);
            }
            Op::Normalize => self.push_rows(Rows::Normalize { features: channels }, node),
            Op::ScaleChannels => self.push_rows(Rows::ScaleChannels, node),
            Op::LayerScale(op) => {
                let gamma = data(op.part())?;
                let scale: Vec<f64> = gamma.iter().map(|&v| f64::from(v)).collect();
                if let Some(place) = self.fold_scale(x, &scale, &vec![0.0; channels]) {
                    return Ok(place);
                }
                self.push(Kernel::Scale { scale: gamma.to_vec() }, x, vec![0.0; channels], &node.shape);
            }
            Op::AvgPool2d(op) => {
                let input = image(&node.name, shape_in)?;
                self.push_rows(Rows::AvgPool { pool: op.clone(), input }, node);
            }
            Op::Concat => {
                let left = shape_in.dims().last().copied().unwrap_or(0);
                self.push_rows(Rows::Concat { widths: (left, channels - left) }, node);
            }
            Op::Flatten => {
                let [_, _, channels] = image(&node.name, shape_in)?;
                self.push_rows(Rows::Flatten { channels }, node);
            }
            Op::Activation { function } => {
                if let Some((i, step)) = self.open_step(x) {
                    step.activation = Some(function.kernel());
                    return Ok(Source::Step(i));
                }
                self.push(Kernel::Copy, x, vec![0.0; channels], &node.shape);
                self.last().activation = Some(function.kernel());
            }
            Op::Add => {
                for (a, b) in [(x, node.inputs[1]), (node.inputs[1], x)] {
                    let residual = self.place[b.index()];
                    let newest = Source::Step(self.steps.len().wrapping_sub(1));
                    // Only the newest step may take a residual: the other operand is computed by then.
                    if a == b || self.place[a.index()] != newest {
                        continue;
                    }
                    if let Some((i, step)) = self.open_step(a).filter(|(_, s)| s.residual.is_none()) {
                        step.residual = Some(residual);
                        return Ok(Source::Step(i));
                    }
                }
                self.push(Kernel::Copy, x, vec![0.0; channels], &node.shape);
                self.last().residual = Some(self.place[node.inputs[1].index()]);
            }
            Op::MaxPool2d(op) => {
                let pool = op.sizes(shape_in, &node.shape);
                if self.fuse && self.pools(x) {
                    return Ok(self.join_pool(pool, &node.shape));
                }
                self.push(Kernel::MaxPool { pool }, x, Vec::new(), &node.shape);
            }
            Op::GlobalAvgPool => {
                let inputs = shape_in.len();
                self.push(Kernel::GlobalAvgPool { inputs }, x, Vec::new(), &node.shape);
            }
        }
        Ok(Source::Step(self.steps.len() - 1))
    }

    fn push(&mut self, kernel: Kernel, x: NodeId, bias: Vec<f32>, shape: &Shape) {
        let input = self.place[x.index()];
        self.steps.push(Step { bias, shape: shape.clone(), ..Step::new(kernel, input) });
    }

    /// A step without an epilogue.
    fn push_rows(&mut self, rows: Rows, node: &Node) {
        self.push(Kernel::Rows(rows), node.inputs[0], Vec::new(), &node.shape);
        self.last().residual = node.inputs.get(1).map(|second| self.place[second.index()]);
    }

    fn last(&mut self) -> &mut Step {
        let i = self.steps.len() - 1;
        &mut self.steps[i]
    }

    /// The step that makes `node`'s value, where only one node reads it and it still takes an epilogue.
    fn open_step(&mut self, node: NodeId) -> Option<(usize, &mut Step)> {
        let Source::Step(i) = self.place[node.index()] else { return None };
        let step = &mut self.steps[i];
        let open = !step.bias.is_empty()
            && step.activation.is_none()
            && !matches!(step.kernel, Kernel::Pooled { .. });
        (self.uses[node.index()] == 1 && open).then_some((i, step))
    }

    /// Whether the newest step is a pointwise convolution that only this depthwise one reads, better done with it.
    fn expands(&self, x: NodeId, depthwise: &Conv) -> bool {
        let newest = self.steps.len().wrapping_sub(1);
        let point = |conv: &Conv| conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.pad == [0, 0];
        self.place[x.index()] == Source::Step(newest)
            && self.uses[x.index()] == 1
            && PackedExpand::suits(depthwise)
            && matches!(&self.steps[newest], Step { kernel: Kernel::Dense { conv, .. }, residual: None, .. } if point(conv))
    }

    /// Turns the newest step, a pointwise convolution, into one with the depthwise convolution behind it.
    fn join(&mut self, conv: Conv, weights: Vec<f32>, bias: Vec<f32>, shape: &Shape) -> Source {
        let step = self.last();
        let before = std::mem::replace(&mut step.bias, bias);
        let activation = step.activation.take();
        shape.clone_into(&mut step.shape);
        let kernel = std::mem::replace(&mut step.kernel, Kernel::Copy);
        let node = step.nodes.last().cloned().unwrap_or_default();
        if let Kernel::Dense { conv: point, weights: point_weights } = kernel {
            let row = |[_, w, c]: [usize; 3]| [1, w, c];
            let point = Conv { input: row(point.input), output: row(point.output), ..point };
            let (bias, between) = (before, Format::F32);
            step.kernel =
                Kernel::Expand { point, point_weights, bias, activation, node, between, conv, weights };
        }
        Source::Step(self.steps.len() - 1)
    }

    /// Whether the newest step is a convolution that only a max pooling reads, better done with it.
    fn pools(&self, x: NodeId) -> bool {
        let newest = self.steps.len().wrapping_sub(1);
        self.place[x.index()] == Source::Step(newest)
            && self.uses[x.index()] == 1
            && matches!(&self.steps[newest], Step { kernel: Kernel::Dense { conv, .. }, residual: None, .. } if PackedPooled::suits(conv))
    }

    /// Turns the newest step, a convolution, into one with the max pooling behind it.
    fn join_pool(&mut self, pool: Conv, shape: &Shape) -> Source {
        let step = self.last();
        shape.clone_into(&mut step.shape);
        let node = step.nodes.last().cloned().unwrap_or_default();
        let kernel = std::mem::replace(&mut step.kernel, Kernel::Copy);
        if let Kernel::Dense { conv, weights } = kernel {
            step.kernel = Kernel::Pooled { conv, weights, node, pool };
        }
        Source::Step(self.steps.len() - 1)
    }

    /// Multiplies the weights behind `x` by a factor for each channel of their output, and adds `shift`.
    fn fold_scale(&mut self, x: NodeId, scale: &[f64], shift: &[f64]) -> Option<Source> {
        let (i, step) = self.open_step(x)?;
        let (Kernel::Dense { weights, .. }
        | Kernel::Depthwise { weights, .. }
        | Kernel::Grouped { weights, .. }
        | Kernel::Linear { weights }
        | Kernel::Expand { weights, .. }) = &mut step.kernel
        else {
            return None;
        };
        if step.residual.is_some() {
            return None;
        }
        for row in weights.chunks_exact_mut(scale.len()) {
            row.iter_mut().zip(scale).for_each(|(w, &s)| *w = (f64::from(*w) * s) as f32);
        }
        for ((b, &s), &t) in step.bias.iter_mut().zip(scale).zip(shift) {
            *b = (f64::from(*b) * s + t) as f32;
        }
        Some(Source::Step(i))
    }
}
