//! The product of squeeze-and-excitation (Hu et al. 2018): `x` `[.., channels]` times a second input of one value a channel.
//! Saved between forward and backward: both inputs.

use super::Engine;
use crate::GraphError;
use crate::op::last_extent;
use headstart_kernels::{self as kernels, Buffer};
use headstart_tensor::Shape;

pub(crate) fn output_shape(node: &str, x: &Shape, scale: &Shape) -> Result<Shape, GraphError> {
    last_extent(node, x, scale.len())?;
    Ok(x.clone())
}

/// Batches `[n, ..]` of both; `channels` of one scale.
pub(crate) fn forward(engine: &Engine, one: usize, x: &[f32], scale: &[f32]) -> Buffer {
    let channels = channels(one, x, scale);
    let mut out = engine.spare.take(x.len());
    engine.pool.chunks_mut(&mut out, one, |i, out| {
        let of = &scale[i * channels..(i + 1) * channels];
        kernels::scale_channels(engine.isa, &x[i * one..(i + 1) * one], of, out);
    });
    out
}

/// The gradient of `x`: that of the output, scaled alike.
pub(crate) fn input_gradient(engine: &Engine, one: usize, scale: &[f32], gradient: &[f32]) -> Buffer {
    forward(engine, one, gradient, scale)
}

/// The gradient of the scale.
pub(crate) fn scale_gradient(
    engine: &Engine,
    one: usize,
    x: &[f32],
    scale: &[f32],
    gradient: &[f32],
) -> Buffer {
    let mut out = engine.spare.take(scale.len());
    engine.pool.chunks_mut(&mut out, channels(one, x, scale), |i, out| {
        let of = i * one..(i + 1) * one;
        kernels::scale_channels_gradient(&x[of.clone()], &gradient[of], out);
    });
    out
}

/// Channels, from batches of images of `one` value each.
fn channels(one: usize, x: &[f32], scale: &[f32]) -> usize {
    scale.len() / (x.len() / one.max(1)).max(1)
}
