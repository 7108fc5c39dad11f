//! One file over HTTP, whole and checked or not at all; and the cache of the Hugging Face hub.
//!
//! A [`Download`] goes on where an earlier one broke off, compares the SHA-256, and puts the file in its place last, so
//! that no half file is ever taken for whole. [`Hub`] asks the hub what a file is and keeps it as Python's
//! `huggingface_hub` does. What a file is good for is not known here, and nothing is downloaded but what is asked for.

mod checksum;
mod client;
mod download;
mod error;
mod hub;
mod url;
mod watch;

pub use checksum::Checksum;
pub use client::Client;
pub use download::{Download, Fetched};
pub use error::DownloadError;
pub use hub::{Hub, HubFile};
pub use url::shown;
pub use watch::{Unwatched, Watch};
