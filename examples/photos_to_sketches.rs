//! Domain adaptation: a classifier of photos comes to sketches without a label of theirs. The labels in the folders' names
//! are looked at to measure alone: `cargo run --release --example photos_to_sketches -- PHOTOS SKETCHES`
//!
//! Both are folders of the same classes, `PHOTOS/dog/1.jpg`. The models are written beside them: `photos.safetensors` and
//! `sketches.safetensors`.
#![expect(clippy::print_stdout, reason = "a program")]

use headstart::models::Home;
use headstart::{AdaptOptions, Pool, Quiet, Session, TrainOptions, adapt, train};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next =
        || args.next().ok_or("name a folder of photos and one of sketches, both of the same classes");
    let (photos, sketches) = (next()?, next()?);
    let (home, pool, stop) = (Home::from_env()?, Pool::new(0), AtomicBool::new(false));
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };

    let model = PathBuf::from("photos.safetensors");
    train(
        &session,
        &TrainOptions { data: photos.clone(), output: model.clone(), ..TrainOptions::default() },
    )?;

    let options = AdaptOptions {
        source: Some(photos),
        eval: Some(sketches.clone()),
        epochs: 1,
        ..AdaptOptions::new(model, sketches, PathBuf::from("sketches.safetensors"))
    };
    let report = adapt(&session, &options)?;
    println!("{:<28} {:>9} {:>7} {:>7}", "method", "agreement", "naming", "right");
    for tried in &report.tried {
        let naming = tried.score.naming.map_or("-".to_owned(), |naming| format!("{naming:.3}"));
        let right = tried.eval.as_ref().map_or("-".to_owned(), |e| format!("{:.1} %", 100.0 * e.accuracy));
        println!("{:<28} {:>9.3} {naming:>7} {right:>7}", tried.method, tried.score.agreement);
    }
    println!("taken without a label: {}, because {}", report.chosen, report.why);
    Ok(())
}
