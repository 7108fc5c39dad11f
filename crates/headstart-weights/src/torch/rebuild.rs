//! From the symbolic call that would rebuild a tensor to the tensor.

use std::ops::Range;

use headstart_pickle::{Call, Items, Value};
use headstart_tensor::Shape;

use super::storage::{StorageId, Storages};
use crate::stored::byte_len;
use crate::{StoredTensor, WeightsError};

/// No tensor has more extents; a shape shared by many tensors could otherwise take far more than its file.
const MAX_RANK: usize = 64;

/// True for the calls that [`Rebuilder::tensor`] knows.
pub(crate) fn is_tensor(value: Value<'_>) -> bool {
    matches!(value, Value::Call(call) if kind(&call).is_some())
}

#[derive(PartialEq)]
enum Kind {
    /// `(storage, offset, size, stride, ..)`.
    Tensor,
    /// `(tensor, requires_grad, ..)`.
    Parameter,
}

fn kind(call: &Call<'_>) -> Option<Kind> {
    match (call.global().module, call.global().name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Kind::Tensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Some(Kind::Parameter),
        ("torch.nn.parameter", "Parameter") => Some(Kind::Parameter),
        _ => None,
    }
}

/// Builds the tensors of one file.
pub(crate) struct Rebuilder {
    storages: Storages,
    /// Bytes that may still be taken for tensors that are not contiguous in the file.
    left: usize,
}

/// A view of a storage.
struct View<'p> {
    id: StorageId<'p>,
    offset: usize,
    shape: Shape,
    strides: Vec<usize>,
}

impl Rebuilder {
    /// Strided tensors may take eight times the file and 16 MiB in all: a stride of 0 turns one element into any
    /// number of them.
    pub(crate) fn new(storages: Storages) -> Self {
        let left = storages.source.bytes().len().saturating_mul(8).saturating_add(16 << 20);
        Rebuilder { storages, left }
    }

    /// The tensor that `value` describes, called `name` in messages.
    pub(crate) fn tensor(&mut self, name: &str, mut value: Value<'_>) -> Result<StoredTensor, WeightsError> {
        let refused = |file: &std::path::Path, found: String| WeightsError::NotATensor {
            file: file.to_owned(),
            tensor: name.to_owned(),
            found,
        };
        loop {
            let Value::Call(call) = value else {
                return Err(refused(&self.storages.file, value.kind().to_owned()));
            };
            match kind(&call) {
                Some(Kind::Parameter) => value = call.args().get(0).unwrap_or(Value::None),
                Some(Kind::Tensor) => {
                    let view = if call.state().is_none() { View::parse(call.args()) } else { None };
                    let view = view.ok_or_else(|| {
                        refused(&self.storages.file, "a tensor of a kind that is not known".to_owned())
                    })?;
                    return self.view(name, &view);
                }
                None => {
                    let global = call.global();
                    let found = format!("a call of {}.{}", global.module, global.name);
                    return Err(refused(&self.storages.file, found));
                }
            }
        }
    }

    fn view(&mut self, name: &str, view: &View<'_>) -> Result<StoredTensor, WeightsError> {
        let range = self.storages.find(&view.id)?;
        let dtype = view.id.dtype;
        let held = range.len() / dtype.size();
        let needed = view.needed();
        let (Some(bytes), true) = (byte_len(dtype, &view.shape), needed.is_some_and(|n| n <= held)) else {
            return Err(WeightsError::OutsideStorage {
                file: self.storages.file.clone(),
                tensor: name.to_owned(),
                shape: view.shape.clone(),
                storage: view.id.key.to_owned(),
                needed: needed.unwrap_or(usize::MAX),
                found: held,
            });
        };
        let tensor = if bytes == 0 {
            StoredTensor::new(dtype, view.shape.clone(), Vec::new())
        } else if view.is_contiguous() {
            let start = range.start + view.offset * dtype.size();
            StoredTensor::view(dtype, view.shape.clone(), &self.storages.source, start..start + bytes)
        } else {
            if bytes > self.left {
                return Err(WeightsError::Expands {
                    file: self.storages.file.clone(),
                    tensor: name.to_owned(),
                    shape: view.shape.clone(),
                    needed: bytes,
                    limit: self.left,
                });
            }
            self.left -= bytes;
            StoredTensor::new(dtype, view.shape.clone(), self.gather(view, range, bytes))
        };
        // The sizes were checked above: what is left is a mistake of ours, reported as the file's.
        tensor.ok_or_else(|| WeightsError::Size {
            file: self.storages.file.clone(),
            tensor: name.to_owned(),
            dtype,
            shape: view.shape.clone(),
            expected: bytes,
            found: held,
        })
    }

    /// Copies the elements of a strided view into row-major order. Every element is within `range`.
    fn gather(&self, view: &View<'_>, range: Range<usize>, bytes: usize) -> Vec<u8> {
        let size = view.id.dtype.size();
        let storage = self.storages.source.bytes().get(range).unwrap_or_default();
        let dims = view.shape.dims();
        let mut index = vec![0; dims.len()];
        let mut element = view.offset;
        let mut out = Vec::with_capacity(bytes);
        while out.len() < bytes {
            out.extend(storage.get(element * size..(element + 1) * size).unwrap_or_default());
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                element += view.strides[axis];
                if index[axis] < dims[axis] {
                    break;
                }
                element -= view.strides[axis] * dims[axis];
                index[axis] = 0;
            }
        }
        out
    }
}

impl<'p> View<'p> {
    /// `(storage, offset, size, stride[, requires_grad, hooks[, metadata]])`. Metadata changes what the elements mean
    /// (conjugated, negated), so that it must be empty.
    fn parse(args: Items<'p>) -> Option<Self> {
        let Value::Persistent(storage) = args.get(0)? else { return None };
        let plain = match args.get(6) {
            None | Some(Value::None) => true,
            Some(Value::Dict(metadata)) => metadata.is_empty(),
            Some(_) => false,
        };
        let extents = |i| {
            let tuple = args.get(i).and_then(|v| v.tuple()).filter(|t| t.len() <= MAX_RANK)?;
            tuple.iter().map(|v| v.size()).collect::<Option<Vec<usize>>>()
        };
        let (shape, strides) = (extents(2)?, extents(3)?);
        (plain && args.len() <= 7 && shape.len() == strides.len()).then_some(())?;
        let id = StorageId::parse(storage.id())?;
        Some(View { id, offset: args.get(1)?.size()?, shape: Shape::from(shape), strides })
    }

    /// Elements of the storage up to and with the last one viewed; `None` where the number does not fit.
    fn needed(&self) -> Option<usize> {
        if self.shape.is_empty() {
            return Some(0);
        }
        let extents = self.shape.dims().iter().zip(&self.strides);
        let mut steps = extents.map(|(&extent, &stride)| (extent - 1).checked_mul(stride));
        steps.try_fold(self.offset, |sum, n| sum.checked_add(n?))?.checked_add(1)
    }

    /// Row-major without gaps; the stride along an extent of 1 does not matter.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.dims().iter().zip(&self.strides).rev().all(|(&extent, &stride)| {
            let fits = extent == 1 || stride == expected;
            expected *= extent;
            fits
        })
    }
}
