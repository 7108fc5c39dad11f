//! One tensor as a file stores it: contiguous, row-major, little endian.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use headstart_tensor::{Shape, Tensor};

use crate::source::Source;
use crate::{DType, WeightsError};

/// A tensor in its file's element type. Cheap to clone: the bytes are shared with the file's mapping.
#[derive(Clone)]
pub struct StoredTensor {
    dtype: DType,
    shape: Shape,
    source: Arc<Source>,
    /// The tensor's bytes in the source; `dtype` and `shape` take exactly these.
    range: Range<usize>,
}

impl StoredTensor {
    /// A tensor over a part of `source`. `None` where the sizes do not match or the range is outside.
    pub(crate) fn view(
        dtype: DType,
        shape: Shape,
        source: &Arc<Source>,
        range: Range<usize>,
    ) -> Option<Self> {
        let bytes = source.bytes().get(range.clone())?.len();
        let source = Arc::clone(source);
        (byte_len(dtype, &shape) == Some(bytes)).then_some(StoredTensor { dtype, shape, source, range })
    }

    /// A tensor that owns its bytes. `None` where `dtype` and `shape` do not take exactly these.
    pub fn new(dtype: DType, shape: impl Into<Shape>, bytes: Vec<u8>) -> Option<Self> {
        let range = 0..bytes.len();
        Self::view(dtype, shape.into(), &Arc::new(Source::Owned(bytes)), range)
    }

    /// `tensor` in f32.
    pub fn from_tensor(tensor: &Tensor) -> Self {
        let bytes: Vec<u8> = tensor.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::owned(DType::F32, tensor, bytes)
    }

    /// `tensor` rounded to f16, to nearest with ties to even: relative error at most 2^-11 down to 6e-5.
    ///
    /// # Errors
    /// [`WeightsError::OutOfRange`] where a finite value is beyond f16's largest, 65504.
    pub fn from_tensor_half(tensor: &Tensor) -> Result<Self, WeightsError> {
        let mut bytes = Vec::with_capacity(tensor.len() * 2);
        for (index, &value) in tensor.data().iter().enumerate() {
            let half = f16::from_f32(value);
            if value.is_finite() && !half.is_finite() {
                return Err(WeightsError::OutOfRange { index, value: f64::from(value), dtype: DType::F16 });
            }
            bytes.extend(half.to_le_bytes());
        }
        Ok(Self::owned(DType::F16, tensor, bytes))
    }

    /// `bytes` were made from `tensor`, an element of `dtype` for each of its values.
    fn owned(dtype: DType, tensor: &Tensor, bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        StoredTensor { dtype, shape: tensor.shape().clone(), source: Arc::new(Source::Owned(bytes)), range }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents, in the checkpoint's layout.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements, contiguous, row-major, little endian.
    pub fn bytes(&self) -> &[u8] {
        self.source.bytes().get(self.range.clone()).unwrap_or_default()
    }

    /// The values in f32: exact for f16, bf16 and f32, rounded to nearest for f64 and wide integers, 0 or 1 for
    /// truth values.
    ///
    /// # Errors
    /// [`WeightsError::OutOfRange`] where a finite f64 is beyond f32's range.
    pub fn to_tensor(&self) -> Result<Tensor, WeightsError> {
        let data = match self.dtype {
            DType::Bool => self.elements(|[b]: [u8; 1]| f32::from(u8::from(b != 0))),
            DType::U8 => self.elements(|b| f32::from(u8::from_le_bytes(b))),
            DType::I8 => self.elements(|b| f32::from(i8::from_le_bytes(b))),
            DType::I16 => self.elements(|b| f32::from(i16::from_le_bytes(b))),
            DType::I32 => self.elements(|b| i32::from_le_bytes(b) as f32),
            DType::I64 => self.elements(|b| i64::from_le_bytes(b) as f32),
            DType::F32 => self.elements(f32::from_le_bytes),
            DType::F16 => {
                let halves: Vec<f16> = self.elements(f16::from_le_bytes);
                let mut out = vec![0.0; halves.len()];
                halves.convert_to_f32_slice(&mut out);
                out
            }
            DType::BF16 => self.elements(|b| bf16::from_le_bytes(b).to_f32()),
            DType::F64 => {
                let wide = self.elements(f64::from_le_bytes);
                let beyond = |v: &f64| v.is_finite() && !(*v as f32).is_finite();
                if let Some((index, &value)) = wide.iter().enumerate().find(|(_, v)| beyond(v)) {
                    return Err(WeightsError::OutOfRange { index, value, dtype: DType::F32 });
                }
                wide.iter().map(|&v| v as f32).collect()
            }
        };
        // The constructors hold the number of elements to the shape.
        Ok(Tensor::new(self.shape.clone(), data).unwrap_or_default())
    }

    fn elements<const N: usize, T>(&self, convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.bytes().as_chunks().0.iter().map(|&chunk| convert(chunk)).collect()
    }
}

/// The bytes that `shape` takes; `None` where the number does not fit.
pub(crate) fn byte_len(dtype: DType, shape: &Shape) -> Option<usize> {
    shape.checked_len()?.checked_mul(dtype.size())
}

impl fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)
    }
}

/// Equal type, shape and bytes, wherever they lie.
impl PartialEq for StoredTensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_out_in_f32() {
        let cases: [(DType, Vec<u8>, [f32; 2]); 10] = [
            (DType::Bool, vec![0, 1], [0.0, 1.0]),
            (DType::U8, vec![7, 255], [7.0, 255.0]),
            (DType::I8, vec![7, 255], [7.0, -1.0]),
            (DType::I16, vec![7, 0, 255, 255], [7.0, -1.0]),
            (DType::I32, [7i32, -1].iter().flat_map(|v| v.to_le_bytes()).collect(), [7.0, -1.0]),
            (DType::I64, [7i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect(), [7.0, -1.0]),
            (DType::F16, vec![0x00, 0x3c, 0x01, 0x00], [1.0, 5.960_464_5e-8]),
            (DType::BF16, vec![0x80, 0x3f, 0xc0, 0xff], [1.0, f32::NAN]),
            (DType::F32, [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect(), [1.5, -2.0]),
            (DType::F64, [0.1f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect(), [0.1, -2.0]),
        ];
        for (dtype, bytes, expected) in cases {
            let tensor = StoredTensor::new(dtype, [2], bytes).unwrap().to_tensor().unwrap();
            assert_eq!(tensor.dims(), [2]);
            for (found, expected) in tensor.data().iter().zip(expected) {
                assert!(found == &expected || found.is_nan() && expected.is_nan(), "{dtype}: {found}");
            }
        }
    }

    #[test]
    fn a_value_that_would_become_infinite_is_refused() {
        let wide = StoredTensor::new(DType::F64, [1], 1e300f64.to_le_bytes().to_vec()).unwrap();
        assert!(
            wide.to_tensor().unwrap_err().to_string().contains("element 0 is 1e300, which F32 cannot hold")
        );
        let large = Tensor::new([2], vec![1.0, 65520.0]).unwrap();
        assert!(StoredTensor::from_tensor_half(&large).unwrap_err().to_string().contains("element 1"));
        let infinite = Tensor::new([2], vec![f32::INFINITY, 65504.0]).unwrap();
        let half = StoredTensor::from_tensor_half(&infinite).unwrap();
        assert_eq!(half.to_tensor().unwrap(), infinite);
    }

    #[test]
    fn sizes_must_match() {
        assert!(StoredTensor::new(DType::F32, [2], vec![0; 7]).is_none());
        assert!(StoredTensor::new(DType::F32, [usize::MAX, 8], vec![0; 8]).is_none());
        assert!(StoredTensor::new(DType::F32, [], vec![0; 4]).is_some());
    }
}
