//! Views of the values in a pickle: small, copied freely, borrowed from it.

use crate::Pickle;
use crate::arena::{CallNode, Id};

/// One value.
#[derive(Debug, Clone, Copy)]
pub enum Value<'p> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A larger integer: two's complement, little endian.
    Long(&'p [u8]),
    /// A float.
    Float(f64),
    /// Bytes, or a string of Python 2.
    Bytes(&'p [u8]),
    /// Text.
    Text(&'p str),
    /// A list.
    List(Items<'p>),
    /// A tuple.
    Tuple(Items<'p>),
    /// A dict in the order of the file; a key may stand in it twice.
    Dict(Pairs<'p>),
    /// An allowed global.
    Global(Global<'p>),
    /// A call of an allowed global that was not made.
    Call(Call<'p>),
    /// A value that lives outside the pickle, by its id.
    Persistent(Persistent<'p>),
}

impl<'p> Value<'p> {
    /// What a message calls such a value: "a list".
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::Long(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bytes(_) => "bytes",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a global",
            Value::Call(_) => "a call",
            Value::Persistent(_) => "a persistent id",
        }
    }

    /// Text, or the UTF-8 bytes that Python 2 wrote for it.
    pub fn text(&self) -> Option<&'p str> {
        match *self {
            Value::Text(text) => Some(text),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// An integer that is a size: zero or more, and within `usize`.
    pub fn size(&self) -> Option<usize> {
        match *self {
            Value::Int(n) => usize::try_from(n).ok(),
            _ => None,
        }
    }

    /// The parts of a tuple.
    pub fn tuple(&self) -> Option<Items<'p>> {
        match *self {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }
}

/// The values of a list or tuple.
#[derive(Debug, Clone, Copy)]
pub struct Items<'p> {
    pub(crate) pickle: &'p Pickle<'p>,
    pub(crate) ids: &'p [Id],
}

impl<'p> Items<'p> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The value at `i`.
    pub fn get(&self, i: usize) -> Option<Value<'p>> {
        self.ids.get(i).map(|&id| self.pickle.value(id))
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'p>> + use<'p> {
        let Items { pickle, ids } = *self;
        ids.iter().map(|&id| pickle.value(id))
    }
}

/// The pairs of a dict, in the order they were set.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'p> {
    pub(crate) pickle: &'p Pickle<'p>,
    pub(crate) pairs: &'p [(Id, Id)],
}

impl<'p> Pairs<'p> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Key and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Value<'p>, Value<'p>)> + use<'p> {
        let Pairs { pickle, pairs } = *self;
        pairs.iter().map(|&(key, value)| (pickle.value(key), pickle.value(value)))
    }

    /// The value of the last pair whose key is this text, as a dict that was set twice answers.
    pub fn get(&self, key: &str) -> Option<Value<'p>> {
        self.iter().filter(|(k, _)| k.text() == Some(key)).last().map(|(_, value)| value)
    }
}

/// An allowed global, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Global<'p> {
    /// Its module.
    pub module: &'p str,
    /// Its name in the module.
    pub name: &'p str,
}

/// A call that was not made: what the global would be called with, and what would be done to the result.
#[derive(Debug, Clone, Copy)]
pub struct Call<'p> {
    pub(crate) pickle: &'p Pickle<'p>,
    pub(crate) call: &'p CallNode,
}

impl<'p> Call<'p> {
    /// What would be called.
    pub fn global(&self) -> Global<'p> {
        match self.pickle.value(self.call.global) {
            Value::Global(global) => global,
            _ => Global { module: "", name: "" },
        }
    }

    /// Its arguments.
    pub fn args(&self) -> Items<'p> {
        match self.pickle.value(self.call.args) {
            Value::Tuple(items) => items,
            _ => Items { pickle: self.pickle, ids: &[] },
        }
    }

    /// The state that BUILD would set (`__setstate__` or the attributes).
    pub fn state(&self) -> Option<Value<'p>> {
        self.call.state.map(|id| self.pickle.value(id))
    }

    /// The values that would be appended.
    pub fn appended(&self) -> Items<'p> {
        self.pickle.items(&self.call.appended)
    }

    /// The pairs that would be set, as in an `OrderedDict`.
    pub fn pairs(&self) -> Pairs<'p> {
        self.pickle.pairs(&self.call.pairs)
    }
}

/// A value that lives outside the pickle.
#[derive(Debug, Clone, Copy)]
pub struct Persistent<'p> {
    pub(crate) pickle: &'p Pickle<'p>,
    pub(crate) id: Id,
}

impl<'p> Persistent<'p> {
    /// Its id, usually a tuple.
    pub fn id(&self) -> Value<'p> {
        self.pickle.value(self.id)
    }
}
