//! Domain adaptation: every method on features against NumPy, and the whole of it through the library.

use crate::place::{Place, untrained};
use headstart::adapt::{Domains, Method, Source, Statistics, alignments};
use headstart::artifact::VERSION;
use headstart::data::Style;
use headstart::head::LinearHead;
use headstart::models::Home;
use headstart::report::AdaptPage;
use headstart::{
    AdaptOptions, AdaptReport, Artifact, Classifier, Error, Pool, Quiet, Session, adapt, evaluate,
};
use headstart_testing::relative_l2;
use headstart_weights::StateDict;
use std::path::{Path, PathBuf};

/// The fixture is written by `scripts/fixtures/adapt.py`.
#[test]
fn every_method_on_features_answers_as_numpy_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapt.safetensors");
    let fixture = StateDict::open(&path).unwrap();
    let of = |name: &str| fixture.tensor(name).unwrap();
    let head = LinearHead::new(of("head.weight"), of("head.bias")).unwrap();
    let labels = of("labels").data().iter().map(|&l| l as usize).collect();
    let (source, target) = (Source { features: of("source"), labels }, of("target"));
    let l2 = fixture.metadata()["l2"].parse().unwrap();
    let mut compared = 0;
    for threads in [1, 2] {
        let (home, pool, stop) = (Home::at("unused"), Pool::new(threads), false.into());
        let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
        for method in alignments() {
            for (with, name) in
                [(true, method.name().to_owned()), (false, format!("{}-without-source", method.name()))]
            {
                let Ok(expected) = fixture.tensor(&name) else { continue };
                let source = with.then_some(&source);
                let domains = Domains { source, target: &target, head: &head, l2, seed: 0 };
                let found = method.align(&session, &domains).unwrap().logits(&pool, &target).unwrap();
                let apart = relative_l2(found.data(), expected.data());
                assert!(apart < 2e-3, "{name}: {apart}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 14);
}

/// A place with a model that knows its pictures, and the same pictures darker and of less contrast.
struct Domain {
    place: Place,
}

impl Domain {
    fn new() -> Self {
        let place = Place::new();
        let mut options = place.options("model.safetensors");
        options.recipe.epochs = 12;
        place.tune(&options, 2).unwrap();
        let (data, other) = (place.path("data"), place.path("other"));
        for name in ["ants", "bees", "cats"] {
            std::fs::create_dir_all(other.join(name)).unwrap();
            for i in 0..20 {
                let file = format!("{name}/{i}.png");
                let mut picture = image::open(data.join("train").join(&file)).unwrap().to_rgb8();
                picture.pixels_mut().for_each(|p| p.0 = p.0.map(|v| v / 6));
                picture.save(other.join(&file)).unwrap();
            }
        }
        Domain { place }
    }

    fn options(&self, method: &str) -> AdaptOptions {
        let [model, target, output] =
            ["model.safetensors", "other", "adapted.safetensors"].map(|name| self.place.path(name));
        AdaptOptions {
            source: Some(self.place.path("data")),
            eval: Some(self.place.path("other")),
            method: (method != "auto").then(|| Method::parse(method).unwrap()),
            epochs: 2,
            ..AdaptOptions::new(model, target, output)
        }
    }

    fn run(&self, options: &AdaptOptions, threads: usize) -> Result<AdaptReport, Error> {
        let (home, pool) = (Home::at(self.place.path("home")), Pool::new(threads));
        let interrupt = &self.place.interrupt;
        let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt };
        adapt(&session, options)
    }

    /// The bytes of the model that `options` give.
    fn model(&self, options: &AdaptOptions, threads: usize) -> Vec<u8> {
        self.run(options, threads).unwrap();
        std::fs::read(&options.output).unwrap()
    }

    /// So many of the other pictures of each class, under their names.
    fn few(&self, each: usize) -> PathBuf {
        let few = self.place.path("few");
        for name in ["ants", "bees", "cats"] {
            std::fs::create_dir_all(few.join(name)).unwrap();
            for i in 0..each {
                let file = format!("{name}/{i}.png");
                std::fs::copy(self.place.path("other").join(&file), few.join(&file)).unwrap();
            }
        }
        few
    }

    /// The share of the other pictures that the model at `path` answers rightly, as `eval` says it.
    fn accuracy(&self, path: &Path) -> f64 {
        let (home, pool, stop) = (Home::at(self.place.path("home")), Pool::new(1), false.into());
        let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
        let classifier = Classifier::open(path.to_str().unwrap(), &home).unwrap();
        evaluate(&session, &classifier, &self.place.path("other")).unwrap().evaluation.accuracy
    }
}

#[test]
fn darker_pictures_are_answered_again_and_the_file_says_how() {
    let domain = Domain::new();
    let options = domain.options("adabn");
    let report = domain.run(&options, 2).unwrap();
    let [none, adabn] = [0, 1].map(|i| report.tried[i].eval.clone().unwrap().accuracy);
    assert!(none < 0.6 && adabn > none + 0.2, "{none} {adabn}");
    assert_eq!((report.chosen.as_str(), report.target, report.moved.len()), ("adabn", 60, 4));
    // Three of the trunk, and the head's.
    let [first, .., head] = &report.moved[..] else { panic!("{:?}", report.moved) };
    assert!(first.mean_shift > 0.1 && head.mean_shift > 0.01 && head.name == "head", "{:?}", report.moved);
    assert_eq!(domain.accuracy(&options.output), adabn, "the model is the one that was measured");
    assert_eq!(domain.accuracy(&options.model), none);

    let home = Home::at(domain.place.path("home"));
    let [before, after] = [&options.model, &options.output].map(|p| Artifact::load(p, &home).unwrap());
    let adapted = after.manifest.adapted.clone().unwrap();
    assert_eq!((after.manifest.version, adapted.method.as_str()), (VERSION, "adabn"));
    assert_eq!(adapted.started_from, before.manifest.weights_sha256);
    assert_eq!((adapted.moved, after.manifest.temperature), (report.moved, None));
    let same = |name: &str| before.backbone.params.get(name) == after.backbone.params.get(name);
    assert!(same("layer2.conv.weight") && same("layer3.bn.weight") && !same("layer1.bn.running_mean"));
}

#[test]
fn every_method_gives_the_same_bytes_for_any_number_of_threads() {
    let domain = Domain::new();
    let mut methods = Method::plain();
    methods.extend(Statistics::ALL.into_iter().flat_map(Method::restated));
    methods.extend(Method::styled(Style::Edges));
    methods.extend(
        [
            "few",
            "adabn+few",
            "dsbn+few",
            "tent",
            "dsbn+tent",
            "shot",
            "edges+prototypes+shot",
            "adabn+prototypes+shot",
        ]
        .map(|m| Method::parse(m).unwrap()),
    );
    methods.extend(Method::joint());
    let few = domain.few(2);
    for method in methods {
        let options = AdaptOptions { few: Some(few.clone()), ..domain.options(&method.name()) };
        assert_eq!(domain.model(&options, 1), domain.model(&options, 2), "{}", method.name());
    }
}

#[test]
fn a_source_that_is_redrawn_is_seen_in_that_style() {
    let domain = Domain::new();
    // Were features of another style taken from the cache, both heads would be the same.
    let [gray, edges] = ["gray", "edges"].map(|style| domain.model(&domain.options(style), 2));
    assert_ne!(gray, edges);
    assert_eq!(domain.model(&domain.options("gray"), 2), gray);
}

#[test]
fn a_few_labels_help_and_decide() {
    let domain = Domain::new();
    let mut options = domain.options("few");
    let error = domain.run(&options, 1).unwrap_err().to_string();
    assert!(error.contains("--few"), "{error}");
    options.few = Some(domain.few(4));
    let report = domain.run(&options, 2).unwrap();
    let [none, few] = [0, 1].map(|i| report.tried[i].clone());
    let right = |t: &headstart::adapt::Tried| t.eval.clone().unwrap().accuracy;
    assert!(right(&few) > right(&none) + 0.1, "{} {}", right(&few), right(&none));
    assert_eq!((report.few, report.chosen.as_str()), (Some(12), "few"));
    assert!(few.few.is_some_and(|share| (0.0..=1.0).contains(&share)));
    options.method = None;
    let report = domain.run(&options, 2).unwrap();
    let of = |name: &str| report.tried.iter().find(|t| t.method == name).unwrap().few.unwrap();
    assert!(report.tried.iter().all(|t| t.few.unwrap() <= of(&report.chosen)), "{report:?}");
    assert!(report.why.contains("of the few"), "{}", report.why);
}

#[test]
fn no_choice_looks_at_the_labels_of_the_target() {
    let domain = Domain::new();
    let mut options = domain.options("auto");
    let report = domain.run(&options, 2).unwrap();
    let tried: Vec<&str> = report.tried.iter().map(|t| t.method.as_str()).collect();
    assert!(Method::plain().iter().all(|m| tried.contains(&m.name().as_str())), "{tried:?}");
    assert!(tried.iter().any(|m| m.ends_with("tent")) && tried.iter().any(|m| m.ends_with("shot")));
    assert!(tried.contains(&"adabn") != tried.contains(&"dsbn"), "one kind of statistics goes on: {tried:?}");
    let told = std::fs::read(&options.output).unwrap();
    // The same pictures under exchanged names, and none to measure on.
    let shuffled = domain.place.path("shuffled");
    for (name, other) in [("ants", "cats"), ("bees", "ants"), ("cats", "bees")] {
        std::fs::create_dir_all(shuffled.join(other)).unwrap();
        for i in 0..20 {
            let file = |name: &str| format!("{name}/{i}.png");
            std::fs::copy(domain.place.path("other").join(file(name)), shuffled.join(file(other))).unwrap();
        }
    }
    options.eval = Some(shuffled.clone());
    let wrong = domain.run(&options, 2).unwrap();
    assert_ne!(wrong.tried[0].eval, report.tried[0].eval, "the labels are others");
    assert_eq!(std::fs::read(&options.output).unwrap(), told);
    options.eval = None;
    assert_eq!(domain.model(&options, 2), told);
    options.target = shuffled;
    assert_eq!(domain.model(&options, 2), told, "names of the target's folders decide nothing");
}

#[test]
fn pictures_of_the_same_domain_keep_the_model() {
    let domain = Domain::new();
    let mut options = domain.options("auto");
    options.target = domain.place.path("data/val");
    options.eval = Some(domain.place.path("data/val"));
    let report = domain.run(&options, 2).unwrap();
    let of = |name: &str| report.tried.iter().find(|t| t.method == name).unwrap().eval.clone().unwrap();
    assert!(of(&report.chosen).accuracy >= of("none").accuracy - 0.005, "{report:?}");
    // Kept is kept to the byte: temperature, threshold and precision too.
    let unadapted = std::fs::read(&options.model).unwrap();
    assert_eq!(domain.model(&domain.options("none"), 2), unadapted);
}

#[test]
fn the_page_shows_both_domains_and_what_changed() {
    let domain = Domain::new();
    let (home, pool) = (Home::at(domain.place.path("home")), Pool::new(2));
    let interrupt = &domain.place.interrupt;
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt };
    let page = |method: &str, eval: bool| {
        let mut options = domain.options(method);
        options.eval = options.eval.filter(|_| eval);
        let report = adapt(&session, &options).unwrap();
        let page = AdaptPage::new(&session, &options, &report, "headstart adapt <&>").unwrap();
        (page.html(&session), report)
    };
    let (html, report) = page("adabn", true);
    // All pictures of both domains on both maps.
    for (what, n) in [
        ("class=\"ring ", 2 * report.source.unwrap()),
        ("class=\"spot ", 120),
        ("<svg", 2),
        ("class=\"chosen\"", 1),
    ] {
        assert_eq!(html.matches(what).count(), n, "{what}");
    }
    let changed = report.taken.iter().filter(|t| t.before != t.after).count();
    assert!(
        changed >= 12
            && html.contains(&format!("{changed} of 60 images of the target are answered differently"))
    );
    let [before, after] = [0, 1].map(|i| report.tried[i].eval.clone().unwrap().accuracy);
    for accuracy in [before, after] {
        assert!(html.contains(&format!("{:.1}\u{a0}% (", 100.0 * accuracy)), "{accuracy}");
    }
    assert!(html.contains("4 norms") && html.contains("headstart adapt &lt;&amp;&gt;</code>"));
    assert!(
        !html.contains(&domain.place.path("other").join("ants").display().to_string()),
        "names within the target"
    );

    let (html, _) = page("standardise", false);
    assert!(html.contains("look at what changed before you trust it") && !html.contains("right before"));
    assert!(html.contains("The network is the same in both maps") && !html.contains("Statistics that moved"));
    let (html, report) = page("none", true);
    assert!(report.taken.iter().all(|t| t.before == t.after) && html.contains("there is one map"));
    assert_eq!(html.matches("<svg").count(), 1);
}

#[test]
fn statistics_of_the_source_itself_move_nothing() {
    let domain = Domain::new();
    let mut options = domain.options("adabn");
    options.target = domain.place.path("data");
    let report = domain.run(&options, 2).unwrap();
    // The weights' own statistics are of no images at all: against those everything would move.
    for norm in &report.moved {
        // What the norms of the trunk add up to is what the head's sees.
        let most = if norm.name == "head" { 0.05 } else { 0.02 };
        assert!(norm.mean_shift < most && (norm.variance_ratio - 1.0).abs() < most, "{norm:?}");
    }
    options.source = None;
    let report = domain.run(&options, 2).unwrap();
    assert!(report.moved.iter().any(|norm| norm.mean_shift > 0.1), "{:?}", report.moved);
}

#[test]
fn methods_of_both_domains_are_tried_within_a_budget_alone() {
    let domain = Domain::new();
    let mut options = domain.options("auto");
    let joint: Vec<String> = Method::joint().iter().map(Method::name).collect();
    for (budget, expected) in [(0.0, 0), (1e6, joint.len())] {
        options.budget = budget;
        let report = domain.run(&options, 2).unwrap();
        assert_eq!(report.tried.iter().filter(|t| joint.contains(&t.method)).count(), expected);
    }
    let report = domain.run(&domain.options("mcc"), 2).unwrap();
    let [none, mcc] = [0, 1].map(|i| report.tried[i].eval.clone().unwrap().accuracy);
    assert!(mcc >= none, "{none} {mcc}");
    assert_eq!((report.chosen.as_str(), domain.accuracy(&domain.options("mcc").output)), ("mcc", mcc));
}

#[test]
fn the_file_names_stages_as_trained_where_an_epoch_of_them_was_kept() {
    let domain = Domain::new();
    let home = Home::at(domain.place.path("home"));
    let mut kept = Vec::new();
    for method in ["tent", "mcc", "standardise+shot", "coral+shot"] {
        let options = AdaptOptions { epochs: 3, ..domain.options(method) };
        let report = domain.run(&options, 2).unwrap();
        let epoch = report.tried[1].epoch.unwrap();
        let adapted = Artifact::load(&options.output, &home).unwrap().manifest.adapted.unwrap();
        assert_eq!(adapted.unfrozen.is_empty(), epoch == 0, "{method}: {epoch} {:?}", adapted.unfrozen);
        assert_eq!(
            domain.accuracy(&options.output),
            report.tried[1].eval.clone().unwrap().accuracy,
            "{method}"
        );
        kept.push(epoch > 0);
    }
    assert_eq!(kept, [false, false, true, true], "both were seen");
}

#[test]
fn a_network_without_batch_norm_refuses_its_methods_and_auto_leaves_them_out() {
    let domain = Domain::new();
    let mut options = domain.options("adabn");
    options.model = domain.place.path("bare.safetensors");
    untrained(false).save(&options.model).unwrap();
    for method in ["adabn", "adabn+prototypes", "tent"] {
        options.method = Some(Method::parse(method).unwrap());
        let error = domain.run(&options, 1).unwrap_err().to_string();
        assert!(error.starts_with("small.none has no batch norm"), "{method}: {error}");
        assert!(!options.output.exists(), "{method}");
    }
    options.method = None;
    let report = domain.run(&options, 1).unwrap();
    let tried: Vec<&str> = report.tried.iter().map(|t| t.method.as_str()).collect();
    let features = [
        "none",
        "label-shift",
        "standardise",
        "prototypes",
        "coral",
        "subspace",
        "self-training",
        "consensus",
    ];
    assert_eq!(tried[..8], features);
    assert!(
        tried.iter().all(|m| !m.contains("adabn")) && tried[tried.len() - 1].ends_with("shot"),
        "{tried:?}"
    );
    options.source = None;
    let report = domain.run(&options, 1).unwrap();
    let tried: Vec<&str> = report.tried.iter().map(|t| t.method.as_str()).collect();
    assert_eq!(tried[..2], ["none", "prototypes"]);
    assert!(tried.len() == 3 && tried[2].ends_with("shot"), "{tried:?}");
}

#[test]
fn mistakes_are_answered_before_anything_is_written() {
    let domain = Domain::new();
    let error = Method::parse("adabnn").unwrap_err().to_string();
    assert!(error.contains("`adabnn`") && error.ends_with("did you mean `adabn`?"), "{error}");
    let mut options = domain.options("coral");
    options.source = None;
    let error = domain.run(&options, 1).unwrap_err().to_string();
    assert!(error.contains("`coral`") && error.contains("--source"), "{error}");
    let mut options = domain.options("prototypes");
    options.target = domain.place.path("nowhere");
    assert!(domain.run(&options, 1).unwrap_err().to_string().contains("nowhere"));
    let mut options = domain.options("shot");
    options.unfreeze = vec!["layre3".into()];
    let error = domain.run(&options, 1).unwrap_err().to_string();
    assert!(error.contains("did you mean `layer3`"), "{error}");
    for method in ["shot", "mmd"] {
        options = AdaptOptions { unfreeze: vec!["".into()], ..domain.options(method) };
        let error = domain.run(&options, 1).unwrap_err().to_string();
        assert!(error.contains("unfreezes nothing besides the classifier"), "{error}");
    }
    options.budget = -1.0;
    assert!(domain.run(&options, 1).unwrap_err().to_string().contains("--budget is -1"));
    options.budget = 0.0;
    options.epochs = 0;
    assert!(domain.run(&options, 1).unwrap_err().to_string().contains("--epochs is 0"));
    assert!(!options.output.exists(), "no model after an error");
}
