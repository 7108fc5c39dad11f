//! A small network that tells the domains apart, for features that must not: DANN (Ganin et al. 2016, "Domain-Adversarial Training of
//! Neural Networks", JMLR) and CDAN (Long et al. 2018, "Conditional Adversarial Domain Adaptation", NeurIPS).
//!
//! It learns by its own loss; who made the features takes the gradient of that loss with the sign turned (gradient
//! reversal). CDAN shows it features and answers together: `(F x) * (G p) / sqrt(D)` with fixed random `F`, `G` of `D` rows, the
//! randomised multilinear map of the paper, where the answers are taken as given.

use super::matrix;
use crate::Error;
use crate::head::LinearHead;
use crate::optim::{Optimizer, Rule};
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};

/// Units of the hidden layer.
const HIDDEN: usize = 256;
/// Rows of the random maps.
const MAPPED: usize = 1024;

/// `[n, d]` to a logit: above 0 where it is the source.
#[derive(Debug)]
pub(super) struct Discriminator {
    pub(super) hidden: LinearHead,
    pub(super) output: LinearHead,
    /// `F` `[D, d]` and `G` `[D, classes]`.
    pub(super) maps: Option<[Tensor; 2]>,
    optimizer: Optimizer,
}

impl Discriminator {
    /// One that knows nothing, of features of length `d`, and of answers where these are shown to it too.
    ///
    /// # Errors
    /// Never for sizes that fit a network.
    pub(super) fn new(d: usize, answers: Option<usize>, seed: u64) -> Result<Discriminator, Error> {
        let mut rng = Rng::named(seed, "discriminator");
        let maps = answers.map(|classes| {
            [d, classes].map(|columns| Tensor::from_fn([MAPPED, columns], |_| rng.normal() as f32))
        });
        let inputs = if maps.is_some() { MAPPED } else { d };
        let mut layer = |outputs: usize, inputs: usize| {
            let bound = 1.0 / (inputs as f64).sqrt();
            let mut values = |_| rng.range(-bound, bound) as f32;
            LinearHead::new(Tensor::from_fn([outputs, inputs], &mut values), Tensor::zeros([outputs]))
        };
        let (hidden, output) = (layer(HIDDEN, inputs)?, layer(1, HIDDEN)?);
        let optimizer = Optimizer::new(Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3 })?;
        Ok(Discriminator { hidden, output, maps, optimizer })
    }

    /// The mean cross-entropy of the domain of features `[n, d]`, both domains counting half, of which the first `sources` are the
    /// source's, with answers `[n, classes]`; and its gradient by the features. It takes a step of that learning rate.
    ///
    /// # Errors
    /// Where shapes do not fit or a gradient is no number.
    pub(super) fn step(
        &mut self,
        pool: &Pool,
        features: &Tensor,
        answers: &Tensor,
        sources: usize,
        lr: f64,
    ) -> Result<(f64, Tensor), Error> {
        let n = features.dims()[0];
        // What the features are multiplied by, row by row, and what they come to.
        let (factors, shown) = match &self.maps {
            None => (None, features.clone()),
            Some([f, g]) => {
                let map = |by: &Tensor, rows: &Tensor| {
                    LinearHead::new(by.clone(), Tensor::zeros([MAPPED]))?.logits(pool, rows)
                };
                let mut factors = map(g, answers)?;
                factors.data_mut().iter_mut().for_each(|v| *v /= (MAPPED as f32).sqrt());
                let mut shown = map(f, features)?;
                shown.data_mut().iter_mut().zip(factors.data()).for_each(|(v, by)| *v *= by);
                (Some((f, factors)), shown)
            }
        };
        let mut active = self.hidden.logits(pool, &shown)?;
        active.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
        let told = self.output.logits(pool, &active)?;
        let (mut loss, mut slopes) = (0.0, Tensor::zeros([n, 1]));
        for (i, (slope, &logit)) in slopes.data_mut().iter_mut().zip(told.data()).enumerate() {
            let is_source = i < sources;
            let share = 0.5 / if is_source { sources } else { n - sources } as f64;
            let logit = f64::from(logit);
            let toward = if is_source { -logit } else { logit };
            loss += share * (toward.max(0.0) + (-toward.abs()).exp().ln_1p());
            *slope = (share * (1.0 / (1.0 + (-logit).exp()) - f64::from(u8::from(is_source)))) as f32;
        }
        let output = self.output.weight.data();
        let mut inner = Tensor::from_fn([n, HIDDEN], |i| slopes.data()[i / HIDDEN] * output[i % HIDDEN]);
        let dead = |(v, &a): (&mut f32, &f32)| *v = if a > 0.0 { *v } else { 0.0 };
        inner.data_mut().iter_mut().zip(active.data()).for_each(dead);
        let back = |rows: &Tensor, by: &Tensor| -> Result<Tensor, Error> {
            let sizes = [n, rows.row_len(), by.row_len()];
            Ok(Tensor::new([n, by.row_len()], matrix::product(pool, rows.data(), by.data(), sizes))?)
        };
        let mut gradient = back(&inner, &self.hidden.weight)?;
        if let Some((f, factors)) = factors {
            gradient.data_mut().iter_mut().zip(factors.data()).for_each(|(v, by)| *v *= by);
            gradient = back(&gradient, f)?;
        }
        descend(&mut self.optimizer, pool, ("hidden", &mut self.hidden), (&inner, &shown), lr)?;
        descend(&mut self.optimizer, pool, ("output", &mut self.output), (&slopes, &active), lr)?;
        Ok((loss, gradient))
    }
}

/// One step of a linear layer, from the gradient `[n, outputs]` of what it gave for rows `[n, inputs]`.
///
/// # Errors
/// Where a gradient is no number.
pub(super) fn descend(
    optimizer: &mut Optimizer,
    pool: &Pool,
    (name, layer): (&str, &mut LinearHead),
    (slopes, rows): (&Tensor, &Tensor),
    lr: f64,
) -> Result<(), Error> {
    let weight = matrix::inner(pool, slopes, rows);
    let mut bias = vec![0.0; layer.classes()];
    for i in 0..slopes.dims()[0] {
        bias.iter_mut().zip(slopes.row(i)).for_each(|(b, s)| *b += s);
    }
    optimizer.step(&format!("{name}.weight"), layer.weight.data_mut(), &weight, lr)?;
    Ok(optimizer.step_undecayed(&format!("{name}.bias"), layer.bias.data_mut(), &bias, lr)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{close, losses};

    /// As `wave` of `scripts/fixtures/adapt_losses.py`, times `scale`.
    fn wave(rows: usize, columns: usize, scale: f64) -> Tensor {
        let at = |i: usize| (0.37 * (i / columns) as f64 + 1.3 * (i % columns) as f64).sin();
        Tensor::from_fn([rows, columns], |i| (scale * f64::from(at(i) as f32)) as f32)
    }

    #[test]
    fn losses_and_gradients_are_those_of_pytorch() {
        let (fixture, pool) = (losses(), Pool::new(2));
        let (rows, answers) = (fixture.tensor("rows").unwrap(), fixture.tensor("answers").unwrap());
        for (name, shown) in [("dann", None), ("cdan", Some(4))] {
            let mut found = Discriminator::new(6, shown, 0).unwrap();
            let inputs = found.hidden.weight.row_len();
            found.hidden = LinearHead::new(wave(HIDDEN, inputs, 0.1), Tensor::zeros([HIDDEN])).unwrap();
            found.output = LinearHead::new(wave(1, HIDDEN, 0.1), Tensor::zeros([1])).unwrap();
            found.maps = found.maps.map(|_| [6, 4].map(|columns| wave(MAPPED, columns, 1.0)));
            // Sums of a thousand terms in f32 come in the order of the instruction set.
            close(name, 1e-4, found.step(&pool, &rows, &answers, 7, 0.0).unwrap(), &fixture);
        }
    }

    #[test]
    fn it_learns_to_tell_domains_apart() {
        let pool = Pool::single();
        let sign = |i: usize| if i < 20 { 1.0 } else { -1.0 };
        let rows = Tensor::from_fn([20, 2], |i| sign(i) + 0.1 * (i as f32).sin());
        let mut found = Discriminator::new(2, None, 0).unwrap();
        let mut step = || found.step(&pool, &rows, &Tensor::zeros([20, 0]), 10, 0.1).unwrap().0;
        let first = step();
        let last = (0..60).map(|_| step()).last().unwrap();
        assert!((first - std::f64::consts::LN_2).abs() < 0.2 && last < 0.1, "{first} {last}");
    }
}
