//! The operations: attributes, shapes, forward beside backward, a family a file. Batches are slices of whole images.

pub(crate) mod activation;
pub(crate) mod conv;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pool;

pub use activation::Activation;
pub use conv::{Conv2d, Padding};
pub use linear::Linear;
pub use norm::BatchNorm2d;
pub use pool::MaxPool2d;

use headstart_kernels::{Buffer, Conv, Isa, Pool, Spare};
use headstart_tensor::Shape;

/// `[n, ..shape]`.
pub(crate) fn batch_shape(n: usize, shape: &Shape) -> Shape {
    let mut dims = vec![n];
    dims.extend_from_slice(shape.dims());
    Shape::from(dims)
}

/// What the ops run on.
#[derive(Clone, Copy)]
pub(crate) struct Engine<'a> {
    pub(crate) isa: Isa,
    pub(crate) pool: &'a Pool,
    pub(crate) spare: &'a Spare,
}

impl Engine<'_> {
    /// A batch made image by image, with `scratch` values of scratch: `f(x, residual, scratch, out)`.
    pub(crate) fn each_image(
        &self,
        sizes: &Conv,
        scratch: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        f: impl Fn(&[f32], Option<&[f32]>, &mut [f32], &mut [f32]) + Sync,
    ) -> Buffer {
        let (one, len) = (sizes.input.iter().product::<usize>(), sizes.output.iter().product::<usize>());
        let mut out = self.spare.take(x.len() / one * len);
        self.pool.chunks_mut(&mut out, len, |i, out| {
            let mut scratch = self.spare.take(scratch);
            let residual = residual.map(|r| &r[i * len..(i + 1) * len]);
            f(&x[i * one..(i + 1) * one], residual, &mut scratch, out);
            self.spare.give(scratch);
        });
        out
    }
}
