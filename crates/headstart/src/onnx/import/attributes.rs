//! The attributes of a node, and what may be said against them.

use super::error::OnnxError;
use crate::onnx::proto::{AttributeProto, NodeProto};
use std::fmt::Debug;

/// The name of a node for messages.
pub(crate) fn label(node: &NodeProto) -> String {
    let named = [Some(&node.name), node.output.first()].into_iter().flatten().find(|name| !name.is_empty());
    named.map_or_else(|| "(without a name)".to_owned(), |name| name.chars().take(200).collect())
}

/// The error for a use of an operator that is not imported.
pub(crate) fn unsupported(
    node: &NodeProto,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> OnnxError {
    OnnxError::Unsupported {
        node: label(node),
        op: node.op_type.clone(),
        found: found.into(),
        expected: expected.into(),
    }
}

/// The attributes of a node.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    /// Those of `node`, all of which must be in `known`: one that is not looked at might change what the node computes.
    ///
    /// # Errors
    /// Naming the first that is not.
    pub(crate) fn of(node: &'a NodeProto, known: &[&str]) -> Result<Self, OnnxError> {
        match node.attribute.iter().find(|a| !known.contains(&a.name.as_str())) {
            None => Ok(Attributes(node)),
            Some(other) => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(unsupported(node, format!("attribute `{}`", other.name), format!("it may have {known}")))
            }
        }
    }

    fn get(self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|a| a.name == name)
    }

    pub(crate) fn int(self, name: &str, absent: i64) -> i64 {
        self.get(name).map_or(absent, |a| a.i.unwrap_or(0))
    }

    pub(crate) fn float(self, name: &str, absent: f32) -> f32 {
        self.get(name).map_or(absent, |a| a.f.unwrap_or(0.0))
    }

    pub(crate) fn ints(self, name: &str) -> Option<&'a [i64]> {
        self.get(name).map(|a| a.ints.as_slice())
    }

    pub(crate) fn text(self, name: &str, absent: &'a str) -> &'a str {
        let text = self.get(name).and_then(|a| a.s.as_deref());
        text.map_or(absent, |bytes| str::from_utf8(bytes).unwrap_or("(no text)"))
    }

    /// Refuses any other value of an attribute than `only`.
    pub(crate) fn only<T: PartialEq + Debug>(self, name: &str, found: T, only: T) -> Result<(), OnnxError> {
        match found == only {
            true => Ok(()),
            false => {
                Err(unsupported(self.0, format!("{name} is {found:?}"), format!("only {only:?} is imported")))
            }
        }
    }

    /// Two extents above 0 and within reason, height and width.
    pub(crate) fn pair(self, name: &str, absent: [usize; 2]) -> Result<[usize; 2], OnnxError> {
        let Some(found) = self.ints(name) else { return Ok(absent) };
        let usable = |v: i64| usize::try_from(v).ok().filter(|v| (1..=4096).contains(v));
        match found {
            &[a, b] => usable(a).zip(usable(b)).map(|(a, b)| [a, b]),
            _ => None,
        }
        .ok_or_else(|| {
            unsupported(self.0, format!("{name} is {found:?}"), "expected two numbers of 1 to 4096")
        })
    }

    /// The zeros before and behind, by axis.
    pub(crate) fn pads(self) -> Result<[[usize; 2]; 2], OnnxError> {
        let Some(found) = self.ints("pads") else { return Ok([[0; 2]; 2]) };
        let usable: Option<Vec<usize>> =
            found.iter().map(|&v| usize::try_from(v).ok().filter(|&v| v <= 4096)).collect();
        match usable.as_deref() {
            Some(&[top, left, bottom, right]) => Ok([[top, bottom], [left, right]]),
            _ => Err(unsupported(self.0, format!("pads is {found:?}"), "expected four numbers of 0 to 4096")),
        }
    }
}
