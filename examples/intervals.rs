//! Whether 95 % intervals hold: over many random splits, how often the interval from a few hundred validation images
//! contains the accuracy on test images of their own. `headstart embed DATA/train -o train.npy`, the same for test, then
//! `cargo run --release --example intervals -- train.npy test.npy [SPLITS]`
//!
//! Training and validation images of a split are drawn from all of `train.npy`; the test images are always the same, so their own
//! chance is part of what is asked. Give the whole training set: a few thousand images that every split draws from would differ
//! from the test images in the same way every time.
#![expect(clippy::print_stdout, reason = "a program")]

use headstart::head::{L2, LogisticRegression};
use headstart::metrics::{correct, wilson_interval};
use headstart::{Pool, tensor::Rng, tensor::Tensor};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Images that each head is trained on, and validated on.
const SIZES: [(usize, usize); 3] = [(500, 100), (1000, 250), (1000, 1000)];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("name the features of training and of test images (.npy)");
    let ((all, labels), (test, test_labels)) = (read(Path::new(&next()?))?, read(Path::new(&next()?))?);
    let splits = args.next().map_or(Ok(200), |n| n.parse())?;
    let classes = labels.iter().collect::<BTreeSet<_>>().len();
    let (pool, stop) = (Pool::new(0), AtomicBool::new(false));
    for (n, m) in SIZES {
        let (mut held, mut mean) = (0, 0.0);
        for split in 0..splits {
            let mut order: Vec<usize> = (0..labels.len()).collect();
            Rng::named(split as u64, "intervals").shuffle(&mut order);
            let part = |some: &[usize]| (all.rows(some), some.iter().map(|&i| labels[i]).collect::<Vec<_>>());
            let ((x, y), (val, val_labels)) = (part(&order[..n]), part(&order[n..n + m]));
            let settings = LogisticRegression { l2: L2::Fixed(0.1), ..Default::default() };
            let head = settings.fit(&x, &y, classes, &pool, &stop)?.head;
            let [low, high] = wilson_interval(correct(&head.logits(&pool, &val)?, &val_labels), m);
            let accuracy =
                correct(&head.logits(&pool, &test)?, &test_labels) as f64 / test_labels.len() as f64;
            held += usize::from((low..=high).contains(&accuracy));
            mean += accuracy / splits as f64;
        }
        let share = 100.0 * held as f64 / splits as f64;
        println!(
            "trained on {n}, validated on {m}: {held} of {splits} intervals ({share:.1} %) contain the test accuracy (mean {:.1} %)",
            100.0 * mean
        );
    }
    Ok(())
}

/// The features `[n, d]` of `embed`, and their labels from the table beside them, numbered in the order of their names.
fn read(path: &Path) -> Result<(Tensor, Vec<usize>)> {
    let table = std::fs::read_to_string(path.with_extension("rows.tsv"))?;
    let names: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split('\t').nth(1)).collect();
    let classes: Vec<&str> = names.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let labels: Vec<usize> = names.iter().filter_map(|name| classes.binary_search(name).ok()).collect();
    let bytes = std::fs::read(path)?;
    let header = 10 + bytes.get(8..10).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let values: Vec<f32> = bytes[header.min(bytes.len())..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let d = values.len() / labels.len().max(1);
    Ok((Tensor::new([labels.len(), d], values)?, labels))
}
