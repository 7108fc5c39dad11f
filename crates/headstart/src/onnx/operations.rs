//! The operations of a graph as ONNX nodes. The one place that a new [`Op`] is added to for the export.
//!
//! Activations are `[batch, channels, height, width]` here, where the engine has `[height, width, channels]`; sequences
//! are `[batch, tokens, features]` and rows `[batch, features]` on both sides. Parameters keep the checkpoint's names and
//! layouts.

use super::attention::attention;
use super::emitter::Emitter;
use super::proto::AttributeProto as Attribute;
use crate::Error;
use headstart_graph::{
    Activation, AdaptiveAvgPool, BatchNorm2d, Conv2d, Graph, GraphError, LayerNorm, LayerScale, MaxPool2d,
    Node, Op, Padding, Params, Smooth,
};
use headstart_tensor::Tensor;

/// The place of a node: what its ONNX nodes are made of.
pub(crate) struct Place<'a> {
    /// What its ONNX nodes are called.
    name: String,
    pub(crate) emitter: &'a mut Emitter,
    pub(crate) node: &'a Node,
    /// The names of its inputs.
    pub(crate) inputs: &'a [&'a str],
    /// For each input its shape for one image, as the engine has it.
    pub(super) shapes: Vec<&'a [usize]>,
    params: &'a Params,
}

/// Emits all nodes of `graph` from the value `input`, and gives the name of the last output.
///
/// # Errors
/// Where a parameter is missing, or an operation cannot be exported.
pub(crate) fn emit(
    emitter: &mut Emitter,
    graph: &Graph,
    params: &Params,
    input: &str,
) -> Result<String, Error> {
    let mut outputs: Vec<String> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let inputs: Vec<&str> = node.inputs.iter().map(|i| outputs[i.index()].as_str()).collect();
        let shapes = node.inputs.iter().map(|i| graph.nodes()[i.index()].shape.dims()).collect();
        let output = match node.op {
            Op::Input => input.to_owned(),
            _ => {
                let name = node.name.clone();
                Place { name, emitter, node, inputs: &inputs, shapes, params }.operation()?
            }
        };
        outputs.push(output);
    }
    Ok(outputs.pop().unwrap_or_else(|| input.to_owned()))
}

impl Place<'_> {
    /// Emits the node's operation, and gives the name of its output.
    fn operation(&mut self) -> Result<String, Error> {
        Ok(match &self.node.op {
            Op::Input => return Err(self.not_exported()),
            Op::Conv2d(conv) => self.conv(conv)?,
            Op::BatchNorm2d(norm) => self.batch_norm(norm)?,
            Op::Activation { function } => self.activation(*function),
            Op::Add => self.emit("Add", &[self.inputs[0], self.inputs[1]], []),
            Op::MaxPool2d(pool) => self.max_pool(pool),
            Op::GlobalAvgPool => {
                let mean = self.part("mean", "GlobalAveragePool", &[self.inputs[0]], []);
                self.emit("Flatten", &[&mean], [Attribute::int("axis", 1)])
            }
            Op::Linear(_) => self.channels_last(|place| place.linear())?,
            Op::LayerNorm(norm) => self.channels_last(|place| place.layer_norm(norm))?,
            Op::Smooth { function } => self.smooth(*function),
            Op::Attention(of) if !of.mask => attention(self, of),
            Op::ClassToken(token) => self.class_token(token)?,
            Op::AddRows(rows) => self.add_rows(rows)?,
            Op::TokenPool(pool) if !pool.mask => self.token_pool(pool),
            Op::AdaptiveAvgPool(pool) => self.adaptive_pool(pool),
            // Channel by channel, as ONNX has the image already.
            Op::Flatten => self.emit("Flatten", &[self.inputs[0]], [Attribute::int("axis", 1)]),
            Op::Normalize => self.normalize(),
            Op::ScaleChannels => self.scale_channels(),
            Op::LayerScale(scale) => self.layer_scale(scale)?,
            // Tokens have their features last, images their channels first.
            Op::Concat => {
                let axis = if self.node.shape.rank() == 2 { 2 } else { 1 };
                self.emit("Concat", &[self.inputs[0], self.inputs[1]], [Attribute::int("axis", axis)])
            }
            Op::AvgPool2d(pool) => {
                let [window, stride, pads] = window(pool.kernel, pool.stride, [[0; 2]; 2]);
                self.emit("AveragePool", &[self.inputs[0]], [window, pads, stride])
            }
            // Of texts, which are refused before.
            Op::Attention(_) | Op::TokenPool(_) | Op::Linears(_) | Op::Embedding(_) | Op::PadMask { .. } => {
                return Err(self.not_exported());
            }
        })
    }

    fn not_exported(&self) -> Error {
        Error::NotInOnnx { node: self.node.name.clone(), op: self.node.op.to_string() }
    }

    /// The node that gives the operation's output.
    pub(crate) fn emit<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: [Attribute; N],
    ) -> String {
        self.emitter.node(&self.name, op_type, inputs, attributes)
    }

    /// A node on the way to it.
    pub(crate) fn part<const N: usize>(
        &mut self,
        part: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: [Attribute; N],
    ) -> String {
        self.emitter.node(&self.called(part), op_type, inputs, attributes)
    }

    /// A name within the node. The slash keeps it apart from those of parameters.
    pub(crate) fn called(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }

    /// A constant that all nodes share.
    pub(crate) fn number(&mut self, name: &str, value: f32) -> String {
        self.emitter.floats(&format!("/{name}"), &[], &[value])
    }

    /// A constant list of whole numbers of this node.
    pub(crate) fn list(&mut self, part: &str, values: &[i64]) -> String {
        let name = self.called(part);
        self.emitter.integers(&name, values)
    }

    /// The parameter `part` as a constant of its checkpoint name; no part: that of the node's own name.
    pub(super) fn parameter(&mut self, part: &str) -> Result<String, Error> {
        let name = match part {
            "" => self.node.name.clone(),
            part => format!("{}.{part}", self.node.name),
        };
        match self.params.get(&name) {
            Some(value) => Ok(self.emitter.tensor(&name, value)),
            None => Err(GraphError::MissingParam { name, shape: [].into() }.into()),
        }
    }

    fn conv(&mut self, conv: &Conv2d) -> Result<String, Error> {
        let (input, output) = (self.shapes[0], self.node.shape.dims());
        let pads = [0, 1].map(|axis| match conv.padding {
            Padding::Symmetric(pad) => [pad[axis]; 2],
            Padding::Same => {
                let covered = (output[axis] - 1) * conv.stride[axis] + conv.kernel[axis];
                let missing = covered.saturating_sub(input[axis]);
                [missing / 2, missing - missing / 2]
            }
        });
        let mut inputs = vec![self.inputs[0].to_owned(), self.parameter("weight")?];
        if conv.bias {
            inputs.push(self.parameter("bias")?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let [window, stride, pads] = window(conv.kernel, conv.stride, pads);
        let groups = Attribute::int("group", conv.groups as i64);
        Ok(self.emit("Conv", &inputs, [groups, window, pads, stride]))
    }

    fn batch_norm(&mut self, norm: &BatchNorm2d) -> Result<String, Error> {
        let [scale, shift] = [self.parameter("weight")?, self.parameter("bias")?];
        let [mean, var] = [self.parameter("running_mean")?, self.parameter("running_var")?];
        let epsilon = Attribute::float("epsilon", norm.eps as f32);
        Ok(self.emit("BatchNormalization", &[self.inputs[0], &scale, &shift, &mean, &var], [epsilon]))
    }

    fn activation(&mut self, function: Activation) -> String {
        match function {
            Activation::Relu => self.emit("Relu", &[self.inputs[0]], []),
            Activation::Relu6 => {
                let [least, most] = [self.number("zero", 0.0), self.number("six", 6.0)];
                self.emit("Clip", &[self.inputs[0], &least, &most], [])
            }
        }
    }

    fn max_pool(&mut self, pool: &MaxPool2d) -> String {
        let [window, stride, pads] = window(pool.kernel, pool.stride, pool.padding.map(|pad| [pad; 2]));
        if pool.ceil {
            let ceil = Attribute::int("ceil_mode", 1);
            return self.emit("MaxPool", &[self.inputs[0]], [ceil, window, pads, stride]);
        }
        self.emit("MaxPool", &[self.inputs[0]], [window, pads, stride])
    }

    /// `body` on the last extent, also of an image, whose channels ONNX has first.
    fn channels_last(
        &mut self,
        body: impl FnOnce(&mut Place) -> Result<String, Error>,
    ) -> Result<String, Error> {
        if self.shapes[0].len() < 3 {
            return body(self);
        }
        let last = [Attribute::ints("perm", [0, 2, 3, 1])];
        let turned = self.part("channels_last", "Transpose", &[self.inputs[0]], last);
        let mut place = Place {
            name: self.called("pixels"),
            emitter: self.emitter,
            node: self.node,
            inputs: &[&turned],
            shapes: self.shapes.clone(),
            params: self.params,
        };
        let output = body(&mut place)?;
        Ok(self.emit("Transpose", &[&output], [Attribute::ints("perm", [0, 3, 1, 2])]))
    }

    /// One factor a channel: over all pixels of an image.
    fn scale_channels(&mut self) -> String {
        let (x, scale) = (self.inputs[0], self.inputs[1]);
        let shape: &[i64] = match self.node.shape.rank() {
            1 => return self.emit("Mul", &[x, scale], []),
            2 => &[0, 1, -1],
            _ => &[0, -1, 1, 1],
        };
        let shape = self.list("shape", shape);
        let scale = self.part("scale", "Reshape", &[scale, &shape], []);
        self.emit("Mul", &[x, &scale], [])
    }

    fn layer_scale(&mut self, scale: &LayerScale) -> Result<String, Error> {
        let mut factors = self.parameter(if scale.own_name { "" } else { "gamma" })?;
        let whole: &[i64] = if self.node.shape.rank() == 3 { &[-1, 1, 1] } else { &[-1] };
        if scale.own_name != (whole.len() == 3) {
            let shape = self.list("shape", whole);
            factors = self.part("factors", "Reshape", &[&factors, &shape], []);
        }
        Ok(self.emit("Mul", &[self.inputs[0], &factors], []))
    }

    fn linear(&mut self) -> Result<String, Error> {
        let [weight, bias] = [self.parameter("weight")?, self.parameter("bias")?];
        if self.node.shape.rank() == 1 {
            let turned = Attribute::int("transB", 1);
            return Ok(self.emit("Gemm", &[self.inputs[0], &weight, &bias], [turned]));
        }
        // Gemm takes matrices only. Runtimes turn the constant weight once, when they load.
        let turned = self.part("turned", "Transpose", &[&weight], [Attribute::ints("perm", [1, 0])]);
        let product = self.part("product", "MatMul", &[self.inputs[0], &turned], []);
        Ok(self.emit("Add", &[&product, &bias], []))
    }

    fn layer_norm(&mut self, norm: &LayerNorm) -> Result<String, Error> {
        let [scale, shift] = [self.parameter("weight")?, self.parameter("bias")?];
        let attributes = [Attribute::int("axis", -1), Attribute::float("epsilon", norm.eps as f32)];
        Ok(self.emit("LayerNormalization", &[self.inputs[0], &scale, &shift], attributes))
    }

    fn smooth(&mut self, function: Smooth) -> String {
        let x = self.inputs[0];
        match function {
            Smooth::Tanh => self.emit("Tanh", &[x], []),
            Smooth::Sigmoid => self.emit("Sigmoid", &[x], []),
            Smooth::HardSwish => self.emit("HardSwish", &[x], []),
            Smooth::HardSigmoid => {
                let slope = [Attribute::float("alpha", 1.0 / 6.0), Attribute::float("beta", 0.5)];
                self.emit("HardSigmoid", &[x], slope)
            }
            Smooth::Silu => {
                let share = self.part("share", "Sigmoid", &[x], []);
                self.emit("Mul", &[x, &share], [])
            }
            Smooth::Gelu => self.gelu(false),
            Smooth::GeluTanh => self.gelu(true),
        }
    }

    fn gelu(&mut self, tanh: bool) -> String {
        let x = self.inputs[0];
        let [half, one] = [self.number("half", 0.5), self.number("one", 1.0)];
        let inner = match tanh {
            // The steps that runtimes know as GELU, and fuse: x / sqrt(2), erf, 1 +, x *, 0.5 *.
            false => {
                let root = self.number("root_of_two", std::f32::consts::SQRT_2);
                let scaled = self.part("scaled", "Div", &[x, &root], []);
                self.part("erf", "Erf", &[&scaled], [])
            }
            true => {
                let [three, cubic] = [self.number("three", 3.0), self.number("gelu_cubic", 0.044_715)];
                let scale = self.number("gelu_scale", (2.0 / std::f64::consts::PI).sqrt() as f32);
                let cube = self.part("cube", "Pow", &[x, &three], []);
                let cube = self.part("cubic", "Mul", &[&cube, &cubic], []);
                let sum = self.part("sum", "Add", &[x, &cube], []);
                let scaled = self.part("scaled", "Mul", &[&sum, &scale], []);
                self.part("tanh", "Tanh", &[&scaled], [])
            }
        };
        let share = self.part("share", "Add", &[&inner, &one], []);
        let product = self.part("product", "Mul", &[x, &share], []);
        self.emit("Mul", &[&product, &half], [])
    }

    /// As two products with matrices of shares: ONNX has no pooling to a size, and the windows of these overlap.
    fn adaptive_pool(&mut self, pool: &AdaptiveAvgPool) -> String {
        let (rows, columns) =
            (shares(self.shapes[0][0], pool.output[0]), shares(self.shapes[0][1], pool.output[1]));
        let (height, width) = (self.called("rows"), self.called("columns"));
        let (height, width) = (self.emitter.tensor(&height, &rows), self.emitter.tensor(&width, &columns));
        let across = self.part("across", "Transpose", &[&width], [Attribute::ints("perm", [1, 0])]);
        let narrow = self.part("narrow", "MatMul", &[self.inputs[0], &across], []);
        self.emit("MatMul", &[&height, &narrow], [])
    }

    fn normalize(&mut self) -> String {
        let axes = self.list("axes", &[-1]);
        let length =
            self.part("length", "ReduceL2", &[self.inputs[0], &axes], [Attribute::int("keepdims", 1)]);
        let least = self.number("least_length", 1e-12);
        let length = self.part("divisor", "Max", &[&length, &least], []);
        self.emit("Div", &[self.inputs[0], &length], [])
    }
}

/// The attributes of a window that moves over the image: its size, its step, and the zeros before and behind, by axis.
fn window(kernel: [usize; 2], stride: [usize; 2], pads: [[usize; 2]; 2]) -> [Attribute; 3] {
    let [[top, bottom], [left, right]] = pads;
    let whole = |name, values: &[usize]| Attribute::ints(name, values.iter().map(|&v| v as i64));
    [whole("kernel_shape", &kernel), whole("strides", &stride), whole("pads", &[top, left, bottom, right])]
}

/// What each of `size` rows gives to each of the `n` that they are averaged to, as [`AdaptiveAvgPool`] does: `[n, size]`.
pub(crate) fn shares(size: usize, n: usize) -> Tensor {
    let (from, to) = (move |i: usize| i * size / n, move |i: usize| ((i + 1) * size).div_ceil(n));
    let share = |i: usize, x: usize| match (from(i)..to(i)).contains(&x) {
        true => 1.0 / (to(i) - from(i)) as f32,
        false => 0.0,
    };
    Tensor::from_fn([n, size], |at| share(at / size, at % size))
}
