//! Weight files in the shapes that torchvision, timm and users save (`scripts/fixtures/pth.py`): each is loaded, and the
//! report says what was done, or refused with the right words.

use headstart_models::{Home, ModelsError, Precision, Pretrained, import};
use std::path::PathBuf;

const NETWORK: &str = "squeezenet1_1";

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pth").join(name)
}

fn refusal(name: &str) -> String {
    match Pretrained::from_file(NETWORK, &fixture(name)) {
        Ok(net) => panic!("{name} was loaded: {}", net.report),
        Err(error) => error.to_string(),
    }
}

/// The network of a file whose every value is the one that the script gave it, plus `shift`; but for the classifier, where
/// it has none of its own.
fn loaded(name: &str, shift: f32) -> Pretrained {
    let net =
        Pretrained::from_file(NETWORK, &fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let lost: Vec<&str> = net.report.classifier.iter().map(|(name, _)| name.as_str()).collect();
    for (position, spec) in net.graph.params().iter().enumerate() {
        let value = net.params.get(&spec.name).unwrap();
        let expected = match lost.contains(&spec.name.as_str()) {
            true => 0.0,
            false => (position % 16) as f32 / 64.0 - 0.125 + shift,
        };
        assert_eq!(value.shape(), &spec.shape);
        assert!(value.data().iter().all(|v| *v == expected), "{name}: {} is {}", spec.name, value.data()[0]);
    }
    assert_eq!(net.report.loaded.len() + lost.len(), 52);
    assert!(net.report.is_complete());
    net
}

#[test]
fn both_formats_and_the_half_types_give_the_same_network() {
    for name in [
        "torchvision.zip.pth",
        "torchvision.legacy.pth",
        "half.zip.pth",
        "half.legacy.pth",
        "bfloat16.zip.pth",
        "bfloat16.legacy.pth",
        "parameters.zip.pth",
    ] {
        let report = loaded(name, 0.0).report;
        assert!(report.is_plain(), "{name}: {report}");
        assert_eq!(report.to_string(), "52 loaded");
    }
}

#[test]
fn wrappers_before_the_names_are_found_and_told() {
    for (name, prefix) in [
        ("data_parallel.legacy.pth", "module."),
        ("compiled.zip.pth", "_orig_mod."),
        ("compiled_parallel.zip.pth", "module._orig_mod."),
    ] {
        let report = loaded(name, 0.0).report;
        assert_eq!(report.to_string(), format!("52 loaded behind `{prefix}`"));
    }
}

#[test]
fn a_head_of_another_size_is_named_and_replaced() {
    for (name, prefix) in [("finetuned.zip.pth", ""), ("lesson.zip.pth", " behind `base.`")] {
        let net = loaded(name, 0.0);
        assert_eq!(
            net.report.to_string(),
            format!(
                "50 loaded{prefix}; a new classifier takes the place of the file's (classifier.1.weight of shape \
                 [2, 512, 1, 1], classifier.1.bias of shape [2])"
            )
        );
        assert!(matches!(net.with_own_classifier(), Err(ModelsError::NoClassifier { .. })));
    }
}

#[test]
fn a_backbone_without_its_head_loads_and_what_stood_beside_it_is_named() {
    let text = loaded("backbone.zip.pth", 0.0).report.to_string();
    assert!(
        text.starts_with("50 loaded behind `backbone.`")
            && text.contains("classifier.1.weight, which is not there"),
        "{text}"
    );
    let text = loaded("lesson_head.zip.pth", 0.0).report.to_string();
    assert!(
        text.contains("behind `base.`") && text.contains("2 beside it, left alone (head.weight, head.bias)"),
        "{text}"
    );
}

#[test]
fn a_whole_checkpoint_gives_its_weights_and_says_what_it_left() {
    for (name, text) in [
        (
            "examples.legacy.pth",
            "52 loaded behind `module.` from `state_dict` (epoch, arch, best_acc1, optimizer, scheduler left alone)",
        ),
        ("lightning.zip.pth", "52 loaded behind `model.` from `state_dict` (epoch, global_step, "),
        (
            "own.zip.pth",
            "52 loaded from `model_state_dict` (optimizer_state_dict, loss, torch, classes left alone)",
        ),
    ] {
        let report = loaded(name, 0.0).report;
        assert!(report.to_string().starts_with(text) && !report.is_plain(), "{report}");
    }
}

#[test]
fn of_weights_and_their_average_the_average_is_taken_and_named() {
    for (name, text) in [
        (
            "timm.zip.pth",
            "52 loaded from `state_dict_ema` (epoch, arch, state_dict, optimizer, version, .. left alone)",
        ),
        (
            "references.zip.pth",
            "52 loaded behind `module.` from `model_ema` (model, optimizer, lr_scheduler, epoch, args left alone); 1 counters \
             not needed",
        ),
        ("ema.zip.pth", "52 loaded from `ema` (model, updates left alone)"),
    ] {
        assert_eq!(loaded(name, 1.0).report.to_string(), text);
    }
}

#[test]
fn what_is_no_state_dict_is_refused_and_the_way_to_one_is_told() {
    for (name, part) in [
        ("whole_network.zip.pth", "names torchvision.models.squeezenet.SqueezeNet, which is not on the list"),
        ("whole_network.zip.pth", "Nothing of it was run"),
        ("whole_network.zip.pth", "torch.save(model.state_dict(), \"weights.pt\")"),
        ("whole_lesson.legacy.pth", "names __main__.Lesson, which is not on the list"),
        ("whole_lesson.legacy.pth", "torch.save(model.state_dict(), \"weights.pt\")"),
        ("optimizer_alone.zip.pth", "holds no state dict"),
        ("logits.zip.pth", "holds no state dict"),
        ("another_network.zip.pth", "does not fit squeezenet1_1.tv_in1k: 0 loaded"),
    ] {
        let text = refusal(name);
        assert!(text.contains(part) && text.contains(name), "{name}: {text}");
    }
}

#[test]
fn an_imported_network_that_lost_its_classifier_comes_back_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    let imported = import(&fixture("lesson.zip.pth"), NETWORK, &home, Precision::F32).unwrap();
    assert_eq!(imported.report.classifier.len(), 2);
    let again = Pretrained::open(NETWORK, &home).unwrap();
    assert_eq!((again.report.classifier.len(), again.report.loaded.len()), (2, 50));
    let error = again.with_own_classifier().unwrap_err().to_string();
    assert!(error.contains("no classifier to answer with"), "{error}");
    assert!(!imported.is_published);
}
