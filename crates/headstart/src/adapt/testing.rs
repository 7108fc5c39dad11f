//! What the tests of the methods share.

use crate::{Pool, Quiet, Session};
use headstart_models::Home;
use headstart_tensor::{Rng, Tensor};
use headstart_testing::relative_l2;
use headstart_weights::StateDict;
use std::path::Path;

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

/// Losses and gradients in PyTorch, written by `scripts/fixtures/adapt_losses.py`.
pub(crate) fn losses() -> StateDict {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapt_losses.safetensors");
    StateDict::open(&path).unwrap()
}

/// That a loss is that of that name, and its gradient within so much of it.
pub(crate) fn close(name: &str, within: f64, (loss, gradient): (f64, Tensor), expected: &StateDict) {
    let of = |name: &str| expected.tensor(name).unwrap();
    let value = f64::from(of(name).data()[0]);
    assert!((loss - value).abs() < 1e-5 * value.abs().max(1.0), "{name}: {loss} {value}");
    let apart = relative_l2(gradient.data(), of(&format!("{name}.gradient")).data());
    assert!(apart < within, "{name}: gradients are {apart} apart");
}
