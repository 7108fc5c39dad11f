//! Constants and whole numbers: what is given or passed on, and the shapes that exporters compute inside the graph, where an extent may be the batch's.

use super::attributes::{Attributes, unsupported};
use super::constant::{Constant, constant};
use super::error::OnnxError;
use super::reader::{Reader, known, whole};
use super::value::{Count, Rank, Value};
use crate::onnx::proto::NodeProto;
use headstart_tensor::Tensor;
use std::rc::Rc;

/// The longest list that is made inside a graph.
const LONGEST: i64 = 64;

impl<'a> Reader<'a> {
    /// `Constant`.
    pub(super) fn given(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        Attributes::of(node, &["value", "value_int", "value_ints", "value_float", "value_floats"])?;
        let Some(attribute) = node.attribute.first() else {
            return Err(unsupported(node, "no value", "it must have one"));
        };
        let floats =
            |shape: &[usize], values: &[f32]| Value::Floats(Rc::new(Tensor::from_fn(shape, |i| values[i])));
        Ok(match (&attribute.t, attribute.name.as_str()) {
            (Some(tensor), "value") => match constant(tensor)? {
                Constant::Floats(tensor) => Value::Floats(Rc::new(tensor)),
                Constant::Whole(values, one) => whole(values, one),
            },
            (_, "value_int") => whole(vec![attribute.i.unwrap_or(0)], true),
            (_, "value_ints") => whole(attribute.ints.clone(), false),
            (_, "value_float") => floats(&[], &[attribute.f.unwrap_or(0.0)]),
            (_, "value_floats") => floats(&[attribute.floats.len()], &attribute.floats),
            _ => {
                return Err(unsupported(node, "a value of another kind", "tensors and numbers are imported"));
            }
        })
    }

    /// `Shape`, and what is computed of it.
    pub(super) fn whole(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let lists = |reader: &mut Self| -> Result<Vec<Vec<Count>>, OnnxError> {
            let values =
                (0..node.input.len()).map(|i| reader.value(node, i)).collect::<Result<Vec<_>, _>>()?;
            let lists = values.into_iter().map(|value| match value {
                Value::Whole(counts, _) => Some(counts),
                _ => None,
            });
            lists.collect::<Option<_>>().ok_or_else(|| {
                unsupported(node, "something else than whole numbers", "it is imported for shapes alone")
            })
        };
        match node.op_type.as_str() {
            "Shape" => {
                let attributes = Attributes::of(node, &["start", "end"])?;
                let counts = match self.value(node, 0)? {
                    Value::Activation(x) => self.extents(self.settled(node, &x)?, x.layout),
                    Value::Parts(parts) => self.parts_extents(&parts),
                    Value::Floats(tensor) => tensor.dims().iter().map(|&d| Count::Known(d as i64)).collect(),
                    Value::Whole(counts, Rank::List) => vec![Count::Known(counts.len() as i64)],
                    _ => {
                        return Err(unsupported(
                            node,
                            "the shape of something that has none",
                            "it is not imported",
                        ));
                    }
                };
                let length = counts.len() as i64;
                let place =
                    |at: i64| if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length) as usize;
                let (start, end) = (place(attributes.int("start", 0)), place(attributes.int("end", length)));
                Ok(Value::Whole(counts.get(start..end).unwrap_or(&[]).to_vec(), Rank::List))
            }
            "ConstantOfShape" => {
                Attributes::of(node, &["value"])?;
                let value = node.attribute.first().and_then(|a| a.t.as_ref()).map(constant).transpose()?;
                let length = self.integers(node, 0)?.unwrap_or_default();
                match (value, length.as_slice()) {
                    (Some(Constant::Whole(values, _)), &[length])
                        if (0..=LONGEST).contains(&length) && values.len() == 1 =>
                    {
                        Ok(whole(vec![values[0]; length as usize], false))
                    }
                    _ => Err(unsupported(
                        node,
                        format!("a constant of shape {length:?}"),
                        "short lists of whole numbers are made",
                    )),
                }
            }
            op => {
                Attributes::of(node, &[])?;
                let lists = lists(self)?;
                let made = match (op, lists.as_slice()) {
                    ("Equal", [a, b]) => pairs(a, b, |a, b| Some(Count::Known(i64::from(a == b)))),
                    ("Where", [mask, a, b]) => {
                        let chosen = |(i, mask): (usize, &Count)| {
                            let from = if *mask == Count::Known(0) { b } else { a };
                            from.get(if from.len() == 1 { 0 } else { i }).copied()
                        };
                        mask.iter().enumerate().map(chosen).collect()
                    }
                    _ => None,
                };
                made.map(|made| Value::Whole(made, Rank::List)).ok_or_else(|| {
                    unsupported(node, format!("{op} of {lists:?}"), "it is imported for shapes alone")
                })
            }
        }
    }

    /// `Identity`, `Dropout` and `Cast`: the input again.
    pub(super) fn same(&mut self, node: &'a NodeProto) -> Result<Value, OnnxError> {
        let attributes = Attributes::of(node, &["ratio", "seed", "to", "saturate", "is_test"])?;
        let value = self.value(node, 0)?;
        if node.op_type == "Dropout" {
            if node.input.get(2).is_some_and(|name| !name.is_empty()) {
                let expected = "export the network as it answers: `net.eval()` before";
                return Err(unsupported(node, "it drops values, as in training", expected));
            }
            *self.notes.entry("Dropout, which does nothing where nothing is trained").or_default() += 1;
        }
        let to = attributes.int("to", 1);
        Ok(match value {
            // To float32, and from it to float16: the network computes in f32.
            Value::Whole(counts, rank) if node.op_type == "Cast" && matches!(to, 1 | 10) => {
                let values: Option<Vec<f32>> = counts.iter().map(|c| known(*c).map(|v| v as f32)).collect();
                let values = values
                    .ok_or_else(|| unsupported(node, "a number that depends on the batch", "it is needed"))?;
                let shape: &[usize] = if rank == Rank::One { &[] } else { &[values.len()] };
                Value::Floats(Rc::new(Tensor::from_fn(shape, |i| values[i])))
            }
            Value::Whole(counts, rank) => Value::Whole(counts, rank),
            other if node.op_type != "Cast" || matches!(to, 1 | 10) => other,
            _ => {
                return Err(unsupported(
                    node,
                    format!("to is {to}"),
                    "only casts to float32 and float16 are imported",
                ));
            }
        })
    }

    /// The arithmetic of whole numbers.
    pub(super) fn counted(
        &self,
        node: &NodeProto,
        a: &[Count],
        b: &[Count],
        rank: Rank,
    ) -> Result<Value, OnnxError> {
        let f = |a: Count, b: Count| match (node.op_type.as_str(), a, b) {
            ("Mul" | "Div", count, Count::Known(1)) | ("Mul", Count::Known(1), count) => Some(count),
            ("Add", Count::Known(a), Count::Known(b)) => a.checked_add(b).map(Count::Known),
            ("Sub", Count::Known(a), Count::Known(b)) => a.checked_sub(b).map(Count::Known),
            ("Mul", Count::Known(a), Count::Known(b)) => a.checked_mul(b).map(Count::Known),
            ("Div", Count::Known(a), Count::Known(b)) => a.checked_div(b).map(Count::Known),
            _ => None,
        };
        pairs(a, b, f).map(|made| Value::Whole(made, rank)).ok_or_else(|| {
            unsupported(node, format!("{a:?} and {b:?}"), "numbers that do not depend on the batch are")
        })
    }

    /// `Squeeze`, `Unsqueeze` and `Reshape` of whole numbers: between one and a list.
    pub(super) fn list(
        &mut self,
        node: &'a NodeProto,
        counts: Vec<Count>,
        rank: Rank,
    ) -> Result<Value, OnnxError> {
        let rank = match (node.op_type.as_str(), rank, counts.len()) {
            ("Unsqueeze", Rank::One, _) => Rank::List,
            ("Squeeze", _, 1) => Rank::One,
            ("Reshape", _, _) => Rank::List,
            _ => return Err(unsupported(node, format!("{counts:?}"), "lists of whole numbers are imported")),
        };
        Ok(Value::Whole(counts, rank))
    }
}

/// `f` of two lists, one of which may be a single number.
fn pairs(a: &[Count], b: &[Count], f: impl Fn(Count, Count) -> Option<Count>) -> Option<Vec<Count>> {
    let at = |list: &[Count], i: usize| list.get(if list.len() == 1 { 0 } else { i }).copied();
    (0..a.len().max(b.len())).map(|i| f(at(a, i)?, at(b, i)?)).collect()
}
