//! Fine-tuning as a whole, on a tiny network and tiny pictures: the same bytes whatever the threads, the cache and the
//! interruptions, and every mistake answered before or while it happens.

use crate::place::{Place, start};
use headstart::artifact::SECOND_VERSION;
use headstart::data::{Column, TextColumns};
use headstart::fine_tune::{Augment, CacheUse, Line, Schedule, Start, plan};
use headstart::graph::{Calibration, Precision};
use headstart::models::Home;
use headstart::{
    Artifact, CachePrecision, ClassWeighting, Classifier, Error, OptimizerKind, Pool, Session, TuneOptions,
    TuneRecipe, evaluate,
};
use std::sync::atomic::Ordering;

#[test]
fn a_tuned_model_is_better_says_how_it_was_made_and_can_be_tuned_again() {
    let place = Place::new();
    let mut options = place.options("m.safetensors");
    options.recipe.epochs = 12;
    let report = place.tune(&options, 2).unwrap();
    assert!(report.val.accuracy > report.start.accuracy + 0.2, "{report:?}");
    assert!(report.val.accuracy >= 0.8, "{report:?}");
    assert_eq!(
        (report.unfrozen.as_slice(), report.cut.as_str()),
        (&["layer3".into(), "fc".into()][..], "layer2.relu")
    );
    assert_eq!(report.trainable_parameters, 8 * 8 * 9 + 16 + 27);
    assert_eq!(report.frozen.parameters, 8 * 3 * 9 + 8 * 8 * 9 + 32);
    // Two convolutions and four of each norm; of the third norm its statistics.
    assert_eq!((report.frozen.tensors, report.frozen.sha), (2 + 8 + 2, "unchanged"));
    assert_eq!((report.epochs.len(), report.best_epoch > 0), (12, true));
    assert!(report.epochs[11].train_loss < report.epochs[0].train_loss);

    let home = Home::at(place.path("home"));
    let model = Artifact::load(&options.output, &home).unwrap();
    let tuned = model.manifest.fine_tuned.clone().unwrap();
    assert_eq!((model.manifest.version, tuned.best_epoch), (SECOND_VERSION, report.best_epoch));
    assert_eq!((&tuned.recipe, tuned.frozen.0.len()), (&options.recipe, 12));
    let before = start();
    let same = |name: &str| model.backbone.params.get(name) == before.backbone.params.get(name);
    assert!(same("layer2.conv.weight") && same("layer3.bn.running_var"));
    assert!(!same("layer3.conv.weight") && !same("layer3.bn.bias"));

    // What evaluation says of the file is what the report says.
    let (pool, stop) = (Pool::new(1), false.into());
    let session = Session { home: &home, pool: &pool, progress: &headstart::Quiet, interrupt: &stop };
    let classifier = Classifier::open(options.output.to_str().unwrap(), &home).unwrap();
    let again = evaluate(&session, &classifier, &place.path("data")).unwrap();
    assert_eq!(again.evaluation.accuracy, report.val.accuracy);
    assert!((again.evaluation.loss - report.val.loss).abs() < 1e-4);

    let mut second = place.options("second.safetensors");
    second.start = Start::Model(options.output.clone());
    let second = place.tune(&second, 1).unwrap();
    assert_eq!(second.start.accuracy, report.val.accuracy, "it starts where the first ended");

    // The history has every step and epoch, and the receipt at both ends.
    let history = std::fs::read_to_string(options.folder.join("history.jsonl")).unwrap();
    let lines: Vec<Line> = history.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 1 + 12 * 9 + 1);
    let (Line::FrozenBefore { sha256: first }, Line::FrozenAfter { sha256: last }) =
        (&lines[0], &lines[lines.len() - 1])
    else {
        panic!("{history}")
    };
    assert_eq!((first, last), (&tuned.frozen, &tuned.frozen));
    assert!(!options.folder.join("checkpoint.safetensors").exists(), "it has no use any more");
}

#[test]
fn threads_and_the_cache_do_not_change_a_byte() {
    let place = Place::new();
    let expected = place.model("a.safetensors", 1, |_| {});
    assert_eq!(place.model("b.safetensors", 2, |_| {}), expected, "two threads");
    let never = |o: &mut TuneOptions| o.cache = CacheUse::Never;
    assert_eq!(place.model("c.safetensors", 2, never), expected, "without the cache");
    assert!(place.has_said("without the cache"));
    assert_ne!(place.model("d.safetensors", 1, |o| o.seed = 1), expected, "another seed");

    let half = |o: &mut TuneOptions| o.cache_precision = CachePrecision::F16;
    let halves = place.model("e.safetensors", 1, half);
    assert_ne!(halves, expected);
    let both = |o: &mut TuneOptions| (half(o), never(o)).0;
    assert_eq!(place.model("f.safetensors", 2, both), halves, "f16 rounds alike without the cache");

    let views = |o: &mut TuneOptions| {
        o.recipe.augment = Augment::Strong;
        o.recipe.views = Some(3);
        o.recipe.mixup = 0.2;
        o.recipe.label_smoothing = 0.1;
    };
    let augmented = place.model("g.safetensors", 1, views);
    assert_ne!(augmented, expected);
    let both = |o: &mut TuneOptions| (views(o), never(o)).0;
    assert_eq!(place.model("h.safetensors", 2, both), augmented, "views are the same without the cache");
    let fresh = |o: &mut TuneOptions| (views(o), o.recipe.views = Some(0)).0;
    let drawn = place.model("i.safetensors", 1, fresh);
    assert_ne!(drawn, augmented);
    assert_eq!(place.model("j.safetensors", 2, fresh), drawn, "fresh views are seeded");
}

/// Interrupts after `step` steps and goes on; the model's bytes.
fn interrupted(place: &Place, name: &str, step: usize, change: impl Fn(&mut TuneOptions)) -> Vec<u8> {
    let mut options = place.options(name);
    change(&mut options);
    place.stop_after.store(step, Ordering::Relaxed);
    let error = place.tune(&options, 1).unwrap_err();
    assert!(matches!(error, Error::Paused { step: at, .. } if at == step), "{error}");
    assert!(error.to_string().contains("--resume"), "{error}");
    place.interrupt.store(false, Ordering::Relaxed);
    let resumed = TuneOptions::of_run(&options.folder).unwrap();
    assert_eq!(resumed, TuneOptions { resume: true, ..options.clone() });
    place.tune(&resumed, 2).unwrap();
    std::fs::read(place.path(name)).unwrap()
}

#[test]
fn texts_interrupted_go_on_to_the_same_bytes() {
    let encoder =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart-models/tests/fixtures/tiny_encoder").to_owned();
    let place = Place::new();
    let row = |i: usize| {
        let (word, label) = if i.is_multiple_of(2) { ("good", "pos") } else { ("dull", "neg") };
        format!(
            "{} was {word} {}\t{label}\n",
            ["music", "the film", "a movie"][i % 3],
            "! ".repeat(i / 6 % 5)
        )
    };
    std::fs::write(place.path("reviews.tsv"), (0..90).map(row).collect::<String>()).unwrap();
    let texts = |o: &mut TuneOptions| {
        o.start = Start::Backbone(encoder.clone());
        o.data = place.path("reviews.tsv");
        o.columns = TextColumns { text: Some(Column::Number(1)), label: Some(Column::Number(2)) };
        // From a head at zero, so that there is something to gain.
        (o.recipe.probe, o.recipe.epochs, o.recipe.lr) = (false, 3, 0.2);
        o.recipe.label_smoothing = 0.1;
        o.class_weights = ClassWeighting::Balanced;
    };
    let mut options = place.options("whole.safetensors");
    texts(&mut options);
    let first = place.tune(&options, 2).unwrap();
    assert!(first.best_epoch > 0, "else the model is that of the start, whatever the steps did");
    let whole = std::fs::read(&options.output).unwrap();
    assert!(place.has_said("the activations at `encoder.layer.0.output.LayerNorm` of "));
    // What was computed is found again; without the cache the bytes are the same.
    let again = place.tune(&options, 1).unwrap();
    assert_eq!((again.features.computed, again.features.cached > first.features.cached), (0, true));
    assert!(std::fs::read(&options.output).unwrap() == whole);
    let never = |o: &mut TuneOptions| (texts(o), o.cache = CacheUse::Never).0;
    assert!(place.model("uncached.safetensors", 1, never) == whole);
    for step in [2, 5] {
        assert!(
            interrupted(&place, &format!("texts{step}.safetensors"), step, texts) == whole,
            "{step} steps"
        );
    }
    let everything = |o: &mut TuneOptions| {
        texts(o);
        o.recipe.unfreeze = vec!["all".into()];
    };
    let all = place.model("all.safetensors", 1, everything);
    assert!(all != whole && interrupted(&place, "all4.safetensors", 4, everything) == all);
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let place = Place::new();
    let adamw = |o: &mut TuneOptions| {
        o.recipe.optimizer = OptimizerKind::Adamw;
        o.recipe.schedule = Schedule::OneCycle;
        o.recipe.mixup = 0.3;
        o.recipe.augment = Augment::Light;
        o.recipe.views = Some(2);
    };
    let gradual = |o: &mut TuneOptions| {
        o.recipe.gradual = true;
        o.recipe.unfreeze = vec!["all".into()];
    };
    let plain = |_: &mut TuneOptions| {};
    type Change<'a> = (&'a str, &'a dyn Fn(&mut TuneOptions));
    let changes: [Change; 3] = [("sgd", &plain), ("adamw", &adamw), ("gradual", &gradual)];
    for (name, change) in changes {
        let whole = place.model(&format!("{name}.safetensors"), 2, change);
        // In the first epoch, at the end of one, in the last.
        for step in [3, 8, 21] {
            let resumed = interrupted(&place, &format!("{name}{step}.safetensors"), step, change);
            assert!(resumed == whole, "{name} after {step} steps");
        }
    }
    let history = std::fs::read_to_string(place.path("sgd21.run/history.jsonl")).unwrap();
    assert_eq!(history.lines().count(), 1 + 3 * 9 + 1, "every step once");
}

#[test]
fn a_model_in_a_lower_precision_is_tuned_in_f32_from_its_own_features() {
    let place = Place::new();
    let mut model = start();
    model.backbone.compile_in(Precision::Bf16, Calibration::default()).unwrap();
    model.manifest.precision = Precision::Bf16;
    model.manifest.version = SECOND_VERSION;
    model.save(&place.path("bf16.safetensors")).unwrap();
    let mut options = place.options("m.safetensors");
    options.start = Start::Model(place.path("bf16.safetensors"));
    place.tune(&options, 1).unwrap();
    assert!(place.has_said("the model computes in bf16; fine-tuning, and its model, in f32"));
    let tuned = Artifact::load(&options.output, &Home::at(place.path("home"))).unwrap();
    assert_eq!(
        (tuned.manifest.precision, tuned.backbone.trunk().precision()),
        (Precision::F32, Precision::F32)
    );
}

#[test]
fn images_that_the_model_may_have_seen_are_pointed_out() {
    let place = Place::new();
    let note = "the training images are not those the model was trained on";
    place.model("first.safetensors", 1, |_| {});
    assert!(place.has_said(note), "the starting model names no data");
    place.said.lock().unwrap().clear();
    place.model("second.safetensors", 1, |o| o.start = Start::Model(place.path("first.safetensors")));
    assert!(!place.has_said(note));
    std::fs::remove_file(place.path("data/train/ants/0.png")).unwrap();
    place.model("third.safetensors", 1, |o| o.start = Start::Model(place.path("first.safetensors")));
    assert!(place.has_said(note));
}

#[test]
fn a_class_without_images_and_a_folder_in_the_way_are_refused() {
    let place = Place::new();
    for i in 0..20 {
        std::fs::remove_file(place.path(&format!("data/train/cats/{i}.png"))).unwrap();
    }
    let message = place.refusal(|_| {});
    assert!(message.contains("the class \"cats\""), "{message}");
    let message = place.refusal(|o| o.folder.clone_from(&o.output));
    assert!(message.contains("another name than that of the folder of the run"), "{message}");
    assert_eq!(place.options("cats.lr0.01").folder, place.path("cats.lr0.01.run"));
}

#[test]
fn what_is_removed_from_the_cache_during_a_fit_is_computed_again() {
    let place = Place::new();
    let whole = place.model("whole.safetensors", 1, |_| {});
    *place.cut_cache_at.lock().unwrap() = "epoch 2/3".into();
    let cut = place.model("cut.safetensors", 1, |_| {});
    assert_eq!(*place.cut_cache_at.lock().unwrap(), "cut");
    assert!(whole == cut, "the same bytes");
}

#[test]
fn a_run_that_has_changed_does_not_go_on() {
    let place = Place::new();
    let options = place.options("m.safetensors");
    place.stop_after.store(5, Ordering::Relaxed);
    place.tune(&options, 1).unwrap_err();
    place.interrupt.store(false, Ordering::Relaxed);
    let resume = |change: &dyn Fn(&mut TuneOptions)| {
        let mut options = TuneOptions::of_run(&options.folder).unwrap();
        change(&mut options);
        place.tune(&options, 1).unwrap_err().to_string()
    };
    let message = resume(&|o| o.recipe.lr = 0.01);
    assert!(message.contains("its recipe was `lr = 0.05` and is `lr = 0.01` now"), "{message}");
    assert!(resume(&|o| o.seed = 3).contains("its recipe was `seed = 0`"));
    let other = place.path("data/train/ants/0.png");
    let kept = std::fs::read(&other).unwrap();
    std::fs::copy(place.path("data/train/ants/1.png"), &other).unwrap();
    assert!(resume(&|_| {}).contains("its data was"), "{}", resume(&|_| {}));
    std::fs::write(&other, kept).unwrap();
    let mut tuned = place.options("other.safetensors");
    tuned.recipe.epochs = 6;
    place.tune(&tuned, 1).unwrap();
    let start = Start::Model(place.path("other.safetensors"));
    assert!(resume(&|o| o.start = start.clone()).contains("its starting model was"));

    let checkpoint = options.folder.join("checkpoint.safetensors");
    let mut bytes = std::fs::read(&checkpoint).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&checkpoint, &bytes).unwrap();
    assert!(resume(&|_| {}).contains("it is not what was saved"));
    bytes[last] ^= 1;
    std::fs::write(&checkpoint, &bytes).unwrap();
    place.tune(&TuneOptions::of_run(&options.folder).unwrap(), 1).unwrap();
    let error = TuneOptions::of_run(&options.folder).unwrap_err().to_string();
    assert!(error.contains("holds no run that can go on"), "{error}");
}

#[test]
fn a_loss_that_runs_away_names_the_step_and_keeps_the_last_good_state() {
    let place = Place::new();
    let mut options = place.options("m.safetensors");
    options.recipe = TuneRecipe { lr: 100.0, clip: 0.0, warmup: 0.0, ..options.recipe };
    options.recipe.unfreeze = vec!["all".into()];
    let error = place.tune(&options, 1).unwrap_err();
    let Error::Runaway { step, suggested, .. } = &error else { panic!("{error}") };
    assert!(*step > 1 && *suggested == 10.0);
    let text = error.to_string();
    assert!(text.contains(&format!("at step {step}")) && text.contains("try --lr 1e1"), "{text}");
    assert!(!options.output.exists());
    let kept = headstart_weights::StateDict::open(&options.folder.join("checkpoint.safetensors")).unwrap();
    for (name, tensor) in kept.iter() {
        assert!(tensor.to_tensor().unwrap().data().iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_before_any_work() {
    let place = Place::new();
    assert!(place.refusal(|o| o.recipe.lr = 0.0).starts_with("--lr is 0: expected a number above 0"));
    assert!(place.refusal(|o| o.recipe.lr = 1e9).starts_with("--lr is 1000000000"));
    assert!(place.refusal(|o| o.recipe.epochs = 0).starts_with("--epochs is 0"));
    assert!(place.refusal(|o| o.recipe.epochs = 1 << 40).starts_with("--epochs is"));
    assert!(place.refusal(|o| o.recipe.batch_size = 0).starts_with("--batch-size is 0"));
    assert!(place.refusal(|o| o.recipe.views = Some(4)).starts_with("--views is 4"));
    let nothing = place.refusal(|o| o.recipe.unfreeze = vec!["fc".into()]);
    assert!(nothing.contains("name one of layer1, layer2, layer3, fc"), "{nothing}");
    let typo = place.refusal(|o| o.recipe.unfreeze = vec!["layre3".into()]);
    assert!(typo.contains("did you mean `layer3`"), "{typo}");
    assert!(place.refusal(|o| o.data = place.path("nowhere")).contains("nowhere"));
    assert!(place.refusal(|o| o.resume = true).contains("holds no run"));
    assert!(!place.path("refused.run/checkpoint.safetensors").exists());
    // A batch larger than the data, and one of a single image, are batches.
    place.model("large.safetensors", 1, |o| o.recipe.batch_size = 1000);
    place.model("single.safetensors", 1, |o| (o.recipe.batch_size, o.recipe.epochs) = (1, 1));
}

#[test]
fn the_rate_that_is_found_leaves_no_trace_in_the_fit() {
    let place = Place::new();
    let mut options = place.options("found.safetensors");
    options.find_lr = true;
    let report = place.tune(&options, 1).unwrap();
    let lr = report.recipe.lr;
    assert!(lr > 1e-6 && lr < 0.1 && lr != options.recipe.lr, "{lr}");
    let given =
        place.tune(&TuneOptions { recipe: report.recipe, ..place.options("given.safetensors") }, 1).unwrap();
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!(read("found.safetensors"), read("given.safetensors"));
    assert_eq!(given.recipe.lr, lr);
    let resumed = interrupted(&place, "found-resumed.safetensors", 4, |o| o.find_lr = true);
    assert_eq!(resumed, read("found.safetensors"));
}

#[test]
fn the_fit_ends_where_nothing_improves_and_the_best_weights_are_kept() {
    let place = Place::new();
    let mut options = place.options("m.safetensors");
    // A rate that only does harm after the first steps.
    options.recipe = TuneRecipe { epochs: 40, patience: 2, ..options.recipe };
    let report = place.tune(&options, 1).unwrap();
    assert!(report.epochs.len() < 40, "{report:?}");
    assert_eq!(report.epochs.len(), report.best_epoch + 2);
    let best = report.epochs.iter().map(|e| e.val_accuracy).fold(report.start.accuracy, f64::max);
    assert_eq!(report.val.accuracy, best);
    // A rate at which nothing is learned leaves the start.
    let mut still = place.options("still.safetensors");
    still.recipe.lr = 1e-12;
    let report = place.tune(&still, 1).unwrap();
    assert_eq!(report.val.accuracy, report.start.accuracy);
}

#[test]
fn a_time_budget_plans_epochs_and_one_that_holds_none_is_refused() {
    let place = Place::new();
    let mut options = place.options("m.safetensors");
    options.time_budget = Some(1e4);
    assert_eq!(place.tune(&options, 1).unwrap().epochs.len(), 3, "never more than the recipe's");
    assert!(place.refusal(|o| o.time_budget = Some(1e-3)).starts_with("--time-budget is 0 s"));
    assert!(place.has_said("an epoch takes about"));
}

#[test]
fn gradual_goes_down_stage_by_stage_and_the_plan_says_what_would_be_done() {
    let place = Place::new();
    let mut options = place.options("m.safetensors");
    options.recipe.gradual = true;
    options.recipe.unfreeze = vec!["all".into()];
    let (home, pool, stop) = (Home::at(place.path("home")), Pool::new(1), false.into());
    let session = Session { home: &home, pool: &pool, progress: &place, interrupt: &stop };
    let planned = plan(&session, &options).unwrap();
    assert_eq!((planned.images, planned.steps, planned.cut.as_str()), ([60, 24], 24, "input"));
    assert_eq!(planned.unfrozen, ["layer1", "layer2", "layer3", "fc"]);
    assert!(!place.path("home").exists() && !options.folder.exists(), "a plan writes nothing");
    let report = place.tune(&options, 1).unwrap();
    assert!(place.has_said("from epoch 2 on layer2, layer3, fc learn"));
    assert!(place.has_said("from epoch 3 on layer1, layer2, layer3, fc learn"));
    assert_eq!((report.cut.as_str(), report.frozen.parameters), ("input", 0));
}

#[test]
fn patience_begins_when_the_last_stage_has_joined() {
    let place = Place::new();
    let mut options = place.options("m.safetensors");
    // So large that no epoch is better than the start.
    (options.recipe.lr, options.recipe.patience, options.recipe.epochs) = (3.0, 1, 6);
    place.model("start2.safetensors", 1, |o| o.recipe.epochs = 12);
    options.start = Start::Model(place.path("start2.safetensors"));
    options.recipe.unfreeze = vec!["all".into()];
    let report = place.tune(&options, 1).unwrap();
    assert_eq!((report.best_epoch, report.epochs.len()), (0, 1));
    options.recipe.gradual = true;
    let report = place.tune(&options, 1).unwrap();
    assert_eq!((report.best_epoch, report.epochs.len()), (0, 5));
}

#[test]
fn classes_that_count_more_and_images_that_cannot_be_read_are_taken_into_account() {
    let place = Place::new();
    let expected = place.model("a.safetensors", 1, |_| {});
    let table = place.path("weights.csv");
    std::fs::write(&table, "label,weight\nants,5\nbees,1\ncats,1\n").unwrap();
    let weighted = |o: &mut TuneOptions| o.class_weights = headstart::ClassWeighting::Table(table.clone());
    assert_ne!(place.model("b.safetensors", 1, weighted), expected);
    std::fs::write(place.path("data/train/ants/0.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    let report = place.tune(&place.options("c.safetensors"), 1).unwrap();
    assert_eq!((report.train.n, report.skipped.len()), (59, 1));
    let error = place.refusal(|o| o.strict = true);
    assert!(error.contains("--strict accepts none"), "{error}");
    // Where activations cannot be kept: a file stands in their folder's place.
    std::fs::remove_dir_all(place.path("home")).unwrap();
    std::fs::write(place.path("home"), "x").unwrap();
    assert!(place.refusal(|_| {}).contains("HEADSTART_HOME names another folder"));
}

#[test]
fn several_views_answer_with_their_mean_in_evaluation_as_in_prediction() {
    let place = Place::new();
    let options = place.options("m.safetensors");
    place.tune(&options, 1).unwrap();
    let (home, pool, stop) = (Home::at(place.path("home")), Pool::new(2), false.into());
    let session = Session { home: &home, pool: &pool, progress: &headstart::Quiet, interrupt: &stop };
    let open = |views| Classifier::open(options.output.to_str().unwrap(), &home).unwrap().with_views(views);
    let (one, five) = (open(1).unwrap(), open(5).unwrap());
    let loss = |c: &Classifier| evaluate(&session, c, &place.path("data")).unwrap().evaluation.loss;
    assert_ne!(loss(&one), loss(&five));
    assert_eq!(loss(&five), loss(&five));
    let picture = headstart::data::Picture::from_file("bee", place.path("data/val/bees/3.png"));
    let answer = |classifier: &Classifier| {
        let mut found = Vec::new();
        let each = &mut |answer: Result<headstart::Prediction, _>| {
            found = answer.unwrap().top;
            true
        };
        classifier.predict(&session, std::slice::from_ref(&picture), 3, each).unwrap();
        found
    };
    let probability = |classifier: &Classifier, label: &str| {
        answer(classifier).into_iter().find(|r| r.label == label).unwrap().probability
    };
    assert_ne!(answer(&one), answer(&five));
    // The mean of the views, computed from their features.
    let features = five.features(&session, &[&picture], "").unwrap();
    assert_eq!(features.values.dims()[0], 5);
    let logits = five.head.logits(&pool, &features.values).unwrap();
    let mean: f64 = (0..5)
        .map(|view| {
            let exps: Vec<f64> = logits.row(view).iter().map(|&z| f64::from(z).exp()).collect();
            exps[1] / exps.iter().sum::<f64>() / 5.0
        })
        .sum();
    assert!((probability(&five, "bees") - mean).abs() < 1e-5);
    assert!(open(0).unwrap_err().to_string().starts_with("--tta is 0") && open(65).is_err());
}
