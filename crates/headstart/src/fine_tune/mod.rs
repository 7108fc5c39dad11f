//! Fine-tuning: the last stages of a network trained on, from the activations at the freeze boundary.
//!
//! ```text
//! model or backbone + data | Prepared: head, images, what learns
//!   | Graph::split         -> trunk: compiled, its output cached (boundary) · tail: trained (step, fit)
//!   | an epoch             -> history.jsonl, checkpoint.safetensors, the best weights kept
//!   | Receipt::check       -> no frozen byte moved
//!   v
//! a model file as of `train`, with all that learned in it
//! ```
//!
//! The same options, data and starting model give the same bytes: for any number of threads, with and without the cache,
//! interrupted and resumed or not. A time budget is the exception: it plans by the clock.

mod advise;
pub(crate) mod boundary;
mod checkpoint;
mod fit;
mod history;
mod options;
mod prepare;
mod range;
mod receipt;
mod recipe;
mod report;
mod rows;
mod schedule;
mod step;
mod texts;
mod unfreeze;

pub use advise::{Advice, Depth, Verdict, advise};
pub use history::Line;
pub use options::{CacheUse, Start, TuneOptions};
pub use prepare::TunePlan;
pub use receipt::Receipt;
pub use recipe::{Augment, TuneRecipe};
pub use report::{Best, FineTuned, FrozenPart, TuneEpoch, TuneReport, TuneSeconds};
pub use schedule::Schedule;
pub use unfreeze::{Unfrozen, unfreeze};

use self::checkpoint::{Checkpoint, Identity, State};
use self::fit::{Fit, Phase, Run};
use self::history::History;
use self::prepare::{Opened, Prepared};
use crate::artifact::{Manifest, SECOND_VERSION, TextPart, Validation};
use crate::calibration::calibrate;
use crate::head::LinearHead;
use crate::metrics::{Answer, Evaluation, majority_accuracy};
use crate::train::{FeaturePart, TrainPart};
use crate::unknown::{Unknown, energies};
use crate::{Artifact, Backbone, Error, Session};
use headstart_data::Picture;
use headstart_graph::Params;
use headstart_kernels::{Isa, REVISION};
use headstart_models::fingerprint;
use std::time::Instant;

/// What [`fine_tune`] would do with these options: model and data are opened, nothing is computed or written.
///
/// # Errors
/// Where settings, data or model are not usable.
pub fn plan(session: &Session, options: &TuneOptions) -> Result<TunePlan, Error> {
    options.check()?;
    Opened::new(session, options)?.plan(&options.recipe)
}

/// Fine-tunes and writes the model.
///
/// # Errors
/// Where settings, data or model are not usable, the loss ran away, a run that should go on has changed, or the run was
/// interrupted ([`Error::Paused`]: its state is in the run's folder). The model file is written last, whole or not at all.
pub fn fine_tune(session: &Session, options: &TuneOptions) -> Result<TuneReport, Error> {
    let started = Instant::now();
    options.check()?;
    let checkpoint = match options.resume {
        // Whether there is a run is known before anything is computed.
        true => TuneOptions::of_run(&options.folder).and_then(|_| checkpoint::load(&options.folder))?,
        false => None,
    };
    let opened = Opened::new(session, options)?;
    begin(session, options)?;
    let mut prepared = Prepared::new(session, options, opened)?;
    let mut params = std::mem::take(&mut prepared.params);
    // The tail is fed from its own cut: what was read of the features is not needed again.
    prepared.values = Default::default();
    let unfrozen = &prepared.opened.unfrozen;
    let graph = &prepared.opened.graph;
    let before = Receipt::of(graph, &params, &unfrozen.freeze);
    let weights: Option<Vec<f32>> =
        prepared.class_weights.as_ref().map(|w| w.iter().map(|&v| v as f32).collect());
    let fit = Fit {
        session,
        options,
        graph,
        unfrozen,
        input: &prepared.opened.backbone.input,
        train: &prepared.train,
        val: &prepared.val,
        class_weights: weights.as_deref(),
    };
    let identity = identity(options, &prepared);
    let (mut run, mut phase) = match checkpoint {
        Some(checkpoint) => resume(&fit, &identity, checkpoint, &mut params)?,
        None => first(&fit, identity, &params, started)?,
    };
    let mut history = History::open(&options.folder, run.state.step, run.state.epochs.len())?;
    if run.state.step == 0 {
        history.write(&Line::FrozenBefore { sha256: before.clone() })?;
        fit.save(&mut run, &params)?;
    }
    let fitting = Instant::now();
    fit.run(&mut run, &mut params, &mut phase, &mut history)?;
    let seconds = fitting.elapsed().as_secs_f64();

    let after = Receipt::of(graph, &params, &unfrozen.freeze);
    history.write(&Line::FrozenAfter { sha256: after.clone() })?;
    before.check(&after)?;
    session.progress.note(&format!("{} frozen parameters and buffers: unchanged", before.0.len()));
    let (_, logits) = match fit.evaluate(&mut phase, &params) {
        // The checkpoint is that of the last epoch.
        Err(Error::Interrupted) => {
            let (epoch, step) = (run.state.epochs.len(), run.state.step);
            return Err(Error::Paused { folder: options.folder.clone(), epoch, step });
        }
        found => found?,
    };
    // The features of the tuned network are not at hand: the energy alone has to tell.
    let unknown = Unknown::fit(&energies(&logits), None);
    let (calibration, logits) = calibrate(&logits, &prepared.val.labels, options.seed)?;
    let evaluation = Evaluation::new(&logits, &prepared.val.labels, &prepared.opened.parts.classes)?;
    say_what_it_is_worth(session, &run.state);
    let seconds = TuneSeconds {
        total: 0.0,
        features: prepared.seconds.0 + phase.boundary.seconds,
        head: prepared.seconds.1,
        fit: seconds,
    };
    let pictures = prepared.val.pictures.clone();
    let answers = Answer::of(&logits, &prepared.val.labels, pictures.iter().map(Picture::path));
    let [trainable_parameters, frozen] = prepared.opened.parameters();
    let computed = prepared.features.0 + phase.boundary.computed;
    let report = TuneReport {
        kind: prepared.opened.parts.kind,
        backbone: prepared.opened.backbone.name.clone(),
        classes: prepared.opened.parts.classes.clone(),
        train: TrainPart { n: prepared.train.labels.len() },
        majority_accuracy: majority_accuracy(&prepared.train.labels, &prepared.val.labels).unwrap_or(0.0),
        centroid_accuracy: prepared.centroid_accuracy,
        val: evaluation,
        calibration,
        unknown,
        features: FeaturePart {
            computed,
            cached: prepared.features.1 + phase.boundary.cached,
            images_per_second: computed as f64 / seconds.features.max(1e-9),
        },
        head: prepared.head.clone(),
        seconds,
        model: options.output.display().to_string(),
        skipped: prepared.opened.parts.skipped.clone(),
        recipe: run.state.recipe.clone(),
        unfrozen: unfrozen.stages.clone(),
        cut: phase.cut.clone(),
        start: run.state.start,
        epochs: run.state.epochs.clone(),
        best_epoch: run.state.best.epoch,
        frozen: FrozenPart { parameters: frozen, tensors: before.0.len(), sha: "unchanged" },
        trainable_parameters,
        run: options.folder.display().to_string(),
        answers,
        pictures,
    };
    save(options, prepared, params, run.state, before, &report)?;
    end(options)?;
    Ok(TuneReport {
        seconds: TuneSeconds { total: started.elapsed().as_secs_f64(), ..report.seconds },
        ..report
    })
}

/// The folder of the run, with its settings. What an older run left there is begun anew, said aloud.
fn begin(session: &Session, options: &TuneOptions) -> Result<(), Error> {
    if options.resume {
        return Ok(());
    }
    let old = checkpoint::file(&options.folder);
    if old.exists() {
        let folder = options.folder.display();
        session
            .progress
            .note(&format!("the unfinished run in {folder} is begun anew; --resume would go on with it"));
        std::fs::remove_file(&old).map_err(Error::io("remove", &old))?;
    }
    options.keep()
}

/// After the model is written the checkpoint has no use; the history stays.
fn end(options: &TuneOptions) -> Result<(), Error> {
    for file in [checkpoint::file(&options.folder), options.folder.join("run.json")] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &file)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The state before the first step, with the rate and the number of epochs found where that is asked for.
fn first(fit: &Fit, identity: Identity, params: &Params, started: Instant) -> Result<(Run, Phase), Error> {
    let mut recipe = fit.options.recipe.clone();
    let mut phase = fit.phase(&recipe, params, 1)?;
    let evaluating = Instant::now();
    let (start, _) = fit.evaluate(&mut phase, params)?;
    let evaluating = evaluating.elapsed().as_secs_f64();
    fit.session.progress.note(&format!(
        "before the first step: validation {:.4}, {:.1} % right",
        start.loss,
        100.0 * start.accuracy
    ));
    if fit.options.find_lr {
        recipe.lr = range::find(fit, &mut phase, params, &recipe)?;
    }
    if let Some(budget) = fit.options.time_budget {
        // The last phase, in which most is computed.
        let cost = if fit.upper(&recipe, recipe.epochs) == fit.upper(&recipe, 1) {
            range::measure(fit, &mut phase, params, &recipe, recipe.batch_size)?
        } else {
            let mut last = fit.phase(&recipe, params, recipe.epochs)?;
            range::measure(fit, &mut last, params, &recipe, recipe.batch_size)?
        };
        let epoch = (cost.rows + cost.step) * fit.steps() as f64 + evaluating;
        let left = budget - started.elapsed().as_secs_f64();
        let epochs = (left / epoch) as usize;
        if epochs == 0 {
            let found = format!("{budget:.0} s, of which {left:.0} s are left");
            let expected = "more than an epoch takes here: unfreeze less, or give more time";
            return Err(Error::Setting { name: "--time-budget", found, expected });
        }
        recipe.epochs = recipe.epochs.min(epochs);
        let note = format!("an epoch takes about {epoch:.1} s here: {} are planned", recipe.epochs);
        fit.session.progress.note(&note);
    }
    let state =
        State { identity, recipe, step: 0, sums: (0.0, 0, 0), epochs: Vec::new(), start, best: start };
    Ok((Run::new(fit, state, params)?, phase))
}

/// The state of a checkpoint, if it is one of this run.
fn resume(
    fit: &Fit,
    identity: &Identity,
    checkpoint: Checkpoint,
    params: &mut Params,
) -> Result<(Run, Phase), Error> {
    checkpoint.state.identity.check(identity, &fit.options.folder)?;
    let run = Run::resumed(checkpoint, params)?;
    let epoch = (run.state.epochs.len() + 1).min(run.state.recipe.epochs);
    let (step, recipe) = (run.state.step, &run.state.recipe);
    fit.session.progress.note(&format!("goes on in epoch {epoch} after step {step}"));
    let phase = fit.phase(recipe, params, epoch)?;
    Ok((run, phase))
}

fn identity(options: &TuneOptions, prepared: &Prepared) -> Identity {
    let recipe = format!(
        "{}find_lr = {}\ntime_budget = {:?}\nclass_weights = {:?}\ncache_precision = {:?}\nseed = {}\n",
        options.recipe.to_toml(),
        options.find_lr,
        options.time_budget,
        prepared.class_weights,
        options.cache_precision,
        options.seed
    );
    Identity {
        version: format!("{}, kernels {REVISION}", env!("CARGO_PKG_VERSION")),
        isa: Isa::current().to_string(),
        recipe,
        start: prepared.started_from.clone(),
        data: prepared.data[1].clone(),
    }
}

/// An accuracy that chose among epochs is better than it would be elsewhere.
fn say_what_it_is_worth(session: &Session, state: &State) {
    session.progress.note(&match (state.best.epoch, state.epochs.len()) {
        (0, n) => format!("none of {n} epochs was better than the start: the model is that of the start"),
        (best, n) => format!(
            "epoch {best} of {n} was the best on the validation images, which chose it: `eval` on others says more"
        ),
    });
}

fn save(
    options: &TuneOptions,
    prepared: Prepared,
    mut params: Params,
    state: State,
    frozen: Receipt,
    report: &TuneReport,
) -> Result<(), Error> {
    let Opened { backbone, parts, unfrozen, .. } = prepared.opened;
    let graph = backbone.graph.with_classes(&backbone.classifier, parts.classes.len())?;
    let weights_sha256 = fingerprint(&graph, &params);
    let mut take = |part: &str| params.remove(&format!("{}.{part}", backbone.classifier)).unwrap_or_default();
    let head = LinearHead::new(take("weight"), take("bias"))?;
    let tuned =
        Backbone::new(graph.clone(), backbone.classifier.clone(), params, backbone.input, backbone.name)?;
    let manifest = Manifest {
        version: SECOND_VERSION,
        headstart: env!("CARGO_PKG_VERSION").to_owned(),
        labels: parts.classes,
        preprocess: tuned.input.preprocess("finetune").ok().cloned(),
        text: TextPart::of(&tuned.input),
        backbone: tuned.name.clone(),
        graph,
        classifier: backbone.classifier,
        precision: tuned.trunk().precision(),
        calibration: tuned.calibration.clone(),
        trunk_sha256: tuned.fingerprint.clone(),
        weights_sha256,
        slim: false,
        recipe: prepared.head_recipe,
        data_sha256: prepared.data[0].clone(),
        train_images: prepared.train.labels.len(),
        validation: Validation::of(&report.val),
        fine_tuned: Some(FineTuned {
            recipe: state.recipe,
            seed: options.seed,
            class_weights: prepared.class_weights,
            cache_precision: options.cache_precision,
            unfrozen: unfrozen.stages,
            started_from: prepared.started_from,
            epochs: state.epochs.len(),
            best_epoch: state.best.epoch,
            frozen,
        }),
        temperature: report.calibration.temperature,
        unknown: report.unknown.clone(),
        adapted: None,
    };
    Artifact { manifest: manifest.with_version(), backbone: tuned, head, directions: None }
        .save(&options.output)
}
