//! CPU kernels over slices and sizes.
//!
//! Activations are NHWC (channels contiguous), one image a call: images are spread over threads by the
//! caller, so that a result never depends on the number of threads or on what else is in the batch.
//! [`mod@reference`] holds every kernel again as plain loops: the specification, and the oracle of the tests.

mod activation;
mod aligned;
mod attention;
mod conv;
mod convert;
mod depthwise;
mod element;
mod epilogue;
mod exp;
mod isa;
mod layer_norm;
mod matmul;
mod packed_conv;
mod packed_depthwise;
mod packed_expand;
mod packed_pooled;
mod packed_winograd;
mod padded;
mod peak;
mod pool;
pub mod reference;
mod simd;
mod smooth;
mod softmax;
mod threads;
mod tile;

/// Raised whenever the bytes that kernels give may change: results of another revision are not mixed with these.
pub const REVISION: u32 = 5;

pub use activation::{Activation, epilogue};
pub use attention::Attention;
pub use conv::{Conv, col2im, conv2d, conv2d_input_gradient, conv2d_weight_gradient, im2col};
pub use convert::convert;
pub use depthwise::{depthwise, depthwise_input_gradient, depthwise_weight_gradient};
pub use element::{Element, Scale};
pub use epilogue::Scales;
pub use half::bf16;
pub use isa::{Isa, IsaError};
pub use layer_norm::{layer_norm, layer_norm_gradient};
pub use matmul::{Mat, matmul};
pub use packed_conv::PackedConv;
pub use packed_depthwise::PackedDepthwise;
pub use packed_expand::PackedExpand;
pub use packed_pooled::PackedPooled;
pub use packed_winograd::{PackedWinograd, Winograd2, Winograd4};
pub use peak::peak;
pub use pool::{MaxPool, global_avg_pool, max_pool, max_pool_gradient};
pub use simd::Dot;
pub use smooth::Smooth;
pub use softmax::softmax;
pub use threads::Pool;
