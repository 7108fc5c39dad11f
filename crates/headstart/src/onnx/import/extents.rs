//! The extents that reshapes lead to, where one may be the batch's.

use super::error::OnnxError;
use super::pooling::axes;
use super::reader::known;
use super::value::Count;
use crate::onnx::proto::NodeProto;

/// `to` with what it leaves open: a 0 is the extent of `from` there, a -1 what is left.
pub(crate) fn resolved(from: &[Count], to: &[Count], zeros: bool) -> Option<Vec<Count>> {
    let mut to = to.to_vec();
    for (at, count) in to.iter_mut().enumerate() {
        if *count == Count::Known(0) && zeros {
            *count = *from.get(at)?;
        }
    }
    let product = |counts: &[Count]| {
        let batches = counts.iter().filter(|c| **c == Count::Batch).count();
        let numbers = counts.iter().filter_map(|c| known(*c)).filter(|&n| n != -1);
        Some((
            batches,
            numbers.into_iter().try_fold(1i64, |product, n| product.checked_mul(n).filter(|_| n > 0))?,
        ))
    };
    let ((batches, all), (there, rest)) = (product(from)?, product(&to)?);
    let mut open = to.iter_mut().filter(|c| **c == Count::Known(-1));
    if let Some(open) = open.next() {
        *open = match batches.checked_sub(there)? {
            0 if all % rest == 0 => Count::Known(all / rest),
            1 if all == rest => Count::Batch,
            _ => return None,
        };
    }
    if open.next().is_some() {
        return None;
    }
    (product(&to)? == (batches, all)).then_some(to)
}

/// `from` without ones.
pub(crate) fn squeezed(
    node: &NodeProto,
    from: &[Count],
    given: Option<&[i64]>,
) -> Result<Vec<Count>, OnnxError> {
    let gone = match given {
        Some(given) => axes(node, given, from.len())?,
        None => (0..from.len()).filter(|&at| from[at] == Count::Known(1)).collect(),
    };
    Ok((0..from.len()).filter(|at| !gone.contains(at)).map(|at| from[at]).collect())
}

/// `from` with ones put in.
pub(crate) fn unsqueezed(node: &NodeProto, from: &[Count], given: &[i64]) -> Result<Vec<Count>, OnnxError> {
    let ones = axes(node, given, from.len() + given.len())?;
    let mut rest = from.iter().copied();
    let all = 0..from.len() + ones.len();
    Ok(all.filter_map(|at| if ones.contains(&at) { Some(Count::Known(1)) } else { rest.next() }).collect())
}
