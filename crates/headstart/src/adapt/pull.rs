//! What brings two domains together while the tail and the head learn the source's labels, by name.

use super::domains::soft;
use headstart_tensor::Tensor;

/// A loss of both domains, besides the cross-entropy of the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pull {
    name: &'static str,
    about: &'static str,
    pub(super) kind: Kind,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The distance of mean embeddings.
    Mmd,
    /// A discriminator of features.
    Dann,
    /// A discriminator of features and answers.
    Cdan,
    /// The confusion between classes on the target.
    Mcc,
}

/// Kernel widths, in mean squared distances.
const WIDTHS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// What logits are divided by before confusion is measured.
const TEMPERATURE: f64 = 2.5;

/// Every one, from the cheapest.
pub fn pulls() -> Vec<Pull> {
    let of = |name, about, kind| Pull { name, about, kind };
    vec![
        of("mcc", "classes that are not confused on the target (Jin et al. 2020)", Kind::Mcc),
        of("mmd", "mean embeddings of both domains come together (DAN, Long et al. 2015)", Kind::Mmd),
        of("dann", "features that do not tell the domain (Ganin et al. 2016)", Kind::Dann),
        of("cdan", "features and answers together do not tell the domain (Long et al. 2018)", Kind::Cdan),
    ]
}

impl Pull {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it asks for, in a few words, and the paper.
    pub fn about(&self) -> &'static str {
        self.about
    }
}

/// The squared maximum mean discrepancy between the first `sources` of `rows` `[n, d]` and the others, and its gradient:
/// `mean k(s, s') + mean k(t, t') - 2 mean k(s, t)`, where `k` is the mean of Gaussian kernels `exp(-|x - y|^2 / w)` of five
/// widths around the mean squared distance, which are taken as given (Long et al. 2015, "Learning Transferable Features with
/// Deep Adaptation Networks", ICML).
pub(super) fn mmd(rows: &Tensor, sources: usize) -> (f64, Tensor) {
    let (n, d) = (rows.dims()[0], rows.row_len());
    let lengths: Vec<f64> = (0..n).map(|i| dot(rows.row(i), rows.row(i))).collect();
    let mut apart = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..i {
            let squared = (lengths[i] + lengths[j] - 2.0 * dot(rows.row(i), rows.row(j))).max(0.0);
            (apart[i * n + j], apart[j * n + i]) = (squared, squared);
        }
    }
    let mean = (apart.iter().sum::<f64>() / (n * n - n).max(1) as f64).max(f64::MIN_POSITIVE);
    let share = |i: usize| match i < sources {
        true => 1.0 / sources.max(1) as f64,
        false => -1.0 / (n - sources).max(1) as f64,
    };
    let (mut loss, mut gradient) = (0.0, Tensor::zeros([n, d]));
    for i in 0..n {
        let mut row = vec![0.0; d];
        for j in 0..n {
            let (both, squared) = (share(i) * share(j), apart[i * n + j]);
            let mut slope = 0.0;
            for width in WIDTHS.map(|w| w * mean) {
                let kernel = (-squared / width).exp() / WIDTHS.len() as f64;
                loss += both * kernel;
                slope -= both * kernel / width;
            }
            let (x, y) = (rows.row(i), rows.row(j));
            row.iter_mut().zip(x).zip(y).for_each(|((r, &x), &y)| *r += 4.0 * slope * f64::from(x - y));
        }
        gradient.data_mut()[i * d..(i + 1) * d].iter_mut().zip(row).for_each(|(g, r)| *g = r as f32);
    }
    (loss, gradient)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The mean share of a class's answers that other classes are given too, of logits `[n, classes]` of the target, and its
/// gradient (Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", ECCV).
///
/// With probabilities `p` at a temperature of 2.5 and weights `w_i` of images in proportion to `1 + exp(-H(p_i))`, which are
/// taken as given and `n` together: `C_jk = sum_i w_i p_ij p_ik`, each row divided by its sum; what lies beside the diagonal,
/// over the number of classes.
pub(super) fn confusion(logits: &Tensor) -> (f64, Tensor) {
    let (n, classes) = (logits.dims()[0], logits.row_len());
    let mut cooled = logits.clone();
    cooled.data_mut().iter_mut().for_each(|v| *v = (f64::from(*v) / TEMPERATURE) as f32);
    let soft = soft(&cooled);
    let p = |i: usize, c: usize| f64::from(soft.row(i)[c]);
    let entropy = |i: usize| -> f64 { (0..classes).map(|c| -p(i, c) * p(i, c).max(1e-12).ln()).sum() };
    let mut weights: Vec<f64> = (0..n).map(|i| 1.0 + (-entropy(i)).exp()).collect();
    let all: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w *= n as f64 / all);
    let mut confusion = vec![0.0; classes * classes];
    for (i, w) in weights.iter().enumerate() {
        for j in 0..classes {
            (0..classes).for_each(|k| confusion[j * classes + k] += w * p(i, j) * p(i, k));
        }
    }
    let mut loss = 0.0;
    let mut slopes = vec![0.0; classes * classes];
    for (j, (row, slopes)) in
        confusion.chunks_exact(classes).zip(slopes.chunks_exact_mut(classes)).enumerate()
    {
        let sum = row.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let beside = sum - row[j];
        loss += beside / sum / classes as f64;
        for (k, slope) in slopes.iter_mut().enumerate() {
            *slope = (f64::from(u8::from(k != j)) / sum - beside / (sum * sum)) / classes as f64;
        }
    }
    let mut gradient = Tensor::zeros([n, classes]);
    for (i, out) in gradient.data_mut().chunks_exact_mut(classes).enumerate() {
        let by_p: Vec<f64> = (0..classes)
            .map(|j| {
                let both = |k: usize| (slopes[j * classes + k] + slopes[k * classes + j]) * p(i, k);
                weights[i] * (0..classes).map(both).sum::<f64>()
            })
            .collect();
        let along: f64 = (0..classes).map(|c| p(i, c) * by_p[c]).sum();
        for (c, out) in out.iter_mut().enumerate() {
            *out = (p(i, c) * (by_p[c] - along) / TEMPERATURE) as f32;
        }
    }
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{close, losses};

    #[test]
    fn losses_and_gradients_are_those_of_pytorch() {
        let fixture = losses();
        close("mmd", 1e-5, mmd(&fixture.tensor("rows").unwrap(), 7), &fixture);
        close("mcc", 1e-5, confusion(&fixture.tensor("logits").unwrap()), &fixture);
    }

    #[test]
    fn one_domain_is_not_apart_from_itself_and_certain_answers_are_not_confused() {
        let rows = Tensor::from_fn([8, 3], |i| ((i % 12) as f32).sin());
        let (loss, gradient) = mmd(&rows, 4);
        assert!(loss.abs() < 1e-12 && gradient.data().iter().all(|g| g.abs() < 1e-6), "{loss}");
        assert!(mmd(&Tensor::zeros([4, 2]), 2).0.abs() < 1e-12, "rows that are all the same");
        let certain = Tensor::from_fn([6, 3], |i| if i % 3 == (i / 3) % 3 { 200.0 } else { 0.0 });
        assert!(confusion(&certain).0 < 1e-9);
        // Only one of the classes is ever answered: the others are all confusion.
        assert!(confusion(&Tensor::from_fn([6, 3], |i| if i % 3 == 0 { 9.0 } else { 0.0 })).0 > 0.5);
    }
}
