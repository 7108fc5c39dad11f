//! Axes: merged, turned, taken apart and put side by side. Most of it changes how ONNX looks at a value, not the value.

use super::attributes::{Attributes, unsupported};
use super::constant::permuted;
use super::error::OnnxError;
use super::extents::{resolved, squeezed, unsqueezed};
use super::pooling::axes;
use super::reader::{Reader, known};
use super::value::{Activation, Count, Layout, Rank, Value};
use crate::onnx::proto::NodeProto;
use headstart_graph::{ClassToken, NodeId, Op, Pooled, TokenPool};
use headstart_tensor::Tensor;

/// The longest list that is put together: a list put beside itself, again and again, would have no end.
const LONGEST_LIST: usize = 1000;

impl<'a> Reader<'a> {
    /// `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze`.
    pub(super) fn reshape(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["allowzero", "axes", "axis"])?;
        let value = self.value(node, 0)?;
        let from = match &value {
            Value::Whole(counts, rank) => return self.list(node, counts.clone(), *rank),
            Value::Floats(tensor) => tensor.dims().iter().map(|&d| Count::Known(d as i64)).collect(),
            Value::Activation(activation) => self.extents(self.settled(node, activation)?, activation.layout),
            Value::Parts(parts) => self.parts_extents(parts),
            Value::Narrowed(..) => {
                return Err(unsupported(node, "a pooling that is not finished", "it must be"));
            }
        };
        let to = match node.op_type.as_str() {
            "Flatten" => {
                attributes.only("axis", axes(node, &[attributes.int("axis", 1)], from.len())?, vec![1])?;
                vec![from[0], Count::Known(-1)]
            }
            "Reshape" => match self.value(node, 1)? {
                Value::Whole(counts, _) => counts,
                _ => {
                    return Err(unsupported(
                        node,
                        "a shape that is no list of whole numbers",
                        "it must be one",
                    ));
                }
            },
            op => {
                let given = match attributes.ints("axes") {
                    Some(axes) => Some(axes.to_vec()),
                    None => self.integers(node, 1)?,
                };
                if op == "Squeeze" {
                    squeezed(node, &from, given.as_deref())?
                } else {
                    unsqueezed(node, &from, given.as_deref().unwrap_or(&[]))?
                }
            }
        };
        let zeros = attributes.int("allowzero", 0) == 0;
        match value {
            Value::Floats(tensor) => {
                let dims = resolved(&from, &to, zeros).filter(|to| !to.contains(&Count::Batch));
                let dims: Option<Vec<usize>> =
                    dims.and_then(|dims| dims.into_iter().map(|d| usize::try_from(known(d)?).ok()).collect());
                let made = dims.and_then(|dims| Tensor::new(dims, tensor.data().to_vec()).ok());
                let made = made.ok_or_else(|| {
                    unsupported(node, format!("a constant {from:?} to {to:?}"), "it must fit")
                })?;
                self.given_floats(made)
            }
            Value::Activation(activation) => {
                let own = self.own_extents(node, &from, &to, zeros)?;
                self.reshaped(node, &activation, &own)
            }
            Value::Parts(parts) => self.reshaped_parts(node, parts, &to),
            other => Ok(other),
        }
    }

    /// The extents behind the batch that a reshape leads to.
    fn own_extents(
        &self,
        node: &NodeProto,
        from: &[Count],
        to: &[Count],
        zeros: bool,
    ) -> Result<Vec<usize>, OnnxError> {
        let mut to = to.to_vec();
        if let Some(first) = to.first_mut()
            && known(*first).is_some_and(|n| Some(n) == self.batch)
        {
            *first = Count::Batch;
        }
        let found = || {
            unsupported(
                node,
                format!("{from:?} to {to:?}"),
                "the batch must stay the first axis, and the values as many",
            )
        };
        let to = resolved(from, &to, zeros).filter(|to| to.first() == Some(&Count::Batch));
        let own = to
            .and_then(|to| to[1..].iter().map(|c| known(*c).and_then(|n| usize::try_from(n).ok())).collect());
        own.ok_or_else(found)
    }

    fn reshaped(
        &mut self,
        node: &'a NodeProto,
        activation: &Activation,
        own: &[usize],
    ) -> Result<Value, OnnxError> {
        let (x, layout) = (self.settled(node, activation)?, activation.layout);
        let shape = self.builder.shape(x).dims().to_vec();
        let seen = |layout| Ok(Value::Activation(Activation { layout, ..activation.clone() }));
        let from = layout.extents(&shape);
        if from == own {
            return seen(layout);
        }
        let channels = shape.last().copied().unwrap_or(1);
        if let Layout::Features { .. } = layout {
            // Ones come and go.
            let rest: Vec<usize> = (0..own.len()).filter(|&i| own[i] != 1).collect();
            let axis = if channels == 1 { Some(0) } else { rest.first().copied() };
            if let Some(axis) = axis.filter(|_| rest.len() <= 1) {
                return seen(Layout::Features { rank: own.len() + 1, axis: axis + 1 });
            }
        }
        let looks = match (layout, own.len()) {
            (Layout::Image, 2) => Some(Layout::Columns),
            (Layout::Columns, 3) => Some(Layout::Image),
            (Layout::ChannelsLast, 2) => Some(Layout::Tokens),
            (Layout::Tokens, 3) => Some(Layout::ChannelsLast),
            _ => None,
        };
        // Only an image has a height and a width to be merged or parted.
        if let Some(looks) = looks.filter(|looks| shape.len() == 3 && looks.extents(&shape) == own) {
            return seen(looks);
        }
        let in_order = matches!(layout, Layout::Image | Layout::Columns) || shape.starts_with(&[1, 1]);
        if own.len() == 1 && shape.len() == 3 && in_order {
            let made = self.step(node, Op::Flatten, &[x])?;
            return Ok(Value::Activation(Activation::of(made, Layout::ROW)));
        }
        if layout == Layout::Tokens && shape.len() == 2 {
            return self.parted(node, x, own);
        }
        let expected = "an image to one row, pixels to tokens, and the heads of attention are imported";
        Err(unsupported(node, format!("a batch of {from:?} to {own:?}"), expected))
    }

    pub(super) fn transpose(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["perm"])?;
        let value = self.value(node, 0)?;
        let rank = match &value {
            Value::Floats(tensor) => tensor.dims().len(),
            Value::Activation(activation) => {
                self.extents(self.settled(node, activation)?, activation.layout).len()
            }
            Value::Parts(parts) => self.parts_extents(parts).len(),
            Value::Whole(..) | Value::Narrowed(..) => 0,
        };
        let perm: Vec<usize> = match attributes.ints("perm") {
            Some(perm) => perm.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
            None => (0..rank).rev().collect(),
        };
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        let wrong = |expected: &str| Err(unsupported(node, format!("perm is {perm:?}"), expected));
        if sorted != (0..rank).collect::<Vec<_>>() || rank == 0 {
            return wrong("expected an order of all axes of its input");
        }
        match value {
            Value::Floats(tensor) => self.given_floats(permuted(&tensor, &perm)),
            Value::Parts(parts) => Ok(Value::Parts(parts.turned(&perm))),
            Value::Activation(activation) => {
                let layout = match (activation.layout, perm.as_slice()) {
                    (layout, perm) if perm.is_sorted() => layout,
                    (Layout::Image, [0, 2, 3, 1]) => Layout::ChannelsLast,
                    (Layout::ChannelsLast, [0, 3, 1, 2]) => Layout::Image,
                    (Layout::Columns, [0, 2, 1]) => Layout::Tokens,
                    (Layout::Tokens, [0, 2, 1])
                        if self.builder.shape(self.settled(node, &activation)?).rank() == 3 =>
                    {
                        Layout::Columns
                    }
                    (Layout::Features { rank, axis }, perm) if perm[0] == 0 => {
                        Layout::Features { rank, axis: perm.iter().position(|&a| a == axis).unwrap_or(axis) }
                    }
                    _ => {
                        return wrong(
                            "channels first to channels last and back, and the heads of attention, are imported",
                        );
                    }
                };
                Ok(Value::Activation(Activation { layout, ..activation }))
            }
            other => Ok(other),
        }
    }

    pub(super) fn concat(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let axis = Attributes::of(node, &["axis"])?.int("axis", 0);
        let values = (0..node.input.len()).map(|i| self.value(node, i)).collect::<Result<Vec<_>, _>>()?;
        if values.iter().all(|value| matches!(value, Value::Whole(..))) {
            let lists = values.into_iter().map(|value| match value {
                Value::Whole(counts, _) => counts,
                _ => Vec::new(),
            });
            let all: Vec<Count> = lists.flatten().take(LONGEST_LIST + 1).collect();
            return match all.len() <= LONGEST_LIST {
                true => Ok(Value::Whole(all, Rank::List)),
                false => Err(unsupported(
                    node,
                    "a list of more than a thousand numbers",
                    "lists are shapes, which are short",
                )),
            };
        }
        if let [Value::Floats(token), Value::Activation(rest)] = values.as_slice()
            && let (Layout::Tokens, &[1, count, features], 1 | -2) = (rest.layout, token.dims(), axis)
        {
            let x = self.settled(node, rest)?;
            let name = self.names.layer(node, &[(self.tensor_name(node, 0), "")]);
            let made = self.add(&name, Op::ClassToken(ClassToken { features, count }), &[x])?;
            self.keep(name, (**token).clone())?;
            return Ok(Value::Activation(Activation::of(made, Layout::Tokens)));
        }
        let inputs = (0..values.len()).map(|i| self.activation(node, i)).collect::<Result<Vec<_>, _>>()?;
        let Some((&(first, layout), rest)) = inputs.split_first() else {
            return Err(unsupported(node, "no inputs", "one or more are expected"));
        };
        let rank = self.extents(first, layout).len();
        let along = axes(node, &[axis], rank)?;
        if along != [layout.channels()] || rest.iter().any(|(_, other)| *other != layout) {
            let found = format!("axis {axis} of {:?}", self.extents(first, layout));
            return Err(unsupported(
                node,
                found,
                "channels side by side, and tokens before all others, are imported",
            ));
        }
        let mut all = first;
        for &(next, _) in rest {
            all = match self.pairs.get(&(all, next)) {
                Some(&there) => there,
                None => {
                    let made = self.step(node, Op::Concat, &[all, next])?;
                    self.pairs.insert((all, next), made);
                    made
                }
            };
        }
        Ok(Value::Activation(Activation::of(all, layout)))
    }

    /// `Gather` and `Slice`.
    pub(super) fn select(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        if node.op_type == "Slice" {
            return self.slice(node);
        }
        let axis = Attributes::of(node, &["axis"])?.int("axis", 0);
        let (value, at) = (self.value(node, 0)?, self.value(node, 1)?);
        let Value::Whole(at, rank) = at else {
            return Err(unsupported(node, "indices that are no constant", "they must be one"));
        };
        match (value, at.as_slice(), rank) {
            (Value::Whole(counts, _), at, rank) => {
                let take = |index: &Count| {
                    let index = known(*index)?;
                    let index = if index < 0 { index.checked_add(counts.len() as i64)? } else { index };
                    counts.get(usize::try_from(index).ok()?).copied()
                };
                let taken: Option<Vec<Count>> = at.iter().map(take).collect();
                let taken = taken.ok_or_else(|| {
                    unsupported(node, format!("indices {at:?} of {counts:?}"), "they must be there")
                })?;
                Ok(Value::Whole(taken, rank))
            }
            (Value::Floats(table), at, Rank::List) if axis == 0 && table.dims().len() == 2 => {
                let row = |index: &Count| usize::try_from(known(*index)?).ok();
                let rows: Option<Vec<usize>> = at.iter().map(row).collect();
                let rows = rows.filter(|rows| {
                    rows.len() <= table.dims()[0] && rows.iter().all(|&r| r < table.dims()[0])
                });
                let rows = rows.ok_or_else(|| {
                    unsupported(node, "rows that the table does not have", "they must be there")
                })?;
                self.given_floats(table.rows(&rows))
            }
            (Value::Activation(tokens), [Count::Known(0)], Rank::One)
                if tokens.layout == Layout::Tokens && axis == 1 =>
            {
                let x = self.settled(node, &tokens)?;
                self.first_token(node, x)
            }
            (Value::Parts(parts), &[Count::Known(index)], Rank::One) => {
                parts.part(axis, index).map(Value::Parts).ok_or_else(|| {
                    unsupported(
                        node,
                        format!("index {index} of axis {axis}"),
                        "queries, keys and values are taken apart",
                    )
                })
            }
            _ => Err(unsupported(
                node,
                format!("indices {at:?} of axis {axis}"),
                "the first token, and the parts of an attention, are taken out",
            )),
        }
    }

    fn first_token(&mut self, node: &NodeProto, x: NodeId) -> Result<Value, OnnxError> {
        let made = self.step(node, Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), &[x])?;
        Ok(Value::Activation(Activation::of(made, Layout::ROW)))
    }

    /// A part of a list of whole numbers.
    fn slice(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["axes", "starts", "ends"])?;
        let mut bound = |index: usize, name: &str| -> Result<Option<Vec<i64>>, OnnxError> {
            match attributes.ints(name) {
                Some(values) => Ok(Some(values.to_vec())),
                None => self.integers(node, index),
            }
        };
        let (starts, ends) = (bound(1, "starts")?, bound(2, "ends")?);
        let (axes, steps) = (bound(3, "axes")?, bound(4, "steps")?);
        let single = steps.is_none_or(|steps| steps == [1]);
        match (self.value(node, 0)?, starts.as_deref(), ends.as_deref()) {
            (Value::Whole(counts, _), Some(&[start]), Some(&[end])) if single => {
                let length = counts.len() as i64;
                let place =
                    |at: i64| if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length) as usize;
                let (start, end) = (place(start), place(end));
                Ok(Value::Whole(counts.get(start..end).unwrap_or(&[]).to_vec(), Rank::List))
            }
            (Value::Parts(parts), Some(&[start]), Some(&[end])) if single => self.sliced(
                node,
                &parts,
                axes.as_deref().and_then(|a| a.first().copied()).unwrap_or(0),
                start,
                end,
            ),
            _ => Err(unsupported(
                node,
                "a part of something else than a shape",
                "only parts of shapes are taken",
            )),
        }
    }

    /// `Expand`: a constant once for each image of the batch.
    pub(super) fn expand(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        Attributes::of(node, &[])?;
        let (value, shape) = (self.value(node, 0)?, self.value(node, 1)?);
        match (value, shape) {
            (Value::Floats(tensor), Value::Whole(to, _)) => {
                let own =
                    |(&to, &from): (&Count, &usize)| known(to).is_some_and(|n| n == from as i64 || n == 1);
                let first = to
                    .first()
                    .is_some_and(|&n| n == Count::Batch || known(n) == self.batch || known(n) == Some(1));
                let same = to.len() == tensor.dims().len() && to.iter().zip(tensor.dims()).skip(1).all(own);
                if first && same && tensor.dims()[0] == 1 {
                    return Ok(Value::Floats(tensor));
                }
                Err(unsupported(
                    node,
                    format!("{} to {to:?}", tensor.shape()),
                    "a constant for each image is imported",
                ))
            }
            _ => Err(unsupported(node, "no constant", "a constant for each image is imported")),
        }
    }
}
