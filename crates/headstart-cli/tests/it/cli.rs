//! The binary as a person or a program meets it: exit codes, streams, JSON.

use crate::place::{Place, err, out};
use std::process::Stdio;

#[test]
fn inspect_prints_the_layers_and_the_totals() {
    let place = Place::new();
    let output = place.run("inspect resnet18");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    assert!(text.contains("layer4.1.conv2") && text.contains("11,689,512"), "{text}");

    let json = place.json("inspect resnet18 --json --unfreeze layer4");
    assert_eq!(json["name"], "resnet18");
    assert_eq!(json["parameters"], 11_689_512);
    // Stage 4 and the classifier, as PyTorch counts them.
    assert_eq!(json["trainable"], 8_393_728 + 513_000);
    let small = place.json("inspect resnet18 --json --size 64");
    assert_eq!(small["parameters"], json["parameters"]);
    assert!(small["macs"].as_u64() < json["macs"].as_u64());
}

#[test]
fn a_network_is_compiled_and_measured_without_its_weights() {
    let place = Place::new();
    let compiled = place.json("inspect resnet18 --compiled --json");
    let layers = compiled["layers"].as_array().unwrap();
    // Twenty convolutions (three of them shortcuts; the first takes the max pool with it), the mean, the classifier.
    assert_eq!(layers.len(), 22);
    assert_eq!(layers[0]["nodes"], "conv1+bn1+relu+maxpool");
    let report =
        place.json("bench --backbone mobilenet_v2 --size 32 --batch 2 --seconds 0 --per-layer --json");
    assert!(report["images_per_second"].as_f64() > Some(0.0) && report["batches"].as_u64() >= Some(5));
    assert_eq!((&report["backbone"], &report["precision"]), (&"mobilenet_v2.tv_in1k".into(), &"f32".into()));
    assert!(report["layers"].as_array().unwrap().len() > 50);
    assert_eq!(place.run("bench --batch 0").status.code(), Some(2));
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest() {
    let place = Place::new();
    for (line, nearest) in [
        ("inspect resent18", "`resnet18`"),
        ("inspect resnet18 --unfreeze layre4", "`layer4`"),
        ("models show mobilenet_v3", "`mobilenet_v2`"),
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).starts_with("error: ") && err(&output).contains(nearest), "{}", err(&output));
        assert_eq!(out(&output), "");
    }
}

#[test]
fn a_wrong_command_line_or_environment_ends_with_2_before_any_work() {
    let place = Place::new();
    for line in ["train", "inspect resnet18 --no-such-flag", "predict m.safetensors", "train d --lr 0.1"] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).starts_with("error: "), "{}", err(&output));
    }
    let output = place.command("models").env("HEADSTART_ISA", "sse1").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("HEADSTART_ISA is `sse1`"), "{}", err(&output));
    assert_eq!(place.run("--help").status.code(), Some(0));
    assert_eq!(place.run("--version").status.code(), Some(0));
}

#[test]
fn the_models_are_listed_with_their_whereabouts() {
    let place = Place::new();
    let text = out(&place.run("models"));
    let line = text.lines().find(|l| l.starts_with("tf_efficientnet_lite0.in1k")).unwrap();
    assert_eq!(line.ends_with("embedded"), cfg!(feature = "embedded-weights"), "{line}");
    let json = place.json("models list --json");
    let weights = |name: &str| {
        let models = json["models"].as_array().unwrap();
        models.iter().find(|m| m["name"] == name).map(|m| m["weights"].clone()).unwrap()
    };
    assert_eq!(weights("resnet50.tv2_in1k"), "absent");
    assert_eq!(place.json("models show resnet50 --json")["parameters"], 25_557_032);
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let mut child =
        place.command("inspect resnet152").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_under_standard_output_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Place::new().command("inspect resnet18").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).starts_with("error: cannot write to standard output"), "{}", err(&output));
}

/// What needs a network's weights: those inside the binary.
#[cfg(feature = "embedded-weights")]
mod with_weights {
    use super::*;
    use crate::place::bytes;
    use serde_json::Value;
    use std::io::Write;
    use std::process::Command;

    #[test]
    fn a_classifier_is_trained_measured_and_asked() {
        let place = Place::new();
        place.colours();
        let report = place.json("train data --json --threads 1 -o a.safetensors");
        assert_eq!(report["classes"], serde_json::json!(["blue", "red"]));
        assert_eq!(report["features"]["computed"], 16);
        assert_eq!(report["val"]["accuracy"], 1.0);
        assert_eq!(report["majority_accuracy"], 0.5);

        // The cache is warm: nothing is computed, and the model is the same byte for byte.
        let report = place.json("train data --json --threads 1 -o b.safetensors");
        assert_eq!(report["features"]["computed"], 0);
        assert_eq!(report["features"]["cached"], 16);
        let model = bytes(&place.path("a.safetensors"));
        assert!(model == bytes(&place.path("b.safetensors")), "a warm cache changed the model");

        assert!(place.json("cache --json")["bytes"].as_u64() > Some(0));
        place.json("cache clear --json");
        let report = place.json("train data --json --threads 2 -o c.safetensors");
        assert_eq!(report["features"]["computed"], 16);
        assert!(model == bytes(&place.path("c.safetensors")), "two threads changed the model");

        let inspected = place.json("inspect a.safetensors --json");
        assert_eq!(inspected["layers"].as_array().unwrap().last().unwrap()["output"], serde_json::json!([2]));
        assert_eq!(inspected["trainable"], 2 * 1280 + 2);

        let report = place.json("eval a.safetensors data --json");
        assert_eq!(report["n"], 16);
        assert_eq!(report["confusion"], serde_json::json!([[8, 0], [0, 8]]));

        let output = place.run("predict a.safetensors data/red/3.png data/blue --json --top 1");
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let lines: Vec<Value> = out(&output).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 9);
        assert_eq!(lines[0]["label"], "red");
        assert!(lines[1..].iter().all(|l| l["label"] == "blue" && l["top"].as_array().unwrap().len() == 1));

        let mut child = place
            .command("predict a.safetensors - --json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes(&place.path("data/red/5.png"))).unwrap();
        let answer: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!((&answer["path"], &answer["label"]), (&Value::from("-"), &Value::from("red")));

        std::fs::write(place.path("notes.jpg"), "no image").unwrap();
        let output = place.run("predict a.safetensors notes.jpg data/red/3.png");
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        assert!(err(&output).contains("skipped notes.jpg"), "{}", err(&output));
        assert!(out(&output).contains("3.png: red"), "{}", out(&output));
    }

    #[test]
    fn the_lessons_way_prints_losses_and_the_report_names_skipped_files() {
        let place = Place::new();
        place.colours();
        std::fs::write(place.path("data/red/broken.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
        let output = place.run("train data --optimizer sgd --epochs 2 -o m.safetensors");
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(
            err(&output).contains("epoch 2/2: loss") && err(&output).contains("broken.png"),
            "{}",
            err(&output)
        );
        assert!(
            out(&output).contains("95 % interval") && out(&output).contains("m.safetensors"),
            "{}",
            out(&output)
        );

        let output = place.run("train data --strict -o strict.safetensors");
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("--strict") && !place.path("strict.safetensors").exists());
    }

    #[test]
    fn a_model_keeps_the_precision_it_was_trained_in() {
        let place = Place::new();
        place.colours();
        for precision in ["bf16", "int8"] {
            let report = place.json(&format!("train data --precision {precision} -o m.safetensors --json"));
            assert_eq!(report["precision"]["chosen"], precision);
            // The same features, so the cache of the training serves.
            let again = place.json("eval m.safetensors data --json");
            assert!(again["accuracy"].as_f64().unwrap() > 0.9, "{again}");
            let features =
                place.json(&format!("embed data --precision {precision} -o {precision}.npy --json"));
            assert_eq!((&features["precision"], &features["n"]), (&Value::from(precision), &Value::from(16)));
        }
        assert_ne!(bytes(&place.path("bf16.npy")), bytes(&place.path("int8.npy")));
        let report = place.json("train data --precision auto --decode scaled -o auto.safetensors --json");
        assert_eq!(report["precision"]["chosen"], "f32");
        assert!(report["precision"]["why"].as_str().unwrap().contains("fewer than 3000"), "{report}");
        let layers = place.json("inspect tf_efficientnet_lite0 --compiled --precision int8 --json");
        let kernels = layers["layers"].as_array().unwrap();
        assert!(kernels.iter().any(|l| l["kernel"] == "direct 1x1/1 int8"), "{layers}");
    }

    #[test]
    fn a_model_keeps_the_size_it_was_trained_at() {
        let place = Place::new();
        place.colours();
        place.json("train data --size 96 -o m.safetensors --json");
        assert_eq!(place.json("inspect m.safetensors --json")["input"], serde_json::json!([96, 96, 3]));
        let found = place.json("eval m.safetensors data --json");
        assert!(found["accuracy"].as_f64().unwrap() > 0.9, "{found}");
        for size in ["0", "4000000000", "18446744073709551615"] {
            let output = place.run(&format!("train data --size {size} -o n.safetensors"));
            assert_eq!(output.status.code(), Some(2), "{size}: {}", err(&output));
            assert!(err(&output).contains("1 to 4096 pixels"), "{}", err(&output));
        }
    }

    #[test]
    fn features_are_written_as_an_array_with_a_table() {
        let place = Place::new();
        place.colours();
        let report = place.json("embed data -o f.npy --json");
        assert_eq!((&report["n"], &report["dim"]), (&Value::from(16), &Value::from(1280)));
        let array = bytes(&place.path("f.npy"));
        assert!(array.starts_with(b"\x93NUMPY"));
        assert!(array.len() > 16 * 1280 * 4);
        let rows = std::fs::read_to_string(place.path(report["rows"].as_str().unwrap())).unwrap();
        assert!(rows.contains("blue/0.png") && rows.lines().count() >= 16, "{rows}");
    }

    #[test]
    fn a_damaged_model_is_refused_and_strict_stops_before_a_model_is_written() {
        let place = Place::new();
        place.colours();
        place.json("train data --json -o m.safetensors");
        let model = bytes(&place.path("m.safetensors"));
        std::fs::write(place.path("cut.safetensors"), &model[..model.len() / 2]).unwrap();
        let mut changed = model.clone();
        changed[model.len() / 3] ^= 1;
        std::fs::write(place.path("changed.safetensors"), changed).unwrap();
        for (name, words) in
            [("cut", "cut.safetensors"), ("changed", "copy the file again"), ("absent", "absent")]
        {
            let output = place.run(&format!("predict {name}.safetensors data/red/3.png"));
            assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{name}");
            assert!(err(&output).contains(words), "{}", err(&output));
        }

        let output = place.run("train data --val data -o leak.safetensors");
        assert!(
            err(&output).contains("16 images for validation stand among those for training"),
            "{}",
            err(&output)
        );

        std::fs::write(place.path("data/red/broken.png"), "no image").unwrap();
        let output = place.run("train data --strict -o strict.safetensors");
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("broken.png"), "{}", err(&output));
        assert!(!place.path("strict.safetensors").exists());
        let report = place.json("train data --json -o m.safetensors");
        assert_eq!(report["skipped"][0]["path"], "red/broken.png");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_that_fills_up_leaves_the_old_model_and_nothing_half_written() {
        let place = Place::new();
        place.colours();
        place.json("train data --json -o m.safetensors");
        let model = bytes(&place.path("m.safetensors"));
        // A limit on the size of files stands in for the full disk; the features are in the cache already.
        let script = format!(
            "trap '' XFSZ; ulimit -f 1000; exec {} train data --seed 5 -o m.safetensors",
            env!("CARGO_BIN_EXE_headstart")
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(place.path("")).env("HEADSTART_HOME", place.path("home"));
        let output = shell.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains("m.safetensors"), "{}", err(&output));
        assert!(model == bytes(&place.path("m.safetensors")), "the old model is still there");
        let names = std::fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name());
        assert!(names.into_iter().all(|n| !n.to_string_lossy().contains("partial")), "nothing half-written");
    }

    #[test]
    fn nothing_is_overwritten_that_is_not_a_result() {
        let place = Place::new();
        place.colours();
        let table = "path,label\ndata/red/3.png,red\ndata/blue/3.png,blue\n";
        std::fs::write(place.path("table.csv"), table).unwrap();
        for line in ["embed data -o x.tsv", "embed table.csv -o table.csv", "embed table.csv -o folder/x.npy"]
        {
            assert_eq!(place.run(line).status.code(), Some(2), "{line}");
        }
        for line in ["train table.csv -o table.csv", "train data -o data/red/3.png", "train data -o data"] {
            let output = place.run(line);
            assert_eq!(output.status.code(), Some(2), "{line}");
            assert!(err(&output).starts_with("error: -o is "), "{}", err(&output));
        }
        assert_eq!(std::fs::read_to_string(place.path("table.csv")).unwrap(), table);
        place.json("embed table.csv -o table.npy --json");
        assert_eq!(std::fs::read_to_string(place.path("table.csv")).unwrap(), table);
        assert!(place.path("table.rows.tsv").exists());
        std::fs::write(place.path("bad.csv"), "file,class\n1,2\n").unwrap();
        assert!(err(&place.run("embed bad.csv -o b.npy")).contains("path and label"));
    }

    #[test]
    #[cfg(unix)]
    fn ctrl_c_ends_with_130_keeps_the_features_and_leaves_no_model() {
        let place = Place::new();
        let fashion = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/fashion");
        let child = place
            .command(&format!("train {fashion} -o m.safetensors"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !place.path("home/features").exists() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", err(&output));
        assert!(err(&output).contains("error: interrupted"), "{}", err(&output));
        assert!(!place.path("m.safetensors").exists());
        assert!(place.json("cache --json")["bytes"].as_u64() > Some(0));
    }
}
