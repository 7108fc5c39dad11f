//! What follows a kernel's sums: scale, bias, residual, activation, and storing.

use crate::activation;
use crate::aligned::Aligned;
use crate::element::{Element, Scale};
use crate::tile;
use crate::{Activation, Isa};

/// How the input, the residual and the output of a kernel are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// The image.
    pub input: Scale,
    /// What is added, if anything is.
    pub residual: Scale,
    /// The output.
    pub output: Scale,
}

impl Scales {
    /// Stored values are the values.
    pub const ONE: Scales = Scales { input: Scale::ONE, residual: Scale::ONE, output: Scale::ONE };
}

/// `stored = clamp(sums * multiplier + bias + residual * factor)`, all in units of the output's scale.
#[derive(Debug, Clone)]
pub(crate) struct Epilogue {
    /// For each packed channel; none: ones.
    pub(crate) multiplier: Option<Aligned>,
    /// For each packed channel.
    pub(crate) bias: Aligned,
    pub(crate) factor: f32,
    output: Scale,
    /// What the output can store.
    limits: (f32, f32),
}

impl Epilogue {
    /// For sums in units of `units`, a number a channel (empty: ones). What the input's zero adds to the sums, `bias`
    /// takes away.
    pub(crate) fn new<O: Element>(isa: Isa, units: &[f32], bias: &[f32], scales: &Scales) -> Epilogue {
        let output = scales.output.scale;
        let plain = units.is_empty() && output == 1.0;
        let unit = |c: usize| units.get(c).copied().unwrap_or(1.0) / output;
        let multiplier = (!plain).then(|| tile::pack(isa, 1, bias.len(), |_, c| unit(c)));
        let mut epilogue = Epilogue { multiplier, ..Epilogue::plain::<O>(bias, scales) };
        epilogue.bias = tile::pack(isa, 1, bias.len(), |_, c| epilogue.bias[c]);
        epilogue
    }

    /// For sums in units of the output's scale; a bias for each channel, and no more.
    pub(crate) fn plain<O: Element>(bias: &[f32], scales: &Scales) -> Epilogue {
        let Scales { residual, output, .. } = scales;
        let factor = residual.scale / output.scale;
        let shift = f32::from(output.zero) - f32::from(residual.zero) * factor;
        let mut own = Aligned::zeros(bias.len());
        own.iter_mut().zip(bias).for_each(|(own, &b)| *own = b / output.scale + shift);
        Epilogue { multiplier: None, bias: own, factor, output: *output, limits: O::LIMITS }
    }

    /// The range of stored values behind an activation, or none.
    pub(crate) fn range(&self, activation: Option<Activation>) -> (f32, f32) {
        let (low, high) = activation::range(activation);
        let stored = |v: f32| v / self.output.scale + f32::from(self.output.zero);
        let (least, most) = self.limits;
        (stored(low).clamp(least, most), stored(high).clamp(least, most))
    }
}
