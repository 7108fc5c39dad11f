//! `headstart finetune` and `advise` as a person meets them: from a model to a tuned one, and over an interruption.

use crate::place::{Place, bytes, err, out};
use std::process::{Command, Stdio};

#[test]
fn a_model_is_tuned_on_measured_and_asked() {
    let place = Place::new();
    place.colours();
    place.json("train data --json -o a.safetensors");
    let output = place.run("finetune a.safetensors data --dry-run --epochs 2 --unfreeze conv_head");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(err(&output).contains("cut after `blocks.6.0.bn3`"), "{}", err(&output));
    assert!(!place.path("finetuned.run").exists());
    // What a dry run prints is a recipe.
    std::fs::write(place.path("mine.toml"), out(&output)).unwrap();
    let report = place.json("finetune a.safetensors data --recipe mine.toml --json -o b.safetensors");
    let epochs = report["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    let keys = ["epoch", "train_loss", "val_loss", "val_accuracy", "lr", "images_per_second"];
    assert!(keys.iter().all(|key| epochs[1][key].as_f64().is_some()), "{report}");
    assert_eq!(report["frozen"]["sha"], "unchanged");
    // The convolution, its norm, and the classifier of two classes.
    assert_eq!(report["trainable_parameters"], 320 * 1280 + 2 * 1280 + 2 * 1280 + 2);
    assert_eq!((&report["unfrozen"][0], &report["model"]), (&"conv_head".into(), &"b.safetensors".into()));
    for key in ["best_epoch", "classes", "train", "val", "majority_accuracy", "features", "head", "seconds"] {
        assert!(!report[key].is_null(), "{key}");
    }
    assert!(place.path("b.run/history.jsonl").exists());
    assert_eq!(place.json("eval b.safetensors data --json --tta 3")["n"], 16);
    let lines = out(&place.run("predict b.safetensors data/red/3.png --tta 2"));
    assert!(lines.contains("3.png: red"), "{lines}");
    assert_eq!(place.json("inspect b.safetensors --json")["parameters"], 3_371_008 + 2 * 1280 + 2);
    let text = place.run("finetune b.safetensors data --epochs 1 --unfreeze conv_head -o c.safetensors");
    assert_eq!(text.status.code(), Some(0), "{}", err(&text));
    assert!(out(&text).contains("accuracy ") && err(&text).contains("epoch 1/1: loss"), "{}", out(&text));

    for (line, part) in [
        ("finetune a.safetensors data --unfreeze blokcs.6", "did you mean `blocks.6`"),
        ("finetune a.safetensors data --unfreeze classifier", "unfreezes nothing besides the classifier"),
        ("finetune a.safetensors data --lr 0", "--lr is 0: expected a number above 0"),
        ("finetune a.safetensors data --epochs 0", "--epochs is 0: expected 1 to 10000"),
        ("finetune a.safetensors data --batch-size 0", "--batch-size is 0"),
        ("finetune data", "MODEL DATA, or --backbone NAME DATA"),
        ("finetune --resume nowhere", "holds no run that can go on"),
        ("finetune a.safetensors data --recipe lesosn", "did you mean `lesson`"),
        ("eval a.safetensors data --tta 0", "--tta is 0"),
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).contains(part), "{line}: {}", err(&output));
    }
}

#[test]
fn advice_is_given_after_training_and_on_request() {
    let place = Place::new();
    place.colours();
    let trained = place.run("train data -o a.safetensors --precision bf16");
    assert!(
        err(&trained).contains("Fine-tuning ") && err(&trained).contains("headstart advise"),
        "{}",
        err(&trained)
    );
    let advice = place.json("advise a.safetensors data --json");
    assert_eq!((&advice["verdict"], &advice["smallest_class"]), (&"unlikely".into(), &6.into()));
    let depths = advice["depths"].as_array().unwrap();
    assert_eq!(
        depths.iter().map(|d| d["unfreeze"].as_str().unwrap()).collect::<Vec<_>>(),
        ["none", "last", "all"]
    );
    assert!(depths[2]["minutes"].as_f64() > depths[1]["minutes"].as_f64(), "{advice}");
    let other = place.run("advise a.safetensors data --val data");
    assert!(out(&other).contains("advice    fine-tuning is unlikely to pay"), "{}", out(&other));
}

#[test]
#[cfg(unix)]
fn a_tuning_that_ctrl_c_ends_goes_on_to_the_same_model() {
    let place = Place::new();
    place.colours();
    let line =
        "finetune --backbone tf_efficientnet_lite0 data --unfreeze conv_head --epochs 3 --batch-size 1";
    place.json(&format!("{line} -o whole.safetensors --json"));
    // Once saves the state; twice leaves at once, and so does a kill: then the last checkpoint is there.
    for (name, signals) in [("once", &["-INT"][..]), ("twice", &["-INT", "-INT"]), ("killed", &["-KILL"])] {
        let command = format!("{line} -o {name}.safetensors");
        let mut child = place.command(&command).stderr(Stdio::piped()).spawn().unwrap();
        let history = place.path(&format!("{name}.run/history.jsonl"));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let steps = || std::fs::read_to_string(&history).map_or(0, |text| text.lines().count());
        while steps() < 6 && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for signal in signals {
            // The second may come when the process is gone.
            Command::new("kill")
                .args([signal, child.id().to_string().as_str()])
                .stderr(Stdio::null())
                .status()
                .unwrap();
        }
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, if name == "killed" { None } else { Some(130) }, "{said}");
        if name == "once" {
            assert!(said.contains("`headstart finetune --resume once.run` goes on"), "{said}");
        }
        let model = place.path(&format!("{name}.safetensors"));
        assert!(!model.exists());
        place.json(&format!("finetune --resume {name}.run --threads 1 --json"));
        assert!(bytes(&model) == bytes(&place.path("whole.safetensors")), "{name}");
    }
}
