//! Eigenvalues of a symmetric matrix, and what given vectors are along its eigenvectors, which are not formed.
//!
//! Householder's reduction to three diagonals, then QL steps with implicit shifts (Golub and Van Loan, Matrix Computations,
//! 8.3), in f64. Reflections and rotations act on the vectors as they come, so the work is that of the eigenvalues alone.

use headstart_kernels::Pool;

/// Rows of a task.
const ROWS: usize = 32;
/// QL steps for one eigenvalue; two or three are usual.
const STEPS: usize = 60;

/// A symmetric matrix seen along its eigenvectors.
#[derive(Debug)]
pub(crate) struct Spectrum {
    /// The eigenvalues, in no order.
    pub(crate) values: Vec<f64>,
    /// `[n, k]`: of each eigenvector its product with every one of the `k` vectors. Its sign is arbitrary.
    pub(crate) along: Vec<f64>,
}

impl Spectrum {
    /// Of `matrix` `[n, n]`, symmetric, and `vectors` `[n, k]`, column by column; `None` where a value is not finite.
    ///
    /// # Panics
    /// Where the lengths are not those.
    pub(crate) fn of(pool: &Pool, mut matrix: Vec<f64>, n: usize, mut vectors: Vec<f64>) -> Option<Spectrum> {
        assert!(
            matrix.len() == n * n && n > 0 && vectors.len().is_multiple_of(n),
            "an n x n matrix and rows for it"
        );
        let (mut diagonal, mut off) = (vec![0.0; n], vec![0.0; n]);
        let k = vectors.len() / n;
        for at in 0..n {
            diagonal[at] = matrix[at * n + at];
            let column: Vec<f64> = (at + 1..n).map(|row| matrix[row * n + at]).collect();
            let Some((v, beta, length)) = reflector(column) else { continue };
            off[at] = length;
            reflect(pool, &mut matrix[(at + 1) * n..], (n, at + 1), &v, beta);
            let below = &mut vectors[(at + 1) * k..];
            let mut along = vec![0.0; k];
            for (row, &v) in below.chunks_exact(k.max(1)).zip(&v) {
                along.iter_mut().zip(row).for_each(|(a, b)| *a += v * b);
            }
            for (row, &v) in below.chunks_exact_mut(k.max(1)).zip(&v) {
                row.iter_mut().zip(&along).for_each(|(b, a)| *b -= beta * v * a);
            }
        }
        diagonalise(&mut diagonal, &mut off, &mut vectors, k)?;
        Some(Spectrum { values: diagonal, along: vectors })
    }
}

/// The vector `v`, the factor `beta` and the value `a` with `(1 - beta v v^T) x = (a, 0, .., 0)`; nothing where `x` is zero.
fn reflector(mut x: Vec<f64>) -> Option<(Vec<f64>, f64, f64)> {
    let length = x.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length == 0.0 {
        return None;
    }
    let value = if x[0] > 0.0 { -length } else { length };
    x[0] -= value;
    let beta = 2.0 / x.iter().map(|v| v * v).sum::<f64>();
    Some((x, beta, value))
}

/// The rows from `first` on of an `n x n` matrix, reflected from both sides.
fn reflect(pool: &Pool, rows: &mut [f64], (n, first): (usize, usize), v: &[f64], beta: f64) {
    let products = pool.map(v.len().div_ceil(ROWS), |task| {
        let rows = &rows[task * ROWS * n..rows.len().min((task + 1) * ROWS * n)];
        rows.chunks_exact(n).map(|row| beta * dot(&row[first..], v)).collect::<Vec<f64>>()
    });
    let mut w = products.concat();
    let half = beta / 2.0 * dot(&w, v);
    w.iter_mut().zip(v).for_each(|(w, v)| *w -= half * v);
    pool.chunks_mut(rows, ROWS * n, |task, rows| {
        for (i, row) in rows.chunks_exact_mut(n).enumerate() {
            let (wi, vi) = (w[task * ROWS + i], v[task * ROWS + i]);
            for ((x, w), v) in row[first..].iter_mut().zip(&w).zip(v) {
                *x -= vi * w + wi * v;
            }
        }
    });
}

/// The sum of products, in eight sums that a processor makes at once.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// Turns three diagonals (`off[i]` between `i` and `i + 1`) into one; the rotations act on the rows of `vectors`.
fn diagonalise(diagonal: &mut [f64], off: &mut [f64], vectors: &mut [f64], k: usize) -> Option<()> {
    let n = diagonal.len();
    if !diagonal.iter().chain(off.iter()).all(|v| v.is_finite()) {
        return None;
    }
    let norm = diagonal.iter().zip(off.iter()).map(|(d, e)| d.abs() + e.abs()).fold(0.0, f64::max);
    // The reduction has left errors of this size.
    let nothing = f64::EPSILON * norm;
    for low in 0..n {
        for step in 0.. {
            let high = (low..n - 1).find(|&m| off[m].abs() <= nothing).unwrap_or(n - 1);
            if high == low {
                break;
            }
            if step == STEPS {
                return None;
            }
            sweep(diagonal, off, vectors, k, low..=high);
        }
    }
    Some(())
}

/// One QL step on the rows of `block`, with Wilkinson's shift.
fn sweep(
    diagonal: &mut [f64],
    off: &mut [f64],
    vectors: &mut [f64],
    k: usize,
    block: std::ops::RangeInclusive<usize>,
) {
    let (low, high) = block.into_inner();
    let ratio = (diagonal[low + 1] - diagonal[low]) / (2.0 * off[low]);
    let shift = off[low] / (ratio + ratio.hypot(1.0).copysign(ratio));
    let mut g = diagonal[high] - diagonal[low] + shift;
    let (mut sine, mut cosine, mut moved) = (1.0, 1.0, 0.0);
    for i in (low..high).rev() {
        let (f, b) = (sine * off[i], cosine * off[i]);
        let length = f.hypot(g);
        off[i + 1] = length;
        if length == 0.0 {
            diagonal[i + 1] -= moved;
            off[high] = 0.0;
            return;
        }
        (sine, cosine) = (f / length, g / length);
        g = diagonal[i + 1] - moved;
        let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
        moved = sine * r;
        diagonal[i + 1] = g + moved;
        g = cosine * r - b;
        let (upper, lower) = vectors[i * k..(i + 2) * k].split_at_mut(k);
        for (a, b) in upper.iter_mut().zip(lower) {
            (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
        }
    }
    diagonal[low] -= moved;
    off[low] = g;
    off[high] = 0.0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    /// `sum_j a[i, j] f(j)`.
    fn times(a: &[f64], n: usize, f: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..n).map(|i| (0..n).map(|j| a[i * n + j] * f(j)).sum()).collect()
    }

    #[test]
    fn moments_of_the_matrix_are_those_of_its_spectrum() {
        for (n, rank) in [(1, 1), (2, 2), (7, 7), (60, 60), (60, 5), (40, 0)] {
            let mut rng = Rng::new(n as u64);
            let f: Vec<f64> = (0..n * rank).map(|_| rng.normal()).collect();
            let of = |i: usize, j: usize| (0..rank).map(|r| f[i * rank + r] * f[j * rank + r]).sum::<f64>();
            let a: Vec<f64> = (0..n * n).map(|at| of(at / n, at % n)).collect();
            let b: Vec<f64> = (0..n * 2).map(|_| rng.normal()).collect();
            let found = Spectrum::of(&Pool::new(2), a.clone(), n, b.clone()).unwrap();
            let scale = 1.0 + a.iter().fold(0.0, |m: f64, v| m.max(v.abs())) * n as f64;
            let trace: f64 = (0..n).map(|i| a[i * n + i]).sum();
            assert!((found.values.iter().sum::<f64>() - trace).abs() < 1e-12 * scale, "{n} {rank}");
            let positive = found.values.iter().filter(|&&v| v > 1e-10 * scale).count();
            assert_eq!(positive, rank.min(n));
            for k in 0..2 {
                // b^T A^p b is the sum of the squares along the eigenvectors, by the powers of their values.
                let mut power: Vec<f64> = (0..n).map(|i| b[i * 2 + k]).collect();
                for p in 0..4 {
                    let expected: f64 = power.iter().enumerate().map(|(i, v)| v * b[i * 2 + k]).sum();
                    let along = |i: usize| found.along[i * 2 + k].powi(2) * found.values[i].powi(p);
                    let sum: f64 = (0..n).map(along).sum();
                    let tolerance = 1e-11 * scale.powi(p) * (1.0 + n as f64);
                    assert!((sum - expected).abs() < tolerance, "{n} {rank} {p}: {sum} {expected}");
                    power = times(&a, n, |j| power[j]);
                }
            }
        }
    }

    #[test]
    fn values_that_are_no_numbers_give_nothing() {
        assert!(Spectrum::of(&Pool::new(1), vec![1.0, f64::NAN, f64::NAN, 1.0], 2, vec![]).is_none());
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let n = 100;
        let a: Vec<f64> = (0..n * n).map(|i| ((i / n + 1) * (i % n + 1)) as f64).map(f64::sin).collect();
        let of = |threads| Spectrum::of(&Pool::new(threads), a.clone(), n, vec![1.0; n]).unwrap();
        assert_eq!((of(1).values, of(1).along), (of(2).values, of(2).along));
    }
}
