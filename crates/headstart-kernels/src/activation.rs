//! Activations, and the epilogue that follows a convolution or a matrix product.

/// An elementwise activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// The function.
    #[inline]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            // Not `f32::max`: a NaN must come through, as in PyTorch.
            Activation::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Activation::Relu6 => x.clamp(0.0, 6.0),
        }
    }

    /// 1 where the function rises at `x`, 0 elsewhere (0 at the kinks, as in PyTorch).
    #[inline]
    pub fn slope(self, x: f32) -> f32 {
        let rises = match self {
            Activation::Relu => x > 0.0,
            Activation::Relu6 => x > 0.0 && x < 6.0,
        };
        f32::from(u8::from(rises))
    }
}

/// The range that an activation, or none, clamps to.
pub(crate) fn range(activation: Option<Activation>) -> (f32, f32) {
    match activation {
        None => (f32::NEG_INFINITY, f32::INFINITY),
        Some(Activation::Relu) => (0.0, f32::INFINITY),
        Some(Activation::Relu6) => (0.0, 6.0),
    }
}

/// `out = activation(out + bias + residual)`, in place; `out` is `[.., channels]` and `bias` `[channels]`.
///
/// # Panics
/// Where `out` is not a whole number of biases, or `residual` has another length.
pub fn epilogue(out: &mut [f32], bias: &[f32], residual: Option<&[f32]>, activation: Option<Activation>) {
    assert!(!bias.is_empty() && out.len().is_multiple_of(bias.len()), "the bias does not fit the output");
    match activation {
        None => add(out, bias, residual, |x| x),
        Some(Activation::Relu) => add(out, bias, residual, |x| Activation::Relu.apply(x)),
        Some(Activation::Relu6) => add(out, bias, residual, |x| Activation::Relu6.apply(x)),
    }
}

#[inline(always)]
fn add(out: &mut [f32], bias: &[f32], residual: Option<&[f32]>, f: impl Fn(f32) -> f32) {
    let n = bias.len();
    match residual {
        None => {
            for row in out.chunks_exact_mut(n) {
                for (o, &b) in row.iter_mut().zip(bias) {
                    *o = f(*o + b);
                }
            }
        }
        Some(residual) => {
            assert_eq!(out.len(), residual.len(), "the residual does not fit the output");
            for (row, rest) in out.chunks_exact_mut(n).zip(residual.chunks_exact(n)) {
                for ((o, &b), &r) in row.iter_mut().zip(bias).zip(rest) {
                    *o = f(*o + b + r);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_residual_and_activation_come_in_that_order() {
        let mut out = [1.0, -9.0, 3.0, 4.0];
        epilogue(&mut out, &[0.5, 1.0], Some(&[0.0, 0.0, -9.0, 2.0]), Some(Activation::Relu6));
        assert_eq!(out, [1.5, 0.0, 0.0, 6.0]);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for activation in [Activation::Relu, Activation::Relu6] {
            assert!(activation.apply(f32::NAN).is_nan());
            assert_eq!(activation.apply(-1.0), 0.0);
        }
    }
}
