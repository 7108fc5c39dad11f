//! The constants of a file: f32 with a shape, or whole numbers.

use super::error::OnnxError;
use crate::onnx::proto::{ElementType, TensorProto};
use half::f16;
use headstart_tensor::{Shape, Tensor};

/// The most values of one constant: 4 GiB in f32.
const MOST_VALUES: usize = 1 << 30;

/// A constant's values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    /// Numbers.
    Floats(Tensor),
    /// Whole numbers, a list or (rank 0) one.
    Whole(Vec<i64>, bool),
}

/// What `tensor` holds.
///
/// # Errors
/// Where its values are in another file, of a type that networks here do not have, or not as many as its extents say.
pub(crate) fn constant(tensor: &TensorProto) -> Result<Constant, OnnxError> {
    external(tensor)?;
    let name = || if tensor.name.is_empty() { "(of an attribute)".to_owned() } else { tensor.name.clone() };
    let wrong = |expected: String, found: String| OnnxError::Tensor { name: name(), expected, found };
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = dims.filter(|dims| dims.len() <= 8).map(Shape::from);
    let shape = shape.filter(|s| s.checked_len().is_some_and(|n| n <= MOST_VALUES));
    let Some(shape) = shape else {
        return Err(wrong(
            format!("up to 8 extents of together at most {MOST_VALUES} values"),
            format!("{:?}", tensor.dims),
        ));
    };
    let raw = |width: usize| match tensor.raw_data.len() == shape.len() * width {
        true => Ok(&tensor.raw_data),
        false => Err(wrong(
            format!("{} bytes for its shape {shape}", shape.len() * width),
            format!("{}", tensor.raw_data.len()),
        )),
    };
    let counted = |found: usize| match found == shape.len() {
        true => Ok(()),
        false => Err(wrong(format!("{} values for its shape {shape}", shape.len()), found.to_string())),
    };
    let floats = |values: Vec<f32>| {
        let found = values.len();
        Tensor::new(shape.clone(), values)
            .map(Constant::Floats)
            .map_err(|_| wrong(format!("{} values for its shape {shape}", shape.len()), found.to_string()))
    };
    match ElementType::try_from(tensor.data_type) {
        Ok(ElementType::Float) if !tensor.float_data.is_empty() => {
            counted(tensor.float_data.len())?;
            floats(tensor.float_data.clone())
        }
        Ok(ElementType::Float) => floats(words(raw(4)?).map(f32::from_le_bytes).collect()),
        Ok(ElementType::Float16) => {
            floats(words(raw(2)?).map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect())
        }
        Ok(ElementType::Int64) => {
            let values = match tensor.int64_data.is_empty() {
                true => words(raw(8)?).map(i64::from_le_bytes).collect(),
                false => tensor.int64_data.clone(),
            };
            counted(values.len())?;
            Ok(Constant::Whole(values, shape.rank() == 0))
        }
        _ => Err(wrong(
            "elements of float32, float16 or int64".to_owned(),
            format!("type {}", tensor.data_type),
        )),
    }
}

/// Refuses a tensor whose values are in another file.
pub(crate) fn external(tensor: &TensorProto) -> Result<(), OnnxError> {
    if tensor.data_location == 0 && tensor.external_data.is_empty() {
        return Ok(());
    }
    let location = tensor.external_data.iter().find(|line| line.key == "location");
    let file = location.map_or_else(|| "which it does not name".to_owned(), |line| line.value.clone());
    Err(OnnxError::ExternalData { tensor: tensor.name.clone(), file })
}

/// The words of `N` bytes in `bytes`.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

/// `tensor` with its axes in the order `perm`.
pub(crate) fn permuted(tensor: &Tensor, perm: &[usize]) -> Tensor {
    let dims = tensor.dims();
    let to: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
    let strides: Vec<usize> = (0..dims.len()).map(|axis| dims[axis + 1..].iter().product()).collect();
    Tensor::from_fn(to.clone(), |mut at| {
        let mut from = 0;
        for axis in (0..to.len()).rev() {
            from += at % to[axis] * strides[perm[axis]];
            at /= to[axis];
        }
        tensor.data()[from]
    })
}
