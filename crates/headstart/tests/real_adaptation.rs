//! Adaptation on real photos and the real weights.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops where its surroundings fail, and says what it found"
)]
#![cfg(feature = "embedded-weights")]

use headstart::adapt::Method;
use headstart::models::Home;
use headstart::tensor::Rng;
use headstart::{AdaptOptions, Classifier, Isa, Pool, Quiet, Session, TrainOptions, adapt, evaluate, train};
use image::{Rgb, RgbImage, imageops};
use std::path::Path;

/// The photo as a bad camera would have taken it at dusk: blurred by 1 of 256 pixels, three tenths of the light, and noise of 2 of 255.
fn at_dusk(photo: &RgbImage, seed: u64) -> RgbImage {
    let sigma = f64::from(photo.width().min(photo.height())) / 256.0;
    let blurred = imageops::blur(photo, sigma as f32);
    let mut rng = Rng::new(seed);
    RgbImage::from_fn(photo.width(), photo.height(), |x, y| {
        Rgb(blurred
            .get_pixel(x, y)
            .0
            .map(|v| (0.3 * f64::from(v) + 2.0 * rng.normal()).round().clamp(0.0, 255.0) as u8))
    })
}

#[test]
fn batch_norm_statistics_recover_half_of_what_dusk_and_a_bad_lens_cost() {
    let Some(archive) = headstart_testing::shared_data("hymenoptera.tar") else { return };
    if Isa::current() == Isa::Generic {
        eprintln!("skipped: the real network on 800 photos in plain Rust takes minutes");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(folder.path()).unwrap();
    let (photos, clean, dusk) = (at("hymenoptera/train"), at("hymenoptera/val"), at("dusk"));
    let mut seed = 0;
    for class in ["ants", "bees"] {
        std::fs::create_dir_all(dusk.join(class)).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(clean.join(class)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let photo = image::open(&file).unwrap().to_rgb8();
            let name = Path::new(file.file_stem().unwrap()).with_extension("png");
            at_dusk(&photo, seed).save(dusk.join(class).join(name)).unwrap();
            seed += 1;
        }
    }
    let (home, pool, stop) = (Home::at(at("home")), Pool::new(0), false.into());
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
    let model = at("model.safetensors");
    let options = TrainOptions { data: photos.clone(), output: model.clone(), ..TrainOptions::default() };
    train(&session, &options).unwrap();
    let classifier = Classifier::open(model.to_str().unwrap(), &home).unwrap();
    let before = evaluate(&session, &classifier, &clean).unwrap().evaluation.accuracy;
    let options = AdaptOptions {
        source: Some(photos),
        eval: Some(dusk.clone()),
        method: Some(Method::ADABN),
        ..AdaptOptions::new(model, dusk, at("adapted.safetensors"))
    };
    let report = adapt(&session, &options).unwrap();
    let [none, adabn] = [0, 1].map(|i| report.tried[i].eval.as_ref().unwrap().accuracy);
    eprintln!("as they are {before:.3}, at dusk {none:.3}, adabn {adabn:.3}");
    assert!(before - none > 0.03, "dusk costs something: {before} {none}");
    assert!(adabn - none >= 0.5 * (before - none), "{before} {none} {adabn}");
}
