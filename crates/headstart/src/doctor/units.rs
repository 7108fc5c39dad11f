//! Features as directions: products of rows of length one, and short rows whose products bound them.

use crate::{Error, Session};
use headstart_kernels::{Isa, Mat, Pool, matmul};
use headstart_tensor::{Rng, Tensor};

/// Rows of a block: two of them, and their products, stay in cache.
pub(crate) const BLOCK: usize = 512;
/// Directions that short rows keep. On CIFAR-10's features they hold four fifths of the squared length.
const KEPT: usize = 64;
/// Rows that the directions are found from, at most.
const SAMPLE: usize = 4096;
/// Passes of the subspace iteration that finds them. Any directions give true bounds; good ones give close bounds.
const PASSES: usize = 4;

/// Features `[n, d]` with the inverse length of each row.
pub(crate) struct Units<'a> {
    features: &'a Tensor,
    inverse: Vec<f32>,
}

impl<'a> Units<'a> {
    pub(crate) fn of(features: &'a Tensor, pool: &Pool) -> Units<'a> {
        let (n, d) = (rows(features), features.row_len());
        let mut inverse = vec![0.0; n];
        pool.chunks_mut(&mut inverse, BLOCK, |block, out| {
            let values = features.data()[block * BLOCK * d..].chunks_exact(d.max(1));
            for (out, row) in out.iter_mut().zip(values) {
                let square: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                *out = if square > 0.0 { (1.0 / square.sqrt()) as f32 } else { 0.0 };
            }
        });
        Units { features, inverse }
    }

    pub(crate) fn len(&self) -> usize {
        self.inverse.len()
    }

    /// The cosine between two rows.
    pub(crate) fn cosine(&self, a: usize, b: usize) -> f32 {
        let mut strands = [0.0f32; 16];
        for (a, b) in self.features.row(a).chunks(16).zip(self.features.row(b).chunks(16)) {
            strands.iter_mut().zip(a.iter().zip(b)).for_each(|(s, (a, b))| *s += a * b);
        }
        strands.iter().sum::<f32>() * self.inverse[a] * self.inverse[b]
    }

    /// The rows of block `block`, of length one.
    fn block(&self, block: usize) -> Vec<f32> {
        let end = self.len().min((block + 1) * BLOCK);
        self.some(block * BLOCK..end)
    }

    /// These rows, of length one.
    pub(crate) fn some(&self, rows: impl IntoIterator<Item = usize>) -> Vec<f32> {
        rows.into_iter()
            .flat_map(|row| self.features.row(row).iter().map(move |v| v * self.inverse[row]))
            .collect()
    }

    /// Cosines between the rows of two blocks, row-major.
    pub(crate) fn cosines(&self, a: usize, b: usize) -> Vec<f32> {
        products(&self.block(a), &self.block(b), self.features.row_len())
    }

    /// Short rows: coordinates along [`KEPT`] orthonormal directions, and the length of what they leave out. By the
    /// Cauchy-Schwarz inequality the product of two of them is at least the cosine.
    pub(crate) fn short(&self, session: &Session) -> Result<Short, Error> {
        let d = self.features.row_len();
        let kept = KEPT.min(d);
        let directions = self.directions(kept, session)?;
        let width = kept + 1;
        let mut values = vec![0.0; self.len() * width];
        session.pool.chunks_mut(&mut values, BLOCK * width, |block, out| {
            let coordinates = products(&self.block(block), &directions, d);
            for (out, coordinates) in out.chunks_exact_mut(width).zip(coordinates.chunks_exact(kept)) {
                let square: f32 = coordinates.iter().map(|c| c * c).sum();
                out[..kept].copy_from_slice(coordinates);
                out[kept] = (1.0 - square).max(0.0).sqrt();
            }
        });
        Ok(Short { values, width })
    }

    /// Orthonormal directions `[kept, d]` near the leading ones of the rows: subspace iteration over a sample (Halko,
    /// Martinsson and Tropp 2011).
    fn directions(&self, kept: usize, session: &Session) -> Result<Vec<f32>, Error> {
        let d = self.features.row_len();
        let mut rng = Rng::named(0, "directions");
        let mut sample: Vec<usize> = (0..self.len()).collect();
        rng.shuffle(&mut sample);
        sample.truncate(SAMPLE);
        let rows = self.some(sample.iter().copied());
        let mut directions: Vec<f32> = (0..kept * d).map(|_| rng.normal() as f32).collect();
        orthonormalise(&mut directions, d);
        for _ in 0..PASSES {
            session.check()?;
            let coordinates = products(&directions, &rows, d);
            let (a, b) = (Mat::new(&coordinates, kept, sample.len()), Mat::new(&rows, sample.len(), d));
            matmul(Isa::current(), a, b, &mut directions, false);
            orthonormalise(&mut directions, d);
        }
        Ok(directions)
    }
}

/// Short rows `[n, width]`.
pub(crate) struct Short {
    values: Vec<f32>,
    width: usize,
}

impl Short {
    /// Bounds from above of the cosines between the rows of two blocks, row-major.
    pub(crate) fn bounds(&self, a: usize, b: usize) -> Vec<f32> {
        let block = |block: usize| {
            let size = BLOCK * self.width;
            &self.values[block * size..self.values.len().min((block + 1) * size)]
        };
        products(block(a), block(b), self.width)
    }
}

/// The products of the rows of `a` `[m, d]` and `b` `[n, d]`, `[m, n]`.
pub(crate) fn products(a: &[f32], b: &[f32], d: usize) -> Vec<f32> {
    let (m, n) = (a.len() / d.max(1), b.len() / d.max(1));
    let mut out = vec![0.0; m * n];
    matmul(Isa::current(), Mat::new(a, m, d), Mat::new(b, n, d).t(), &mut out, false);
    out
}

fn rows(features: &Tensor) -> usize {
    features.dims().first().copied().unwrap_or(0)
}

/// Gram-Schmidt in f64, twice, so that f32 rows are orthonormal to rounding. A row that the ones before it span
/// becomes zero, which keeps the bound true.
fn orthonormalise(rows: &mut [f32], d: usize) {
    for i in 0..rows.len() / d.max(1) {
        let (before, rest) = rows.split_at_mut(i * d);
        let row = &mut rest[..d];
        let start = length(row);
        for _ in 0..2 {
            for other in before.chunks_exact(d) {
                let along: f64 = row.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                row.iter_mut()
                    .zip(other)
                    .for_each(|(a, &b)| *a = (f64::from(*a) - along * f64::from(b)) as f32);
            }
        }
        let left = length(row);
        let scale = if left > 1e-5 * start { 1.0 / left } else { 0.0 };
        row.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
}

fn length(row: &[f32]) -> f64 {
    row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}
