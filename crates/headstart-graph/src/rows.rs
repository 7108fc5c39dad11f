//! Compiled steps that no epilogue follows: normalisation, attention and the like, over one image's rows.

use crate::ops::embedding::pad_mask;
use crate::ops::{
    AdaptiveAvgPool, AvgPool2d, ClassToken, Embedding, TokenPool, adaptive_pool, concat, normalize,
};
use headstart_kernels::{self as kernels, Isa, Pool, bf16, layer_norm, scale_channels};

/// What such a step computes.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    LayerNorm { weight: Vec<f32>, bias: Vec<f32>, eps: f64 },
    Smooth(kernels::Smooth),
    Attention(kernels::Attention),
    Embedding { table: Vec<f32>, features: usize },
    PadMask { pad: u32 },
    ClassToken { token: Vec<f32> },
    TokenPool(TokenPool),
    AdaptiveAvgPool { pool: AdaptiveAvgPool, input: [usize; 3] },
    Flatten { channels: usize },
    Normalize { features: usize },
    ScaleChannels,
    Concat { widths: (usize, usize) },
    AvgPool { pool: AvgPool2d, input: [usize; 3] },
}

impl Rows {
    /// The kernel's name in a table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Rows::LayerNorm { .. } => "layer norm f32",
            Rows::Smooth(kernels::Smooth::Gelu) => "GELU f32",
            Rows::Smooth(kernels::Smooth::GeluTanh) => "GELU(tanh) f32",
            Rows::Smooth(kernels::Smooth::Tanh) => "tanh f32",
            Rows::Smooth(kernels::Smooth::Silu) => "SiLU f32",
            Rows::Smooth(kernels::Smooth::Sigmoid) => "sigmoid f32",
            Rows::Smooth(kernels::Smooth::HardSwish) => "hard-swish f32",
            Rows::Smooth(kernels::Smooth::HardSigmoid) => "hard-sigmoid f32",
            Rows::Attention(_) => "attention f32",
            Rows::Embedding { .. } => "embedding f32",
            Rows::PadMask { .. } => "pad mask",
            Rows::ClassToken { .. } => "class token",
            Rows::TokenPool(_) => "token pool",
            Rows::AdaptiveAvgPool { .. } => "adaptive average",
            Rows::Flatten { .. } => "flatten",
            Rows::Normalize { .. } => "normalize",
            Rows::ScaleChannels => "scale channels f32",
            Rows::Concat { .. } => "concat f32",
            Rows::AvgPool { .. } => "average pool f32",
        }
    }

    /// The step that writes bf16, where there is one.
    pub(crate) fn in_bf16(&self) -> Option<ShortRows> {
        match self {
            Rows::LayerNorm { weight, bias, eps } => {
                Some(ShortRows::LayerNorm { weight: weight.clone(), bias: bias.clone(), eps: *eps })
            }
            Rows::Smooth(function) => Some(ShortRows::Smooth(*function)),
            Rows::Attention(attention) => Some(ShortRows::Attention(attention.in_bf16())),
            _ => None,
        }
    }

    /// Number of weights.
    pub(crate) fn values(&self) -> usize {
        match self {
            Rows::LayerNorm { weight, bias, .. } => weight.len() + bias.len(),
            Rows::Embedding { table, .. } => table.len(),
            Rows::ClassToken { token } => token.len(),
            Rows::Smooth(_)
            | Rows::Attention(_)
            | Rows::PadMask { .. }
            | Rows::TokenPool(_)
            | Rows::AdaptiveAvgPool { .. }
            | Rows::Flatten { .. }
            | Rows::Normalize { .. }
            | Rows::ScaleChannels
            | Rows::Concat { .. }
            | Rows::AvgPool { .. } => 0,
        }
    }

    /// Multiply-accumulates.
    pub(crate) fn macs(&self) -> u64 {
        if let Rows::Attention(attention) = self { attention.macs() } else { 0 }
    }

    /// Values of scratch for one image.
    pub(crate) fn scratch(&self) -> usize {
        if let Rows::Attention(attention) = self { attention.scratch() } else { 0 }
    }

    /// One image; `second` is the second input where there is one.
    pub(crate) fn run(
        &self,
        pool: &Pool,
        x: &[f32],
        second: Option<&[f32]>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        match self {
            Rows::LayerNorm { weight, bias, eps } => {
                layer_norm(Isa::current(), pool, x, (weight, bias, *eps), out);
            }
            Rows::Smooth(function) => function.run(Isa::current(), pool, x, out),
            // The sequence may be shorter than the one that was compiled for.
            Rows::Attention(attention) => {
                attention.among(x.len() / attention.joint().max(1)).run(pool, x, second, scratch, out);
            }
            Rows::Embedding { table, features } => Embedding::run(table, *features, x, out),
            Rows::PadMask { pad } => pad_mask(*pad, x, out),
            Rows::ClassToken { token } => ClassToken::run(token, x, out),
            Rows::TokenPool(tokens) => tokens.run(x, second, out),
            Rows::AdaptiveAvgPool { pool, input } => pool.run(*input, x, out),
            Rows::Normalize { features } => normalize::run(*features, x, out),
            Rows::Flatten { channels } => adaptive_pool::flatten(*channels, x, out),
            Rows::ScaleChannels => scale_channels(Isa::current(), x, second.unwrap_or_default(), out),
            Rows::AvgPool { pool, input } => pool.run(*input, x, out),
            Rows::Concat { widths } => concat::run(*widths, x, second.unwrap_or_default(), out),
        }
    }
}

/// Such steps that write bf16, and read it but for the layer norm, which reads f32.
#[derive(Debug, Clone)]
pub(crate) enum ShortRows {
    LayerNorm { weight: Vec<f32>, bias: Vec<f32>, eps: f64 },
    Smooth(kernels::Smooth),
    Attention(kernels::Attention),
}

impl ShortRows {
    /// Number of weights.
    pub(crate) fn values(&self) -> usize {
        if let ShortRows::LayerNorm { weight, bias, .. } = self { weight.len() + bias.len() } else { 0 }
    }

    /// Values of scratch for one image.
    pub(crate) fn scratch(&self) -> usize {
        if let ShortRows::Attention(attention) = self { attention.scratch() } else { 0 }
    }

    /// One image, as words; `mask` is an attention's.
    pub(crate) fn run(
        &self,
        pool: &Pool,
        x: &[f32],
        mask: Option<&[f32]>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let out: &mut [bf16] = bytemuck::cast_slice_mut(out);
        let stored: &[bf16] = bytemuck::cast_slice(x);
        match self {
            ShortRows::LayerNorm { weight, bias, eps } => {
                layer_norm(Isa::current(), pool, x, (weight, bias, *eps), &mut out[..x.len()]);
            }
            ShortRows::Smooth(function) => function.run(Isa::current(), pool, stored, out),
            // The sequence may be shorter than the one that was compiled for.
            ShortRows::Attention(attention) => {
                let joint = attention.joint().max(1);
                let tokens = stored.len() / joint;
                let (x, out) = (&stored[..tokens * joint], &mut out[..tokens * joint / 3]);
                attention.among(tokens).run(pool, x, mask, scratch, out);
            }
        }
    }
}
