//! Texts from a table to a classifier and its answers, with a tiny encoder of seeded weights.

use crate::place::{Place, bytes, err, out};
use std::io::Write;
use std::process::Stdio;

const ENCODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart-models/tests/fixtures/tiny_encoder");

/// Sixty short reviews with a word that gives the label away, in a table of each format, and a folder of splits.
fn reviews(place: &Place) {
    let rows: Vec<(String, &str)> = (0..60)
        .map(|i| {
            let (words, label) =
                if i % 2 == 0 { (["good", "great"], "pos") } else { (["dull", "boring"], "neg") };
            let subject = ["the film", "a movie", "this \"plot\"", "the acting", "music"][i / 10 % 5];
            let (word, letter) = (words[i / 2 % 2], char::from(b'b' + (i / 2 % 25) as u8));
            (format!("{subject} was {word}, {word} {letter} {}", "!".repeat(i / 20)), label)
        })
        .collect();
    let write = |name: &str, text: String| {
        let path = place.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let lines = |from: usize, to: usize| {
        rows[from..to].iter().map(|(text, label)| format!("{text}\t{label}\n")).collect::<String>()
    };
    write("reviews.tsv", format!("text\tlabel\n{}", lines(0, 60)));
    write("splits/train.tsv", lines(0, 40));
    write("splits/dev.tsv", lines(40, 50));
    write("splits/test.tsv", lines(50, 60));
}

fn train(place: &Place, options: &str) -> serde_json::Value {
    place.json(&format!("train {options} --backbone {ENCODER} --json"))
}

#[test]
fn reviews_become_a_classifier_that_is_measured_and_asked() {
    let place = Place::new();
    reviews(&place);
    let report = train(&place, "reviews.tsv -o m.safetensors --threads 1");
    assert_eq!((&report["backbone"], &report["train"]["n"]), (&"tiny_encoder".into(), &48.into()));
    assert_eq!(report["val"]["accuracy"], 1.0, "{report}");
    assert_eq!(report["classes"], serde_json::json!(["neg", "pos"]));
    assert_eq!((&report["features"]["cached"], &report["skipped"]), (&0.into(), &serde_json::json!([])));

    // The same from the cache, with more threads: the same bytes.
    let again = train(&place, "reviews.tsv -o again.safetensors --threads 2");
    assert_eq!(again["features"]["computed"], 0);
    assert_eq!(bytes(&place.path("m.safetensors")), bytes(&place.path("again.safetensors")));
    std::fs::remove_dir_all(place.path("home")).unwrap();
    train(&place, "reviews.tsv -o anew.safetensors --threads 2");
    assert_eq!(bytes(&place.path("m.safetensors")), bytes(&place.path("anew.safetensors")));

    // The model needs nothing but its file.
    let eval = place.json("eval m.safetensors reviews.tsv --json --report eval.html");
    assert_eq!(eval["n"], 60);
    assert_eq!(eval["accuracy"], 1.0, "{eval}");
    let mut asked =
        place.command("predict m.safetensors --json --text").arg("a film was great, great").output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&answer["path"], &answer["label"]), (&"text".into(), &"pos".into()), "{}", err(&asked));
    asked = place.run("predict m.safetensors reviews.tsv --top 1");
    let lines = out(&asked);
    assert_eq!(
        (lines.lines().count(), lines.lines().nth(1).unwrap().split(' ').take(2).collect::<Vec<_>>()),
        (60, vec!["reviews.tsv:3:", "neg"])
    );
    let mut child = place
        .command("predict m.safetensors - --top 1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"the acting was dull, dull\n\nmusic was great, great").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(out(&output).starts_with("-:1: neg") && out(&output).contains("\n-:3: pos"), "{}", out(&output));
    assert_eq!(
        (output.status.code(), err(&output).contains("skipped -:2: the text is empty")),
        (Some(1), true)
    );
}

#[test]
fn encoders_beside_bert_do_all_that_bert_does() {
    let place = Place::new();
    reviews(&place);
    for (name, block) in [
        ("tiny_distilbert", "transformer.layer.1"),
        ("tiny_roberta", "encoder.layer.1"),
        ("tiny_xlm_roberta", "encoder.layer.1"),
    ] {
        let encoder = ENCODER.replace("tiny_encoder", name);
        let line = format!("train reviews.tsv --backbone {encoder} --json");
        // Features of one encoder are not those of another, and are kept.
        let report = place.json(&format!("{line} -o {name}.safetensors --threads 1"));
        assert_eq!(
            (&report["backbone"], &report["features"]["cached"]),
            (&name.into(), &0.into()),
            "{report}"
        );
        assert!(report["val"]["accuracy"].as_f64() > Some(0.8), "{report}");
        let again = place.json(&format!("{line} -o again.safetensors --threads 2"));
        assert_eq!(again["features"]["computed"], 0);
        let model = bytes(&place.path(&format!("{name}.safetensors")));
        assert_eq!(model, bytes(&place.path("again.safetensors")));
        let embedded = place.json(&format!("embed reviews.tsv --backbone {encoder} -o f.npy --json"));
        assert_eq!(
            (&embedded["n"], &embedded["dim"], &embedded["cached"]),
            (&60.into(), &24.into(), &60.into())
        );

        // The model needs nothing but its file.
        let eval = place.json(&format!("eval {name}.safetensors reviews.tsv --json"));
        assert!(eval["n"] == 60 && eval["accuracy"].as_f64() > Some(0.9), "{eval}");
        for (text, label) in [("the film was great, great", "pos"), ("a movie was boring, boring", "neg")] {
            let asked = format!("predict {name}.safetensors --json --text");
            let output = place.command(&asked).arg(text).output().unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["label"], label, "{name}: {}", err(&output));
        }
        let network = place.json(&format!("inspect {name}.safetensors --json"));
        assert_eq!((&network["name"], &network["input"]), (&name.into(), &serde_json::json!([24])));
        let layers = network["layers"].as_array().unwrap();
        assert!(layers.iter().any(|layer| layer["stage"] == block), "{network}");

        let tuning =
            format!("finetune {name}.safetensors reviews.tsv --recipe lp-ft --epochs 2 --lr 0.1 --json");
        let report = place.json(&format!("{tuning} -o t.safetensors --threads 1"));
        assert_eq!(report["unfrozen"], serde_json::json!([block, "classifier"]));
        place.json(&format!("{tuning} -o u.safetensors --threads 2 --no-cache"));
        assert_eq!(bytes(&place.path("t.safetensors")), bytes(&place.path("u.safetensors")));
        assert_ne!(bytes(&place.path("t.safetensors")), model);
        assert_eq!(place.json("eval t.safetensors reviews.tsv --json")["n"], 60);
        let all = format!("finetune --backbone {encoder} reviews.tsv --unfreeze all --epochs 1 --json");
        assert_eq!(place.json(&format!("{all} -o all.safetensors"))["frozen"]["parameters"], 0);
    }
}

#[test]
fn a_folder_of_splits_is_trained_on_chosen_on_and_tested_on() {
    let place = Place::new();
    reviews(&place);
    let columns = "--text-column 1 --label-column 2";
    let report = train(&place, &format!("splits {columns} -o m.safetensors"));
    assert_eq!((&report["train"]["n"], &report["val"]["n"]), (&40.into(), &10.into()));
    let eval = place.json(&format!("eval m.safetensors splits {columns} --json --answers a.jsonl"));
    assert_eq!((&eval["split"], &eval["n"]), (&"test".into(), &10.into()));
    let first = String::from_utf8(bytes(&place.path("a.jsonl"))).unwrap();
    assert!(first.starts_with("{\"path\":\"test.tsv:1\""), "{first}");
    let embedded = place.json(&format!("embed splits {columns} --backbone {ENCODER} -o f.npy --json"));
    assert_eq!((&embedded["n"], &embedded["dim"], &embedded["cached"]), (&60.into(), &24.into(), &60.into()));
    for precision in ["bf16", "int8"] {
        let options = format!("--backbone {ENCODER} --precision {precision} -o {precision}.npy --json");
        let lower = place.json(&format!("embed splits {columns} {options}"));
        assert_eq!(lower["cached"], 0, "{precision}");
    }
    assert_ne!(bytes(&place.path("f.npy")), bytes(&place.path("bf16.npy")));
    assert_ne!(bytes(&place.path("int8.npy")), bytes(&place.path("bf16.npy")));
    let report = train(&place, &format!("splits {columns} --precision int8 -o bytes.safetensors"));
    assert_eq!(report["precision"]["chosen"], "int8", "{report}");
    let eval = place.json(&format!("eval bytes.safetensors splits/dev.tsv {columns} --json"));
    assert_eq!(eval["accuracy"], report["val"]["accuracy"]);
}

#[test]
fn a_classifier_of_texts_is_fine_tuned() {
    let place = Place::new();
    reviews(&place);
    let columns = "--text-column 1 --label-column 2";
    train(&place, &format!("splits {columns} -o m.safetensors"));
    let line = format!("finetune m.safetensors splits {columns} --recipe lp-ft --epochs 2 --lr 0.1 --json");
    let report = place.json(&format!("{line} -o t.safetensors --threads 1"));
    assert_eq!(report["unfrozen"], serde_json::json!(["encoder.layer.1", "classifier"]));
    assert_eq!(report["cut"], "encoder.layer.0.output.LayerNorm");
    let loss = |epoch: usize| report["epochs"][epoch]["train_loss"].as_f64().unwrap();
    assert!(report["best_epoch"] != 0 && loss(1) < loss(0), "{report}");
    place.json(&format!("{line} -o u.safetensors --threads 2 --no-cache"));
    assert_eq!(bytes(&place.path("t.safetensors")), bytes(&place.path("u.safetensors")));
    assert_ne!(bytes(&place.path("t.safetensors")), bytes(&place.path("m.safetensors")));

    // The model needs nothing but its file, and answers as was measured.
    let eval = place.json(&format!("eval t.safetensors splits/dev.tsv {columns} --json"));
    assert_eq!((&eval["n"], &eval["accuracy"]), (&10.into(), &report["val"]["accuracy"]));
    let apart = eval["loss"].as_f64().unwrap() - report["val"]["loss"].as_f64().unwrap();
    assert!(apart.abs() < 1e-5, "{apart}");
    let page = std::fs::read_to_string(place.path("t.report.html")).unwrap();
    assert!(page.contains("learned from 40 texts") && !page.contains("<img"));

    // From the encoder itself, everything in it; and what it would be beforehand.
    let all = format!("finetune --backbone {ENCODER} splits {columns} --unfreeze all --epochs 1");
    let plan = place.json(&format!("{all} --dry-run --json"));
    assert_eq!(plan["recipe"]["name"], "encoder");
    assert_eq!((&plan["cut"], &plan["images"]), (&"input".into(), &serde_json::json!([40, 10])));
    let report = place.json(&format!("{all} --json -o all.safetensors"));
    assert_eq!(report["frozen"]["parameters"], 0, "{report}");
    assert!(
        place.json("advise t.safetensors reviews.tsv --json")["depths"][1]["minutes"].as_f64() > Some(0.0)
    );
}

#[test]
fn the_precision_of_an_encoder_is_chosen_on_a_sample() {
    let place = Place::new();
    reviews(&place);
    let few = train(&place, "reviews.tsv --precision auto -o few.safetensors");
    let why = few["precision"]["why"].as_str().unwrap();
    assert!(why.starts_with("48 training texts, fewer than 3000"), "{why}");
    let text = std::fs::read_to_string(place.path("reviews.tsv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    std::fs::write(place.path("many.tsv"), format!("{header}\n{}", rows.repeat(65))).unwrap();
    let many = train(&place, "many.tsv --precision auto -o many.safetensors");
    let precision = &many["precision"];
    assert_eq!(precision["tried"][0]["precision"], "f32", "{precision}");
    assert!(precision["why"].as_str().unwrap().contains(" texts a second"), "{precision}");
    assert_eq!(place.json("eval many.safetensors reviews.tsv --json")["n"], 60);
}

#[test]
fn texts_of_other_kinds_are_read_from_the_column_that_is_named() {
    let place = Place::new();
    reviews(&place);
    let text = std::fs::read_to_string(place.path("reviews.tsv")).unwrap().replacen("text", "said", 1);
    let (header, rows) = text.split_once('\n').unwrap();
    // Enough for validation to set a threshold.
    std::fs::write(place.path("many.tsv"), format!("{header}\n{}", rows.repeat(5))).unwrap();
    std::fs::write(place.path("other.tsv"), "note\tsaid\nx\tq w x z 1 2\ny\tv v v v\n").unwrap();
    train(&place, "many.tsv --text-column said -o m.safetensors");
    let report = place.json("eval m.safetensors many.tsv --text-column said --ood other.tsv --json");
    assert_eq!(report["other"]["n"], 2, "{report}");
}

#[test]
fn an_encoder_that_leaves_its_pooling_open_is_said_to() {
    let place = Place::new();
    reviews(&place);
    std::fs::create_dir(place.path("plain")).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(std::path::Path::new(ENCODER).join(file), place.path("plain").join(file)).unwrap();
    }
    let said = |backbone: &str| {
        let output = place.run(&format!("train reviews.tsv --backbone {backbone} -o m.safetensors"));
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        (err(&output).contains("their mean is taken"), out(&output))
    };
    assert!(said("plain").0);
    let (open, told) = said(ENCODER);
    assert!(!open && told.contains("too few validation texts to tell"), "{told}");
}

#[test]
fn the_report_shows_mistakes_as_text() {
    let place = Place::new();
    reviews(&place);
    // Texts that would be markup, some of them with the wrong label.
    let text =
        std::fs::read_to_string(place.path("reviews.tsv")).unwrap().replace("the film", "<b>film</b> &");
    let wrong = text.lines().filter(|line| line.ends_with("\tpos")).take(4);
    let wrong: String = wrong.map(|line| line.replace("\tpos", "\tneg\n")).collect();
    std::fs::write(place.path("reviews.tsv"), text + &wrong).unwrap();
    train(&place, "reviews.tsv -o m.safetensors");
    place.json("eval m.safetensors reviews.tsv --json --report eval.html");
    let page = std::fs::read_to_string(place.path("eval.html")).unwrap();
    assert!(
        ["&lt;b&gt;", "&lt;/b&gt;", "&amp;"].iter().all(|part| page.contains(part)) && !page.contains("<b>")
    );
    // Words are marked by their weight, with a legend in both lists.
    assert_eq!(page.matches("speaks for the answer and not for the ").count(), 2);
    let (weighed, marks) = (page.matches("class=\"said weighed\"").count(), page.matches("<mark ").count());
    assert!(weighed >= 12 && marks > 2 * weighed, "{weighed} {marks}");
    // At least the four, whose texts are there with both labels.
    assert!(page.contains(" of 64 answers wrong") && page.contains("Texts by label and answer"));
    assert!(page.contains("class=\"gallery texts\""));
    assert!(!page.contains("<img") && !page.contains("Where the network looked"));
    let page = std::fs::read_to_string(place.path("m.report.html")).unwrap();
    assert!(page.contains("trained by others on other texts") && page.contains("class=\"said\""));
}

#[test]
fn an_answer_is_explained_word_by_word() {
    let place = Place::new();
    reviews(&place);
    train(&place, "reviews.tsv -o m.safetensors");
    let asked = |line: &str, text: Option<&str>| {
        let mut command = place.command(&format!("explain m.safetensors {line}"));
        let output = command.args(text.map(|text| format!("--text={text}"))).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    let json = |said: &str| -> Vec<serde_json::Value> {
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let text = "Isn't the film great, goodly great?";
    let said = asked("", Some(text));
    let report = &json(&asked("--json", Some(text)))[0];
    let [own, other] = ["class", "against"].map(|key| report[key].as_str().unwrap());
    assert_ne!(own, other);
    let answer = said.lines().next().unwrap();
    assert!(answer.starts_with(&format!("text: {own} ")) && answer.ends_with(&format!(", against {other}")));
    let words: Vec<(&str, f64)> = report["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| (w["word"].as_str().unwrap(), w["weight"].as_f64().unwrap()))
        .collect();
    let shown: Vec<&str> = words.iter().map(|w| w.0).collect();
    assert_eq!(shown, ["Isn't", "the", "film", "great", ",", "goodly", "great", "?"]);
    let most = words.iter().fold(0.0f64, |most, word| most.max(word.1.abs()));
    for (line, (word, weight)) in said.lines().skip(1).zip(&words) {
        assert!(line.contains(word) && line.contains(&format!("{weight:+.3}")), "{line}: {word} {weight}");
        let sign = if line.contains('+') { '+' } else { '-' };
        assert!(line.ends_with(sign) || weight.abs() < 0.06 * most, "{line}");
    }
    // The other side of the same difference.
    let turned = &json(&asked(&format!("--json --class {other}"), Some(text)))[0];
    let weight = |report: &serde_json::Value, i: usize| report["words"][i]["weight"].as_f64().unwrap();
    assert!((weight(report, 3) + weight(turned, 3)).abs() < 1e-5);
    assert_eq!((&turned["class"], &turned["predicted"]), (&other.into(), &own.into()));
    assert_eq!((&report["tokens"][0]["token"], &report["lost"]), (&"[CLS]".into(), &0.into()));

    // A file, and one of its lines, whose texts are called so by the doctor.
    assert_eq!(json(&asked("reviews.tsv --json", None)).len(), 60);
    let one = json(&asked("reviews.tsv:3 --json --threads 2", None));
    assert_eq!((one.len(), &one[0]["path"]), (1, &"reviews.tsv:3".into()));
    let long = asked("", Some(&"good ".repeat(40)));
    assert!(long.ends_with("... and 18 tokens that the network does not read\n"), "{long}");
    let output = place.command("explain m.safetensors --text").arg(" ").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("skipped text: the text is empty"), "{}", err(&output));
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let place = Place::new();
    reviews(&place);
    place.colours();
    train(&place, "reviews.tsv -o m.safetensors");
    let refused = |line: &str| {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", out(&output));
        err(&output)
    };
    let encoder = format!("--backbone {ENCODER}");
    if cfg!(feature = "embedded-weights") {
        let message = refused("train reviews.tsv");
        assert!(
            message.contains("reviews.tsv holds texts") && message.contains("--backbone DIR"),
            "{message}"
        );
    }
    std::fs::write(place.path("noise.bin"), b"one line\n\0\x01\x02\n").unwrap();
    std::fs::create_dir(place.path("mpnet")).unwrap();
    std::fs::write(place.path("mpnet/config.json"), "{\"model_type\": \"mpnet\"}").unwrap();
    if cfg!(feature = "embedded-weights") {
        assert!(refused("doctor reviews.tsv").contains("name a text encoder with --backbone DIR"));
    }
    for (line, message) in [
        (
            "train reviews.tsv --backbone mpnet".into(),
            "its model_type is mpnet: bert, distilbert, roberta and xlm-roberta are known",
        ),
        (format!("train data {encoder}"), "data holds images, and tiny_encoder reads texts"),
        (format!("train reviews.tsv {encoder} --views 3"), "--views works on images"),
        (format!("train reviews.tsv {encoder} --slim"), "--slim works on images"),
        (format!("train reviews.tsv {encoder} --size 64"), "a text encoder takes texts of any length"),
        (format!("train reviews.tsv {encoder} --weights x.pt"), "holds its weights"),
        (format!("train reviews.tsv {encoder} --text-column 0"), "columns are counted from 1"),
        (format!("train reviews.tsv {encoder} --text-column txt"), "it has: text, label"),
        ("train reviews.tsv --backbone home".into(), "there is no config.json"),
        ("eval m.safetensors data".into(), "holds images"),
        ("predict m.safetensors data/red/0.png".into(), "is an image"),
        ("predict m.safetensors noise.bin".into(), "noise.bin is bytes that are no UTF-8 text"),
        ("predict m.safetensors gone.tsv".into(), "--text gives a text itself"),
        ("predict m.safetensors reviews.tsv --tta 2".into(), "--tta works on images"),
        (format!("predict {ENCODER} reviews.tsv"), "a text encoder has no classes of its own"),
        ("finetune m.safetensors reviews.tsv --augment light".into(), "--augment works on images"),
        ("finetune m.safetensors data".into(), "data holds images, and tiny_encoder reads texts"),
        ("explain m.safetensors data/red/0.png".into(), "is an image"),
        ("explain m.safetensors reviews.tsv -o x.png".into(), "is a model of texts"),
        ("explain m.safetensors reviews.tsv:99".into(), "no text begins in line 99 of reviews.tsv"),
        ("explain m.safetensors reviews.tsv --class so".into(), "the model knows neg, pos"),
        ("explain m.safetensors".into(), "<FILE>"),
        (format!("doctor data {encoder}"), "data holds images, and tiny_encoder reads texts"),
        (format!("doctor reviews.tsv --against data {encoder}"), "data holds images"),
        ("doctor reviews.tsv --label-column mood --files-only".into(), "it has: text, label"),
    ] {
        let found = refused(&line);
        assert!(found.contains(message), "{line}: {found}");
    }
}

#[test]
fn a_model_whose_tokenizer_was_changed_is_refused() {
    let place = Place::new();
    reviews(&place);
    train(&place, "reviews.tsv -o m.safetensors");
    let path = place.path("m.safetensors");
    let mut file = bytes(&path);
    let word = b"\"awful\"";
    let at = file.windows(word.len()).position(|w| w == word).unwrap();
    file[at..at + word.len()].copy_from_slice(b"\"lawfu\"");
    std::fs::write(&path, file).unwrap();
    let output = place.run("predict m.safetensors reviews.tsv");
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("its tokenizer is not the one its manifest names"), "{}", err(&output));
}
