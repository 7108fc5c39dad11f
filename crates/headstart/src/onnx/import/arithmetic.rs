//! Elementwise operations: activations spelled in one node or in several, sums of layers, factors and terms for each channel.

use super::attributes::{Attributes, unsupported};
use super::elementwise::{erf, gelu, gelu_tanh, hard_sigmoid, sigmoid};
use super::error::OnnxError;
use super::layers::per_channel;
use super::reader::Reader;
use super::value::{Activation, Layout, Rank, Value};
use crate::onnx::proto::NodeProto;
use headstart_graph::{AddRows, LayerScale, NodeId, Op};
use headstart_tensor::Tensor;

impl<'a> Reader<'a> {
    /// An operator of one input.
    pub(super) fn unary(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let known: &[&str] = match node.op_type.as_str() {
            "Clip" => &["min", "max"],
            "HardSigmoid" => &["alpha", "beta"],
            "Gelu" => &["approximate"],
            "Swish" => &["alpha"],
            _ => &[],
        };
        let attributes = Attributes::of(node, known)?;
        let f: Box<dyn Fn(f64) -> f64> = match node.op_type.as_str() {
            "Relu" => Box::new(|x| x.max(0.0)),
            "Sigmoid" => Box::new(sigmoid),
            "Tanh" => Box::new(f64::tanh),
            "Erf" => Box::new(erf),
            "Sqrt" => Box::new(f64::sqrt),
            "HardSwish" => Box::new(|x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5)),
            "HardSigmoid" => {
                let [slope, offset] =
                    [attributes.float("alpha", 0.2), attributes.float("beta", 0.5)].map(f64::from);
                Box::new(move |x| hard_sigmoid(x, slope, offset))
            }
            "Swish" => {
                let alpha = f64::from(attributes.float("alpha", 1.0));
                Box::new(move |x| x * sigmoid(alpha * x))
            }
            "Gelu" => match attributes.text("approximate", "none") {
                "tanh" => Box::new(gelu_tanh),
                _ => Box::new(gelu),
            },
            _ => {
                let mut bound = |index: usize, name: &str, absent: f32| -> Result<f64, OnnxError> {
                    let given = self.floats(node, index)?.and_then(|tensor| tensor.data().first().copied());
                    Ok(f64::from(given.unwrap_or_else(|| attributes.float(name, absent))))
                };
                let (least, most) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
                Box::new(move |x| x.max(least).min(most))
            }
        };
        match self.value(node, 0)? {
            Value::Activation(activation) => self.named(node, activation.map(f)),
            Value::Floats(tensor) => {
                let made = Tensor::from_fn(tensor.shape().clone(), |i| f(f64::from(tensor.data()[i])) as f32);
                self.given_floats(made)
            }
            _ => Err(unsupported(node, "no numbers", "it is imported for activations")),
        }
    }

    /// `activation` with a node for the function that it is by now, if that is one.
    fn named(&mut self, node: &NodeProto, activation: Activation) -> Result<Value, OnnxError> {
        let is =
            activation.forms.iter().rev().find_map(|(of, samples)| samples.activation().map(|op| (*of, op)));
        Ok(Value::Activation(match is {
            Some((of, op)) => {
                let made = self.step(node, op, &[of])?;
                activation.and(made)
            }
            None => activation,
        }))
    }

    /// `Add`, `Sub`, `Mul`, `Div` and `Pow`.
    pub(super) fn binary(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        Attributes::of(node, &[])?;
        let f = operation(node);
        match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Whole(a, first), Value::Whole(b, second)) => {
                let rank = if first == second { first } else { Rank::List };
                self.counted(node, &a, &b, rank)
            }
            (Value::Floats(a), Value::Floats(b)) => self.given_floats(folded(node, &a, &b, f)?),
            (Value::Activation(a), Value::Activation(b)) => self.joined(node, &a, &b),
            (Value::Activation(a), Value::Floats(b)) => match b.len() {
                1 => self.named(node, a.map(|x| f(x, f64::from(b.data()[0])))),
                _ => self.by_channel(node, &a, &b, 1),
            },
            (Value::Floats(a), Value::Activation(b)) => match a.len() {
                1 => self.named(node, b.map(|x| f(f64::from(a.data()[0]), x))),
                _ => self.by_channel(node, &b, &a, 0),
            },
            (Value::Parts(parts), Value::Floats(b)) if b.len() == 1 => match node.op_type.as_str() {
                "Mul" => Ok(Value::Parts(parts.scaled(f64::from(b.data()[0])))),
                "Div" => Ok(Value::Parts(parts.scaled(1.0 / f64::from(b.data()[0])))),
                _ => {
                    Err(unsupported(node, "inside an attention", "products with a number are imported there"))
                }
            },
            _ => Err(unsupported(
                node,
                "values that do not go together",
                "activations and constants of float32 do",
            )),
        }
    }

    /// Two activations.
    fn joined(&mut self, node: &NodeProto, a: &Activation, b: &Activation) -> Result<Value, OnnxError> {
        let both = a.with(b, operation(node));
        match node.op_type.as_str() {
            "Add" => {
                let (Some(x), Some(y)) = (a.node(), b.node()) else {
                    return match both {
                        Some(both) => self.named(node, both),
                        None => Err(self.unsettled(node, a, b)),
                    };
                };
                if a.layout != b.layout {
                    let found =
                        format!("{:?} and {:?}", self.extents(x, a.layout), self.extents(y, b.layout));
                    return Err(unsupported(node, found, "sums of two values of one shape are imported"));
                }
                let made = self.step(node, Op::Add, &[x, y])?;
                Ok(Value::Activation(
                    both.map_or_else(|| Activation::of(made, a.layout), |both| both.and(made)),
                ))
            }
            "Mul" => match both {
                Some(both) => self.named(node, both),
                None => {
                    let (Some(x), Some(y)) = (a.node(), b.node()) else {
                        return Err(self.unsettled(node, a, b));
                    };
                    // The factors are the one of a single pixel.
                    let is_pixel = |x: NodeId| self.builder.shape(x).len() == self.builder.channels(x);
                    let ((x, layout), (scale, of)) = match is_pixel(x) && !is_pixel(y) {
                        true => ((y, b.layout), (x, a.layout)),
                        false => ((x, a.layout), (y, b.layout)),
                    };
                    let (all, one) = (self.extents(x, layout), self.extents(scale, of));
                    if all.len() != one.len() || layout.channels() != of.channels() || !is_pixel(scale) {
                        let expected = "factors for the channels, [batch, channels, 1, 1], are imported";
                        return Err(unsupported(node, format!("{all:?} times {one:?}"), expected));
                    }
                    let made = self.step(node, Op::ScaleChannels, &[x, scale])?;
                    Ok(Value::Activation(Activation::of(made, layout)))
                }
            },
            _ => match both {
                Some(both) => self.named(node, both),
                None => Err(unsupported(
                    node,
                    "two activations",
                    "their sum is imported, and factors for channels",
                )),
            },
        }
    }

    fn unsettled(&self, node: &NodeProto, a: &Activation, b: &Activation) -> OnnxError {
        let which = if a.node().is_none() { a } else { b };
        match self.settled(node, which) {
            Err(error) => error,
            Ok(_) => unsupported(node, "two activations", "their sum is imported, and factors for channels"),
        }
    }

    /// A constant of several values: a factor for each channel, or rows for the tokens.
    fn by_channel(
        &mut self,
        node: &'a NodeProto,
        activation: &Activation,
        constant: &Tensor,
        index: usize,
    ) -> Result<Value, OnnxError> {
        let (x, layout) = (self.settled(node, activation)?, activation.layout);
        let features = self.builder.channels(x);
        let name = self.tensor_name(node, index);
        match (node.op_type.as_str(), per_channel(constant, layout, features)) {
            ("Mul", Some(factors)) => {
                // The two ways in which checkpoints call it.
                let own_name = !name.is_empty() && !name.ends_with(".gamma");
                let name = self.names.layer(node, &[(name, if own_name { "" } else { ".gamma" })]);
                let made = self.add(&name, Op::LayerScale(LayerScale { features, own_name }), &[x])?;
                let (name, shape) = match own_name {
                    true => (name, vec![features, 1, 1]),
                    false => (format!("{name}.gamma"), vec![features]),
                };
                self.keep(name, Tensor::from_fn(shape, |i| factors[i]))?;
                Ok(Value::Activation(Activation::of(made, layout)))
            }
            ("Add", None) => {
                // A row for each token, or for each pixel of an image, where they lie apart.
                let pixels = constant.len() / features.max(1);
                let rows = match (layout, constant.dims()) {
                    (Layout::Tokens, dims) if dims.ends_with(&[pixels, features]) => {
                        Some(constant.data().to_vec())
                    }
                    (Layout::Image, &[.., c, h, w]) if c == features && h * w == pixels => {
                        let planes = constant.data();
                        Some((0..constant.len()).map(|i| planes[i % c * pixels + i / c]).collect())
                    }
                    _ => None,
                };
                let rows = rows.filter(|rows| rows.len() == pixels * features).ok_or_else(|| {
                    unsupported(
                        node,
                        format!("a constant of shape {}", constant.shape()),
                        "a row for each token is imported",
                    )
                })?;
                let name = self.names.layer(node, &[(name, "")]);
                let op = AddRows { entries: pixels, features, first: 0, step: 1, whole: true };
                let made = self.add(&name, Op::AddRows(op), &[x])?;
                self.keep(name, Tensor::from_fn([1, pixels, features], |i| rows[i]))?;
                Ok(Value::Activation(Activation::of(made, layout)))
            }
            _ => Err(unsupported(
                node,
                format!("a constant of shape {} for {:?}", constant.shape(), self.extents(x, layout)),
                "one number, a factor for each channel, the bias of the layer before, and a row for each token are imported; \
                 export without normalisation of pixels inside",
            )),
        }
    }
}

/// What the operator of `node` computes.
fn operation(node: &NodeProto) -> fn(f64, f64) -> f64 {
    match node.op_type.as_str() {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        _ => f64::powf,
    }
}

/// Two constants.
fn folded(node: &NodeProto, a: &Tensor, b: &Tensor, f: fn(f64, f64) -> f64) -> Result<Tensor, OnnxError> {
    let (longer, at) = if a.len() >= b.len() { (a, b.len()) } else { (b, a.len()) };
    if a.shape() != b.shape() && at != 1 {
        return Err(unsupported(
            node,
            format!("constants of shapes {} and {}", a.shape(), b.shape()),
            "one shape, or one number",
        ));
    }
    let value = |tensor: &Tensor, i: usize| f64::from(tensor.data()[if tensor.len() == 1 { 0 } else { i }]);
    let made = Tensor::from_fn(longer.shape().clone(), |i| f(value(a, i), value(b, i)) as f32);
    Ok(made)
}
