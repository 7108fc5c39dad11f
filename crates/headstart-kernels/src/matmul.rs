//! Matrix products in f32: `out = a b`, or `out += a b`.

use crate::Isa;

/// A matrix in a slice: element `(r, c)` is `data[r * row_stride + c * col_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix `[rows, cols]` at the start of `data`.
    ///
    /// # Panics
    /// Where `data` is shorter than that: the caller's shapes are wrong.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert!(data.len() >= rows * cols, "a {rows}x{cols} matrix needs more than {} values", data.len());
        Mat { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The columns `columns`, without moving a value.
    ///
    /// # Panics
    /// Where there are not so many columns: the caller's shapes are wrong.
    pub fn columns(self, columns: std::ops::Range<usize>) -> Self {
        assert!(
            columns.start <= columns.end && columns.end <= self.cols,
            "columns {columns:?} of {}",
            self.cols
        );
        let skipped = (columns.start * self.col_stride).min(self.data.len());
        Mat { data: &self.data[skipped..], cols: columns.len(), ..self }
    }

    /// The transpose, without moving a value.
    pub fn t(self) -> Self {
        Mat {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `out = a b`, or `out += a b` with `accumulate`; `out` is row-major `[a.rows, b.cols]`. One thread.
///
/// # Panics
/// Where the extents do not fit: the caller's shapes are wrong.
pub fn matmul(isa: Isa, a: Mat, b: Mat, out: &mut [f32], accumulate: bool) {
    assert_eq!(a.cols, b.rows, "the inner extents of a matrix product differ");
    assert_eq!(out.len(), a.rows * b.cols, "the output of a matrix product has another size");
    if out.is_empty() {
        return;
    }
    if a.cols == 0 {
        if !accumulate {
            out.fill(0.0);
        }
        return;
    }
    match isa {
        Isa::Generic => generic(a, b, out, accumulate),
        Isa::Avx2 | Isa::Avx512 | Isa::Amx | Isa::Neon => native(a, b, out, accumulate),
    }
}

/// Rows of `out` as sums of rows of `b`: the inner loop runs over contiguous columns and vectorises. A block
/// of `b` stays in cache while all rows of `a` pass over it.
fn generic(a: Mat, b: Mat, out: &mut [f32], accumulate: bool) {
    const DEPTH: usize = 128;
    let n = b.cols;
    let mut gathered = vec![0.0; n];
    if !accumulate {
        out.fill(0.0);
    }
    for start in (0..a.cols).step_by(DEPTH) {
        for k in start..a.cols.min(start + DEPTH) {
            let row = if b.col_stride == 1 {
                &b.data[k * b.row_stride..k * b.row_stride + n]
            } else {
                for (c, value) in gathered.iter_mut().enumerate() {
                    *value = b.data[k * b.row_stride + c * b.col_stride];
                }
                &gathered
            };
            for (r, out_row) in out.chunks_exact_mut(n).enumerate() {
                let factor = a.data[r * a.row_stride + k * a.col_stride];
                for (o, &v) in out_row.iter_mut().zip(row) {
                    *o += factor * v;
                }
            }
        }
    }
}

#[allow(unsafe_code)]
fn native(a: Mat, b: Mat, out: &mut [f32], accumulate: bool) {
    let last = |m: &Mat| (m.rows - 1) * m.row_stride + (m.cols - 1) * m.col_stride;
    assert!(last(&a) < a.data.len() && last(&b) < b.data.len(), "a matrix reaches past its slice");
    // SAFETY: the three matrices lie inside their slices (asserted above and in `matmul`), `out` is borrowed
    // mutably and so overlaps neither input, and all strides are those of the slices.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_over_sizes_and_transposes() {
        let mut rng = Rng::new(1);
        let mut draw = |n: usize| (0..n).map(|_| rng.range(-1.0, 1.0) as f32).collect::<Vec<f32>>();
        for isa in Isa::available() {
            for (m, k, n) in
                [(1, 1, 1), (0, 3, 2), (3, 0, 2), (7, 5, 3), (16, 17, 15), (33, 128, 31), (5, 300, 64)]
            {
                let (a, b) = (draw(m * k), draw(k * n));
                for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                    let a = if ta { Mat::new(&a, k, m).t() } else { Mat::new(&a, m, k) };
                    let b = if tb { Mat::new(&b, n, k).t() } else { Mat::new(&b, k, n) };
                    for accumulate in [false, true] {
                        let mut found: Vec<f32> = vec![if accumulate { 0.5 } else { f32::NAN }; m * n];
                        let mut expected = found.clone();
                        matmul(isa, a, b, &mut found, accumulate);
                        reference::matmul(
                            (m, k, n),
                            |r, c| at(&a, r, c),
                            |r, c| at(&b, r, c),
                            &mut expected,
                            accumulate,
                        );
                        for (f, e) in found.iter().zip(&expected) {
                            assert!((f - e).abs() < 1e-4, "{isa} {m}x{k}x{n}: {f} {e}");
                        }
                    }
                }
            }
        }
    }

    fn at(m: &Mat, r: usize, c: usize) -> f32 {
        m.data[r * m.row_stride + c * m.col_stride]
    }
}
