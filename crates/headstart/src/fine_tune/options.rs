//! Everything `finetune` is told, and how it is kept so that a run can go on.

use super::TuneRecipe;
use crate::recipe::check_output;
use crate::{Artifact, CachePrecision, ClassWeighting, Error};
use headstart_data::{Kind, TextColumns};
use headstart_models::Home;
use headstart_weights::replace_file;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a fine-tuning starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// A model file: its head is where the head starts, its classes are the classes.
    Model(PathBuf),
    /// A published network by its name, with the weights of this machine.
    Backbone(String),
}

impl Start {
    /// What the network reads: images, where there is no such network.
    pub fn kind(&self, home: &Home) -> Kind {
        let texts = match self {
            Start::Model(path) => Artifact::manifest_of(path).is_ok_and(|manifest| manifest.text.is_some()),
            Start::Backbone(name) => home.find_encoder(name).is_some(),
        };
        if texts { Kind::Texts } else { Kind::Images }
    }
}

/// Whether activations at the cut are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// Where the disk can hold them.
    #[default]
    Auto,
    /// Not at all.
    Never,
}

/// Everything `finetune` is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuneOptions {
    /// What it starts from.
    pub start: Start,
    /// The data: a folder, table or archive.
    pub data: PathBuf,
    /// Validation data of its own.
    pub val: Option<PathBuf>,
    /// A list of images of `data` to leave out: see [`Exclusions`](headstart_data::doctor::Exclusions).
    #[serde(default)]
    pub exclude: Option<PathBuf>,
    /// Where tables hold texts and their labels.
    #[serde(default)]
    pub columns: TextColumns,
    /// Share of each class held out where the data sets none apart and the starting model held none out.
    pub val_fraction: f64,
    /// Decides the order of batches, the views and mixup; and where nothing is held out by a starting model, the split.
    pub seed: u64,
    /// How.
    pub recipe: TuneRecipe,
    /// Whether the learning rate is found by a range test first.
    pub find_lr: bool,
    /// How much an image of each class counts.
    pub class_weights: ClassWeighting,
    /// Seconds that the fit may take: as many epochs are planned as fit in.
    pub time_budget: Option<f64>,
    /// Whether activations are kept.
    pub cache: CacheUse,
    /// How they are kept.
    pub cache_precision: CachePrecision,
    /// Minutes between two checkpoints within an epoch, above 0.
    pub checkpoint_minutes: f64,
    /// Whether a file that cannot be used stops the run.
    pub strict: bool,
    /// The model file to write.
    pub output: PathBuf,
    /// The folder of the run: its settings, history and checkpoint.
    pub folder: PathBuf,
    /// Whether the run in that folder goes on.
    #[serde(skip)]
    pub resume: bool,
}

impl TuneOptions {
    /// Fine-tuning by `lp-ft` of what `start` names on `data`, to `output`, with the run's folder beside it.
    pub fn new(start: Start, data: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        let output: PathBuf = output.into();
        let name = output.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder =
            output.with_file_name(format!("{}.run", name.strip_suffix(".safetensors").unwrap_or(&name)));
        TuneOptions {
            start,
            data: data.into(),
            val: None,
            exclude: None,
            columns: TextColumns::default(),
            val_fraction: 0.2,
            seed: 0,
            recipe: TuneRecipe::default(),
            find_lr: false,
            class_weights: ClassWeighting::None,
            time_budget: None,
            cache: CacheUse::Auto,
            cache_precision: CachePrecision::F32,
            checkpoint_minutes: 10.0,
            strict: false,
            folder,
            output,
            resume: false,
        }
    }

    /// The settings of the run in `folder`, to go on with it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn of_run(folder: &Path) -> Result<TuneOptions, Error> {
        let path = settings(folder);
        let bad = |detail: String| Error::NoRun { path: folder.to_owned(), detail };
        let text = std::fs::read_to_string(&path).map_err(|e| bad(format!("{}: {e}", path.display())))?;
        let options: TuneOptions =
            serde_json::from_str(&text).map_err(|e| bad(format!("{}: {e}", path.display())))?;
        Ok(TuneOptions { resume: true, folder: folder.to_owned(), ..options })
    }

    /// Makes the run's folder and writes the settings into it.
    pub(crate) fn keep(&self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("write", &self.folder))?;
        let path = settings(&self.folder);
        let bad = |e: serde_json::Error| Error::NoRun { path: path.clone(), detail: e.to_string() };
        let text = serde_json::to_string_pretty(self).map_err(bad)?;
        replace_file(&path, |w| writeln!(w, "{text}")).map_err(Error::io("write", &path))
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// Naming the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.recipe.check()?;
        let bad = |name, found: String, expected| Err(Error::Setting { name, found, expected });
        if !(self.val_fraction > 0.0 && self.val_fraction < 1.0) {
            return bad("--val-fraction", self.val_fraction.to_string(), "a share between 0 and 1");
        }
        if self.time_budget.is_some_and(|s| !(s > 0.0 && s.is_finite())) {
            let found = format!("{:?} s", self.time_budget.unwrap_or_default());
            return bad("--time-budget", found, "more than nothing");
        }
        if !(self.checkpoint_minutes > 0.0 && self.checkpoint_minutes.is_finite()) {
            return bad("--checkpoint-minutes", self.checkpoint_minutes.to_string(), "a number above 0");
        }
        if self.folder == self.output {
            let found = self.output.display().to_string();
            return bad("-o", found, "another name than that of the folder of the run");
        }
        if self.folder.exists() && !self.folder.is_dir() {
            let found = self.folder.display().to_string();
            return bad("the folder of the run", found, "a folder, or nothing yet");
        }
        check_output(&self.output)
    }
}

fn settings(folder: &Path) -> PathBuf {
    folder.join("run.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_data::Column;

    #[test]
    fn settings_come_back_and_what_is_out_of_range_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("m.safetensors");
        let columns =
            TextColumns { text: Some(Column::Number(1)), label: Some(Column::Name("stars".into())) };
        let options = TuneOptions::new(Start::Backbone("resnet18".into()), "data", &output);
        let options = TuneOptions { columns, ..options };
        options.check().unwrap();
        options.keep().unwrap();
        assert_eq!(options.folder, folder.path().join("m.run"));
        let back = TuneOptions::of_run(&options.folder).unwrap();
        assert_eq!(back, TuneOptions { resume: true, ..options.clone() });
        let message = |o: TuneOptions| o.check().unwrap_err().to_string();
        let recipe = TuneRecipe { epochs: 0, ..TuneRecipe::default() };
        assert!(message(TuneOptions { recipe, ..options.clone() }).starts_with("--epochs is 0"));
        assert!(
            message(TuneOptions { time_budget: Some(0.0), ..options.clone() }).starts_with("--time-budget")
        );
        assert!(
            message(TuneOptions { checkpoint_minutes: 0.0, ..options.clone() }).starts_with("--checkpoint")
        );
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let file = folder.path().join("file");
        assert!(message(TuneOptions { folder: file.clone(), ..options.clone() }).contains("a folder"));
        assert!(message(TuneOptions { output: file, ..options }).starts_with("-o is"));
        let error = TuneOptions::of_run(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds no run"), "{error}");
    }
}
