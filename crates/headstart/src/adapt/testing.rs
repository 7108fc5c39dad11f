//! What the tests of the methods share.

use crate::{Pool, Quiet, Session};
use headstart_models::Home;
use headstart_tensor::{Rng, Tensor};

/// A session that keeps nothing.
pub(crate) fn quiet(work: impl FnOnce(&Session)) {
    let (home, pool, stop) = (Home::at("unused"), Pool::new(2), false.into());
    work(&Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop });
}

/// `n` rows of four features around one centre a class, and their classes.
pub(crate) fn cluster(n: usize, classes: usize, seed: u64) -> (Tensor, Vec<usize>) {
    let mut rng = Rng::new(seed);
    let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
    let values = Tensor::from_fn([n, 4], |i| {
        let (class, column) = (labels[i / 4], i % 4);
        let centre = if class == column { 3.0 } else { 0.0 };
        (centre + 0.5 * rng.normal()) as f32
    });
    (values, labels)
}
