//! Transfer learning on a folder of labelled images.

pub mod head;
