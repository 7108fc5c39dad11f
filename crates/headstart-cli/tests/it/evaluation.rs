//! How good a model is, and how sure: folds, groups, calibration, unknown images and comparisons through the binary.

use crate::place::{Place, err, out};
use serde_json::Value;

/// Exit code 2, and what was said.
fn refusal(place: &Place, line: &str) -> String {
    let output = place.run(line);
    assert_eq!(output.status.code(), Some(2), "{line}: {}", err(&output));
    err(&output)
}

#[test]
fn folds_groups_and_repeats_tell_what_the_split_is_worth() {
    let place = Place::new();
    place.colours();
    let report = place.json("train data --json --folds 4 --repeats 3");
    let folds = report["folds"]["folds"].as_array().unwrap();
    assert_eq!((folds.len(), &report["folds"]["n"]), (4, &Value::from(16)));
    assert_eq!(report["folds"]["accuracy"], 1.0);
    let seeds = report["repeats"]["seeds"].as_array().unwrap();
    assert_eq!(seeds.iter().map(|s| s["seed"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(seeds[0]["accuracy"], report["val"]["accuracy"]);

    // Pictures 0 and 1 of both classes are one animal, 2 and 3 another, and so on.
    for i in 0..8 {
        for class in ["red", "blue"] {
            let to = place.path(&format!("grouped/{class}/animal{}_{i}.png", i / 2));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(place.path(&format!("data/{class}/{i}.png")), to).unwrap();
        }
    }
    let report = place.json(r"train grouped --json --group-by ^(animal\d+)_ --val-fraction 0.25 --folds 4");
    assert_eq!((&report["val"]["n"], &report["folds"]["n"]), (&Value::from(4), &Value::from(16)));
    let output = place.run(r"train grouped --group-by ^(animal\d+)_");
    assert!(err(&output).contains("16 images in 4 groups by their names"), "{}", err(&output));
    assert!(out(&output).contains("too few validation images to tell"), "{}", out(&output));

    for (line, said) in [
        ("train data --folds 1", "--folds is 1: expected 2 or more"),
        ("train data --folds 9", "the class \"blue\" has 8 images"),
        ("train data --repeats 0", "--repeats is 0: expected 1 to 1000"),
        ("train data --folds 2 --views 2", "--folds is given with --views 2"),
        ("train data --group-by (", "--group-by `(`: "),
        ("train data --group-by zebra", "it matches no file name"),
        ("train grouped --folds 5 --group-by ^(animal.)", "as there are groups"),
    ] {
        let text = refusal(&place, line);
        assert!(text.contains(said), "{line}: {text}");
    }
}

#[test]
fn answers_are_written_and_compared() {
    let place = Place::new();
    place.colours();
    place.json("train data --json -o a.safetensors");
    place.json("train data --json -o b.safetensors --optimizer sgd --epochs 1 --seed 3");
    let report = place.json("eval a.safetensors data --json --answers a.jsonl");
    assert_eq!(report["macro_average"]["f1"], 1.0);
    assert_eq!((&report["uncalibrated"], &report["rejected"]), (&Value::Null, &Value::Null));
    let lines = std::fs::read_to_string(place.path("a.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 16);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["label"], line["predicted"]);

    let report = place.json("compare a.jsonl a.safetensors b.safetensors --data data --json");
    assert_eq!((&report["n"], report["pairs"].as_array().unwrap().len()), (&Value::from(16), 3));
    let same = &report["pairs"][0];
    assert_eq!((&same["p"], &same["only_first"], &same["real"]), (&1.0.into(), &0.into(), &false.into()));
    let output = place.run("compare a.jsonl a.jsonl");
    assert!(out(&output).contains("not shown to differ"), "{}", out(&output));

    std::fs::write(place.path("fewer.jsonl"), lines.lines().next().unwrap()).unwrap();
    std::fs::write(place.path("other.jsonl"), "{\"path\": 1}\n").unwrap();
    for (line, said) in [
        ("compare a.jsonl fewer.jsonl", "only answers for the same images can be compared"),
        ("compare a.jsonl other.jsonl", "line 1"),
        ("compare a.jsonl a.safetensors", "--data is not given"),
        ("compare a.jsonl none.jsonl", "none.jsonl"),
        ("compare a.jsonl", "RUN"),
    ] {
        let text = refusal(&place, line);
        assert!(text.contains(said), "{line}: {text}");
    }
}

#[test]
fn images_of_no_known_class_are_told_where_validation_was_enough_to_say() {
    let place = Place::new();
    place.colours();
    place.json("train data --json -o few.safetensors");
    let text = refusal(&place, "predict few.safetensors data/red/1.png --reject");
    assert!(text.contains("no threshold for unknown images"), "{text}");
    for i in 0..128 {
        let (shade, other) = (120 + i, (37 * usize::from(i) % 90) as u8);
        place.png(&format!("many/red/{i}.png"), [shade, other, 10]);
        place.png(&format!("many/blue/{i}.png"), [10, other, shade]);
        if i % 8 == 0 {
            place.png(&format!("others/green/{i}.png"), [other, 255 - i / 2, other]);
        }
    }
    let report = place.json("train many --json -o many.safetensors --val-fraction 0.25");
    assert_eq!(report["unknown"]["images"], 64);
    assert!(report["calibration"]["temperature"].as_f64().unwrap() > 0.0);
    let report = place.json("eval many.safetensors many --json --ood others");
    assert!(report["rejected"].as_f64().unwrap() < 0.2, "{}", report["rejected"]);
    assert_eq!(report["other"]["n"], 16);
    assert!(report["other"]["auroc"].as_f64().unwrap() > 0.8, "{}", report["other"]);

    let line = "predict many.safetensors others/green/0.png --json --reject";
    let answer = place.json(line);
    assert_eq!((&answer["unknown"], &answer["label"]), (&true.into(), &"unknown".into()), "{answer}");
    assert!(place.json(&line.replace(" --reject", "")).get("unknown").is_none());
    std::fs::create_dir(place.path("empty")).unwrap();
    let text = refusal(&place, "eval many.safetensors many --ood empty");
    assert!(text.contains("empty"), "{text}");
}
