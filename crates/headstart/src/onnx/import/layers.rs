//! Layers with weights: convolution, linear layers, norms.

use super::attributes::{Attributes, unsupported};
use super::constant::permuted;
use super::error::OnnxError;
use super::reader::Reader;
use super::value::{Activation, Layout, Value};
use crate::onnx::operations::shares;
use crate::onnx::proto::NodeProto;
use headstart_graph::{AdaptiveAvgPool, BatchNorm2d, Conv2d, LayerNorm, Linear, NodeId, Op, Padding};
use headstart_tensor::Tensor;
use std::rc::Rc;

/// What is said once of layers that get a bias.
const NEW_BIAS: &str = "linear layer without a bias, which gets one of zeros";

/// A term for each channel, and its name in the file.
struct Bias<'a> {
    values: Vec<f32>,
    name: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes =
            Attributes::of(node, &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"])?;
        let (x, layout) = self.activation(node, 0)?;
        let weight = self.weight(node, 1)?;
        let &[out_channels, inner, height, width] = weight.dims() else {
            let found = format!("a weight of shape {}", weight.shape());
            return Err(unsupported(
                node,
                found,
                "convolutions of images are imported: [out, in, height, width]",
            ));
        };
        let kernel = attributes.pair("kernel_shape", [height, width])?;
        attributes.only("kernel_shape", kernel, [height, width])?;
        attributes.only("dilations", attributes.pair("dilations", [1, 1])?, [1, 1])?;
        let stride = attributes.pair("strides", [1, 1])?;
        let groups = usize::try_from(attributes.int("group", 1)).unwrap_or(0);
        let bias = self.floats(node, 2)?;
        let bias = bias.map(|bias| Bias { values: bias.data().to_vec(), name: self.tensor_name(node, 2) });
        if let Layout::Features { rank: 4, axis: 1 } = layout {
            // One pixel.
            attributes.only("kernel_shape", kernel, [1, 1])?;
            attributes.only("strides", stride, [1, 1])?;
            attributes.only("pads", attributes.pads()?, [[0; 2]; 2])?;
            attributes.only("group", groups, 1)?;
            let weight = Tensor::from_fn([out_channels, inner], |i| weight.data()[i]);
            return self.linear(node, (x, layout), weight, bias);
        }
        let &[rows, columns, in_channels] = self.image(node, x, layout)? else {
            return Err(self.no_image(node, x));
        };
        let padding = padding(node, attributes, [rows, columns], kernel, stride)?;
        let (bias, output) = match bias {
            Some(bias) => (Some(bias), None),
            None => self.bias_behind(node, Layout::Image, out_channels)?,
        };
        let bias_name = bias.as_ref().map_or("", |bias| bias.name);
        let name = self.names.layer(node, &[(self.tensor_name(node, 1), ".weight"), (bias_name, ".bias")]);
        let conv =
            Conv2d { in_channels, out_channels, kernel, stride, padding, groups, bias: bias.is_some() };
        let made = self.add(&name, Op::Conv2d(conv), &[x])?;
        self.keep(format!("{name}.weight"), (*weight).clone())?;
        if let Some(bias) = bias {
            self.keep(format!("{name}.bias"), vector(bias.values))?;
        }
        Ok(self.also(output, Value::Activation(Activation::of(made, Layout::Image))))
    }

    pub(super) fn gemm(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["alpha", "beta", "transA", "transB", "broadcast"])?;
        attributes.only("alpha", attributes.float("alpha", 1.0), 1.0)?;
        attributes.only("beta", attributes.float("beta", 1.0), 1.0)?;
        attributes.only("transA", attributes.int("transA", 0), 0)?;
        let x = self.activation(node, 0)?;
        let weight = self.matrix(node, 1)?;
        let weight =
            if attributes.int("transB", 0) == 0 { permuted(&weight, &[1, 0]) } else { (*weight).clone() };
        let features = weight.dims()[0];
        let bias = self.floats(node, 2)?;
        let bias = bias.map(|bias| Bias { values: spread(&bias, features), name: self.tensor_name(node, 2) });
        self.linear(node, x, weight, bias)
    }

    pub(super) fn matmul(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        Attributes::of(node, &[])?;
        let x = match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Parts(a), Value::Parts(b)) => return self.parts_product(node, a, b),
            (Value::Activation(a), Value::Floats(_)) if a.layout == Layout::Image => {
                return self.narrowed(node);
            }
            (Value::Floats(_), Value::Narrowed(x, columns)) => return self.tiled(node, x, columns),
            (Value::Activation(_), Value::Floats(_)) => self.activation(node, 0)?,
            _ => {
                let found = "a product of two values that depend on the image, or of a constant with one";
                return Err(unsupported(
                    node,
                    found,
                    "features times a constant weight, and attention, are imported",
                ));
            }
        };
        let weight = permuted(&*self.matrix(node, 1)?, &[1, 0]);
        self.linear(node, x, weight, None)
    }

    fn matrix(&mut self, node: &'a NodeProto, index: usize) -> Result<Rc<Tensor>, OnnxError> {
        let weight = self.weight(node, index)?;
        match weight.dims().len() {
            2 => Ok(weight),
            _ => {
                Err(unsupported(node, format!("a weight of shape {}", weight.shape()), "expected [in, out]"))
            }
        }
    }

    /// A linear layer of the weight `[out, in]`.
    fn linear(
        &mut self,
        node: &'a NodeProto,
        (x, layout): (NodeId, Layout),
        weight: Tensor,
        bias: Option<Bias<'a>>,
    ) -> Result<Value, OnnxError> {
        if matches!(layout, Layout::Image | Layout::Columns) {
            return Err(unsupported(
                node,
                "it mixes the last axis, and that is not the channels",
                "it must be",
            ));
        }
        let out_features = weight.dims()[0];
        let (bias, output) = match bias {
            Some(bias) => (Some(bias), None),
            None => self.bias_behind(node, layout, out_features)?,
        };
        let bias_name = bias.as_ref().map_or("", |bias| bias.name);
        let name = self.names.layer(node, &[(self.tensor_name(node, 1), ".weight"), (bias_name, ".bias")]);
        let linear = Linear { in_features: weight.dims()[1], out_features };
        let made = self.add(&name, Op::Linear(linear), &[x])?;
        self.keep(format!("{name}.weight"), weight)?;
        let bias = bias.map(|bias| bias.values).unwrap_or_else(|| {
            *self.notes.entry(NEW_BIAS).or_default() += 1;
            vec![0.0; out_features]
        });
        self.keep(format!("{name}.bias"), vector(bias))?;
        Ok(self.also(output, Value::Activation(Activation::of(made, layout))))
    }

    /// The value of this node and, where it took that over, of the one behind it.
    fn also(&mut self, behind: Option<usize>, value: Value) -> Value {
        if let Some(at) = behind {
            self.join(at, value.clone());
        }
        value
    }

    /// The term for each channel that alone follows `node`, with its name, and the place of the node that adds it.
    fn bias_behind(
        &mut self,
        node: &'a NodeProto,
        layout: Layout,
        channels: usize,
    ) -> Result<(Option<Bias<'a>>, Option<usize>), OnnxError> {
        let found = node.output.first().and_then(|output| self.only_reader(output));
        let Some((at, sum)) = found.filter(|(_, sum)| sum.op_type == "Add" && sum.input.len() == 2) else {
            return Ok((None, None));
        };
        let index = usize::from(sum.input[0] == node.output[0]);
        // What is made behind this node is not there yet.
        let Ok(Value::Floats(bias)) = self.value(sum, index) else { return Ok((None, None)) };
        match per_channel(&bias, layout, channels) {
            Some(values) => Ok((Some(Bias { values, name: self.tensor_name(sum, index) }), Some(at))),
            None => Ok((None, None)),
        }
    }

    pub(super) fn batch_norm(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["epsilon", "momentum", "spatial", "training_mode"])?;
        attributes.only("training_mode", attributes.int("training_mode", 0), 0)?;
        attributes.only("spatial", attributes.int("spatial", 1), 1)?;
        let (x, layout) = self.activation(node, 0)?;
        let &[_, _, channels] = self.image(node, x, layout)? else { return Err(self.no_image(node, x)) };
        let values =
            [self.weight(node, 1)?, self.weight(node, 2)?, self.weight(node, 3)?, self.weight(node, 4)?];
        let named = [(self.tensor_name(node, 1), ".weight"), (self.tensor_name(node, 2), ".bias")];
        let running =
            [(self.tensor_name(node, 3), ".running_mean"), (self.tensor_name(node, 4), ".running_var")];
        let name = self.names.layer(node, &[named, running].concat());
        let eps = decimal(attributes.float("epsilon", 1e-5));
        let made = self.add(&name, Op::BatchNorm2d(BatchNorm2d { channels, eps }), &[x])?;
        for (value, part) in values.iter().zip(["weight", "bias", "running_mean", "running_var"]) {
            self.keep(format!("{name}.{part}"), (**value).clone())?;
        }
        Ok(Value::Activation(Activation::of(made, Layout::Image)))
    }

    pub(super) fn layer_norm(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["axis", "epsilon", "stash_type"])?;
        let (x, layout) = self.activation(node, 0)?;
        let rank = self.extents(x, layout).len();
        let axis = attributes.int("axis", -1);
        if (axis != -1 && axis != rank as i64 - 1) || layout.channels() != rank - 1 {
            return Err(unsupported(
                node,
                format!("axis is {axis}"),
                "a norm over the channels, the last axis, is imported",
            ));
        }
        let weight = self.weight(node, 1)?;
        let features = weight.len();
        let bias = self.floats(node, 2)?.map_or_else(|| vec![0.0; features], |bias| bias.data().to_vec());
        let named = [(self.tensor_name(node, 1), ".weight"), (self.tensor_name(node, 2), ".bias")];
        let name = self.names.layer(node, &named);
        let eps = decimal(attributes.float("epsilon", 1e-5));
        let made = self.add(&name, Op::LayerNorm(LayerNorm { features, eps }), &[x])?;
        self.keep(format!("{name}.weight"), vector(weight.data().to_vec()))?;
        self.keep(format!("{name}.bias"), vector(bias))?;
        Ok(Value::Activation(Activation::of(made, layout)))
    }

    /// The first product of a pooling to a size: shares of the columns.
    fn narrowed(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let (x, _) = self.activation(node, 0)?;
        let across = permuted(&*self.matrix(node, 1)?, &[1, 0]);
        match shares(across.dims()[1], across.dims()[0]) == across {
            true => Ok(Value::Narrowed(x, across.dims()[0])),
            false => Err(not_shares(node)),
        }
    }

    /// The second: shares of the rows.
    fn tiled(&mut self, node: &'a NodeProto, x: NodeId, columns: usize) -> Result<Value, OnnxError> {
        let down = self.matrix(node, 0)?;
        let output = [down.dims()[0], columns];
        if shares(down.dims()[1], output[0]) != *down {
            return Err(not_shares(node));
        }
        let made = self.step(node, Op::AdaptiveAvgPool(AdaptiveAvgPool { output }), &[x])?;
        Ok(Value::Activation(Activation::of(made, Layout::Image)))
    }

    /// The extents `[h, w, c]` of an image whose channels ONNX has first.
    pub(super) fn image(&self, node: &NodeProto, x: NodeId, layout: Layout) -> Result<&[usize], OnnxError> {
        match layout {
            Layout::Image => Ok(self.builder.shape(x).dims()),
            _ => Err(self.no_image(node, x)),
        }
    }

    pub(super) fn no_image(&self, node: &NodeProto, x: NodeId) -> OnnxError {
        let found = format!("its input is {} here", self.builder.shape(x));
        unsupported(node, found, "images `[batch, channels, height, width]` are imported")
    }
}

fn not_shares(node: &NodeProto) -> OnnxError {
    let found = "the product of an image with a matrix that pools it to no size";
    unsupported(node, found, "features times a weight are imported, the features last")
}

/// The zeros around an image.
fn padding(
    node: &NodeProto,
    attributes: Attributes,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
) -> Result<Padding, OnnxError> {
    let same = [0, 1].map(|axis| {
        let covered = (input[axis].div_ceil(stride[axis]) - 1) * stride[axis] + kernel[axis];
        let missing = covered.saturating_sub(input[axis]);
        [missing / 2, missing - missing / 2]
    });
    match attributes.text("auto_pad", "NOTSET") {
        "NOTSET" => {}
        "VALID" => return Ok(Padding::Symmetric([0, 0])),
        "SAME_UPPER" => return Ok(Padding::Same),
        other => {
            return Err(unsupported(
                node,
                format!("auto_pad is {other}"),
                "NOTSET, VALID and SAME_UPPER are imported",
            ));
        }
    }
    match attributes.pads()? {
        [[top, bottom], [left, right]] if top == bottom && left == right => {
            Ok(Padding::Symmetric([top, left]))
        }
        pads if pads == same => Ok(Padding::Same),
        pads => Err(unsupported(
            node,
            format!("pads are {pads:?} (before and behind, down and across)"),
            format!("as many on both sides are imported, or TensorFlow's SAME, here {same:?}"),
        )),
    }
}

/// The values of a constant along the channels, where it is the same along all other axes.
pub(crate) fn per_channel(constant: &Tensor, layout: Layout, channels: usize) -> Option<Vec<f32>> {
    let rank = match layout {
        Layout::Image | Layout::ChannelsLast => 4,
        Layout::Columns | Layout::Tokens => 3,
        Layout::Features { rank, .. } => rank,
    };
    let dims = constant.dims();
    // Axes are counted from the last: those that are not there are ones.
    let at = |axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let fits = dims.len() <= rank && at(layout.channels()) == channels && constant.len() == channels;
    fits.then(|| constant.data().to_vec())
}

/// One number for all, or as many.
fn spread(bias: &Tensor, features: usize) -> Vec<f32> {
    if bias.len() == 1 { vec![bias.data()[0]; features] } else { bias.data().to_vec() }
}

fn vector(values: Vec<f32>) -> Tensor {
    Tensor::from_fn([values.len()], |i| values[i])
}

/// The decimal number that was meant: 1e-5, not the f32 next to it.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
