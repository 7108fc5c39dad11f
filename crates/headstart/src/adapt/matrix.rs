//! Products of feature matrices and square roots of covariances. Work is cut by the shapes alone, so bytes do not depend
//! on the number of threads.

use headstart_kernels::{Isa, Mat, Pool, matmul};
use headstart_tensor::Tensor;

/// Rows, or columns, of a task.
const TASK: usize = 128;
/// Steps of Newton's method, at most: it doubles the right digits, from a condition of 10^6 after some 15 steps.
const STEPS: usize = 40;

/// A square matrix `[d, d]`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Square {
    pub(super) d: usize,
    pub(super) values: Vec<f32>,
}

/// `a^T b` `[p, q]` of `a` `[n, p]` and `b` `[n, q]`.
pub(super) fn inner(pool: &Pool, a: &Tensor, b: &Tensor) -> Vec<f32> {
    let (n, p, q) = (a.dims()[0], a.row_len(), b.row_len());
    let mut out = vec![0.0; p * q];
    pool.chunks_mut(&mut out, TASK * q, |task, out| {
        let columns = task * TASK..p.min((task + 1) * TASK);
        let part = Mat::new(a.data(), n, p).columns(columns).t();
        matmul(Isa::current(), part, Mat::new(b.data(), n, q), out, false);
    });
    out
}

/// `a b` `[n, q]` of `a` `[n, p]` and `b` `[p, q]`.
pub(super) fn product(pool: &Pool, a: &[f32], b: &[f32], [n, p, q]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; n * q];
    pool.chunks_mut(&mut out, TASK * q, |task, out| {
        let block = Mat::new(&a[task * TASK * p..], out.len() / q, p);
        matmul(Isa::current(), block, Mat::new(b, p, q), out, false);
    });
    out
}

impl Square {
    /// `x^T x / n + ridge I` of rows `x` `[n, d]`: their covariance where their mean is zero.
    pub(super) fn covariance(pool: &Pool, x: &Tensor, ridge: f32) -> Square {
        let (n, d) = (x.dims()[0], x.row_len());
        let mut values = inner(pool, x, x);
        values.iter_mut().for_each(|v| *v /= n.max(1) as f32);
        values.iter_mut().step_by(d + 1).for_each(|v| *v += ridge);
        Square { d, values }
    }

    fn times(&self, pool: &Pool, other: &Square) -> Square {
        let d = self.d;
        Square { d, values: product(pool, &self.values, &other.values, [d, d, d]) }
    }

    /// The square root of this symmetric, positive definite matrix, and the inverse of that root, by the coupled iteration
    /// of Denman and Beavers in Newton-Schulz form (Higham 2008, "Functions of Matrices", section 6.7):
    /// `Y <- Y (3 I - Z Y) / 2`, `Z <- (3 I - Z Y) Z / 2`, from the matrix at norm 1 and `I`.
    pub(super) fn roots(&self, pool: &Pool) -> (Square, Square) {
        let d = self.d;
        // The Frobenius norm bounds the largest eigenvalue: all of the scaled matrix lie in (0, 1].
        let scale = self.values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        let scaled = |by: f64, of: &Square| Square {
            d,
            values: of.values.iter().map(|&v| (f64::from(v) * by) as f32).collect(),
        };
        let mut unit = Square { d, values: vec![0.0; d * d] };
        unit.values.iter_mut().step_by(d + 1).for_each(|v| *v = 1.0);
        let (mut y, mut z) = (scaled(1.0 / scale, self), unit);
        let mut last = f32::INFINITY;
        for _ in 0..STEPS {
            let mut step = z.times(pool, &y);
            let mut apart = 0.0f32;
            for (i, v) in step.values.iter_mut().enumerate() {
                let one = if i % (d + 1) == 0 { 1.0 } else { 0.0 };
                apart = apart.max((*v - one).abs());
                *v = 1.5 * one - 0.5 * *v;
            }
            (y, z) = (y.times(pool, &step), step.times(pool, &z));
            // What grows again, or is as small as that, is rounding in f32.
            if apart < 1e-5 || (apart > last && apart < 0.1) {
                break;
            }
            last = apart;
        }
        (scaled(scale.sqrt(), &y), scaled(scale.sqrt().recip(), &z))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    fn rows(n: usize, d: usize) -> Tensor {
        let mut rng = Rng::new(9);
        Tensor::from_fn([n, d], |i| (rng.normal() * (1.0 + (i % d) as f64)) as f32)
    }

    #[test]
    fn products_are_those_of_plain_loops() {
        let (a, b) = (rows(300, 140), rows(300, 7));
        let found = inner(&Pool::new(2), &a, &b);
        for (i, j) in [(0, 0), (139, 6), (128, 3)] {
            let sum: f64 = (0..300).map(|r| f64::from(a.row(r)[i]) * f64::from(b.row(r)[j])).sum();
            assert!((f64::from(found[i * 7 + j]) - sum).abs() < 1e-3 * sum.abs().max(100.0));
        }
        assert_eq!(found, inner(&Pool::new(1), &a, &b));
        let whole = product(&Pool::new(2), a.data(), b.data(), [150, 140, 7]);
        let sum: f64 = (0..140).map(|k| f64::from(a.row(149)[k]) * f64::from(b.data()[k * 7 + 2])).sum();
        assert!((f64::from(whole[149 * 7 + 2]) - sum).abs() < 1e-2, "{sum}");
    }

    #[test]
    fn the_roots_squared_are_the_matrix_and_the_identity() {
        let pool = Pool::new(1);
        let covariance = Square::covariance(&pool, &rows(400, 30), 1.0);
        let (root, inverse) = covariance.roots(&pool);
        let largest = covariance.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let square = root.times(&pool, &root);
        for (a, b) in square.values.iter().zip(&covariance.values) {
            assert!((a - b).abs() < 1e-4 * largest, "{a} {b}");
        }
        for (i, v) in root.times(&pool, &inverse).values.iter().enumerate() {
            assert!((v - f32::from(u8::from(i % 31 == 0))).abs() < 1e-3, "{i}: {v}");
        }
    }
}
