//! f32 values with a shape.

use crate::Shape;

/// The number of values does not fit the shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape} holds {expected} values, {found} were given")]
pub struct ShapeError {
    /// The shape asked for.
    pub shape: Shape,
    /// Its number of elements.
    pub expected: usize,
    /// The number of values given.
    pub found: usize,
}

/// f32 values in row-major order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// Where `data` does not hold as many values as `shape` has elements.
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Self, ShapeError> {
        let shape = shape.into();
        if shape.checked_len() == Some(data.len()) {
            Ok(Tensor { shape, data })
        } else {
            Err(ShapeError { expected: shape.len(), found: data.len(), shape })
        }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        Self::full(shape, 0.0)
    }

    /// A tensor that holds `value` everywhere.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        Tensor { data: vec![value; shape.len()], shape }
    }

    /// A tensor whose element `i`, in row-major order, is `f(i)`.
    pub fn from_fn(shape: impl Into<Shape>, f: impl FnMut(usize) -> f32) -> Self {
        let shape = shape.into();
        Tensor { data: (0..shape.len()).map(f).collect(), shape }
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The extents as a slice.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The values in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values in row-major order.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, without the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// True where there is no value.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Row `i` along the first axis: `[N, ..]` to `[..]`.
    pub fn row(&self, i: usize) -> &[f32] {
        let n = self.row_len();
        &self.data[i * n..(i + 1) * n]
    }

    /// The rows `some` along the first axis, in that order: `[N, ..]` to `[some.len(), ..]`.
    pub fn rows(&self, some: &[usize]) -> Tensor {
        let mut shape = self.shape.dims().to_vec();
        if let Some(n) = shape.first_mut() {
            *n = some.len();
        }
        let mut data = Vec::with_capacity(some.len() * self.row_len());
        some.iter().for_each(|&i| data.extend_from_slice(self.row(i)));
        Tensor { shape: shape.into(), data }
    }

    /// Number of values in a row along the first axis; 0 where the tensor is a scalar.
    pub fn row_len(&self) -> usize {
        match self.dims() {
            [] => 0,
            [_, rest @ ..] => rest.iter().product(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_of_values_is_refused() {
        let error = Tensor::new([2, 3], vec![0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 3] holds 6 values, 5 were given");
    }

    #[test]
    fn rows_run_along_the_first_axis() {
        let t = Tensor::from_fn([3, 2], |i| i as f32);
        assert_eq!(t.row(1), [2.0, 3.0]);
        let some = t.rows(&[2, 0, 2]);
        assert_eq!((some.dims(), some.data()), (&[3, 2][..], &[4.0, 5.0, 0.0, 1.0, 4.0, 5.0][..]));
        assert_eq!(t.rows(&[]).dims(), [0, 2]);
    }
}
