//! What turns an item's bytes into the input of a network: pixels for an image, word ids for a text.

use crate::Error;
use headstart_data::{Kind, Picture, Preprocess, SkipReason, TextColumns, View};
use headstart_models::Tokens;
use headstart_tensor::Shape;
use std::path::Path;

/// What turns an item's bytes into the input of a network.
#[derive(Debug, Clone)]
pub enum Input {
    /// Images become pixels.
    Image(Preprocess),
    /// Texts become word ids, as many as they have.
    Text(Tokens),
}

impl From<Preprocess> for Input {
    fn from(preprocess: Preprocess) -> Self {
        Input::Image(preprocess)
    }
}

impl From<Tokens> for Input {
    fn from(tokens: Tokens) -> Self {
        Input::Text(tokens)
    }
}

impl Input {
    /// What it takes.
    pub fn kind(&self) -> Kind {
        match self {
            Input::Image(_) => Kind::Images,
            Input::Text(_) => Kind::Texts,
        }
    }

    /// The shape of the largest input that it makes.
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Input::Image(p) => Shape::from([p.crop, p.crop, 3]),
            Input::Text(tokens) => Shape::from([tokens.most()]),
        }
    }

    /// What images go through.
    ///
    /// # Errors
    /// For texts: `what`, a command or an option, works on images only.
    pub fn preprocess(&self, what: &'static str) -> Result<&Preprocess, Error> {
        match self {
            Input::Image(preprocess) => Ok(preprocess),
            Input::Text(_) => Err(Error::ImagesOnly { what }),
        }
    }

    /// Whether a network with this input can be asked about the data at `path`. What cannot be told is left to whoever opens
    /// it.
    ///
    /// # Errors
    /// In words, where it cannot.
    pub(crate) fn expect(&self, network: &str, path: &Path, columns: &TextColumns) -> Result<(), Error> {
        let (network, found) = (network.to_owned(), Kind::of(path, columns));
        let path = path.to_owned();
        match (self, found) {
            (Input::Image(_), Some(Kind::Texts)) => Err(Error::NeedsEncoder { path, network }),
            (Input::Text(_), Some(Kind::Images)) => Err(Error::ReadsTexts { path, network }),
            _ => Ok(()),
        }
    }

    /// The number of values that `bytes`, a text, becomes: its tokens.
    ///
    /// # Errors
    /// Where it has none.
    pub(crate) fn tokens(&self, bytes: &[u8]) -> Result<Option<usize>, SkipReason> {
        match self {
            Input::Image(_) => Ok(None),
            Input::Text(tokens) => Ok(Some(ids(tokens, bytes)?.len())),
        }
    }

    /// Reads an item, whose `bytes` these are, for views of it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn read(&self, item: &Picture, bytes: &[u8]) -> Result<Read, SkipReason> {
        Ok(match self {
            Input::Image(p) => Read::Image(Box::new(p.decode(item, bytes)?)),
            Input::Text(tokens) => Read::Text(ids(tokens, bytes)?.into_iter().map(|id| id as f32).collect()),
        })
    }

    /// Appends a view of what was read. Of a text there is one.
    pub(crate) fn append(&self, read: &Read, view: View, out: &mut Vec<f32>) {
        match (self, read) {
            (Input::Image(p), Read::Image(image)) => {
                let at = out.len();
                out.resize(at + p.values(), 0.0);
                p.apply(image, view, &mut out[at..]);
            }
            (_, Read::Text(ids)) => out.extend_from_slice(ids),
            (Input::Text(_), Read::Image(_)) => {}
        }
    }
}

/// An item that was read, before its views.
pub(crate) enum Read {
    /// Its pixels.
    Image(Box<headstart_data::RgbImage>),
    /// Its word ids.
    Text(Vec<f32>),
}

fn ids(tokens: &Tokens, bytes: &[u8]) -> Result<Vec<u32>, SkipReason> {
    let text = std::str::from_utf8(bytes).map_err(|_| SkipReason::NotUtf8)?;
    tokens.ids(text).map_err(|detail| SkipReason::NoTokens { detail })
}
