//! An axis of a plot: round ticks, and where a value lies.

/// A range of values over a range of pixels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    values: [f64; 2],
    pixels: [f64; 2],
    /// Round values, from the lowest to the highest.
    pub(super) ticks: Vec<f64>,
    /// Digits behind the point that tell the ticks apart.
    pub(super) digits: usize,
}

impl Axis {
    /// An axis that holds all finite `values` between the pixels, with about `ticks` round ticks; its ends are ticks.
    pub(super) fn holding(values: impl Iterator<Item = f64>, pixels: [f64; 2], ticks: usize) -> Axis {
        let finite = values.filter(|v| v.is_finite());
        let [low, high] = finite.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], v| [a.min(v), b.max(v)]);
        let [low, high] = match low <= high {
            true if high - low > 1e-9 * high.abs().max(1e-9) => [low, high],
            true => [low - 0.5 * low.abs().max(0.1), high + 0.5 * high.abs().max(0.1)],
            false => [0.0, 1.0],
        };
        let rough = (high - low) / ticks.max(1) as f64;
        let power = 10f64.powi(rough.log10().floor() as i32);
        let step =
            [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power);
        let (first, last) = ((low / step + 1e-9).floor() as i64, (high / step - 1e-9).ceil() as i64);
        let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let ticks: Vec<f64> = (first..=last).map(|i| i as f64 * step).collect();
        Axis { values: [first as f64 * step, last as f64 * step], pixels, ticks, digits }
    }

    /// From 0 to 1 with ticks at every fifth.
    pub(super) fn share(pixels: [f64; 2]) -> Axis {
        Axis { values: [0.0, 1.0], pixels, ticks: (0..=5).map(|i| f64::from(i) / 5.0).collect(), digits: 1 }
    }

    /// From the first of `n` steps to the last, with up to six ticks at whole ones, counted from `first`.
    pub(super) fn steps(first: usize, n: usize, pixels: [f64; 2]) -> Axis {
        let last = first + n.max(2) - 1;
        let every = (last - first).div_ceil(5).max(1);
        let ticks = (first..=last).step_by(every).map(|i| i as f64).collect();
        Axis { values: [first as f64, last as f64], pixels, ticks, digits: 0 }
    }

    /// The pixel of `value`, in tenths.
    pub(super) fn at(&self, value: f64) -> f64 {
        let ([low, high], [from, to]) = (self.values, self.pixels);
        let place = from + (to - from) * ((value - low) / (high - low)).clamp(0.0, 1.0);
        (place * 10.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        let axis = Axis::holding([0.31, 0.87, f64::NAN].into_iter(), [0.0, 100.0], 4);
        let tenths: Vec<i64> = axis.ticks.iter().map(|t| (t * 10.0).round() as i64).collect();
        assert_eq!(tenths, [2, 4, 6, 8, 10]);
        assert_eq!(axis.digits, 1);
        let wide = Axis::holding([3.0, 1234.0].into_iter(), [100.0, 0.0], 4);
        assert_eq!((wide.ticks.clone(), wide.digits), (vec![0.0, 500.0, 1000.0, 1500.0], 0));
        assert_eq!((wide.at(0.0), wide.at(1500.0), wide.at(9e9)), (100.0, 0.0, 0.0));
    }

    #[test]
    fn one_value_and_none_have_an_axis_too() {
        let one = Axis::holding([0.7].into_iter(), [0.0, 10.0], 4);
        assert!(one.ticks[0] < 0.7 && *one.ticks.last().unwrap() > 0.7);
        assert_eq!(Axis::holding([].into_iter(), [0.0, 10.0], 4).ticks, [0.0, 0.5, 1.0]);
        assert_eq!(Axis::steps(1, 1, [0.0, 10.0]).ticks, [1.0, 2.0]);
        assert_eq!(Axis::steps(0, 31, [0.0, 10.0]).ticks, [0.0, 6.0, 12.0, 18.0, 24.0, 30.0]);
    }
}
