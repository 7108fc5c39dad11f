//! Shapes, f32 tensors and the one seeded source of randomness.
//!
//! A [`Tensor`] is a shape and its values in row-major order, nothing more: no device, no strides, no
//! gradient. Kernels take its slice; files keep their own element types in `headstart-weights`.

mod rng;
mod shape;
mod tensor;

pub use rng::Rng;
pub use shape::Shape;
pub use tensor::{ShapeError, Tensor};
