//! How long methods of adaptation on cached features take, and how much memory: `cargo run --release --example alignments --
//! [IMAGES] [FEATURES] [CLASSES]`, half of the images of each domain; without numbers 60,000 of 1,280 features in 10 classes.
#![expect(clippy::print_stdout, reason = "a program")]

use headstart::adapt::{Domains, Source, alignments};
use headstart::head::{L2, LogisticRegression};
use headstart::models::Home;
use headstart::{Pool, Quiet, Session, tensor::Rng, tensor::Tensor};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).map(|n| n.parse::<usize>());
    let [images, d, classes] = [60_000, 1280, 10].map(|usual| args.next().unwrap_or(Ok(usual)));
    let (n, d, classes) = (images? / 2, d?, classes?);
    let mut rng = Rng::new(0);
    let centres = Tensor::from_fn([classes, d], |_| 0.3 * rng.normal() as f32);
    let mut rows = |moved: f64| {
        let at = |i: usize| f64::from(centres.row(i / d % classes)[i % d]) + moved;
        Tensor::from_fn([n, d], |i| (at(i) + rng.normal()).max(0.0) as f32)
    };
    let (features, target) = (rows(0.0), rows(0.2));
    let source = Source { features, labels: (0..n).map(|i| i % classes).collect() };
    let (home, pool, stop) = (Home::from_env()?, Pool::new(0), AtomicBool::new(false));
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
    let fit = LogisticRegression { l2: L2::Fixed(0.1), ..Default::default() };
    let head = fit.fit(&source.features, &source.labels, classes, &pool, &stop)?.head;
    for method in alignments() {
        let started = Instant::now();
        let domains = Domains { source: Some(&source), target: &target, head: &head, l2: 0.1, seed: 0 };
        method.align(&session, &domains)?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{:<14} {seconds:>6.1} s   at most {}", method.name(), memory());
    }
    Ok(())
}

/// The most memory that the process has had, as Linux tells it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.map_or("-".to_owned(), |most| most.trim().to_owned())
}
