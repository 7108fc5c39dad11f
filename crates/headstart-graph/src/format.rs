//! How a network computes: precisions, and how the outputs of its steps are stored.

use headstart_kernels::{Dot, Isa, Scale};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The numbers that a trunk multiplies. Sums, the epilogue and the output are f32 (sums of bytes are exact).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, 24 of them significant.
    #[default]
    F32,
    /// The upper half of an f32: 8 significant bits.
    Bf16,
    /// Activations of 8 bits with a scale for each tensor, calibrated, or in the linear layers of texts for each row, found on the
    /// way; weights of 8 bits with a scale for each output channel. The first convolution is bf16.
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

    /// The products of its kernels.
    pub fn dot(self) -> Dot {
        match self {
            Precision::F32 => Dot::F32,
            Precision::Bf16 => Dot::Bf16,
            Precision::Int8 => Dot::Int8,
        }
    }

    /// Whether `isa` on this machine has instructions for such products; else they are made of several, and slower.
    pub fn is_native(self, isa: Isa) -> bool {
        isa.has_dot(self.dot())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

/// The least and the largest value at each node, seen on a sample of images: what int8 scales come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub(crate) ranges: BTreeMap<String, (f32, f32)>,
}

/// How the values of a step's output are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Format {
    F32,
    Bf16,
    Bytes(Scale),
}

impl Format {
    /// 32-bit words of `len` values.
    pub(crate) fn words(self, len: usize) -> usize {
        match self {
            Format::F32 => len,
            Format::Bf16 => len.div_ceil(2),
            Format::Bytes(_) => len.div_ceil(4),
        }
    }

    pub(crate) fn scale(self) -> Scale {
        match self {
            Format::F32 | Format::Bf16 => Scale::ONE,
            Format::Bytes(scale) => scale,
        }
    }

    /// The precision of products of such values.
    pub(crate) fn precision(self) -> Precision {
        match self {
            Format::F32 => Precision::F32,
            Format::Bf16 => Precision::Bf16,
            Format::Bytes(_) => Precision::Int8,
        }
    }
}
