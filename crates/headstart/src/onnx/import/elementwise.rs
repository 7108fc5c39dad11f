//! Elementwise functions, known by what they compute.
//!
//! Exporters spell an activation in many ways: hard swish is an operator, or `x * relu6(x + 3) / 6` in four, GELU five around an
//! `Erf`. So a chain of elementwise operations is followed on a fixed set of points, and is the activation that has its values there.

use headstart_graph::{Activation, Op, Smooth};

/// Where functions are compared.
const POINTS: usize = 96;
/// How far they may be apart, relative to 1 and the value: constants of files are f32.
const TOLERANCE: f64 = 2e-6;

/// A function's values at the points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Samples([f64; POINTS]);

impl Samples {
    /// Those of `f(x) = x`: the points themselves, close around 0, where functions bend, and some far out.
    pub(crate) fn identity() -> Samples {
        Samples(std::array::from_fn(|i| match i {
            0..=79 => (i as f64 - 39.5) * 0.2,
            i => f64::from([1, -1][i % 2]) * 10f64.powf((i - 78) as f64 / 4.0),
        }))
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Samples {
        Samples(self.0.map(f))
    }

    pub(crate) fn with(&self, other: &Samples, f: impl Fn(f64, f64) -> f64) -> Samples {
        Samples(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    /// Whether `f` has these values.
    fn is(&self, f: impl Fn(f64) -> f64) -> bool {
        let points = Samples::identity();
        let near = |(&found, &x): (&f64, &f64)| (found - f(x)).abs() <= TOLERANCE * (1.0 + f(x).abs());
        self.0.iter().zip(&points.0).all(near)
    }

    pub(crate) fn is_identity(&self) -> bool {
        self.is(|x| x)
    }

    /// The activation that has these values.
    pub(crate) fn activation(&self) -> Option<Op> {
        let smooth = |function| Some(Op::Smooth { function });
        match () {
            () if self.is(|x| x.max(0.0)) => Some(Op::Activation { function: Activation::Relu }),
            () if self.is(|x| x.clamp(0.0, 6.0)) => Some(Op::Activation { function: Activation::Relu6 }),
            () if self.is(sigmoid) => smooth(Smooth::Sigmoid),
            () if self.is(|x| x * sigmoid(x)) => smooth(Smooth::Silu),
            () if self.is(|x| hard_sigmoid(x, 1.0 / 6.0, 0.5)) => smooth(Smooth::HardSigmoid),
            () if self.is(|x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5)) => smooth(Smooth::HardSwish),
            () if self.is(f64::tanh) => smooth(Smooth::Tanh),
            () if self.is(gelu) => smooth(Smooth::Gelu),
            () if self.is(gelu_tanh) => smooth(Smooth::GeluTanh),
            () => None,
        }
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(crate) fn hard_sigmoid(x: f64, slope: f64, offset: f64) -> f64 {
    (slope * x + offset).clamp(0.0, 1.0)
}

pub(crate) fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

pub(crate) fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

/// The error function, to 2e-7 (Abramowitz and Stegun 7.1.26). Both sides of a comparison have it from here.
pub(crate) fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = series.iter().fold(0.0, |sum, a| (sum + a) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_however_it_is_spelled_and_a_near_one_is_not() {
        let name = |f: &dyn Fn(f64) -> f64| Samples::identity().map(f).activation().map(|op| op.to_string());
        let relu6 = |x: f64| x.clamp(0.0, 6.0);
        let third = f64::from(1.0f32 / 3.0);
        assert_eq!(name(&|x| (x + x.abs()) / 2.0).as_deref(), Some("ReLU"));
        assert_eq!(name(&|x| x * relu6(x + 3.0) * (third / 2.0)).as_deref(), Some("Hardswish"));
        assert_eq!(name(&|x| 0.5 * (1.0 + (x / 2.0).tanh())).as_deref(), Some("Sigmoid"));
        assert_eq!(name(&|x| x * (0.5 + 0.5 * erf(x * f64::from(0.5f32.sqrt())))).as_deref(), Some("GELU"));
        assert_eq!(name(&gelu_tanh).as_deref(), Some("GELU(tanh)"));
        let others: [&dyn Fn(f64) -> f64; 6] = [
            &|x| x,
            &|x| if x < 0.0 { 0.01 * x } else { x },
            &|x| x.clamp(0.0, 6.001),
            &|x| x * sigmoid(1.702 * x),
            &|x| hard_sigmoid(x, 0.2, 0.5),
            &|_| f64::NAN,
        ];
        assert!(others.iter().all(|f| name(f).is_none()));
    }
}
