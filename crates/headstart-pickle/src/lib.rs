//! A pickle reader that builds plain values and runs nothing.
//!
//! Python's pickle is a program for a small stack machine. [`read`] runs the part of it that builds data
//! (numbers, text, lists, tuples, dicts, memo references) and turns the part that calls code into symbols:
//! a [`Call`] holds the global and its arguments, and it is for the consumer to say what that call means.
//! A global that is not on the caller's list is refused where it is named, any other opcode likewise, both
//! with their byte offset. [`Limits`] bound the work and the memory before the consumer sees a value.
//!
//! Values live in one arena, [`Pickle`]: shared values stay shared, nothing recurses, and the text and bytes
//! of the file are borrowed, not copied.
//!
//! ```
//! use headstart_pickle::{Limits, Policy, Value, read};
//!
//! let policy = Policy { globals: &[("collections", "OrderedDict")], limits: Limits::default() };
//! let pickle = read(b"\x80\x02]q\x00(K\x01K\x02e.", &policy)?;
//! let Value::List(list) = pickle.root() else { unreachable!() };
//! assert_eq!(list.len(), 2);
//! assert!(read(b"cos\nsystem\n(S'true'\ntR.", &policy).is_err());
//! # Ok::<(), headstart_pickle::PickleError>(())
//! ```

mod arena;
mod bounds;
mod error;
mod limits;
mod literal;
mod machine;
mod opcode;
mod value;

pub use arena::Pickle;
pub use error::PickleError;
pub use limits::{Limits, Policy};
pub use machine::{read, read_from};
pub use value::{Call, Global, Items, Pairs, Persistent, Value};
