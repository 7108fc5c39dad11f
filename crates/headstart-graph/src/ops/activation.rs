//! Elementwise activations of any shape. Saved between forward and backward: the input.

use headstart_kernels as kernels;
use headstart_kernels::Pool;
use headstart_tensor::Tensor;
use serde::{Deserialize, Serialize};

/// An elementwise activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    pub(crate) fn kernel(self) -> kernels::Activation {
        match self {
            Activation::Relu => kernels::Activation::Relu,
            Activation::Relu6 => kernels::Activation::Relu6,
        }
    }

    pub(crate) fn forward(self, pool: &Pool, x: &Tensor) -> Tensor {
        let mut out = x.clone();
        let kernel = self.kernel();
        pool.chunks_mut(out.data_mut(), x.row_len(), |_, row| {
            row.iter_mut().for_each(|v| *v = kernel.apply(*v))
        });
        out
    }

    pub(crate) fn backward(self, pool: &Pool, x: &Tensor, gradient: &Tensor) -> Tensor {
        let mut out = gradient.clone();
        let kernel = self.kernel();
        pool.chunks_mut(out.data_mut(), x.row_len(), |i, row| {
            row.iter_mut().zip(x.row(i)).for_each(|(g, &v)| *g *= kernel.slope(v));
        });
        out
    }
}

impl std::fmt::Display for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Activation::Relu => "ReLU",
            Activation::Relu6 => "ReLU6",
        })
    }
}
