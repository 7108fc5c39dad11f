//! Mean weighted cross-entropy of a linear head plus an L2 penalty, with its gradient.
//!
//! With `z_i = W x_i + b` over standardised features, class weights `v` and `V = sum_i v[y_i]`:
//!
//! `f(W, b) = 1/V sum_i v[y_i] (log sum_c exp z_ic - z_i,y_i)  +  l2/2 |W|^2`
//!
//! The bias is not penalised. Products are f32, a chunk of rows at a time, while it is in cache; sums over
//! chunks and the loss are f64. Chunks and their order follow from the sizes alone, so the bytes do not
//! depend on the number of threads.

use std::ops::Range;

use headstart_kernels::{Isa, Mat, Pool, matmul};

/// Rows of a matrix product.
const CHUNK: usize = 256;
/// What the partial gradients of one pass may take, in bytes.
const PARTIALS: usize = 128 << 20;
/// Most partial gradients of one pass: more cost more to add up than they spread over threads.
const MOST_PARTIALS: usize = 64;

/// Standardised rows and what they should become. Rows are in the order of [`super::folds::Folds`].
pub(crate) struct Samples<'a> {
    /// `[n, d]`.
    pub(crate) features: &'a [f32],
    /// Number of features.
    pub(crate) d: usize,
    /// The class of each row.
    pub(crate) targets: &'a [usize],
    /// A weight a class; its length is the number of classes.
    pub(crate) class_weights: &'a [f64],
}

/// How well a head does on some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Score {
    /// Sum of weighted cross-entropies.
    pub(crate) loss: f64,
    /// Sum of weights.
    pub(crate) weight: f64,
    /// Rows whose largest logit is their class.
    pub(crate) correct: usize,
    /// Rows.
    pub(crate) n: usize,
}

/// The objective over some rows of the samples.
pub(crate) struct Objective<'a> {
    pool: &'a Pool,
    samples: &'a Samples<'a>,
    chunks: Vec<Range<usize>>,
    l2: f64,
    weight: f64,
}

impl Samples<'_> {
    pub(crate) fn classes(&self) -> usize {
        self.class_weights.len()
    }

    /// Number of values of a head: weight `[classes, d]`, then bias `[classes]`.
    pub(crate) fn parameters(&self) -> usize {
        self.classes() * (self.d + 1)
    }

    /// Logits of `rows`, turned in place into `v (p - 1[y])`, the loss's gradient (left as they are without
    /// `residuals`).
    fn forward(
        &self,
        weight: &[f32],
        bias: &[f64],
        rows: &Range<usize>,
        residuals: bool,
    ) -> (Vec<f32>, Score) {
        let (classes, d) = (self.classes(), self.d);
        let mut logits = vec![0.0; rows.len() * classes];
        let block = Mat::new(&self.features[rows.start * d..rows.end * d], rows.len(), d);
        matmul(Isa::current(), block, Mat::new(weight, classes, d).t(), &mut logits, false);
        let mut score = Score::default();
        let mut z = vec![0.0; classes];
        for (row, &target) in logits.chunks_exact_mut(classes).zip(&self.targets[rows.clone()]) {
            for (z, (&logit, bias)) in z.iter_mut().zip(row.iter().zip(bias)) {
                *z = f64::from(logit) + bias;
            }
            let best = (1..classes).fold(0, |best, c| if z[c] > z[best] { c } else { best });
            let (largest, wanted) = (z[best], z[target]);
            let mut sum = 0.0;
            for z in &mut z {
                *z = (*z - largest).exp();
                sum += *z;
            }
            let v = self.class_weights[target];
            score.loss += v * (sum.ln() + largest - wanted);
            score.weight += v;
            score.correct += usize::from(best == target);
            score.n += 1;
            if residuals {
                row.iter_mut().zip(&z).for_each(|(r, e)| *r = (v * e / sum) as f32);
                row[target] = (v * (z[target] / sum - 1.0)) as f32;
            }
        }
        (logits, score)
    }

    /// The largest absolute entry of the objective's gradient over its value, both at the zero head and over all
    /// rows: the scale of gradients on this data.
    pub(crate) fn steepness_at_zero(&self, pool: &Pool) -> f64 {
        let mut gradient = vec![0.0; self.parameters()];
        let value =
            Objective::new(pool, self, 0..0, 0.0).evaluate(&vec![0.0; self.parameters()], &mut gradient);
        gradient.iter().fold(0.0, |largest: f64, g| largest.max(g.abs())) / value
    }

    /// The probabilities `[rows, classes]` that the head `parameters` gives for `rows`.
    pub(crate) fn probabilities(&self, pool: &Pool, parameters: &[f64], rows: Range<usize>) -> Vec<f32> {
        let (weight, bias) = parameters.split_at(self.classes() * self.d);
        let weight: Vec<f32> = weight.iter().map(|&w| w as f32).collect();
        let chunks: Vec<Range<usize>> = chunks(rows).collect();
        let parts = pool.map(chunks.len(), |i| {
            let (mut logits, _) = self.forward(&weight, bias, &chunks[i], false);
            for row in logits.chunks_exact_mut(self.classes()) {
                row.iter_mut().zip(bias).for_each(|(z, b)| *z += *b as f32);
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter_mut().for_each(|z| *z = (*z - largest).exp());
                let sum: f32 = row.iter().sum();
                row.iter_mut().for_each(|z| *z /= sum);
            }
            logits
        });
        parts.concat()
    }

    /// How well the head `parameters` does on `rows`.
    pub(crate) fn score(&self, pool: &Pool, parameters: &[f64], rows: Range<usize>) -> Score {
        let (weight, bias) = parameters.split_at(self.classes() * self.d);
        let weight: Vec<f32> = weight.iter().map(|&w| w as f32).collect();
        let chunks: Vec<Range<usize>> = chunks(rows).collect();
        pool.map(chunks.len(), |i| self.forward(&weight, bias, &chunks[i], false).1)
            .into_iter()
            .fold(Score::default(), Score::plus)
    }
}

impl Score {
    pub(crate) fn plus(self, other: Score) -> Score {
        Score {
            loss: self.loss + other.loss,
            weight: self.weight + other.weight,
            correct: self.correct + other.correct,
            n: self.n + other.n,
        }
    }
}

impl<'a> Objective<'a> {
    /// The objective over all rows but those of `held_out`.
    pub(crate) fn new(pool: &'a Pool, samples: &'a Samples<'a>, held_out: Range<usize>, l2: f64) -> Self {
        let n = samples.targets.len();
        let chunks: Vec<Range<usize>> = chunks(0..held_out.start).chain(chunks(held_out.end..n)).collect();
        let weight = chunks.iter().flat_map(|rows| &samples.targets[rows.clone()]);
        let weight = weight.map(|&target| samples.class_weights[target]).sum();
        Objective { pool, samples, chunks, l2, weight }
    }

    /// The value at `parameters` (weight `[classes, d]`, then bias `[classes]`); its gradient goes into
    /// `gradient`.
    pub(crate) fn evaluate(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let (classes, d) = (self.samples.classes(), self.samples.d);
        let (weight, bias) = parameters.split_at(classes * d);
        let narrow: Vec<f32> = weight.iter().map(|&w| w as f32).collect();
        let lane = self.chunks.len().div_ceil((PARTIALS / (8 * gradient.len())).clamp(4, MOST_PARTIALS));
        let partials = self.pool.map(self.chunks.len().div_ceil(lane), |i| {
            let mut sums = vec![0.0f64; gradient.len()];
            let (weight_sums, bias_sums) = sums.split_at_mut(classes * d);
            let mut product = vec![0.0f32; classes * d];
            let mut loss = 0.0;
            for rows in self.chunks.iter().skip(i * lane).take(lane) {
                let (residuals, score) = self.samples.forward(&narrow, bias, rows, true);
                loss += score.loss;
                for row in residuals.chunks_exact(classes) {
                    bias_sums.iter_mut().zip(row).for_each(|(sum, &r)| *sum += f64::from(r));
                }
                let r = Mat::new(&residuals, rows.len(), classes).t();
                let x = Mat::new(&self.samples.features[rows.start * d..rows.end * d], rows.len(), d);
                matmul(Isa::current(), r, x, &mut product, false);
                weight_sums.iter_mut().zip(&product).for_each(|(sum, &g)| *sum += f64::from(g));
            }
            (loss, sums)
        });
        let loss: f64 = partials.iter().map(|(loss, _)| loss).sum();
        const VALUES: usize = 1 << 14;
        self.pool.chunks_mut(gradient, VALUES, |i, out| {
            let start = i * VALUES;
            out.fill(0.0);
            for (_, sums) in &partials {
                out.iter_mut().zip(&sums[start..]).for_each(|(o, sum)| *o += sum);
            }
            for (j, o) in out.iter_mut().enumerate() {
                let penalty = if start + j < weight.len() { self.l2 * weight[start + j] } else { 0.0 };
                *o = *o / self.weight + penalty;
            }
        });
        loss / self.weight + 0.5 * self.l2 * weight.iter().map(|w| w * w).sum::<f64>()
    }
}

/// `rows` cut into chunks, the last one shorter.
fn chunks(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(CHUNK).map(move |start| start..end.min(start + CHUNK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    /// The objective as it is written down, in f64.
    fn plain(s: &Samples, rows: &[usize], l2: f64, p: &[f64]) -> f64 {
        let (classes, d) = (s.classes(), s.d);
        let (mut loss, mut total) = (0.0, 0.0);
        for &i in rows {
            let x = &s.features[i * d..(i + 1) * d];
            let z: Vec<f64> = (0..classes)
                .map(|c| {
                    p[classes * d + c]
                        + x.iter().zip(&p[c * d..]).map(|(&x, w)| f64::from(x) * w).sum::<f64>()
                })
                .collect();
            let v = s.class_weights[s.targets[i]];
            loss += v * (z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[s.targets[i]]);
            total += v;
        }
        loss / total + 0.5 * l2 * p[..classes * d].iter().map(|w| w * w).sum::<f64>()
    }

    #[test]
    fn value_and_gradient_are_those_of_the_formula() {
        let (n, d, classes) = (600, 7, 4);
        let mut rng = Rng::new(5);
        let features: Vec<f32> = (0..n * d).map(|_| rng.normal() as f32).collect();
        let targets: Vec<usize> = (0..n).map(|_| rng.below(classes)).collect();
        let samples =
            Samples { features: &features, d, targets: &targets, class_weights: &[1.0, 0.5, 2.0, 3.0] };
        let p: Vec<f64> = (0..samples.parameters()).map(|_| rng.normal()).collect();
        for held_out in [0..0, 100..370, 590..600] {
            let rows: Vec<usize> = (0..n).filter(|i| !held_out.contains(i)).collect();
            let pool = Pool::new(2);
            let objective = Objective::new(&pool, &samples, held_out, 0.3);
            let mut gradient = vec![f64::NAN; p.len()];
            let value = objective.evaluate(&p, &mut gradient);
            assert!((value - plain(&samples, &rows, 0.3, &p)).abs() < 1e-6);
            for j in 0..p.len() {
                let at = |h: f64| {
                    let mut q = p.clone();
                    q[j] += h;
                    plain(&samples, &rows, 0.3, &q)
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((gradient[j] - slope).abs() < 1e-6, "{j}: {} {slope}", gradient[j]);
            }
        }
    }

    #[test]
    fn huge_logits_give_a_finite_value() {
        let samples = Samples { features: &[1e4, -1e4], d: 1, targets: &[0, 0], class_weights: &[1.0, 1.0] };
        let pool = Pool::new(1);
        let mut gradient = vec![0.0; 4];
        let value =
            Objective::new(&pool, &samples, 0..0, 0.0).evaluate(&[1e3, -1e3, 0.0, 0.0], &mut gradient);
        assert_eq!(value, 1e7);
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}
