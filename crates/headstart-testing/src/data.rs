//! The real data sets and weights that some tests want.

use std::path::PathBuf;

/// The path of `name` in the shared data folder: the folder that `HEADSTART_TEST_DATA` names, or
/// `../shared/data` beside the checkout.
///
/// `None`, after a line on stderr that says which test is skipped for want of what, where it is missing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HEADSTART_TEST_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")));
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped {test}: {} is not there (HEADSTART_TEST_DATA names another folder)", path.display());
    None
}
