//! The values of one pickle, by index.

use std::borrow::Cow;

use crate::value::{Persistent, Value};

/// An index into the arena.
pub(crate) type Id = u32;

/// A value, its parts by index.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, little endian, more than eight bytes.
    Long(&'a [u8]),
    Float(f64),
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Dict(Vec<(Id, Id)>),
    Global {
        module: &'a str,
        name: &'a str,
    },
    Call(Box<CallNode>),
    Persistent(Id),
}

/// A call that was never made.
#[derive(Debug)]
pub(crate) struct CallNode {
    pub(crate) global: Id,
    pub(crate) args: Id,
    pub(crate) state: Option<Id>,
    pub(crate) appended: Vec<Id>,
    pub(crate) pairs: Vec<(Id, Id)>,
}

impl Node<'_> {
    /// What an error calls such a value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::Long(_) => "an integer",
            Node::Float(_) => "a float",
            Node::Bytes(_) => "bytes",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Dict(_) => "a dict",
            Node::Global { .. } => "a global",
            Node::Call(_) => "a call",
            Node::Persistent(_) => "a persistent id",
        }
    }

    /// Part `i` of the value, in a fixed order; `None` past the last.
    pub(crate) fn part(&self, i: usize) -> Option<Id> {
        match self {
            Node::List(items) => items.get(i).copied(),
            Node::Tuple(items) => items.get(i).copied(),
            Node::Dict(pairs) => part_of_pairs(pairs, i),
            Node::Persistent(id) => (i == 0).then_some(*id),
            Node::Call(call) => {
                let lead = [Some(call.global), Some(call.args), call.state];
                let (lead, i) = match call.state {
                    Some(_) => (lead.get(i), i.checked_sub(3)),
                    None => (lead.get(i).filter(|part| part.is_some()), i.checked_sub(2)),
                };
                let rest = || {
                    let pair = i?.checked_sub(call.appended.len());
                    call.appended.get(i?).copied().or_else(|| part_of_pairs(&call.pairs, pair?))
                };
                lead.copied().flatten().or_else(rest)
            }
            _ => None,
        }
    }
}

fn part_of_pairs(pairs: &[(Id, Id)], i: usize) -> Option<Id> {
    pairs.get(i / 2).map(|&(key, value)| if i.is_multiple_of(2) { key } else { value })
}

/// The values of one pickle. Text and bytes are borrowed from the input.
///
/// The result holds no cycle, and its depth and walk stay within the limits, so that a consumer may recurse.
#[derive(Debug)]
pub struct Pickle<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) root: Id,
    pub(crate) end: usize,
}

impl<'a> Pickle<'a> {
    /// The value that the pickle stands for.
    pub fn root(&self) -> Value<'_> {
        self.value(self.root)
    }

    /// The byte after this pickle's STOP, from the start of the input: where a next pickle may begin.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Every persistent id in the pickle, in the order of the file, each once.
    pub fn persistent_ids(&self) -> impl Iterator<Item = Value<'_>> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(self.value(*id)),
            _ => None,
        })
    }

    /// The value at `id`. Ids come from the arena itself, so that one out of range cannot be met.
    pub(crate) fn value(&self, id: Id) -> Value<'_> {
        match self.nodes.get(id as usize) {
            None | Some(Node::None) => Value::None,
            Some(Node::Bool(v)) => Value::Bool(*v),
            Some(Node::Int(v)) => Value::Int(*v),
            Some(Node::Long(v)) => Value::Long(v),
            Some(Node::Float(v)) => Value::Float(*v),
            Some(Node::Bytes(v)) => Value::Bytes(v),
            Some(Node::Text(v)) => Value::Text(v),
            Some(Node::List(ids)) => Value::List(self.items(ids)),
            Some(Node::Tuple(ids)) => Value::Tuple(self.items(ids)),
            Some(Node::Dict(pairs)) => Value::Dict(self.pairs(pairs)),
            Some(Node::Global { module, name }) => Value::Global(crate::Global { module, name }),
            Some(Node::Call(call)) => Value::Call(crate::Call { pickle: self, call }),
            Some(Node::Persistent(id)) => Value::Persistent(Persistent { pickle: self, id: *id }),
        }
    }

    pub(crate) fn items<'p>(&'p self, ids: &'p [Id]) -> crate::Items<'p> {
        crate::Items { pickle: self, ids }
    }

    pub(crate) fn pairs<'p>(&'p self, pairs: &'p [(Id, Id)]) -> crate::Pairs<'p> {
        crate::Pairs { pickle: self, pairs }
    }
}
