//! `adapt` through the binary: its table, its page, and what it says of mistakes.

use crate::place::{Place, bytes, err, out};

/// A model of red and blue, and the same pictures in the dark.
fn place() -> Place {
    let place = Place::new();
    place.colours();
    for i in 0..8u8 {
        let shade = 60 + 8 * i;
        place.png(&format!("dark/red/{i}.png"), [shade, 10, i]);
        place.png(&format!("dark/blue/{i}.png"), [10, i, shade]);
    }
    place.json("train data --json -o m.safetensors");
    place
}

#[test]
fn a_model_is_adapted_shown_and_asked() {
    let place = place();
    let line = "adapt m.safetensors --source data --target dark --eval dark --method standardise";
    let report = place.json(&format!("{line} --json -o a.safetensors"));
    assert_eq!((&report["report"], &report["source"]), (&"a.report.html".into(), &16.into()));
    assert_eq!((&report["chosen"], &report["tried"][0]["method"]), (&"standardise".into(), &"none".into()));
    let page = std::fs::read_to_string(place.path("a.report.html")).unwrap();
    for said in ["Both domains on one map", "Class by class", "What was tried", "Content-Security-Policy"] {
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains(&format!("headstart {line} --json -o a.safetensors</code>")));
    assert!(place.json("eval a.safetensors dark --json")["accuracy"].as_f64().unwrap() > 0.9);

    let output =
        place.run("adapt m.safetensors --target dark --method prototypes -o b.safetensors --report none");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(
        out(&output).contains("prototypes *") && !place.path("b.report.html").exists(),
        "{}",
        out(&output)
    );
}

#[test]
fn mistakes_are_answered_before_anything_is_written() {
    let place = place();
    for (line, said) in [
        ("--method adabm", "did you mean `adabn`?"),
        ("--method adabn+dsbn", "at most one style, one of adabn and dsbn"),
        ("--method dsbn", "--source"),
        ("--report m.safetensors", "--report is "),
        ("--report data/red/3.png", "--report is "),
    ] {
        let output = place.run(&format!("adapt m.safetensors --target dark -o x.safetensors {line}"));
        assert!(output.status.code().is_some_and(|code| code > 0), "{line}");
        assert!(err(&output).contains(said), "{line}: {}", err(&output));
        assert!(!place.path("x.safetensors").exists(), "{line}");
    }
    let model = bytes(&place.path("m.safetensors"));
    let output = place.run("adapt m.safetensors --target dark -o m.safetensors --report m.safetensors");
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert_eq!(bytes(&place.path("m.safetensors")), model);
}
