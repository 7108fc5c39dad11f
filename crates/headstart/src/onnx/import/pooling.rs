//! Pooling: the largest value and the mean under a window, and the mean of an image or of tokens.

use super::attributes::{Attributes, unsupported};
use super::error::OnnxError;
use super::reader::Reader;
use super::value::{Activation, Layout, Value};
use crate::onnx::proto::NodeProto;
use headstart_graph::{AvgPool2d, MaxPool2d, NodeId, Op, Pooled, TokenPool};

impl<'a> Reader<'a> {
    pub(super) fn max_pool(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let known =
            ["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"];
        let attributes = Attributes::of(node, &known)?;
        let (x, layout) = self.activation(node, 0)?;
        self.image(node, x, layout)?;
        attributes.only("dilations", attributes.pair("dilations", [1, 1])?, [1, 1])?;
        let (kernel, stride) =
            (attributes.pair("kernel_shape", [1, 1])?, attributes.pair("strides", [1, 1])?);
        let padding = self.symmetric(node, attributes)?;
        let ceil = attributes.int("ceil_mode", 0) != 0;
        let made = self.step(node, Op::MaxPool2d(MaxPool2d { kernel, stride, padding, ceil }), &[x])?;
        Ok(Value::Activation(Activation::of(made, Layout::Image)))
    }

    pub(super) fn average_pool(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let known =
            ["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"];
        let attributes = Attributes::of(node, &known)?;
        let (x, layout) = self.activation(node, 0)?;
        let input = [0, 1].map(|axis| self.image(node, x, layout).map_or(0, |dims| dims[axis]));
        self.image(node, x, layout)?;
        attributes.only("dilations", attributes.pair("dilations", [1, 1])?, [1, 1])?;
        attributes.only("pads", self.symmetric(node, attributes)?, [0, 0])?;
        let (kernel, stride) =
            (attributes.pair("kernel_shape", [1, 1])?, attributes.pair("strides", [1, 1])?);
        if kernel == input {
            return self.mean_of_image(node, x, Layout::Features { rank: 4, axis: 1 });
        }
        if (kernel, stride) == ([1, 1], [1, 1]) {
            return Ok(Value::Activation(Activation::of(x, Layout::Image)));
        }
        let over = |axis: usize| !input[axis].saturating_sub(kernel[axis]).is_multiple_of(stride[axis]);
        if attributes.int("ceil_mode", 0) != 0 && (over(0) || over(1)) {
            return Err(unsupported(
                node,
                "ceil_mode, where a window reaches over the edge",
                "only for MaxPool",
            ));
        }
        let made = self.step(node, Op::AvgPool2d(AvgPool2d { kernel, stride }), &[x])?;
        Ok(Value::Activation(Activation::of(made, Layout::Image)))
    }

    /// The zeros around an image, as many on both sides.
    fn symmetric(&self, node: &NodeProto, attributes: Attributes) -> Result<[usize; 2], OnnxError> {
        let auto = attributes.text("auto_pad", "NOTSET");
        if !matches!(auto, "NOTSET" | "VALID") {
            return Err(unsupported(node, format!("auto_pad is {auto}"), "NOTSET and VALID are imported"));
        }
        match attributes.pads()? {
            [[top, bottom], [left, right]] if top == bottom && left == right => Ok([top, left]),
            pads => {
                Err(unsupported(node, format!("pads are {pads:?}"), "as many on both sides are imported"))
            }
        }
    }

    /// `GlobalAveragePool` and `ReduceMean`.
    pub(super) fn mean(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["axes", "keepdims", "noop_with_empty_axes"])?;
        let (x, layout) = self.activation(node, 0)?;
        let rank = self.extents(x, layout).len();
        let (axes, keeps) = match node.op_type.as_str() {
            "GlobalAveragePool" => ((2..rank).collect(), true),
            _ => {
                let given = match attributes.ints("axes") {
                    Some(axes) => Some(axes.to_vec()),
                    None => self.integers(node, 1)?,
                };
                (axes(node, given.as_deref().unwrap_or(&[]), rank)?, attributes.int("keepdims", 1) != 0)
            }
        };
        let features = |axis: usize| match keeps {
            true => Layout::Features { rank, axis },
            false => Layout::ROW,
        };
        match (layout, axes.as_slice()) {
            (Layout::Image, [2, 3]) => self.mean_of_image(node, x, features(1)),
            (Layout::ChannelsLast, [1, 2]) => self.mean_of_image(node, x, features(3)),
            (Layout::Columns, [2]) => self.mean_of_image(node, x, features(1)),
            (Layout::Tokens, [1]) if self.builder.shape(x).rank() == 3 => {
                self.mean_of_image(node, x, features(2))
            }
            (Layout::Tokens, [1]) => {
                let pool = TokenPool { pooled: Pooled::Mean, mask: false };
                let made = self.step(node, Op::TokenPool(pool), &[x])?;
                Ok(Value::Activation(Activation::of(made, features(2))))
            }
            // The mean of one value each.
            (Layout::Features { axis, .. }, axes) if !axes.contains(&axis) && keeps => {
                Ok(Value::Activation(Activation::of(x, layout)))
            }
            _ => {
                let found = format!("a mean over axes {axes:?} of {:?}", self.extents(x, layout));
                Err(unsupported(
                    node,
                    found,
                    "means over the height and width of an image, or over tokens, are imported",
                ))
            }
        }
    }

    fn mean_of_image(&mut self, node: &NodeProto, x: NodeId, layout: Layout) -> Result<Value, OnnxError> {
        let made = self.step(node, Op::GlobalAvgPool, &[x])?;
        Ok(Value::Activation(Activation::of(made, layout)))
    }
}

/// `given` as axes of so many, in order; a negative one counts from the end.
pub(crate) fn axes(node: &NodeProto, given: &[i64], rank: usize) -> Result<Vec<usize>, OnnxError> {
    let rank = rank as i64;
    let axes = given.iter().map(|&axis| if axis < 0 { axis.saturating_add(rank) } else { axis });
    let mut axes: Vec<i64> = axes.collect();
    axes.sort_unstable();
    match axes.iter().all(|axis| (0..rank).contains(axis)) {
        true => Ok(axes.into_iter().map(|axis| axis as usize).collect()),
        false => Err(unsupported(node, format!("axes are {given:?} of {rank}"), "they must be there")),
    }
}
