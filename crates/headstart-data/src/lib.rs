//! Labelled images and texts: folders, tables and archives to preprocessed pixels, or to UTF-8.
//!
//! ```text
//! path | Dataset::open            -> classes, train / val / test: Vec<Item>, skipped      names only
//!      | Preprocess::decode       -> RgbImage                                             in the caller's worker
//!      | Preprocess::apply(View)  -> [crop, crop, 3] f32, NHWC
//! ```
//!
//! No threads live here: a [`Picture`] is `Send`, and whoever wants its pixels decodes it.

mod cifar;
mod dataset;
pub mod doctor;
mod error;
mod folder;
pub mod image;
mod listing;
mod nearest;
mod picture;
mod skipped;
pub mod split;
mod table;
mod text;
mod transform;
mod walk;

pub use dataset::{Dataset, OpenOptions, open_unlabelled};
pub use error::DataError;
pub use image::{ImageError, RgbImage};
pub use listing::Kind;
pub use picture::{Item, Picture};
pub use skipped::{SkipReason, Skipped};
pub use text::{Column, TextColumns, open_unlabelled_texts, texts_of_lines};
pub use transform::{Decode, Interpolation, Preprocess, Strength, Style, View};
