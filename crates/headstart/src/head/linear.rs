//! A linear layer over features: `logits = features weight^T + bias`.

use headstart_kernels::{Isa, Mat, Pool, matmul};
use headstart_tensor::Tensor;

use super::HeadError;

/// Rows of a task: small enough to spread over threads, large enough for the matrix product.
const ROWS: usize = 256;

/// Weight `[classes, d]` and bias `[classes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearHead {
    /// `[classes, d]`: row `c` is what class `c` looks for.
    pub weight: Tensor,
    /// `[classes]`.
    pub bias: Tensor,
}

impl LinearHead {
    /// A head of `weight` `[classes, d]` and `bias` `[classes]`.
    ///
    /// # Errors
    /// Where the shapes are not those.
    pub fn new(weight: Tensor, bias: Tensor) -> Result<LinearHead, HeadError> {
        match (weight.dims(), bias.dims()) {
            (&[classes, _], &[outputs]) if classes == outputs => Ok(LinearHead { weight, bias }),
            _ => Err(HeadError::HeadShape { weight: weight.shape().clone(), bias: bias.shape().clone() }),
        }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Features `[n, d]` to logits `[n, classes]`; the bytes do not depend on the number of threads.
    ///
    /// # Errors
    /// Where the features are no matrix, or have another length than the weight's rows.
    pub fn logits(&self, pool: &Pool, features: &Tensor) -> Result<Tensor, HeadError> {
        let &[n, d] = features.dims() else {
            return Err(HeadError::Features { found: features.shape().clone() });
        };
        if d != self.weight.row_len() {
            return Err(HeadError::FeatureCount { expected: self.weight.row_len(), found: d });
        }
        let classes = self.classes();
        let mut logits = Tensor::zeros([n, classes]);
        if logits.is_empty() {
            return Ok(logits);
        }
        let weight = Mat::new(self.weight.data(), classes, d).t();
        pool.chunks_mut(logits.data_mut(), ROWS * classes, |i, out| {
            let rows = out.len() / classes;
            out.chunks_exact_mut(classes).for_each(|row| row.copy_from_slice(self.bias.data()));
            let block = Mat::new(&features.data()[i * ROWS * d..], rows, d);
            matmul(Isa::current(), block, weight, out, true);
        });
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_are_weighted_sums_and_a_bias() {
        let head = LinearHead::new(
            Tensor::new([2, 3], vec![1.0, 0.0, -1.0, 2.0, 2.0, 2.0]).unwrap(),
            Tensor::new([2], vec![0.5, -1.0]).unwrap(),
        )
        .unwrap();
        let x = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 0.0, 0.0, 1.0]).unwrap();
        let logits = head.logits(&Pool::new(1), &x).unwrap();
        assert_eq!(logits.dims(), [2, 2]);
        assert_eq!(logits.data(), [-1.5, 11.0, -0.5, 1.0]);
    }

    #[test]
    fn more_rows_than_a_task_holds_are_the_same_rows() {
        let head = LinearHead::new(
            Tensor::from_fn([3, 5], |i| (i as f32).sin()),
            Tensor::from_fn([3], |i| i as f32),
        )
        .unwrap();
        let x = Tensor::from_fn([2 * ROWS + 7, 5], |i| (i as f32).cos());
        let all = head.logits(&Pool::new(2), &x).unwrap();
        for i in [0, ROWS, 2 * ROWS + 6] {
            let one = Tensor::new([1, 5], x.row(i).to_vec()).unwrap();
            let expected = head.logits(&Pool::new(1), &one).unwrap();
            for (a, b) in all.row(i).iter().zip(expected.data()) {
                assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let head = LinearHead::new(Tensor::zeros([2, 3]), Tensor::zeros([2])).unwrap();
        let pool = Pool::new(1);
        assert_eq!(
            head.logits(&pool, &Tensor::zeros([4, 2])),
            Err(HeadError::FeatureCount { expected: 3, found: 2 })
        );
        assert!(matches!(head.logits(&pool, &Tensor::zeros([4])), Err(HeadError::Features { .. })));
        assert!(matches!(
            LinearHead::new(Tensor::zeros([2, 3]), Tensor::zeros([3])),
            Err(HeadError::HeadShape { .. })
        ));
        assert_eq!(head.logits(&pool, &Tensor::zeros([0, 3])).unwrap().dims(), [0, 2]);
    }
}
