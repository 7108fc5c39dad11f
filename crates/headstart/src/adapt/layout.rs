//! Rows laid out in the plane, so that rows which are near one another lie near one another: t-SNE (van der Maaten and Hinton 2008,
//! "Visualizing Data using t-SNE", JMLR), exact.
//!
//! `p_ij` says how near rows are, each with about [`PERPLEXITY`] neighbours; `q_ij` is the same of their places `y`, by Student's
//! t: `q_ij ~ 1 / (1 + |y_i - y_j|^2)`. Places descend along the gradient of `KL(p || q)`. They start from the two principal directions
//! and the learning rate is `n / 12`, at least 50 (Kobak and Berens 2019; Belkina et al. 2019), so no chance enters but the order of rounding.

use crate::head::LinearHead;
use crate::unknown::principal;
use crate::{Error, Session};
use headstart_tensor::{Rng, Tensor};

/// Neighbours of each row, about.
const PERPLEXITY: f64 = 30.0;
/// Steps, and those at the start in which what is near pulls harder, so that clusters form.
const STEPS: usize = 500;
const EARLY: usize = 150;
const EXAGGERATION: f64 = 12.0;
/// Rounds of subspace iteration for the start.
const ROUNDS: usize = 20;
/// The deviation of the places at the start.
const START: f64 = 1e-4;

/// A place in the plane.
pub(crate) type Place = [f64; 2];

/// A place for each of the rows `[n, d]`, by their squared distances: both coordinates within -1 and 1. What is computed grows with
/// the square of `n`: 1,000 rows take about two seconds.
///
/// # Errors
/// Where a row is not finite or the run was interrupted.
pub(crate) fn plane(session: &Session, rows: &Tensor, seed: u64) -> Result<Vec<Place>, Error> {
    let n = rows.dims()[0];
    if n < 3 {
        return Ok((0..n).map(|i| [i as f64 - 0.5 * n.saturating_sub(1) as f64, 0.0]).collect());
    }
    let near = affinities(&squared_distances(session, rows)?, n);
    let mut places = start(session, rows, seed)?;
    let mut speed = vec![[0.0; 2]; n];
    let mut gains = vec![[1.0; 2]; n];
    let lr = (n as f64 / EXAGGERATION).max(50.0);
    for step in 0..STEPS {
        session.check()?;
        let (pull, momentum) = if step < EARLY { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        let slopes = gradient(session, &near, &places, pull);
        for i in 0..n {
            for k in 0..2 {
                // Steps grow where their direction stays (Jacobs 1988).
                let same = (slopes[i][k] > 0.0) == (speed[i][k] > 0.0);
                gains[i][k] = if same { (gains[i][k] * 0.8_f64).max(0.01) } else { gains[i][k] + 0.2 };
                speed[i][k] = momentum * speed[i][k] - lr * gains[i][k] * slopes[i][k];
                places[i][k] += speed[i][k];
            }
        }
    }
    Ok(fitted(places))
}

/// Places moved and stretched, alike in both directions, to within -1 and 1.
fn fitted(mut places: Vec<Place>) -> Vec<Place> {
    let [x, y] = [0, 1].map(|k| {
        places.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], p| [a.min(p[k]), b.max(p[k])])
    });
    let half = (0.5 * (x[1] - x[0]).max(y[1] - y[0])).max(f64::MIN_POSITIVE);
    let middle = [0.5 * (x[0] + x[1]), 0.5 * (y[0] + y[1])];
    places.iter_mut().for_each(|p| *p = [0, 1].map(|k| (p[k] - middle[k]) / half));
    places
}

/// Squared distances `[n, n]`.
fn squared_distances(session: &Session, rows: &Tensor) -> Result<Vec<f64>, Error> {
    let n = rows.dims()[0];
    let products = LinearHead::new(rows.clone(), Tensor::zeros([n]))?.logits(session.pool, rows)?;
    let of = |i: usize, j: usize| f64::from(products.row(i)[j]);
    let all = (0..n * n).map(|at| (at / n, at % n));
    let distance = |(i, j)| if i == j { 0.0 } else { (of(i, i) + of(j, j) - 2.0 * of(i, j)).max(0.0) };
    Ok(all.map(distance).collect())
}

/// `p_ij`, whose sum is 1: the mean of `p_j|i` and `p_i|j`, each row's sharpness found so that its entropy is that of
/// [`PERPLEXITY`] equals.
fn affinities(distances: &[f64], n: usize) -> Vec<f64> {
    let wanted = PERPLEXITY.min((n - 1) as f64 / 3.0).max(1.0).ln();
    let mut one_sided = vec![0.0; n * n];
    for (i, row) in one_sided.chunks_exact_mut(n).enumerate() {
        let d = &distances[i * n..(i + 1) * n];
        // The nearest at 0: the greatest term is 1, whatever the sharpness.
        let nearest = (0..n).filter(|&j| j != i).map(|j| d[j]).fold(f64::INFINITY, f64::min);
        let (mut low, mut high, mut sharp) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..64 {
            let (mut sum, mut weighted) = (0.0, 0.0);
            for j in (0..n).filter(|&j| j != i) {
                row[j] = (-sharp * (d[j] - nearest)).exp();
                sum += row[j];
                weighted += row[j] * (d[j] - nearest);
            }
            let entropy = sum.ln() + sharp * weighted / sum;
            row.iter_mut().for_each(|p| *p /= sum);
            if (entropy - wanted).abs() < 1e-6 {
                break;
            }
            if entropy > wanted {
                low = sharp;
                sharp = if high.is_finite() { 0.5 * (sharp + high) } else { 2.0 * sharp };
            } else {
                high = sharp;
                sharp = 0.5 * (low + sharp);
            }
        }
    }
    let pair = |at: usize| (one_sided[at] + one_sided[at % n * n + at / n]) / (2 * n) as f64;
    (0..n * n).map(pair).collect()
}

/// The gradient of `KL(pull p || q)` by the places: `4 sum_j (pull p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2)`.
fn gradient(session: &Session, near: &[f64], places: &[Place], pull: f64) -> Vec<Place> {
    let n = places.len();
    let student = |a: Place, b: Place| 1.0 / (1.0 + (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2));
    let rows = session.pool.map(n, |i| {
        let (mut sum, mut towards, mut away) = (0.0, [0.0; 2], [0.0; 2]);
        for j in (0..n).filter(|&j| j != i) {
            let q = student(places[i], places[j]);
            sum += q;
            for k in 0..2 {
                let way = q * (places[i][k] - places[j][k]);
                towards[k] += pull * near[i * n + j] * way;
                away[k] += q * way;
            }
        }
        (sum, towards, away)
    });
    let all: f64 = rows.iter().map(|(sum, ..)| sum).sum();
    rows.into_iter().map(|(_, to, away)| [0, 1].map(|k| 4.0 * (to[k] - away[k] / all))).collect()
}

/// The first two principal directions, the first with a deviation of [`START`].
fn start(session: &Session, rows: &Tensor, seed: u64) -> Result<Vec<Place>, Error> {
    let (n, d) = (rows.dims()[0], rows.row_len());
    let mut mean = vec![0.0; d];
    (0..n).for_each(|i| mean.iter_mut().zip(rows.row(i)).for_each(|(m, v)| *m += f64::from(*v) / n as f64));
    let mut centred = rows.clone();
    centred.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v -= mean[i % d] as f32);
    let k = 2.min(d);
    let axes = principal(session.pool, &centred, (k, ROUNDS), &mut Rng::named(seed, "layout"))?;
    let along = LinearHead::new(axes, Tensor::zeros([k]))?.logits(session.pool, &centred)?;
    let at = |i: usize, axis: usize| along.row(i).get(axis).map_or(0.0, |v| f64::from(*v));
    let deviation = ((0..n).map(|i| at(i, 0).powi(2)).sum::<f64>() / n as f64).sqrt().max(f64::MIN_POSITIVE);
    Ok((0..n).map(|i| [0, 1].map(|axis| START * at(i, axis) / deviation)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{cluster, quiet};

    /// `KL(p || q)`.
    fn divergence(near: &[f64], places: &[Place]) -> f64 {
        let n = places.len();
        let pairs = || (0..n * n).map(|at| (at / n, at % n)).filter(|(i, j)| i != j);
        let q = |i: usize, j: usize| {
            1.0 / (1.0 + (places[i][0] - places[j][0]).powi(2) + (places[i][1] - places[j][1]).powi(2))
        };
        let all: f64 = pairs().map(|(i, j)| q(i, j)).sum();
        pairs().map(|(i, j)| near[i * n + j] * (near[i * n + j] / (q(i, j) / all)).ln()).sum()
    }

    #[test]
    fn the_gradient_is_that_of_the_divergence() {
        quiet(|session| {
            let (rows, _) = cluster(24, 3, 5);
            let near = affinities(&squared_distances(session, &rows).unwrap(), 24);
            assert!((near.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let mut rng = Rng::new(1);
            let places: Vec<Place> = (0..24).map(|_| [rng.normal(), rng.normal()]).collect();
            let found = gradient(session, &near, &places, 1.0);
            for (i, k) in [(0, 0), (3, 1), (23, 0)] {
                let moved = |by: f64| {
                    let mut places = places.clone();
                    places[i][k] += by;
                    divergence(&near, &places)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((found[i][k] - expected).abs() < 1e-6, "{} {expected}", found[i][k]);
            }
        });
    }

    #[test]
    fn every_row_has_as_many_neighbours_as_are_asked_for() {
        quiet(|session| {
            let (rows, _) = cluster(240, 3, 5);
            let n = 240;
            let near = affinities(&squared_distances(session, &rows).unwrap(), n);
            // The mean over rows of the entropy of what is near to each, with both sides, is at least that of one side.
            let entropy = |i: usize| {
                let row = &near[i * n..(i + 1) * n];
                let sum: f64 = row.iter().sum();
                row.iter().filter(|p| **p > 0.0).map(|p| -(p / sum) * (p / sum).ln()).sum::<f64>()
            };
            let mean = (0..n).map(entropy).sum::<f64>() / n as f64;
            assert!((PERPLEXITY.ln()..PERPLEXITY.ln() + 1.0).contains(&mean), "{mean}");
        });
    }

    #[test]
    fn clusters_lie_apart_and_inside_the_frame() {
        quiet(|session| {
            let (rows, labels) = cluster(150, 3, 6);
            let places = plane(session, &rows, 0).unwrap();
            assert!(places.iter().flatten().all(|v| v.abs() <= 1.0 + 1e-9));
            let apart = |i: usize, j: usize| {
                (places[i][0] - places[j][0]).powi(2) + (places[i][1] - places[j][1]).powi(2)
            };
            let alike = (0..150).filter(|&i| {
                let others = (0..150).filter(|&j| j != i);
                let nearest = others.reduce(|a, b| if apart(i, b) < apart(i, a) { b } else { a });
                nearest.is_some_and(|j| labels[i] == labels[j])
            });
            assert!(alike.count() >= 147);
        });
    }

    #[test]
    fn few_and_equal_rows_have_places_too() {
        quiet(|session| {
            for n in [0, 1, 2, 3, 5] {
                let places = plane(session, &Tensor::full([n, 4], 1.0), 0).unwrap();
                assert_eq!(places.len(), n);
                assert!(places.iter().flatten().all(|v| v.is_finite()), "{places:?}");
            }
        });
    }
}
