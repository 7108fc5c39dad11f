//! Attention, spelled out: the joint projection `[batch, tokens, 3 * width]` is parted into queries, keys and values, which go
//! through two products with a softmax between them.
//!
//! Its values are followed as the axes they are made of, so that any order of parting, turning and merging is the same; what
//! comes out merged into `[batch, tokens, width]` becomes one node.

use super::attributes::{Attributes, unsupported};
use super::error::OnnxError;
use super::reader::Reader;
use super::value::{Activation, Count, Layout, Value};
use crate::onnx::proto::NodeProto;
use headstart_graph::{Attention, NodeId, Op};

/// An axis that values inside an attention have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Batch,
    Tokens,
    /// Queries, keys, values.
    Part,
    Head,
    /// Features of a head.
    Size,
    /// Tokens once more: those that are looked at.
    Keys,
}

/// What a value inside an attention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Queries, keys and values.
    All,
    /// One of these: 0, 1 or 2.
    One(usize),
    /// Products of queries and keys.
    Scores,
    /// Their softmax.
    Shares,
    /// Values mixed by these shares.
    Mixed,
}

/// A value inside an attention.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// The joint projection.
    projection: NodeId,
    tokens: usize,
    heads: usize,
    size: usize,
    role: Role,
    /// What it was multiplied by.
    scale: f64,
    /// For each axis in ONNX the axes that are merged in it; none: an extent of one.
    axes: Vec<Vec<Axis>>,
}

/// Four axes as they are before a product.
fn alone<const N: usize>(axes: [Axis; N]) -> Vec<Vec<Axis>> {
    axes.map(|axis| vec![axis]).to_vec()
}

const BY_HEAD: [Axis; 4] = [Axis::Batch, Axis::Head, Axis::Tokens, Axis::Size];
const TURNED: [Axis; 4] = [Axis::Batch, Axis::Head, Axis::Size, Axis::Tokens];
const SCORES: [Axis; 4] = [Axis::Batch, Axis::Head, Axis::Tokens, Axis::Keys];

impl Parts {
    /// An axis' extent; none for the batch.
    fn extent(&self, axis: Axis) -> Option<usize> {
        match axis {
            Axis::Batch => None,
            Axis::Tokens | Axis::Keys => Some(self.tokens),
            Axis::Part => Some(3),
            Axis::Head => Some(self.heads),
            Axis::Size => Some(self.size),
        }
    }

    /// With its axes in another order.
    pub(crate) fn turned(self, perm: &[usize]) -> Parts {
        let axes = perm.iter().map(|&axis| self.axes[axis].clone()).collect();
        Parts { axes, ..self }
    }

    /// Times a number.
    pub(crate) fn scaled(self, factor: f64) -> Parts {
        Parts { scale: self.scale * factor, ..self }
    }

    /// Queries, keys or values, which stay on an axis of one.
    fn one(&self, axis: i64, index: i64) -> Option<Parts> {
        let axis = if axis < 0 { axis.checked_add(self.axes.len() as i64)? } else { axis };
        let (axis, index) = (usize::try_from(axis).ok()?, usize::try_from(index).ok().filter(|&i| i < 3)?);
        let mut one = Parts { role: Role::One(index), ..self.clone() };
        (self.axes.get(axis)? == &[Axis::Part] && self.role == Role::All).then(|| one.axes[axis].clear())?;
        Some(one)
    }

    /// Queries, keys or values, without their axis.
    pub(crate) fn part(&self, axis: i64, index: i64) -> Option<Parts> {
        let mut part = self.one(axis, index)?;
        let gone = part.axes.iter().position(Vec::is_empty)?;
        part.axes.remove(gone);
        Some(part)
    }

    /// Its axes merged and parted to the extents `to`; none where these cut an axis.
    fn merged(&self, to: &[Count]) -> Option<Vec<Vec<Axis>>> {
        let mut left: Vec<Axis> = self.axes.concat();
        let mut take = |count: Count, last: bool| {
            let mut group = Vec::new();
            let mut extent = 1i64;
            loop {
                match (count, group.as_slice()) {
                    (Count::Batch, [Axis::Batch]) => return Some(group),
                    (Count::Known(wanted), _) if extent == wanted => return Some(group),
                    _ => {}
                }
                let axis = match last {
                    true => left.pop()?,
                    false => (!left.is_empty()).then(|| left.remove(0))?,
                };
                match (self.extent(axis), count) {
                    (Some(n), Count::Known(wanted)) => {
                        extent = extent.checked_mul(n as i64).filter(|n| *n <= wanted)?
                    }
                    (None, Count::Batch) if group.is_empty() => {}
                    _ => return None,
                }
                group.insert(if last { 0 } else { group.len() }, axis);
            }
        };
        let open = to.iter().position(|&count| count == Count::Known(-1));
        let (before, behind) = to.split_at(open.unwrap_or(to.len()));
        let mut axes = before.iter().map(|&count| take(count, false)).collect::<Option<Vec<_>>>()?;
        let behind =
            behind.iter().skip(1).rev().map(|&count| take(count, true)).collect::<Option<Vec<_>>>()?;
        match open {
            Some(_) => axes.push(left),
            None if left.is_empty() => {}
            None => return None,
        }
        axes.extend(behind.into_iter().rev());
        Some(axes)
    }
}

impl<'a> Reader<'a> {
    /// The extents of a value inside an attention; -1 for one that the batch is merged in.
    pub(super) fn parts_extents(&self, parts: &Parts) -> Vec<Count> {
        let extent = |group: &Vec<Axis>| match group.as_slice() {
            [Axis::Batch] => Count::Batch,
            group => {
                let all: Option<usize> = group.iter().map(|&axis| parts.extent(axis)).product();
                Count::Known(all.map_or(-1, |n| n as i64))
            }
        };
        parts.axes.iter().map(extent).collect()
    }

    /// The beginning: the joint projection `x`, `[tokens, 3 * width]`, parted.
    pub(super) fn parted(&mut self, node: &NodeProto, x: NodeId, own: &[usize]) -> Result<Value, OnnxError> {
        let &[tokens, joint] = self.builder.shape(x).dims() else { return Err(no_attention(node)) };
        match *own {
            [t, 3, heads, size]
                if t == tokens && heads.checked_mul(size).and_then(|w| w.checked_mul(3)) == Some(joint) =>
            {
                let axes = alone([Axis::Batch, Axis::Tokens, Axis::Part, Axis::Head, Axis::Size]);
                Ok(Value::Parts(Parts {
                    projection: x,
                    tokens,
                    heads,
                    size,
                    role: Role::All,
                    scale: 1.0,
                    axes,
                }))
            }
            _ => Err(no_attention(node)),
        }
    }

    /// A reshape inside, or the end: merged into `[batch, tokens, width]`, it is an attention.
    pub(super) fn reshaped_parts(
        &mut self,
        node: &NodeProto,
        parts: Parts,
        to: &[Count],
    ) -> Result<Value, OnnxError> {
        let from = self.parts_extents(&parts);
        let zero = |(at, &count): (usize, &Count)| match count {
            Count::Known(0) => from.get(at).copied().unwrap_or(count),
            Count::Known(n) if at == 0 && Some(n) == self.batch => Count::Batch,
            count => count,
        };
        let to: Vec<Count> = to.iter().enumerate().map(zero).collect();
        let axes = parts.merged(&to).ok_or_else(|| no_attention(node))?;
        let end = [vec![Axis::Batch], vec![Axis::Tokens], vec![Axis::Head, Axis::Size]];
        if parts.role == Role::Mixed && axes == end {
            let attention = Op::Attention(Attention { heads: parts.heads, mask: false });
            let made = self.step(node, attention, &[parts.projection])?;
            return Ok(Value::Activation(Activation::of(made, Layout::Tokens)));
        }
        Ok(Value::Parts(Parts { axes, ..parts }))
    }

    /// `Split` into queries, keys and values.
    pub(super) fn split(&mut self, node: &'a NodeProto) -> Result<Vec<Value>, OnnxError> {
        let attributes = Attributes::of(node, &["axis", "num_outputs", "split"])?;
        let sizes = match attributes.ints("split") {
            Some(sizes) => Some(sizes.to_vec()),
            None => self.integers(node, 1)?,
        };
        let Value::Parts(parts) = self.value(node, 0)? else {
            return Err(unsupported(
                node,
                "a value of its own is taken apart",
                "only queries, keys and values are",
            ));
        };
        let thirds = node.output.len() == 3 && sizes.is_none_or(|sizes| sizes == [1, 1, 1]);
        let three = (0..3).map(|index| parts.one(attributes.int("axis", 0), index).map(Value::Parts));
        let three: Option<Vec<Value>> = three.collect();
        three.filter(|_| thirds).ok_or_else(|| no_attention(node))
    }

    /// `Slice`: one of queries, keys and values.
    pub(super) fn sliced(
        &self,
        node: &NodeProto,
        parts: &Parts,
        axis: i64,
        from: i64,
        to: i64,
    ) -> Result<Value, OnnxError> {
        let length = |to: i64| if to < 0 { to.saturating_add(3) } else { to.min(3) };
        match length(to).saturating_sub(length(from)) {
            1 => parts.one(axis, length(from)).map(Value::Parts).ok_or_else(|| no_attention(node)),
            _ => Err(no_attention(node)),
        }
    }

    /// Queries times keys, or shares times values.
    pub(super) fn parts_product(&self, node: &NodeProto, a: Parts, b: Parts) -> Result<Value, OnnxError> {
        let same = a.projection == b.projection;
        let shapes = (a.axes.clone(), b.axes.clone());
        let product = match (a.role, b.role) {
            (Role::One(0), Role::One(1)) if shapes == (alone(BY_HEAD), alone(TURNED)) => {
                let (axes, scale) = (alone(SCORES), a.scale * b.scale);
                Some(Parts { role: Role::Scores, scale, axes, ..a })
            }
            (Role::Shares, Role::One(2)) if shapes == (alone(SCORES), alone(BY_HEAD)) && b.scale == 1.0 => {
                Some(Parts { role: Role::Mixed, axes: alone(BY_HEAD), ..a })
            }
            _ => None,
        };
        product.filter(|_| same).map(Value::Parts).ok_or_else(|| no_attention(node))
    }

    /// The softmax between the products.
    pub(super) fn softmax(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let axis = Attributes::of(node, &["axis"])?.int("axis", if self.opset < 13 { 1 } else { -1 });
        let Value::Parts(parts) = self.value(node, 0)? else {
            let expected = "Softmax is imported at the output, where it is left out, and within attention";
            return Err(unsupported(node, "it stands inside the network", expected));
        };
        let right = 1.0 / (parts.size as f64).sqrt();
        if (parts.scale - right).abs() > 1e-5 * right {
            let found = format!("scores times {}", parts.scale);
            return Err(unsupported(
                node,
                found,
                format!("scores by the root of a head's size, {right}, are imported"),
            ));
        }
        match parts.role == Role::Scores && matches!(axis, -1 | 3) && parts.axes == alone(SCORES) {
            true => Ok(Value::Parts(Parts { role: Role::Shares, scale: 1.0, ..parts })),
            false => Err(no_attention(node)),
        }
    }
}

fn no_attention(node: &NodeProto) -> OnnxError {
    let expected = "self-attention is imported as timm and this program write it: one joint projection, reshaped to \
                    [batch, tokens, 3, heads, size], and softmax(q k^T / sqrt(size)) v";
    unsupported(node, "a step of an attention that is not known", expected)
}
