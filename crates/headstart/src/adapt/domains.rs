//! What a feature-level method looks at: rows of the source with their labels, rows of the target without.

use super::matrix;
use crate::head::{LinearHead, Standardiser};
use crate::{Error, Session};
use headstart_kernels::Pool;
use headstart_tensor::Tensor;

/// Labelled features of the domain that the model was trained on.
#[derive(Debug, Clone)]
pub struct Source {
    /// `[n, d]`.
    pub features: Tensor,
    /// The class of each row, in `0..classes`.
    pub labels: Vec<usize>,
}

/// Two domains of images of the same classes.
#[derive(Debug)]
pub struct Domains<'a> {
    /// The labelled one, where it is given.
    pub source: Option<&'a Source>,
    /// Features `[m, d]` of the other one, whose labels are not known.
    pub target: &'a Tensor,
    /// The head that was fitted to the source.
    pub head: &'a LinearHead,
    /// The strength of the L2 penalty of heads that are fitted anew, from 0.
    pub l2: f64,
    /// What random choices are drawn from.
    pub seed: u64,
}

impl<'a> Domains<'a> {
    /// The source.
    ///
    /// # Errors
    /// Where there is none: `method` needs it.
    pub fn source(&self, method: &'static str) -> Result<&'a Source, Error> {
        self.source.ok_or(Error::NeedsSource { method })
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.head.classes()
    }

    /// What the source's head makes of the target, `[m, classes]`.
    ///
    /// # Errors
    /// Where the features do not fit the head.
    pub fn answers(&self, session: &Session) -> Result<Tensor, Error> {
        Ok(self.head.logits(session.pool, self.target)?)
    }
}

/// Rows `[n, d]` less the mean row, in units of the standard deviation of each column where `scaled`, and how they were
/// changed.
pub(super) fn centred(pool: &Pool, rows: &Tensor, scaled: bool) -> Result<(Tensor, Affine), Error> {
    let found = Standardiser::of(pool, rows)?;
    let scale = match scaled {
        true => found.scale().to_vec(),
        false => vec![1.0; rows.row_len()],
    };
    let mean = found.mean().to_vec();
    let d = rows.row_len();
    let mut out = rows.clone();
    pool.chunks_mut(out.data_mut(), 256 * d.max(1), |_, block| {
        for row in block.chunks_exact_mut(d.max(1)) {
            for ((v, m), s) in row.iter_mut().zip(&mean).zip(&scale) {
                *v = ((f64::from(*v) - m) * s) as f32;
            }
        }
    });
    Ok((out, Affine { mean, scale }))
}

/// The map `x -> (x - mean) * scale`, column by column.
#[derive(Debug, Clone)]
pub(super) struct Affine {
    pub(super) mean: Vec<f64>,
    pub(super) scale: Vec<f64>,
}

impl Affine {
    /// The head on rows before the map that does what `head` does on rows after it.
    pub(super) fn before(&self, head: &LinearHead) -> Result<LinearHead, Error> {
        let (classes, d) = (head.classes(), head.weight.row_len());
        let weight =
            Tensor::from_fn([classes, d], |i| (f64::from(head.weight.data()[i]) * self.scale[i % d]) as f32);
        let bias = Tensor::from_fn([classes], |c| {
            let moved: f64 = weight.row(c).iter().zip(&self.mean).map(|(&w, m)| f64::from(w) * m).sum();
            (f64::from(head.bias.data()[c]) - moved) as f32
        });
        Ok(LinearHead::new(weight, bias)?)
    }
}

/// Every row at length 1; rows of zeros stay.
pub(super) fn unit(pool: &Pool, rows: &Tensor) -> Tensor {
    let d = rows.row_len().max(1);
    let mut out = rows.clone();
    pool.chunks_mut(out.data_mut(), 256 * d, |_, block| {
        for row in block.chunks_exact_mut(d) {
            let norm = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
        }
    });
    out
}

/// The mean length of the rows.
pub(super) fn mean_length(rows: &Tensor) -> f64 {
    let n = rows.dims()[0].max(1);
    let length = |i: usize| rows.row(i).iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    (0..rows.dims()[0]).map(length).sum::<f64>() / n as f64
}

/// Sums `[classes, d]` of `rows` `[n, d]`, each counted `weights` `[n, classes]` times for each class.
pub(super) fn class_sums(pool: &Pool, weights: &Tensor, rows: &Tensor) -> Result<Tensor, Error> {
    let sums = matrix::inner(pool, weights, rows);
    Ok(Tensor::new([weights.row_len(), rows.row_len()], sums)?)
}

/// A row of zeros and a one for each label, `[n, classes]`.
pub(super) fn one_hot(labels: &[usize], classes: usize) -> Tensor {
    Tensor::from_fn([labels.len(), classes], |i| f32::from(u8::from(labels[i / classes] == i % classes)))
}

/// The most probable class of each row of logits.
pub(super) fn hard(logits: &Tensor) -> Vec<usize> {
    (0..logits.dims()[0]).map(|i| crate::metrics::argmax(logits.row(i))).collect()
}

/// Probabilities of each row of logits.
pub(super) fn soft(logits: &Tensor) -> Tensor {
    let mut out = logits.clone();
    let classes = logits.row_len().max(1);
    for row in out.data_mut().chunks_exact_mut(classes) {
        let probabilities = crate::metrics::softmax(row);
        row.iter_mut().zip(probabilities).for_each(|(v, p)| *v = p as f32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_moved_before_a_map_answers_as_after_it() {
        let pool = Pool::new(1);
        let rows = Tensor::from_fn([40, 3], |i| (i as f32 * 0.7).sin() * (1 + i % 3) as f32 + 5.0);
        let (mapped, map) = centred(&pool, &rows, true).unwrap();
        let head = LinearHead::new(Tensor::from_fn([2, 3], |i| i as f32 - 2.0), Tensor::zeros([2])).unwrap();
        let expected = head.logits(&pool, &mapped).unwrap();
        let found = map.before(&head).unwrap().logits(&pool, &rows).unwrap();
        for (a, b) in expected.data().iter().zip(found.data()) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn rows_come_to_length_one_and_sums_are_by_class() {
        let pool = Pool::new(1);
        let rows = Tensor::new([3, 2], vec![3.0, 4.0, 0.0, 0.0, 0.0, -2.0]).unwrap();
        assert_eq!(unit(&pool, &rows).data(), [0.6, 0.8, 0.0, 0.0, 0.0, -1.0]);
        assert!((mean_length(&rows) - 7.0 / 3.0).abs() < 1e-9);
        let sums = class_sums(&pool, &one_hot(&[1, 0, 1], 2), &rows).unwrap();
        assert_eq!(sums.data(), [0.0, 0.0, 3.0, 2.0]);
    }
}
