//! The block of MobileNetV3 and EfficientNet as torchvision has it: a pointwise expansion, a depthwise convolution,
//! squeeze-and-excitation (Hu et al. 2018), a pointwise projection.

use headstart_graph::{
    Activation, AdaptiveAvgPool, Conv2d, GraphBuilder, GraphError, NodeId, Op, Padding, Smooth,
};

/// An activation of either kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    Relu,
    Smooth(Smooth),
}

/// Squeeze-and-excitation: what is between its two layers, and what makes factors of the second's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SqueezeExcite {
    pub(crate) channels: usize,
    pub(crate) act: Act,
    pub(crate) gate: Smooth,
}

/// Attributes of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct InvertedResidual {
    pub(crate) expanded: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) channels: usize,
    pub(crate) act: Act,
    pub(crate) squeeze: Option<SqueezeExcite>,
    /// Of its batch norms.
    pub(crate) eps: f64,
}

pub(crate) fn activation(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    act: Act,
) -> Result<NodeId, GraphError> {
    match act {
        Act::Relu => b.activation(name, x, Activation::Relu),
        Act::Smooth(function) => b.smooth(name, x, function),
    }
}

/// Convolution, batch norm and activation, `name.0` to `name.2`; `depthwise` or dense.
pub(crate) fn conv(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    (channels, kernel, stride, depthwise): (usize, usize, usize, bool),
    act: Option<Act>,
    eps: f64,
) -> Result<NodeId, GraphError> {
    let (padding, groups) = (Padding::Symmetric([kernel / 2; 2]), if depthwise { channels } else { 1 });
    let x = b.grouped_conv(&format!("{name}.0"), x, channels, (kernel, stride), padding, groups)?;
    let x = b.batch_norm(&format!("{name}.1"), x, eps)?;
    match act {
        Some(act) => activation(b, &format!("{name}.2"), x, act),
        None => Ok(x),
    }
}

/// The block behind `x`; its layers are `name.block.0` and on.
pub(crate) fn block(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    block: &InvertedResidual,
) -> Result<NodeId, GraphError> {
    let InvertedResidual { expanded, kernel, stride, channels, act, squeeze, eps } = *block;
    let mut layers = 0..;
    let mut next = || format!("{name}.block.{}", layers.next().unwrap_or(0));
    let mut y = x;
    if expanded != b.channels(x) {
        y = conv(b, &next(), y, (expanded, 1, 1, false), Some(act), eps)?;
    }
    y = conv(b, &next(), y, (expanded, kernel, stride, true), Some(act), eps)?;
    if let Some(squeeze) = squeeze {
        y = squeeze_excite(b, &next(), y, squeeze)?;
    }
    y = conv(b, &next(), y, (channels, 1, 1, false), None, eps)?;
    if stride == 1 && b.channels(x) == channels {
        y = b.add(&format!("{name}.add"), Op::Add, &[y, x])?;
    }
    Ok(y)
}

fn squeeze_excite(
    b: &mut GraphBuilder,
    name: &str,
    x: NodeId,
    squeeze: SqueezeExcite,
) -> Result<NodeId, GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let pool = Op::AdaptiveAvgPool(AdaptiveAvgPool { output: [1, 1] });
    let s = b.add(&part("avgpool"), pool, &[x])?;
    let s = pointwise(b, &part("fc1"), s, squeeze.channels)?;
    let s = activation(b, &part("activation"), s, squeeze.act)?;
    let s = pointwise(b, &part("fc2"), s, b.channels(x))?;
    let s = b.smooth(&part("scale_activation"), s, squeeze.gate)?;
    b.add(&part("scale"), Op::ScaleChannels, &[x, s])
}

/// A pointwise convolution with bias.
fn pointwise(b: &mut GraphBuilder, name: &str, x: NodeId, out_channels: usize) -> Result<NodeId, GraphError> {
    let (in_channels, padding) = (b.channels(x), Padding::Symmetric([0, 0]));
    let (kernel, stride) = ([1, 1], [1, 1]);
    let conv = Conv2d { in_channels, out_channels, kernel, stride, padding, groups: 1, bias: true };
    b.add(name, Op::Conv2d(conv), &[x])
}
