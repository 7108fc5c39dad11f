//! The operations: attributes, shapes, forward beside backward, a family a file. Batches are slices of whole images, or
//! tensors `[n, ..]`.

pub(crate) mod activation;
pub(crate) mod adaptive_pool;
pub(crate) mod attention;
pub(crate) mod avg_pool;
pub(crate) mod concat;
pub(crate) mod conv;
pub(crate) mod embedding;
pub(crate) mod layer_norm;
pub(crate) mod layer_scale;
pub(crate) mod linear;
pub(crate) mod linears;
pub(crate) mod norm;
pub(crate) mod normalize;
pub(crate) mod pool;
pub(crate) mod scale_channels;
pub(crate) mod smooth;
pub(crate) mod tokens;

pub use activation::Activation;
pub use adaptive_pool::AdaptiveAvgPool;
pub use attention::Attention;
pub use avg_pool::AvgPool2d;
pub use conv::{Conv2d, Padding};
pub use embedding::Embedding;
pub use layer_norm::LayerNorm;
pub use layer_scale::LayerScale;
pub use linear::Linear;
pub use linears::Linears;
pub use norm::BatchNorm2d;
pub use pool::MaxPool2d;
pub use smooth::Smooth;
pub use tokens::{AddRows, ClassToken, Pooled, TokenPool};

use headstart_kernels::{Buffer, Conv, Isa, Pool, Spare};
use headstart_tensor::{Shape, Tensor};

/// Images whose parameter gradients are summed in one go. A constant, so that the order of a sum never depends
/// on the number of threads.
const IMAGES_A_SUM: usize = 4;

/// `[n, ..shape]`.
pub(crate) fn batch_shape(n: usize, shape: &Shape) -> Shape {
    let mut dims = vec![n];
    dims.extend_from_slice(shape.dims());
    Shape::from(dims)
}

/// A batch made image by image: `f(i, out)` fills the output of image `i`.
pub(crate) fn each_image(
    pool: &Pool,
    n: usize,
    shape: &Shape,
    f: impl Fn(usize, &mut [f32]) + Sync,
) -> Tensor {
    let mut out = Tensor::zeros(batch_shape(n, shape));
    pool.chunks_mut(out.data_mut(), shape.len(), f);
    out
}

/// A sum over images: `f(i, sum)` adds what image `i` gives; partial sums are added in order.
pub(crate) fn sum_over_images(
    pool: &Pool,
    n: usize,
    len: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let partial = pool.map(n.div_ceil(IMAGES_A_SUM), |task| {
        let mut sum = vec![0.0; len];
        (task * IMAGES_A_SUM..n.min((task + 1) * IMAGES_A_SUM)).for_each(|i| f(i, &mut sum));
        sum
    });
    let mut partial = partial.into_iter();
    let mut total = partial.next().unwrap_or_else(|| vec![0.0; len]);
    for sum in partial {
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
    total
}

/// The sum over all rows of `[.., len]`, in f64.
pub(crate) fn sum_over_rows(values: &[f32], len: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; len];
    for row in values.chunks_exact(len) {
        sums.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
    }
    sums.into_iter().map(|s| s as f32).collect()
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
