//! CPU kernels over slices and sizes.
//!
//! Activations are NHWC (channels contiguous), one image a call: images are spread over threads by the
//! caller, so that a result never depends on the number of threads or on what else is in the batch.
//! [`mod@reference`] holds every kernel again as plain loops: the specification, and the oracle of the tests.

mod activation;
mod aligned;
mod amx;
mod attention;
mod batch_norm;
#[cfg(all(debug_assertions, not(test)))]
mod compiled;
mod conv;
mod convert;
mod depthwise_gradient;
mod element;
mod epilogue;
mod exp;
mod grouped;
mod grouped_gradient;
mod input_gradient;
mod isa;
mod layer_norm;
mod matmul;
mod outer;
mod packed_conv;
mod packed_depthwise;
mod packed_dynamic;
mod packed_expand;
mod packed_grouped;
mod packed_pooled;
mod packed_winograd;
mod padded;
mod peak;
mod pool;
pub mod reference;
mod scale_channels;
mod simd;
mod smooth;
mod softmax;
mod spare;
mod threads;
mod tile;
mod weight_gradient;
mod winograd_gradient;
mod winograd_weights;

/// Raised whenever the bytes that kernels give may change: results of another revision are not mixed with these.
pub const REVISION: u32 = 8;

pub use activation::{Activation, epilogue};
pub use attention::Attention;
pub use batch_norm::{Masked, accumulate, masked, moments, norm_input_gradient, scale_and_shift};
pub use conv::Conv;
pub use convert::convert;
pub use depthwise_gradient::{PackedDepthwiseInputGradient, depthwise_weight_gradient};
pub use element::{Element, Scale};
pub use epilogue::Scales;
pub use grouped_gradient::{PackedGroupedInputGradient, grouped_weight_gradient};
pub use half::bf16;
pub use input_gradient::PackedInputGradient;
pub use isa::{Isa, IsaError};
pub use layer_norm::{layer_norm, layer_norm_gradient};
pub use matmul::{Mat, matmul};
pub use packed_conv::PackedConv;
pub use packed_depthwise::PackedDepthwise;
pub use packed_dynamic::PackedDynamic;
pub use packed_expand::PackedExpand;
pub use packed_grouped::PackedGrouped;
pub use packed_pooled::PackedPooled;
pub use packed_winograd::{PackedWinograd, Winograd2, Winograd4};
pub use peak::peak;
pub use pool::{MaxPool, global_avg_pool, max_pool, max_pool_gradient};
pub use scale_channels::{scale_channels, scale_channels_gradient};
pub use simd::Dot;
pub use smooth::Smooth;
pub use softmax::softmax;
pub use spare::{Buffer, Spare};
pub use threads::Pool;
pub use weight_gradient::conv_weight_gradient;
pub use winograd_gradient::winograd_weight_gradient;
