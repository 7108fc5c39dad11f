//! Looking at a data set file by file, before anything is learned from it.
//!
//! [`Survey::of`] lists a data set as it is, faults included, where [`Dataset::open`](crate::Dataset::open) wants one
//! that can be trained on. [`examine`] and [`examine_text`] look at one item. Nothing here changes a file. What needs a network to
//! be seen (near duplicates, wrong labels) is not here.

mod defect;
mod examine;
mod exclusions;
mod survey;

pub use defect::{Defect, DefectKind};
pub use examine::{Examined, WIDEST, examine, examine_text};
pub use exclusions::Exclusions;
pub use survey::{Survey, Surveyed};
