//! In which precision a trunk runs: as told, or the fastest that costs no accuracy on a sample of the user's images.

use crate::features::{CENTER, through};
use crate::head::LogisticRegression;
use crate::{Backbone, Error, Session, extract};
use headstart_data::{Item, Kind, Picture, View};
use headstart_graph::{Calibration, Precision, Trunk};
use headstart_kernels::Isa;
use headstart_tensor::Tensor;
use serde::Serialize;
use std::time::Instant;

/// Images that int8 scales are measured on.
const CALIBRATION: usize = 64;
/// Training images that [`PrecisionChoice::Auto`] compares precisions on. With fewer than a few times that, comparing
/// takes longer than it saves.
const SAMPLE: usize = 1000;
/// Texts that a trunk is timed with.
const TIMED_TEXTS: usize = 128;
/// The loss of cross-validated accuracy that is no loss.
const TOLERATED: f64 = 0.003;
/// A lower precision must be this much faster to be worth it.
const WORTH: f64 = 1.1;

/// Which precision the trunk gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// This one.
    Fixed(Precision),
    /// The fastest whose head has a cross-validated accuracy within 0.3 points of that of f32, on a sample of the training
    /// images.
    Auto,
}

impl Default for PrecisionChoice {
    fn default() -> Self {
        PrecisionChoice::Fixed(Precision::F32)
    }
}

/// What was decided, and on what grounds.
#[derive(Debug, Clone, Serialize)]
pub struct PrecisionPart {
    /// The precision of the trunk.
    pub chosen: Precision,
    /// Why, in a sentence, where there is something to say.
    pub why: Option<String>,
    /// What was measured, where it was to be decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
}

/// A precision on the sample.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// Which.
    pub precision: Precision,
    /// Cross-validated accuracy of the head.
    pub accuracy: f64,
    /// Images (or texts) a second through the trunk, without decoding.
    pub images_per_second: f64,
}

impl Backbone {
    /// Compiles the trunk in `precision`; for int8, where it wants scales, with those of up to 64 of `pictures`, evenly spaced.
    ///
    /// # Errors
    /// Where int8 is asked for and none of these pictures can be read.
    pub fn lower(
        &mut self,
        session: &Session,
        precision: Precision,
        pictures: &[&Picture],
    ) -> Result<(), Error> {
        if precision == self.trunk().precision() {
            return Ok(());
        }
        // Rows are quantised one by one: a network of nothing else, as of texts, wants no sample.
        if precision == Precision::Int8 && self.compile_in(precision, Calibration::default()).is_ok() {
            return Ok(());
        }
        let calibration = match precision {
            Precision::F32 | Precision::Bf16 => Calibration::default(),
            Precision::Int8 => {
                let images = self.sample(session, pictures, CALIBRATION)?;
                if images.dims()[0] == 0 {
                    return Err(Error::NothingReadable {
                        what: "the sample that int8 is calibrated on".into(),
                    });
                }
                Trunk::calibrate(self.trunk_graph(), &self.params, session.pool, &images)?
            }
        };
        self.compile_in(precision, calibration)
    }

    /// The centre views of up to `most` pictures, evenly spaced; those that cannot be read are left out.
    fn sample(&self, session: &Session, pictures: &[&Picture], most: usize) -> Result<Tensor, Error> {
        let preprocess = self.input.preprocess("--precision int8")?;
        let (n, size) = (pictures.len().min(most), preprocess.values());
        let images = session.pool.map(n, |i| {
            let picture = pictures[i * pictures.len() / n];
            let image = preprocess.decode(picture, &picture.bytes().ok()?).ok()?;
            let mut values = vec![0.0; size];
            preprocess.apply(&image, View::Center, &mut values);
            Some(values)
        });
        let images: Vec<f32> = images.into_iter().flatten().flatten().collect();
        let side = preprocess.crop;
        let mut batch = Tensor::zeros([images.len() / size, side, side, 3]);
        batch.data_mut().copy_from_slice(&images);
        Ok(batch)
    }
}

/// Compiles the backbone's trunk in the precision that `choice` asks for.
///
/// # Errors
/// As [`Backbone::lower`], and where the run was interrupted.
pub(crate) fn choose(
    session: &Session,
    backbone: &mut Backbone,
    choice: PrecisionChoice,
    train: &[Item],
    classes: usize,
    seed: u64,
) -> Result<PrecisionPart, Error> {
    let precision = match choice {
        PrecisionChoice::Auto if train.len() < 3 * SAMPLE => {
            let why = format!(
                "{} training {}, fewer than {}: comparing precisions would take longer than it saves",
                train.len(),
                backbone.input.kind().many(),
                3 * SAMPLE
            );
            return Ok(PrecisionPart { chosen: Precision::F32, why: Some(why), tried: Vec::new() });
        }
        PrecisionChoice::Auto => return measure(session, backbone, train, SAMPLE, classes, seed),
        PrecisionChoice::Fixed(precision) => precision,
    };
    let pictures: Vec<&Picture> = train.iter().map(|i| &i.picture).collect();
    backbone.lower(session, precision, &pictures)?;
    let (isa, products) = (Isa::current(), backbone.trunk().products());
    let why = match products.iter().find(|p| !p.is_native(isa)) {
        Some(p) => Some(format!(
            "this machine's {isa} has no products of {p}: made of several, they are slower than f32"
        )),
        None if precision == Precision::Int8 && !products.contains(&precision) => {
            Some("no layer of this network has kernels of bytes: they multiply bf16".to_owned())
        }
        None => None,
    };
    Ok(PrecisionPart { chosen: precision, why, tried: Vec::new() })
}

/// Tries every precision that is faster on `n` of the training images, evenly spaced.
fn measure(
    session: &Session,
    backbone: &mut Backbone,
    train: &[Item],
    n: usize,
    classes: usize,
    seed: u64,
) -> Result<PrecisionPart, Error> {
    let pictures: Vec<&Picture> = train.iter().map(|i| &i.picture).collect();
    let sample: Vec<&Item> = (0..n).map(|i| &train[i * train.len() / n]).collect();
    let of_sample: Vec<&Picture> = sample.iter().map(|item| &item.picture).collect();
    let kind = backbone.input.kind();
    let timed = match kind {
        Kind::Images => {
            let most = 2 * backbone.trunk().group() * session.pool.threads();
            Timed::Images(backbone.sample(session, &of_sample, most)?)
        }
        Kind::Texts => Timed::Texts(&of_sample[..n.min(TIMED_TEXTS)]),
    };
    let mut tried: Vec<Tried> = Vec::new();
    for precision in Precision::ALL {
        backbone.lower(session, precision, &pictures)?;
        let products = backbone.trunk().products();
        if !products.contains(&precision) || products.iter().any(|p| !p.is_native(Isa::current())) {
            continue;
        }
        let images_per_second = rate(session, backbone, &timed)?;
        if tried.first().is_some_and(|f32| images_per_second < WORTH * f32.images_per_second) {
            continue;
        }
        let features = extract(session, backbone, &of_sample, 1, seed, &format!("a sample in {precision}"))?;
        let targets: Vec<usize> = features.kept.iter().map(|&i| sample[i].label).collect();
        let settings = LogisticRegression { seed, ..LogisticRegression::default() };
        let fit = settings.fit(&features.values, &targets, classes, session.pool, session.interrupt);
        let Ok(fit) = fit else {
            session.check()?;
            backbone.lower(session, Precision::F32, &pictures)?;
            let why =
                format!("a head cannot be fitted to a sample of {n} {}, or it lacks a class", kind.many());
            return Ok(PrecisionPart { chosen: Precision::F32, why: Some(why), tried: Vec::new() });
        };
        let best = fit.cross_validation.iter().min_by(|a, b| a.loss.total_cmp(&b.loss));
        tried.push(Tried { precision, accuracy: best.map_or(0.0, |p| p.accuracy), images_per_second });
    }
    let (chosen, why) = decide(&tried, n, kind);
    backbone.lower(session, chosen, &pictures)?;
    Ok(PrecisionPart { chosen, why: Some(why), tried })
}

/// The fastest of those that lose nothing against the first, f32.
fn decide(tried: &[Tried], n: usize, kind: Kind) -> (Precision, String) {
    let Some(exact) = tried.first() else { return (Precision::F32, "nothing was measured".to_owned()) };
    let fits = |t: &&Tried| t.accuracy >= exact.accuracy - TOLERATED;
    let best = tried.iter().filter(fits).max_by(|a, b| a.images_per_second.total_cmp(&b.images_per_second));
    let best = best.unwrap_or(exact);
    let points = |t: &Tried| {
        let (accuracy, rate, many) = (100.0 * t.accuracy, t.images_per_second, kind.many());
        format!("{} {accuracy:.1} %, {rate:.0} {many} a second", t.precision)
    };
    let all = tried.iter().map(points).collect::<Vec<_>>().join("; ");
    let verdict = match best.precision {
        Precision::F32 if tried.len() == 1 => "no other is faster here".to_owned(),
        Precision::F32 => "the others lose more than 0.3 points".to_owned(),
        other => format!("{other} is the fastest that loses no more than 0.3 points"),
    };
    (best.precision, format!("{verdict} (cross-validated on a sample of {n}: {all})"))
}

/// What a trunk is timed with.
enum Timed<'a> {
    /// Decoded.
    Images(Tensor),
    /// To be read, which takes next to nothing.
    Texts(&'a [&'a Picture]),
}

/// Images or texts a second through the trunk, the best of three runs behind a first.
fn rate(session: &Session, backbone: &Backbone, timed: &Timed) -> Result<f64, Error> {
    let mut best = 0.0f64;
    for _ in 0..4 {
        let started = Instant::now();
        let n = match timed {
            Timed::Images(images) => {
                backbone.trunk().run(session.pool, images)?;
                images.dims()[0]
            }
            Timed::Texts(texts) => {
                through(backbone.trunk(), &backbone.input, texts, CENTER, session.pool).len()
            }
        };
        best = best.max(n as f64 / started.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use headstart_data::{Dataset, Decode, Interpolation, OpenOptions, Preprocess};
    use headstart_graph::{Activation, GraphBuilder, Op, Padding, Params};
    use headstart_kernels::Pool;
    use headstart_models::Home;
    use headstart_tensor::Rng;
    use headstart_testing::seeded;

    #[test]
    fn the_fastest_without_a_loss_is_taken() {
        let tried = |of: &[(Precision, f64, f64)]| {
            let tried =
                |&(precision, accuracy, images_per_second)| Tried { precision, accuracy, images_per_second };
            of.iter().map(tried).collect::<Vec<_>>()
        };
        let (f32, bf16, int8) = ((Precision::F32, 0.9, 100.0), Precision::Bf16, Precision::Int8);
        for (of, expected) in [
            (vec![f32], Precision::F32),
            (vec![f32, (bf16, 0.897, 150.0), (int8, 0.8965, 300.0)], bf16),
            (vec![f32, (bf16, 0.91, 150.0), (int8, 0.898, 300.0)], int8),
            (vec![f32, (bf16, 0.89, 150.0), (int8, 0.89, 300.0)], Precision::F32),
        ] {
            let (chosen, why) = decide(&tried(&of), 1000, Kind::Images);
            assert_eq!(chosen, expected, "{why}");
            assert!(why.contains("f32 90.0 %, 100 images a second"), "{why}");
        }
    }

    /// Two classes of twelve pictures, noise around a colour, and a small network.
    fn colours_and_network(folder: &std::path::Path) -> (Vec<Item>, Backbone) {
        for (class, colour) in [("blue", [40, 60, 200]), ("red", [200, 60, 40])] {
            std::fs::create_dir_all(folder.join(class)).unwrap();
            for i in 0..12 {
                let mut rng = Rng::named(i, class);
                let noisy = |c: u8| (f64::from(c) + rng.range(-30.0, 30.0)) as u8;
                let pixel = image::Rgb(colour.map(noisy));
                let path = folder.join(class).join(format!("{i}.png"));
                image::RgbImage::from_pixel(16, 16, pixel).save(path).unwrap();
            }
        }
        let mut b = GraphBuilder::new([16, 16, 3]);
        let input = b.input();
        let x = b.conv("conv1", input, 32, (3, 1), Padding::Same).unwrap();
        let x = b.activation("relu", x, Activation::Relu).unwrap();
        let x = b.conv("conv2", x, 32, (3, 1), Padding::Same).unwrap();
        let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        b.linear("fc", x, 2).unwrap();
        let graph = b.finish();
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0)))
            .collect();
        let preprocess = Preprocess {
            resize: 16,
            crop: 16,
            interpolation: Interpolation::Bilinear,
            mean: [0.5; 3],
            std: [0.25; 3],
            decode: Decode::Exact,
            style: None,
        };
        let backbone = Backbone::new(graph, "fc".into(), params, preprocess, "small.none".into()).unwrap();
        (Dataset::open(folder, &OpenOptions::default()).unwrap().train, backbone)
    }

    #[test]
    fn a_sample_decides_and_the_trunk_is_compiled_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let (train, mut backbone) = colours_and_network(&folder.path().join("data"));
        let (home, pool, stop) = (Home::at(folder.path()), Pool::new(2), false.into());
        let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
        let part = measure(&session, &mut backbone, &train, 20, 2, 0).unwrap();
        assert_eq!(backbone.trunk().precision(), part.chosen);
        assert_eq!((part.tried[0].precision, part.tried[0].accuracy), (Precision::F32, 1.0));
        assert!(part.tried.iter().any(|t| t.precision == part.chosen), "{part:?}");
        assert!(part.why.unwrap().contains("on a sample of 20: f32 100.0 %"));

        // The sample's one image is of one class: nothing can be compared.
        backbone.lower(&session, Precision::Bf16, &[]).unwrap();
        let part = measure(&session, &mut backbone, &train, 1, 2, 0).unwrap();
        assert_eq!((part.chosen, backbone.trunk().precision()), (Precision::F32, Precision::F32));
        assert!(part.why.unwrap().contains("lacks a class"));

        let error = backbone.lower(&session, Precision::Int8, &[]).unwrap_err();
        assert!(error.to_string().contains("the sample that int8 is calibrated on"), "{error}");
    }
}
