//! How the learning rate goes over the steps of a fit, as a share of the recipe's rate.

use serde::{Deserialize, Serialize};

/// The course of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same rate after the warm-up.
    Constant,
    /// Half a cosine from the rate down to 0 (Loshchilov and Hutter 2017, without restarts).
    #[default]
    Cosine,
    /// Up from a 25th of the rate during the warm-up and down to a 250,000th, both along half a cosine (Smith 2018;
    /// PyTorch's `OneCycleLR`, the momentum left as it is).
    OneCycle,
}

/// PyTorch's `div_factor` and, times `final_div_factor`, where the cycle ends.
const FIRST: f64 = 1.0 / 25.0;
const LAST: f64 = FIRST / 1e4;

impl Schedule {
    /// The share of the rate in step `step` (from 0) of `steps`, of which the first `warmup` go up.
    pub fn share(self, step: usize, steps: usize, warmup: usize) -> f64 {
        let up = (step + 1) as f64 / warmup.max(1) as f64;
        let last = steps.saturating_sub(1).max(warmup + 1) - warmup;
        let down = (step.saturating_sub(warmup) as f64 / last as f64).min(1.0);
        match self {
            Schedule::OneCycle if step < warmup => between(FIRST, 1.0, (up - 1.0 / warmup as f64).min(1.0)),
            Schedule::OneCycle => between(1.0, LAST, down),
            _ if step < warmup => up,
            Schedule::Constant => 1.0,
            Schedule::Cosine => between(1.0, 0.0, (step - warmup) as f64 / (steps - warmup).max(1) as f64),
        }
    }
}

/// Half a cosine from `a` to `b`, at `t` in 0 to 1.
fn between(a: f64, b: f64, t: f64) -> f64 {
    b + (a - b) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_rises_evenly_and_cosine_falls_to_nothing() {
        let share = |step| Schedule::Cosine.share(step, 12, 4);
        assert_eq!([0, 1, 2, 3].map(share), [0.25, 0.5, 0.75, 1.0]);
        assert_eq!((share(4), share(8)), (1.0, 0.5));
        assert!((4..11).all(|s| share(s + 1) < share(s)));
        assert!(share(11) > 0.0 && share(11) < 0.05);
        assert_eq!(Schedule::Constant.share(11, 12, 4), 1.0);
        assert_eq!(Schedule::Constant.share(0, 12, 0), 1.0);
    }

    #[test]
    fn one_cycle_begins_peaks_and_ends_as_pytorchs() {
        // OneCycleLR(max_lr=1, total_steps=11, pct_start=0.5): step 0, 4 (the peak), 10.
        let share = |step| Schedule::OneCycle.share(step, 11, 4);
        assert!((share(0) - 0.04).abs() < 1e-12 && (share(2) - 0.52).abs() < 1e-12);
        assert!((share(4) - 1.0).abs() < 1e-12 && (share(10) - 4e-6).abs() < 1e-12);
        assert!((0..4).all(|s| share(s + 1) > share(s)) && (4..10).all(|s| share(s + 1) < share(s)));
    }

    #[test]
    fn every_share_is_a_share_whatever_the_numbers() {
        for schedule in [Schedule::Constant, Schedule::Cosine, Schedule::OneCycle] {
            for (steps, warmup) in [(1, 0), (1, 1), (2, 2), (3, 0), (5, 9)] {
                for step in 0..steps {
                    let share = schedule.share(step, steps, warmup);
                    assert!((0.0..=1.0).contains(&share), "{schedule:?} {step} of {steps}: {share}");
                }
            }
        }
    }
}
