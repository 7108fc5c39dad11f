//! The page that `train`, `finetune` and `eval` leave behind, and where a network looked, through the binary.

use crate::place::{Place, bytes, err};
use serde_json::Value;
use std::process::Command;

#[test]
fn a_report_stands_beside_the_model_and_says_how_to_repeat_it() {
    let place = Place::new();
    place.colours();
    let page = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    let report = place.json("train data --json -o m.safetensors");
    assert_eq!(report["report"], "m.report.html");
    assert!(page("m.report.html").contains("headstart train data --json -o m.safetensors</code>"));
    assert!(page("m.report.html").contains("Content-Security-Policy"));
    let again = page("m.report.html");
    place.json("train data --json -o m.safetensors");
    assert!(again == page("m.report.html"), "the same run gives the same page");

    let report = place.json("train data --json -o n.safetensors --report none");
    assert!(report["report"].is_null() && !place.path("n.report.html").exists());
    let report = place.json("eval m.safetensors data --json --report e.html");
    assert_eq!(report["report"], "e.html");
    assert!(page("e.html").contains("m.safetensors on data"));
    place.json("finetune m.safetensors data --epochs 1 --json -o t.safetensors");
    assert!(page("t.report.html").contains("Epoch by epoch"));

    // What would be lost by it is refused before any work.
    for line in [
        "train data -o x.safetensors --report data/red/3.png",
        "train data -o x.safetensors --report x.safetensors",
        "train data -o x.safetensors --report no/x.html",
        "eval m.safetensors data --report m.safetensors",
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).starts_with("error: --report is "), "{}", err(&output));
        assert!(!place.path("x.safetensors").exists(), "{line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_report_that_cannot_be_written_is_a_fault_and_the_model_stays() {
    let place = Place::new();
    for (class, name) in ["dark", "light"].into_iter().enumerate() {
        std::fs::create_dir_all(place.path(&format!("data/{name}"))).unwrap();
        for i in 0..40u32 {
            // Noise makes large thumbnails.
            let noise = |x: u32, y: u32| ((x * 31 + y * 17 + i * 7).wrapping_mul(2_654_435_761) >> 25) as u8;
            let pixel =
                |x, y| image::Rgb([noise(x, y), noise(y, x), noise(x + y, x)].map(|v| v + 120 * class as u8));
            let file = place.path(&format!("data/{name}/{i}.png"));
            image::RgbImage::from_fn(128, 128, pixel).save(file).unwrap();
        }
    }
    place.json("train data --json -o m.safetensors --slim --report none");
    let model = bytes(&place.path("m.safetensors"));
    // The limit on the size of files lets the slim model through, and not the page.
    let script = format!(
        "trap '' XFSZ; ulimit -f {}; exec {} train data --slim -o n.safetensors",
        model.len().div_ceil(512) + 8,
        env!("CARGO_BIN_EXE_headstart")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(place.path("")).env("HEADSTART_HOME", place.path("home"));
    // With other instructions than the run before, its features would have to be written.
    shell.env_remove("HEADSTART_ISA");
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(
        err(&output).contains("warning: there is no report: cannot write n.report.html"),
        "{}",
        err(&output)
    );
    assert!(model == bytes(&place.path("n.safetensors")) && !place.path("n.report.html").exists());
}

#[test]
fn where_the_network_looked_is_a_picture_of_the_same_size() {
    let place = Place::new();
    place.colours();
    place.json("train data --json -o m.safetensors --report none");
    let found = place.json("explain m.safetensors data/red/3.png -o o.png --json --class blue");
    assert_eq!((&found["class"], &found["predicted"]), (&Value::from("blue"), &Value::from("red")));
    assert_eq!(found["heat"]["values"].as_array().unwrap().len(), 49);
    let overlay = image::open(place.path("o.png")).unwrap();
    assert_eq!((overlay.width(), overlay.height()), (40, 30));
    let output = place.run("explain tf_efficientnet_lite0 data/red/3.png -o o.jpg");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for (line, words) in [
        ("explain m.safetensors data/red/3.png --class bleu", "did you mean `blue`?"),
        ("explain m.safetensors data/red/3.png -o data/red/3.png", "another file than the picture"),
        ("explain m.safetensors data/red/3.png -o x.gif", "ends in .png or .jpg"),
        ("explain m.safetensors absent.png", "absent.png: cannot be read"),
        ("explain m.safetensors data", "data: cannot be read"),
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).contains(words), "{}", err(&output));
    }
}

#[test]
fn a_report_shows_copies_across_the_split_and_labels_that_look_wrong() {
    let place = Place::new();
    for i in 0..8u8 {
        for (split, shade) in [("train", 120 + 15 * i), ("val", 127 + 15 * i)] {
            place.png(&format!("parted/{split}/red/{i}.png"), [shade, 20, i]);
            place.png(&format!("parted/{split}/blue/{i}.png"), [20, i, shade]);
        }
    }
    std::fs::copy(place.path("parted/train/red/3.png"), place.path("parted/val/red/copy.png")).unwrap();
    std::fs::rename(place.path("parted/train/red/5.png"), place.path("parted/train/blue/wrong.png")).unwrap();
    let output = place.run("train parted -o m.safetensors");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = err(&output);
    assert!(said.contains("labels that look wrong: ") && said.contains(" (to heads that give "), "{said}");
    let page = std::fs::read_to_string(place.path("m.report.html")).unwrap();
    assert!(page.contains("among those for training: the accuracy looks better than it is."));
    assert!(page.contains("<td>train/red/3.png</td><td>val/red/copy.png</td>"));
    assert!(page.contains("labelled blue, looks like red") && page.contains("<td>train/blue/wrong.png</td>"));
}
