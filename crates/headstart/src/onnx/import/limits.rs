//! What a file may make its reader hold, counted over its bytes before anything is read from them.
//!
//! A field of two bytes becomes a message of hundreds in memory. So all fields are counted that would, down to the depth of
//! the messages that are read; what they point at is compared with what is there.

use super::error::OnnxError;

/// The most fields: the deepest networks have some ten thousand.
const MOST_FIELDS: u64 = 400_000;

/// The messages that are read into others, and the tags under which those stand.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    /// One that holds no other.
    Leaf,
}

/// How the bytes of a field become memory.
enum Content {
    Message(Message),
    /// As many bytes as there are.
    Plain,
    /// A number a byte.
    Numbers,
}

impl Message {
    fn content(self, tag: u64) -> Content {
        Content::Message(match (self, tag) {
            (Message::Model, 7) => Message::Graph,
            (Message::Graph, 1) => Message::Node,
            (Message::Graph, 5) | (Message::Attribute, 5) => Message::Tensor,
            (Message::Graph, 11 | 12) => Message::Value,
            (Message::Node, 5) => Message::Attribute,
            (Message::Value, 2) => Message::Type,
            (Message::Type, 1) => Message::TensorType,
            (Message::TensorType, 2) => Message::Shape,
            (Message::Model, 8 | 14) | (Message::Tensor, 13) | (Message::Shape, 1) => Message::Leaf,
            (Message::Attribute, 8) | (Message::Tensor, 1 | 7) => return Content::Numbers,
            _ => return Content::Plain,
        })
    }
}

/// Whether all fields of the model `bytes` are whole, and not too many.
///
/// # Errors
/// [`OnnxError::NotOnnx`] and [`OnnxError::TooLarge`].
pub(crate) fn check(bytes: &[u8]) -> Result<(), OnnxError> {
    let mut fields = 0;
    walk(Message::Model, bytes, &mut fields)?;
    match fields {
        0 => Err(broken("it is empty")),
        _ => Ok(()),
    }
}

/// Counts the fields of `message`. The messages above nest to a fixed depth, and so does this.
fn walk(message: Message, mut bytes: &[u8], fields: &mut u64) -> Result<(), OnnxError> {
    while !bytes.is_empty() {
        let key = number(&mut bytes)?;
        let mut count = 1;
        match key & 7 {
            0 => drop(number(&mut bytes)?),
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let length = number(&mut bytes)?;
                let inner = take(&mut bytes, length)?;
                match message.content(key >> 3) {
                    Content::Message(of) => walk(of, inner, fields)?,
                    Content::Numbers => count += length,
                    Content::Plain => {}
                }
            }
            5 => drop(take(&mut bytes, 4)?),
            kind => return Err(broken(&format!("a field of wire type {kind}"))),
        }
        *fields += count;
        if *fields > MOST_FIELDS {
            return Err(OnnxError::TooLarge { what: "fields", found: *fields, limit: MOST_FIELDS });
        }
    }
    Ok(())
}

/// A number of variable length.
fn number(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(broken("a number has no end"))
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], OnnxError> {
    let there = bytes.len();
    let length = usize::try_from(length).ok().filter(|&length| length <= there);
    let length =
        length.ok_or_else(|| broken(&format!("a field goes on behind its end, with {there} bytes left")))?;
    let (first, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(first)
}

fn broken(detail: &str) -> OnnxError {
    OnnxError::NotOnnx { detail: detail.to_owned() }
}
