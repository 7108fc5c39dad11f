//! The command line of `finetune`.

use super::{Columns, Pull, Threads, class_weighting};
use crate::printer::Printer;
use clap::Args as ClapArgs;
use headstart::fine_tune::{Augment, CacheUse, Start};
use headstart::models::Home;
use headstart::{CachePrecision, ClassWeighting, Error, TuneOptions, TuneRecipe};
use std::path::PathBuf;

/// What changes the recipe or the run: none of it goes with `--resume`. (The cache changes no byte.)
const SETTINGS: [&str; 22] = [
    "paths",
    "text_column",
    "label_column",
    "backbone",
    "unfreeze",
    "recipe",
    "epochs",
    "lr",
    "lr_decay",
    "batch_size",
    "views",
    "augment",
    "class_weights",
    "time_budget",
    "val",
    "exclude",
    "val_fraction",
    "seed",
    "cache_precision",
    "checkpoint_minutes",
    "strict",
    "output",
];

#[derive(Debug, ClapArgs)]
#[command(override_usage = "headstart finetune MODEL DATA [OPTIONS]\n       \
                            headstart finetune --backbone NAME DATA [OPTIONS]\n       \
                            headstart finetune --resume DIR")]
pub(crate) struct Finetune {
    /// A model file of `train` or `finetune` (not with --backbone), and labelled images or texts, as for train.
    #[arg(value_name = "MODEL DATA", num_args = 1..=2, required_unless_present = "resume")]
    paths: Vec<PathBuf>,
    /// Start from a pre-trained network, its head fitted first (not by `full`), not from a model file.
    #[arg(long, value_name = "NAME")]
    backbone: Option<String>,
    #[command(flatten)]
    columns: Columns,
    #[command(flatten)]
    pull: Pull,
    /// What learns besides the classifier: `last` (the last block), `all`, or stages, layers, parameters and patterns
    /// with commas between them.
    #[arg(long, value_name = "last|all|NAME,..", value_delimiter = ',')]
    unfreeze: Vec<String>,
    /// How: lp-ft, encoder, lesson, gradual, full, or a TOML file. Where not given: encoder for texts, lp-ft for images.
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Passes over the training images.
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    epochs: Option<usize>,
    /// Learning rate of the classifier, or `find` for a range test.
    #[arg(long, allow_negative_numbers = true, value_name = "F|find", value_parser = rate)]
    lr: Option<Rate>,
    /// Each stage's learning rate as a share of that of the stage above.
    #[arg(long, allow_negative_numbers = true, value_name = "F")]
    lr_decay: Option<f64>,
    /// Images a step.
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    batch_size: Option<usize>,
    /// Cached views of each training image; 0 for a fresh one in every epoch, without the cache.
    #[arg(long, value_name = "K")]
    views: Option<usize>,
    /// How training images are changed.
    #[arg(long, value_name = "none|light|strong", value_parser = augment)]
    augment: Option<Augment>,
    /// How much an image of each class counts: `balanced`, `none`, or a table `label,weight`.
    #[arg(long, value_name = "balanced|none|FILE", default_value = "none", value_parser = class_weighting)]
    class_weights: ClassWeighting,
    /// Plan as many epochs as fit into this time (90s, 10m, 1h30m), by the rate measured here.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    time_budget: Option<f64>,
    /// Validation data of its own.
    #[arg(long, value_name = "DIR", conflicts_with = "val_fraction")]
    val: Option<PathBuf>,
    /// Leave out the images of this list, as `headstart doctor --fix-list` writes it.
    #[arg(long, value_name = "FILE")]
    exclude: Option<PathBuf>,
    /// Share of each class held out where neither the data nor the starting model holds out any.
    #[arg(long, allow_negative_numbers = true, value_name = "F", default_value_t = 0.2)]
    val_fraction: f64,
    /// Decides the order of batches and the views.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Compute the frozen part in every epoch, not once.
    #[arg(long)]
    no_cache: bool,
    /// How cached activations are kept: f16 takes half the disk.
    #[arg(long, value_name = "f32|f16", default_value = "f32", value_parser = precision)]
    cache_precision: CachePrecision,
    /// Minutes between two checkpoints within an epoch; there is one at the end of each.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 10.0)]
    checkpoint_minutes: f64,
    /// Make files that cannot be used an error, not a note.
    #[arg(long)]
    strict: bool,
    /// Print the recipe and what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on with the interrupted run in this folder (NAME.run beside the model file).
    #[arg(long, value_name = "DIR", conflicts_with_all = SETTINGS)]
    resume: Option<PathBuf>,
    /// The model file to write.
    #[arg(short, long, value_name = "FILE", default_value = "finetuned.safetensors")]
    output: PathBuf,
    /// The page to write, with curves, mistakes and pictures; `none` for none. NAME.report.html beside the model where not
    /// given.
    #[arg(long, value_name = "FILE|none")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    Find,
    Value(f64),
}

impl Finetune {
    /// Gets the backbone's weights, where that is asked for.
    ///
    /// # Errors
    /// Where they cannot be had.
    pub(crate) fn pull_backbone(&self, printer: &Printer) -> anyhow::Result<()> {
        match &self.backbone {
            Some(name) => self.pull.before(&[name], printer),
            None => Ok(()),
        }
    }

    /// What the library is told; `home` is where the network to start from is looked for.
    ///
    /// # Errors
    /// Where the recipe or the run to go on with cannot be read, or model and data are not both there.
    pub(crate) fn options(self, home: &Home) -> Result<TuneOptions, Error> {
        if let Some(folder) = &self.resume {
            let mut options = TuneOptions::of_run(folder)?;
            if self.no_cache {
                options.cache = CacheUse::Never;
            }
            return Ok(options);
        }
        let (start, data) = match (self.backbone, <[PathBuf; 2]>::try_from(self.paths)) {
            (None, Ok([model, data])) => (Start::Model(model), data),
            (Some(name), Err(mut paths)) if paths.len() == 1 => (Start::Backbone(name), paths.remove(0)),
            (_, paths) => {
                let found = match paths {
                    Ok(_) => "two paths with --backbone".to_owned(),
                    Err(paths) => format!("{} path without --backbone", paths.len()),
                };
                let expected = "MODEL DATA, or --backbone NAME DATA";
                return Err(Error::Setting { name: "finetune", found, expected });
            }
        };
        let mut recipe = match &self.recipe {
            Some(recipe) => TuneRecipe::open(recipe)?,
            None => TuneRecipe::suited(start.kind(home)),
        };
        if !self.unfreeze.is_empty() {
            recipe.unfreeze = self.unfreeze;
        }
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.lr_decay = self.lr_decay.unwrap_or(recipe.lr_decay);
        recipe.batch_size = self.batch_size.unwrap_or(recipe.batch_size);
        recipe.augment = self.augment.unwrap_or(recipe.augment);
        recipe.views = self.views.or(recipe.views);
        if let Some(Rate::Value(lr)) = self.lr {
            recipe.lr = lr;
        }
        Ok(TuneOptions {
            recipe,
            val: self.val,
            exclude: self.exclude,
            columns: self.columns.to_columns(),
            val_fraction: self.val_fraction,
            seed: self.seed,
            find_lr: self.lr == Some(Rate::Find),
            class_weights: self.class_weights,
            time_budget: self.time_budget,
            cache: if self.no_cache { CacheUse::Never } else { CacheUse::Auto },
            cache_precision: self.cache_precision,
            checkpoint_minutes: self.checkpoint_minutes,
            strict: self.strict,
            ..TuneOptions::new(start, data, self.output)
        })
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "find" => Ok(Rate::Find),
        number => number.parse().map(Rate::Value).map_err(|_| "expected a number, or `find`".to_owned()),
    }
}

fn augment(text: &str) -> Result<Augment, String> {
    match text {
        "none" => Ok(Augment::None),
        "light" => Ok(Augment::Light),
        "strong" => Ok(Augment::Strong),
        _ => Err("expected none, light or strong".to_owned()),
    }
}

fn precision(text: &str) -> Result<CachePrecision, String> {
    match text {
        "f32" => Ok(CachePrecision::F32),
        "f16" => Ok(CachePrecision::F16),
        _ => Err("expected f32 or f16".to_owned()),
    }
}

/// `90s`, `10m`, `1h30m`; a number alone is seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || "expected a time as 90s, 10m or 1h30m".to_owned();
    let (mut total, mut number) = (0.0, String::new());
    for c in text.chars() {
        let unit = match c {
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            c => {
                number.push(c);
                continue;
            }
        };
        total += unit * std::mem::take(&mut number).parse::<f64>().map_err(|_| wrong())?;
    }
    if !number.is_empty() {
        total += number.parse::<f64>().map_err(|_| wrong())?;
    }
    if total > 0.0 && total.is_finite() { Ok(total) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn options(line: &str) -> Option<TuneOptions> {
        let args = Args::try_parse_from(format!("headstart finetune {line}").split(' ')).ok()?;
        let Command::Finetune(args) = args.command else { panic!("not finetune") };
        args.options(&Home::at("nowhere")).ok()
    }

    #[test]
    fn flags_go_before_the_recipe_and_what_is_not_said_is_the_recipes() {
        let plain = options("m.safetensors data").unwrap();
        assert_eq!(
            (&plain.recipe, &plain.start),
            (&TuneRecipe::default(), &Start::Model("m.safetensors".into()))
        );
        assert_eq!(plain.folder, PathBuf::from("finetuned.run"));
        let line = "--backbone resnet18 data --recipe lesson --unfreeze layer3,layer4 --lr 0.5 --views 2 --augment light";
        let given = options(line).unwrap();
        assert_eq!(given.start, Start::Backbone("resnet18".into()));
        assert_eq!(
            (given.recipe.name.as_str(), given.recipe.lr, given.recipe.lr_decay),
            ("lesson", 0.5, 1.0)
        );
        assert_eq!((given.recipe.unfreeze.len(), given.recipe.views), (2, Some(2)));
        assert!(options("m d --lr find").unwrap().find_lr);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        for line in [
            "data",
            "--backbone resnet18 m d",
            "m d e",
            "m d --lr x",
            "m d --augment much",
            "m d --recipe no",
        ] {
            assert!(options(line).is_none(), "{line}");
        }
        // Whatever would change a run cannot be said where one goes on.
        for line in ["m d", "--lr 1", "--seed 1", "-o x", "--unfreeze all", "--recipe full"] {
            let line = format!("headstart finetune --resume x.run {line}");
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
        // The cache changes no byte, and the disk may be full by now.
        assert!(Args::try_parse_from("headstart finetune --resume x.run --no-cache".split(' ')).is_ok());
    }

    #[test]
    fn times_are_read() {
        assert_eq!(
            [seconds("90s"), seconds("10m"), seconds("1h30m"), seconds("5")].map(Result::unwrap),
            [90.0, 600.0, 5400.0, 5.0]
        );
        for wrong in ["", "m", "-5m", "0s", "10x", "inf", "nan"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
