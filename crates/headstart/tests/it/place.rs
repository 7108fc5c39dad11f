//! A place to fine-tune in: home, tiny pictures, a tiny model to start from, and what was said.
#![allow(unreachable_pub, reason = "a module of tests")]

use headstart::artifact::{FIRST_VERSION, Recipe, Validation};
use headstart::data::{Decode, Interpolation, Preprocess};
use headstart::fine_tune::Start;
use headstart::graph::{Activation, Graph, GraphBuilder, Op, Padding, Params};
use headstart::head::LinearHead;
use headstart::models::{Home, fingerprint};
use headstart::tensor::Rng;
use headstart::{
    Artifact, Backbone, Error, Manifest, Pool, Progress, Session, Solver, TuneOptions, TuneRecipe,
    TuneReport, fine_tune,
};
use headstart_testing::seeded;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Home, data, a starting model, and what was said.
pub struct Place {
    folder: tempfile::TempDir,
    pub said: Mutex<Vec<String>>,
    /// Steps of the work in hand after which the run is interrupted.
    pub stop_after: AtomicUsize,
    pub interrupt: AtomicBool,
    /// The piece of work at whose start all that is in the cache is cut off.
    pub cut_cache_at: Mutex<String>,
}

impl Progress for Place {
    fn start(&self, what: &str, _: usize) {
        self.said.lock().unwrap().push(what.to_owned());
        let mut cut = self.cut_cache_at.lock().unwrap();
        if *cut == what {
            let segments = std::fs::read_dir(self.path("home/features")).unwrap();
            let files = segments.flat_map(|space| std::fs::read_dir(space.unwrap().path()).unwrap());
            for file in files {
                std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_len(64).unwrap();
            }
            "cut".clone_into(&mut cut);
        }
    }
    fn advance(&self, n: usize) {
        let epochs = self.said.lock().unwrap().last().is_some_and(|what| what.starts_with("epoch "));
        for _ in 0..if epochs { n } else { 0 } {
            if self.stop_after.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.interrupt.store(true, Ordering::Relaxed);
            }
        }
    }
    fn finish(&self) {
        self.said.lock().unwrap().push(String::new());
    }
    fn note(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
}

impl Place {
    pub fn new() -> Self {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            said: Mutex::default(),
            stop_after: AtomicUsize::new(usize::MAX),
            interrupt: AtomicBool::new(false),
            cut_cache_at: Mutex::default(),
        };
        pictures(&place.path("data"));
        start().save(&place.path("start.safetensors")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Three short epochs on the last stage.
    pub fn options(&self, output: &str) -> TuneOptions {
        let start = Start::Model(self.path("start.safetensors"));
        let recipe = TuneRecipe { epochs: 3, batch_size: 8, lr: 0.05, patience: 0, ..TuneRecipe::default() };
        TuneOptions { recipe, ..TuneOptions::new(start, self.path("data"), self.path(output)) }
    }

    pub fn tune(&self, options: &TuneOptions, threads: usize) -> Result<TuneReport, Error> {
        let (home, pool) = (Home::at(self.path("home")), Pool::new(threads));
        let session = Session { home: &home, pool: &pool, progress: self, interrupt: &self.interrupt };
        fine_tune(&session, options)
    }

    /// As [`Place::tune`], with a change of the options; the model's bytes.
    pub fn model(&self, name: &str, threads: usize, change: impl FnOnce(&mut TuneOptions)) -> Vec<u8> {
        let mut options = self.options(name);
        change(&mut options);
        self.tune(&options, threads).unwrap();
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn refusal(&self, change: impl FnOnce(&mut TuneOptions)) -> String {
        let mut options = self.options("refused.safetensors");
        change(&mut options);
        let error = self.tune(&options, 1).unwrap_err().to_string();
        assert!(!options.output.exists(), "no model after an error");
        error
    }

    pub fn has_said(&self, what: &str) -> bool {
        self.said.lock().unwrap().iter().any(|text| text.contains(what))
    }
}

/// Noise around a colour and a direction of stripes of each class: 20 and 8 pictures of each of three.
pub fn pictures(folder: &Path) {
    for (split, count) in [("train", 20), ("val", 8)] {
        for (class, name) in ["ants", "bees", "cats"].into_iter().enumerate() {
            let folder = folder.join(split).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                let mut rng = Rng::named(7, &format!("{split} {name} {i}"));
                let picture = image::RgbImage::from_fn(16, 16, |x, y| {
                    let stripe = [x, y, x + y][class] / 2 % 2 * 60;
                    let value = 60.0 + f64::from(stripe) + rng.range(0.0, 120.0);
                    image::Rgb([value as u8, (value + 10.0 * class as f64) as u8, 90])
                });
                picture.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
}

/// A network of three stages, and a head that has learned nothing.
pub fn start() -> Artifact {
    untrained(true)
}

/// The same, with or without batch norm.
pub fn untrained(norms: bool) -> Artifact {
    let mut b = GraphBuilder::new([16, 16, 3]);
    let mut x = b.input();
    for (i, stride) in [(1, 2), (2, 1), (3, 2)] {
        b.stage(&format!("layer{i}"));
        x = b.conv(&format!("layer{i}.conv"), x, 8, (3, stride), Padding::Same).unwrap();
        if norms {
            x = b.batch_norm(&format!("layer{i}.bn"), x, 1e-5).unwrap();
        }
        x = b.activation(&format!("layer{i}.relu"), x, Activation::Relu).unwrap();
    }
    b.stage("fc");
    let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
    b.linear("fc", x, 3).unwrap();
    artifact(b.finish(), "fc", 16)
}

/// A model of seeded values: `graph`, whose classifier has that name, for images of `side` pixels.
pub fn artifact(graph: Graph, classifier: &str, side: usize) -> Artifact {
    let params = graph.params().into_iter();
    let all: Params = params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0))).collect();
    let part = |name: &str| all.get(&format!("{classifier}.{name}")).unwrap().clone();
    let head = LinearHead::new(part("weight"), part("bias")).unwrap();
    let preprocess = Preprocess {
        resize: side,
        crop: side,
        interpolation: Interpolation::Bilinear,
        mean: [0.5; 3],
        std: [0.25; 3],
        decode: Decode::Exact,
        style: None,
    };
    let weights_sha256 = fingerprint(&graph, &all);
    let name = "small.none".to_owned();
    let backbone =
        Backbone::new(graph.clone(), classifier.to_owned(), all, preprocess.clone(), name.clone()).unwrap();
    let recipe = Recipe {
        seed: 7,
        views: 1,
        val_fraction: None,
        group_by: None,
        solver: Solver::Convergence,
        class_weights: None,
        l2: Some(0.1),
    };
    let manifest = Manifest {
        version: FIRST_VERSION,
        headstart: "0.1.0".into(),
        labels: ["ants", "bees", "cats"].map(str::to_owned)[..graph.output().len()].to_vec(),
        preprocess: Some(preprocess),
        text: None,
        backbone: name,
        graph,
        classifier: classifier.to_owned(),
        precision: Default::default(),
        calibration: Default::default(),
        trunk_sha256: backbone.fingerprint.clone(),
        weights_sha256,
        slim: false,
        recipe,
        data_sha256: String::new(),
        train_images: 0,
        validation: Validation { n: 0, accuracy: 0.0, accuracy_ci95: [0.0, 1.0] },
        fine_tuned: None,
        temperature: None,
        unknown: None,
        adapted: None,
    };
    Artifact { manifest, backbone, head, directions: None }
}
