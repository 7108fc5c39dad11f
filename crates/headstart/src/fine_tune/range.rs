//! The learning rate by a range test (Smith 2017): it rises from step to step until the loss breaks away.
//!
//! Works on copies: the fit that follows starts as if there had been none.

use super::TuneRecipe;
use super::fit::{Fit, Phase};
use super::step::{Stepper, optimizer};
use crate::Error;
use headstart_graph::Params;
use headstart_tensor::Rng;
use std::time::Instant;

/// Steps of a test, and the rates between which they rise.
const STEPS: usize = 80;
const LOWEST: f64 = 1e-6;
const HIGHEST: f64 = 1.0;
/// The test ends where the smoothed loss is this many times its lowest.
const BREAK: f64 = 4.0;
/// The share of the last value in the smoothed loss.
const SMOOTHING: f64 = 0.8;

/// The rate at a tenth of that of the lowest smoothed loss.
pub(crate) fn find(fit: &Fit, phase: &mut Phase, params: &Params, recipe: &TuneRecipe) -> Result<f64, Error> {
    let mut optimizer = optimizer(recipe)?;
    let mut params = params.clone();
    let stepper = Stepper { recipe, class_weights: fit.class_weights, pool: fit.session.pool };
    let mut rng = Rng::named(fit.options.seed, "range test");
    let mut order: Vec<usize> = (0..fit.train.labels.len()).collect();
    rng.shuffle(&mut order);
    let batches: Vec<&[usize]> = order.chunks(recipe.batch_size).collect();
    let (mut smooth, mut lowest) = (0.0, (f64::INFINITY, LOWEST));
    fit.session.progress.start("learning rate", STEPS);
    for step in 0..STEPS {
        fit.session.check()?;
        let lr = LOWEST * (HIGHEST / LOWEST).powf(step as f64 / (STEPS - 1) as f64);
        let (groups, targets) = fit.batch(phase, 1, batches[step % batches.len()])?;
        let found =
            stepper.step(&mut phase.tail, &mut params, &mut optimizer, (groups, &targets), lr, &mut rng)?;
        fit.session.progress.advance(1);
        smooth = SMOOTHING * smooth + (1.0 - SMOOTHING) * f64::from(found.loss);
        let mean = smooth / (1.0 - SMOOTHING.powi(step as i32 + 1));
        if mean < lowest.0 {
            lowest = (mean, lr);
        }
        if mean.is_nan() || mean > BREAK * lowest.0 {
            break;
        }
    }
    fit.session.progress.finish();
    let lr = lowest.1 / 10.0;
    fit.session.progress.note(&format!("learning rate {lr:.2e}: a tenth of where the loss was lowest"));
    Ok(lr)
}

/// What a batch costs here, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// To have its activations at the cut.
    pub(crate) rows: f64,
    /// To learn from them.
    pub(crate) step: f64,
}

/// The cost of a batch of `images`, measured on copies: the medians of three, after one that is not counted.
pub(crate) fn measure(
    fit: &Fit,
    phase: &mut Phase,
    params: &Params,
    recipe: &TuneRecipe,
    images: usize,
) -> Result<Cost, Error> {
    let mut optimizer = optimizer(recipe)?;
    let mut params = params.clone();
    let stepper = Stepper { recipe, class_weights: fit.class_weights, pool: fit.session.pool };
    let mut rng = Rng::named(fit.options.seed, "timing");
    let images: Vec<usize> = (0..fit.train.labels.len().min(images)).collect();
    let (mut rows, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        fit.session.check()?;
        let started = Instant::now();
        let (groups, targets) = fit.batch(phase, 1, &images)?;
        rows.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        stepper.step(&mut phase.tail, &mut params, &mut optimizer, (groups, &targets), 0.0, &mut rng)?;
        steps.push(started.elapsed().as_secs_f64());
    }
    let median = |mut times: Vec<f64>| {
        times.remove(0);
        times.sort_by(f64::total_cmp);
        times[1]
    };
    Ok(Cost { rows: median(rows), step: median(steps) })
}
