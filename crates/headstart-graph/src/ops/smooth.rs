//! Elementwise activations of any shape that no kernel takes into its epilogue. Saved between forward and backward: the input.

use headstart_kernels::{self as kernels, Isa, Pool};
use headstart_tensor::Tensor;
use serde::{Deserialize, Serialize};

/// An elementwise activation that no kernel takes into its epilogue: the smooth ones, and those made like them of straight lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smooth {
    /// GELU by the normal distribution itself (PyTorch's `approximate="none"`).
    Gelu,
    /// GELU by its approximation with tanh.
    GeluTanh,
    /// The hyperbolic tangent.
    Tanh,
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x min(max(x + 3, 0), 6) / 6` (Howard et al. 2019).
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6`.
    HardSigmoid,
}

impl Smooth {
    pub(crate) fn kernel(self) -> kernels::Smooth {
        match self {
            Smooth::Gelu => kernels::Smooth::Gelu,
            Smooth::GeluTanh => kernels::Smooth::GeluTanh,
            Smooth::Tanh => kernels::Smooth::Tanh,
            Smooth::Silu => kernels::Smooth::Silu,
            Smooth::Sigmoid => kernels::Smooth::Sigmoid,
            Smooth::HardSwish => kernels::Smooth::HardSwish,
            Smooth::HardSigmoid => kernels::Smooth::HardSigmoid,
        }
    }

    pub(crate) fn forward(self, pool: &Pool, x: &Tensor) -> Tensor {
        let mut out = Tensor::zeros(x.shape().clone());
        self.kernel().run(Isa::current(), pool, x.data(), out.data_mut());
        out
    }

    pub(crate) fn backward(self, pool: &Pool, x: &Tensor, gradient: &Tensor) -> Tensor {
        let mut out = gradient.clone();
        self.kernel().scale_gradient(Isa::current(), pool, x.data(), out.data_mut());
        out
    }
}

impl std::fmt::Display for Smooth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Smooth::Gelu => "GELU",
            Smooth::GeluTanh => "GELU(tanh)",
            Smooth::Tanh => "Tanh",
            Smooth::Silu => "SiLU",
            Smooth::Sigmoid => "Sigmoid",
            Smooth::HardSwish => "Hardswish",
            Smooth::HardSigmoid => "Hardsigmoid",
        })
    }
}
