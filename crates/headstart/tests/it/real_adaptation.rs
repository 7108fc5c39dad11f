//! Adaptation on real photos and the real weights.

use headstart::adapt::Method;
use headstart::models::Home;
use headstart::{AdaptOptions, Classifier, Isa, Pool, Quiet, Session, TrainOptions, adapt, evaluate, train};
use image::{RgbImage, imageops};
use std::path::Path;

/// The photo as a bad camera would have taken it at dusk: 256 pixels on the shorter side, blurred by 1.5, three tenths of the light.
fn at_dusk(photo: &RgbImage) -> RgbImage {
    let scale = 256.0 / f64::from(photo.width().min(photo.height()));
    let [width, height] =
        [photo.width(), photo.height()].map(|pixels| (f64::from(pixels) * scale).round() as u32);
    let small = imageops::resize(photo, width, height, imageops::FilterType::Triangle);
    let mut dusk = imageops::blur(&small, 1.5);
    dusk.pixels_mut().for_each(|p| p.0 = p.0.map(|v| (0.3 * f64::from(v)).round() as u8));
    dusk
}

#[test]
fn adaptation_recovers_half_of_what_dusk_and_a_bad_lens_cost() {
    let Some(archive) = headstart_testing::shared_data("hymenoptera.tar") else { return };
    if Isa::current() == Isa::Generic {
        eprintln!("skipped: the real network on 800 photos in plain Rust takes minutes");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    tar::Archive::new(std::fs::File::open(archive).unwrap()).unpack(folder.path()).unwrap();
    let (photos, clean, dusk) = (at("hymenoptera/train"), at("hymenoptera/val"), at("dusk"));
    for class in ["ants", "bees"] {
        std::fs::create_dir_all(dusk.join(class)).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(clean.join(class)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let photo = headstart::data::image::decode(&std::fs::read(&file).unwrap()).unwrap();
            let size = (photo.width as u32, photo.height as u32);
            let photo = RgbImage::from_raw(size.0, size.1, photo.pixels).unwrap();
            let name = Path::new(file.file_stem().unwrap()).with_extension("png");
            at_dusk(&photo).save(dusk.join(class).join(name)).unwrap();
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
        method: Some(Method::parse("adabn").unwrap()),
        ..AdaptOptions::new(model, dusk, at("adapted.safetensors"))
    };
    let report = adapt(&session, &options).unwrap();
    let [none, adabn] = [0, 1].map(|i| report.tried[i].eval.as_ref().unwrap().accuracy);
    let lost = before - none;
    eprintln!("as they are {before:.3}, at dusk {none:.3}, adabn {adabn:.3}");
    assert!(lost > 0.1, "dusk costs something: {before} {none}");
    assert!(adabn - none >= 0.5 * lost, "{before} {none} {adabn}");
}
