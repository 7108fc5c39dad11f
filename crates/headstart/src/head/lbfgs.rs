//! Limited-memory BFGS for smooth convex functions (Nocedal and Wright 2006, algorithm 7.5).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use super::HeadError;

/// Pairs of steps and gradient changes that the curvature is taken from.
const HISTORY: usize = 10;
/// Trials of one line search.
const TRIALS: usize = 30;
/// Wolfe's constants: the decrease asked for, and how much of the slope may be left.
const DECREASE: f64 = 1e-4;
const SLOPE: f64 = 0.9;
/// What the value of an objective with f32 products is worth, relatively: below it a decrease is read from the
/// slope instead (the approximate Wolfe condition of Hager and Zhang 2005).
const NOISE: f64 = 1e-7;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// Converged where the largest absolute entry of the gradient is at most this share of the value: a function
    /// that is nearly at zero still moves, relatively.
    pub(crate) relative: f64,
    /// Converged also where it is at most this.
    pub(crate) absolute: f64,
    /// Most steps.
    pub(crate) max_iterations: usize,
}

/// How a minimisation ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Minimum {
    pub(crate) value: f64,
    pub(crate) iterations: usize,
    pub(crate) converged: bool,
}

/// A step and the change of the gradient along it. f32: they only shape the next direction.
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    /// `1 / (step . change)`.
    rho: f64,
}

/// Moves `x` to the minimum of `f`, which returns its value at a point and writes its gradient.
///
/// # Errors
/// [`HeadError::Interrupted`] soon after `interrupt` is set: it is read before every evaluation.
pub(crate) fn minimise(
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
    x: &mut [f64],
    stop: Stop,
    interrupt: &AtomicBool,
) -> Result<Minimum, HeadError> {
    let mut evaluate = |x: &[f64], gradient: &mut [f64]| match interrupt.load(Ordering::Relaxed) {
        true => Err(HeadError::Interrupted),
        false => Ok(f(x, gradient)),
    };
    let mut gradient = vec![0.0; x.len()];
    let mut value = evaluate(x, &mut gradient)?;
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    let (mut trial, mut trial_gradient) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for iterations in 0..stop.max_iterations {
        if stop.reached(value, &gradient) {
            return Ok(Minimum { value, iterations, converged: true });
        }
        let mut direction = descent(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding has spoiled the curvature: start again from the gradient.
            pairs.clear();
            direction = descent(&gradient, &pairs);
            slope = dot(&direction, &gradient);
        }
        let mut bracket = (0.0, f64::INFINITY);
        let mut t = 1.0;
        let mut accepted = false;
        for _ in 0..TRIALS {
            trial.iter_mut().zip(x.iter().zip(&direction)).for_each(|(o, (x, d))| *o = x + t * d);
            let trial_value = evaluate(&trial, &mut trial_gradient)?;
            let trial_slope = dot(&direction, &trial_gradient);
            let lower = trial_value <= value + DECREASE * t * slope;
            let flat =
                trial_value <= value + NOISE * value.abs() && trial_slope <= (2.0 * DECREASE - 1.0) * slope;
            if !(lower || flat) {
                bracket.1 = t;
            } else if trial_slope < SLOPE * slope {
                bracket.0 = t;
            } else {
                accepted = true;
                pairs.extend(Pair::of(x, &trial, &gradient, &trial_gradient));
                if pairs.len() > HISTORY {
                    pairs.pop_front();
                }
                x.copy_from_slice(&trial);
                std::mem::swap(&mut gradient, &mut trial_gradient);
                value = trial_value;
                break;
            }
            t = if bracket.1.is_finite() { 0.5 * (bracket.0 + bracket.1) } else { 2.0 * t };
        }
        if !accepted {
            if pairs.is_empty() {
                return Ok(Minimum { value, iterations, converged: false });
            }
            pairs.clear();
        }
    }
    let converged = stop.reached(value, &gradient);
    Ok(Minimum { value, iterations: stop.max_iterations, converged })
}

impl Stop {
    fn reached(&self, value: f64, gradient: &[f64]) -> bool {
        let largest = gradient.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        largest <= self.absolute.max(self.relative * value)
    }
}

impl Pair {
    /// `None` where the function is not seen to curve upwards between the points.
    fn of(x: &[f64], next: &[f64], gradient: &[f64], next_gradient: &[f64]) -> Option<Pair> {
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) as f32).collect::<Vec<f32>>();
        let (step, change) = (minus(next, x), minus(next_gradient, gradient));
        let curvature = dot(&step, &change);
        (curvature > 0.0 && curvature.is_finite()).then(|| Pair { rho: 1.0 / curvature, step, change })
    }
}

/// Minus the inverse curvature times the gradient: the two-loop recursion. Without pairs, a step of length 1
/// down the gradient.
fn descent(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let factor = pair.rho * dot(&pair.step, &q);
        add(&mut q, -factor, &pair.change);
        factors.push(factor);
    }
    let scale = match pairs.back() {
        Some(last) => 1.0 / (last.rho * dot(&last.change, &last.change)),
        None => 1.0 / dot(gradient, gradient).sqrt(),
    };
    q.iter_mut().for_each(|q| *q *= scale);
    for (pair, factor) in pairs.iter().zip(factors.into_iter().rev()) {
        let back = pair.rho * dot(&pair.change, &q);
        add(&mut q, factor - back, &pair.step);
    }
    q
}

fn add(q: &mut [f64], factor: f64, v: &[f32]) {
    q.iter_mut().zip(v).for_each(|(q, &v)| *q += factor * f64::from(v));
}

/// A sum in eight strands, so that it vectorises and always adds in the same order.
fn dot<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    let mut strands = [0.0f64; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        strands.iter_mut().zip(a.iter().zip(b)).for_each(|(s, (&a, &b))| *s += a.into() * b.into());
    }
    strands.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop { relative: 0.0, absolute: 1e-6, max_iterations: 200 };

    /// A quadratic with curvatures from 1 to 1e3 and its minimum at 1, 2, 3, ...
    fn bowl(x: &[f64], gradient: &mut [f64]) -> f64 {
        let mut value = 0.0;
        for (i, (x, g)) in x.iter().zip(gradient).enumerate() {
            let curvature = 10f64.powf(i as f64 / 3.0);
            let error = x - (i + 1) as f64;
            value += 0.5 * curvature * error * error;
            *g = curvature * error;
        }
        value
    }

    #[test]
    fn an_ill_conditioned_bowl_is_solved() {
        let mut x = vec![0.0; 10];
        let minimum = minimise(bowl, &mut x, STOP, &AtomicBool::new(false)).unwrap();
        assert!(minimum.converged && minimum.iterations < 100, "{minimum:?}");
        x.iter().enumerate().for_each(|(i, x)| assert!((x - (i + 1) as f64).abs() < 1e-5));
    }

    #[test]
    fn too_few_iterations_are_reported_as_not_converged() {
        let mut x = vec![0.0; 10];
        let stop = Stop { max_iterations: 3, ..STOP };
        let minimum = minimise(bowl, &mut x, stop, &AtomicBool::new(false)).unwrap();
        assert_eq!((minimum.converged, minimum.iterations), (false, 3));
        let at_zero = bowl(&[0.0; 10], &mut [0.0; 10]);
        assert!(minimum.value < at_zero, "what was reached is kept");
    }

    #[test]
    fn the_interrupt_stops_it_in_the_middle() {
        let stop = AtomicBool::new(false);
        let mut calls = 0;
        let f = |x: &[f64], g: &mut [f64]| {
            calls += 1;
            stop.store(calls == 4, Ordering::Relaxed);
            bowl(x, g)
        };
        assert_eq!(minimise(f, &mut [0.0; 10], STOP, &stop), Err(HeadError::Interrupted));
        assert_eq!(calls, 4);
    }
}
