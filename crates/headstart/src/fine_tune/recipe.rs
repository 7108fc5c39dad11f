//! How a network is fine-tuned: plain data, by name or from a TOML file, checked before use.

use super::Schedule;
use crate::{Error, OptimizerKind};
use headstart_data::{Kind, Strength};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How training images are changed before the network sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Augment {
    /// Not at all: the centre, as in evaluation.
    #[default]
    None,
    /// [`Strength::Light`].
    Light,
    /// [`Strength::Strong`].
    Strong,
}

impl Augment {
    /// How far views may go; `None` where there is only the centre.
    pub fn strength(self) -> Option<Strength> {
        match self {
            Augment::None => None,
            Augment::Light => Some(Strength::Light),
            Augment::Strong => Some(Strength::Strong),
        }
    }
}

/// A way to fine-tune. What a TOML file leaves out is as in `lp-ft`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneRecipe {
    /// Its name.
    pub name: String,
    /// What is trained besides the classifier: `last`, `all`, or stages, layers, parameters and patterns with `*`.
    pub unfreeze: Vec<String>,
    /// Where no fitted head is given, whether it is fitted to convergence first; else it starts at zero.
    pub probe: bool,
    /// Whether the unfrozen stages join one after the other, from the top, evenly over the epochs.
    pub gradual: bool,
    /// Which optimiser takes the steps.
    pub optimizer: OptimizerKind,
    /// The classifier's learning rate, above 0.
    pub lr: f64,
    /// Each stage's rate as a share of that of the stage above it, above 0 to 1.
    pub lr_decay: f64,
    /// Momentum of SGD, 0 to below 1.
    pub momentum: f64,
    /// Whether SGD looks ahead along its momentum.
    pub nesterov: bool,
    /// AdamW's memories, each 0 to below 1.
    pub betas: [f64; 2],
    /// Weight decay, 0 or more; norms and biases have none.
    pub weight_decay: f64,
    /// The course of the learning rate.
    pub schedule: Schedule,
    /// The share of the steps in which the rate rises, 0 to 1.
    pub warmup: f64,
    /// Passes over the training images, 1 to 10,000.
    pub epochs: usize,
    /// Images a step, 1 to 65,536.
    pub batch_size: usize,
    /// The share of each target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f64,
    /// The parameter of mixup's Beta distribution; 0 for none.
    pub mixup: f64,
    /// The largest norm of all gradients together; 0 for any.
    pub clip: f64,
    /// Epochs without an improvement after which the fit ends; 0 for never.
    pub patience: usize,
    /// How training images are changed.
    pub augment: Augment,
    /// Views of each image that are cached; 0 for a fresh one in every epoch, without the cache. Where it is left out: 1
    /// without augmentation, else 4, or 0 where there is no frozen layer to cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub views: Option<usize>,
}

impl Default for TuneRecipe {
    /// `lp-ft`.
    fn default() -> Self {
        TuneRecipe {
            name: "lp-ft".into(),
            unfreeze: vec!["last".into()],
            probe: true,
            gradual: false,
            optimizer: OptimizerKind::Sgd,
            lr: 0.01,
            lr_decay: 0.8,
            momentum: 0.9,
            nesterov: true,
            betas: [0.9, 0.999],
            weight_decay: 1e-4,
            schedule: Schedule::Cosine,
            warmup: 0.1,
            epochs: 10,
            batch_size: 32,
            label_smoothing: 0.0,
            mixup: 0.0,
            clip: 1.0,
            patience: 5,
            augment: Augment::None,
            views: None,
        }
    }
}

impl TuneRecipe {
    /// The recipes that have a name, in the order they are listed.
    pub const NAMES: [&'static str; 5] = ["lp-ft", "encoder", "lesson", "gradual", "full"];

    /// The recipe of that name.
    ///
    /// - `lp-ft`: head to convergence, then the last block and the head together (Kumar et al. 2022);
    /// - `encoder`: the same for an encoder of texts, by AdamW at the small rates that transformers want (Mosbach et al. 2021);
    /// - `lesson`: SGD at 1e-4, no schedule, on the last block and the head;
    /// - `gradual`: every stage, one more at a time from the top (Howard and Ruder 2018);
    /// - `full`: every stage from the first step on, by AdamW, with light augmentation.
    pub fn named(name: &str) -> Option<TuneRecipe> {
        let base = TuneRecipe { name: name.to_owned(), ..TuneRecipe::default() };
        Some(match name {
            "lp-ft" => base,
            "encoder" => TuneRecipe {
                optimizer: OptimizerKind::Adamw,
                lr: 2.5e-4,
                weight_decay: 0.01,
                epochs: 3,
                ..base
            },
            "lesson" => TuneRecipe {
                lr: 1e-4,
                lr_decay: 1.0,
                nesterov: false,
                weight_decay: 0.0,
                schedule: Schedule::Constant,
                warmup: 0.0,
                clip: 0.0,
                patience: 0,
                ..base
            },
            "gradual" => TuneRecipe { unfreeze: vec!["all".into()], gradual: true, ..base },
            "full" => TuneRecipe {
                unfreeze: vec!["all".into()],
                probe: false,
                optimizer: OptimizerKind::Adamw,
                lr: 1e-3,
                weight_decay: 0.05,
                label_smoothing: 0.1,
                epochs: 20,
                augment: Augment::Light,
                ..base
            },
            _ => return None,
        })
    }

    /// The recipe that is taken for such data where none is asked for: `lp-ft` for images, `encoder` for texts.
    pub fn suited(kind: Kind) -> TuneRecipe {
        let texts = TuneRecipe::named("encoder").filter(|_| kind == Kind::Texts);
        texts.unwrap_or_default()
    }

    /// The recipe that `text` stands for: a name, or a TOML file.
    ///
    /// # Errors
    /// Where it is neither, or the file holds what no recipe has. Ranges are looked at by [`TuneRecipe::check`], when all of
    /// the recipe is known.
    pub fn open(text: &str) -> Result<TuneRecipe, Error> {
        if let Some(recipe) = TuneRecipe::named(text) {
            return Ok(recipe);
        }
        let path = Path::new(text);
        if path.extension().is_none_or(|e| e != "toml") && !path.exists() {
            let nearest = headstart_graph::nearest(text, TuneRecipe::NAMES);
            return Err(Error::UnknownRecipe { name: text.to_owned(), nearest });
        }
        let bad = |detail: String| Error::Recipe { path: path.to_owned(), detail };
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let mut table: toml::Table = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        table.entry("name").or_insert(stem.into());
        let recipe: TuneRecipe = table.try_into().map_err(|e: toml::de::Error| bad(e.to_string()))?;
        Ok(recipe)
    }

    /// The recipe as the TOML file that gives it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Whether it can be used on texts, which have one view.
    ///
    /// # Errors
    /// Naming what only images have.
    pub(crate) fn check_for_texts(&self) -> Result<(), Error> {
        let only = |on: bool, what| if on { Err(Error::ImagesOnly { what }) } else { Ok(()) };
        only(self.augment != Augment::None, "--augment")?;
        only(self.mixup > 0.0, "mixup")
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// Naming the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        let share = |v: f64| (0.0..1.0).contains(&v);
        let finite = |v: f64| v >= 0.0 && v.is_finite();
        let checks: [(bool, &'static str, String, &'static str); 14] = [
            (self.lr > 0.0 && self.lr <= 100.0, "--lr", self.lr.to_string(), "a number above 0, at most 100"),
            (
                self.lr_decay > 0.0 && self.lr_decay <= 1.0,
                "--lr-decay",
                self.lr_decay.to_string(),
                "above 0, at most 1",
            ),
            ((1..=10_000).contains(&self.epochs), "--epochs", self.epochs.to_string(), "1 to 10000"),
            (
                (1..=65_536).contains(&self.batch_size),
                "--batch-size",
                self.batch_size.to_string(),
                "1 to 65536",
            ),
            (share(self.momentum), "momentum", self.momentum.to_string(), "0 to below 1"),
            (
                !self.nesterov || self.momentum > 0.0 || self.optimizer == OptimizerKind::Adamw,
                "nesterov",
                "true".into(),
                "false where momentum is 0",
            ),
            (
                self.betas.iter().all(|&b| share(b)),
                "betas",
                format!("{:?}", self.betas),
                "two numbers from 0 to below 1",
            ),
            (finite(self.weight_decay), "weight_decay", self.weight_decay.to_string(), "0 or more"),
            ((0.0..=1.0).contains(&self.warmup), "warmup", self.warmup.to_string(), "0 to 1"),
            (
                share(self.label_smoothing),
                "label_smoothing",
                self.label_smoothing.to_string(),
                "0 to below 1",
            ),
            (finite(self.mixup) && self.mixup <= 100.0, "mixup", self.mixup.to_string(), "0 to 100"),
            (finite(self.clip), "clip", self.clip.to_string(), "0 or more"),
            (self.views.is_none_or(|v| v <= 64), "--views", self.views.unwrap_or(0).to_string(), "0 to 64"),
            (
                self.augment != Augment::None || self.views.is_none_or(|v| v == 1),
                "--views",
                self.views.unwrap_or(0).to_string(),
                "1 where nothing is augmented: all views would be the same; or give --augment",
            ),
        ];
        match checks.into_iter().find(|(ok, ..)| !ok) {
            None => Ok(()),
            Some((_, name, found, expected)) => Err(Error::Setting { name, found, expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_recipe_is_in_range_and_comes_back_from_its_toml() {
        for name in TuneRecipe::NAMES {
            let recipe = TuneRecipe::named(name).unwrap();
            recipe.check().unwrap();
            let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
            std::fs::write(file.path(), recipe.to_toml()).unwrap();
            assert_eq!(TuneRecipe::open(file.path().to_str().unwrap()).unwrap(), recipe);
        }
        let suited = [Kind::Images, Kind::Texts].map(|kind| TuneRecipe::suited(kind).name);
        assert_eq!(suited, ["lp-ft", "encoder"]);
    }

    #[test]
    fn what_only_images_have_is_refused_for_texts() {
        let refused = |recipe: TuneRecipe| recipe.check_for_texts().unwrap_err().to_string();
        TuneRecipe::default().check_for_texts().unwrap();
        assert!(refused(TuneRecipe::named("full").unwrap()).starts_with("--augment works on images"));
        assert!(
            refused(TuneRecipe { mixup: 0.2, ..TuneRecipe::default() }).starts_with("mixup works on images")
        );
    }

    #[test]
    fn a_file_gives_what_it_says_and_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        let open = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let recipe = TuneRecipe::open(path.to_str().unwrap())?;
            recipe.check()?;
            Ok::<_, Error>(recipe)
        };
        let recipe = open("lr = 0.5\nunfreeze = [\"layer3\", \"layer4\"]\naugment = \"strong\"").unwrap();
        assert_eq!((recipe.name.as_str(), recipe.lr, recipe.epochs), ("mine", 0.5, 10));
        assert_eq!((recipe.unfreeze.len(), recipe.augment), (2, Augment::Strong));
        let message = |text| open(text).unwrap_err().to_string();
        assert!(message("learning_rate = 1").contains("unknown field `learning_rate`"));
        assert!(message("lr = ").contains("mine.toml"));
        assert!(message("epochs = 0").starts_with("--epochs is 0: expected 1 to 10000"));
        for views in ["views = 3", "views = 0"] {
            assert!(message(views).contains("1 where nothing is augmented"));
        }
        assert!(message("lr = nan").starts_with("--lr is NaN"));
        let error = TuneRecipe::open("lesosn").unwrap_err().to_string();
        assert!(error.contains("did you mean `lesson`"), "{error}");
    }
}
