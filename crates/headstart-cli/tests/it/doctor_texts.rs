//! `headstart doctor` on tables of texts, through the binary, with a tiny encoder of seeded weights.

use crate::place::{Place, err, out};
use serde_json::Value;
use std::collections::BTreeSet;

const ENCODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart-models/tests/fixtures/tiny_encoder");
/// Defects of each kind.
const EACH: usize = 10;

/// Sentences of thirteen words, the first five of which give the label away; no two alike.
struct Sentences(u64);

impl Sentences {
    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        among[(self.0 >> 33) as usize % among.len()]
    }

    fn next(&mut self, label: &str) -> String {
        let telling = if label == "pos" { "good" } else { "dull" };
        let letters = ["b", "c", "d", "f", "g", "h", "j", "k", "m", "n", "p", "q", "r", "v", "w", "x", "z"];
        let word = |i| match i {
            0..5 => telling.to_owned(),
            _ => format!("{}{}", self.pick(&letters), self.pick(&["", "3", "s", "ed", "er", "ing", "ly"])),
        };
        (0..13).map(word).collect::<Vec<_>>().join(" ")
    }
}

/// A split's rows, a line each, and what must be said of them.
struct Table {
    name: &'static str,
    lines: Vec<Vec<u8>>,
}

impl Table {
    fn new(name: &'static str) -> Table {
        Table { name, lines: vec![b"text\tlabel".to_vec()] }
    }

    /// Adds a row; gives its name.
    fn add(&mut self, row: impl Into<Vec<u8>>) -> String {
        self.lines.push(row.into());
        format!("{}:{}", self.name, self.lines.len())
    }

    fn write(&self, place: &Place) {
        let path = place.path(&format!("data/{}", self.name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, self.lines.join(&b'\n')).unwrap();
    }
}

fn other(label: &str) -> &'static str {
    if label == "pos" { "neg" } else { "pos" }
}

fn strings(value: &Value) -> BTreeSet<Vec<String>> {
    let group =
        |group: &Value| group.as_array().unwrap().iter().map(|p| p.as_str().unwrap().into()).collect();
    value.as_array().unwrap().iter().map(group).collect()
}

/// What was planted.
#[derive(Default)]
struct Planted {
    problems: BTreeSet<(String, String)>,
    duplicates: BTreeSet<Vec<String>>,
    differing: BTreeSet<Vec<String>>,
    contradictions: BTreeSet<Vec<String>>,
    near: BTreeSet<Vec<String>>,
    leaks: BTreeSet<Vec<String>>,
    swapped: BTreeSet<String>,
}

/// Clean rows in two splits, and [`EACH`] defects of each kind among them.
fn spoilt(place: &Place) -> Planted {
    let (mut words, mut planted) = (Sentences(7), Planted::default());
    let (mut train, mut dev) = (Table::new("train.tsv"), Table::new("dev.tsv"));
    for i in 0..600 {
        let label = if i % 2 == 0 { "pos" } else { "neg" };
        let text = words.next(label);
        let to = if i % 12 >= 10 { &mut dev } else { &mut train };
        to.add(format!("{text}\t{label}"));
    }
    for i in 0..EACH {
        let label = if i % 2 == 0 { "pos" } else { "neg" };
        let mut problem = |kind: &str, path: String| planted.problems.insert((path, kind.to_owned()));
        problem("empty_text", train.add(format!("  \t{label}")));
        problem("empty_label", train.add(format!("{}\t ", words.next(label))));
        problem("few_columns", train.add(words.next(label)));
        let mut broken = words.next(label).into_bytes();
        broken[i] = 0xE9;
        problem("not_utf8", train.add([broken, format!("\t{label}").into_bytes()].concat()));
        problem("short", train.add(format!("bad {}\tneg", char::from(b'b' + i as u8))));
        let long = [words.next(label), words.next(label), words.next(label)].join(" ");
        problem("cut", train.add(format!("{long}\t{label}")));

        let pair = |a: &mut Table, first: String, b: Option<&mut Table>, second: String| {
            let first = a.add(first);
            vec![first, b.unwrap_or(a).add(second)]
        };
        let row = format!("{}\t{label}", words.next(label));
        planted.duplicates.insert(pair(&mut train, row.clone(), None, row));
        let text = words.next(label);
        let shouted = format!("{}\t{label}", text.to_uppercase().replacen(' ', "  ", 2));
        let group = pair(&mut train, format!("{text}\t{label}"), None, shouted);
        planted.differing.insert(group);
        let text = words.next(label);
        let group = pair(&mut train, format!("{text}\t{label}"), None, format!("{text}\t{}", other(label)));
        planted.contradictions.insert(group);
        let text = words.next(label);
        let again = text.split(' ').next().unwrap();
        let group = pair(&mut train, format!("{text}\t{label}"), None, format!("{text} {again}\t{label}"));
        planted.near.insert(group);
        let row = format!("{}\t{label}", words.next(label));
        planted.leaks.insert(pair(&mut train, row.clone(), Some(&mut dev), row));
        let text = words.next(label);
        planted.swapped.insert(train.add(format!("{text}\t{}", other(label))));
    }
    planted.duplicates.extend(planted.differing.iter().chain(&planted.contradictions).cloned());
    // In a group the rows stand by file, then by line.
    let turned = |pair: &Vec<String>| pair.iter().rev().cloned().collect();
    planted.duplicates.extend(planted.leaks.iter().map(turned));
    train.write(place);
    dev.write(place);
    planted
}

#[test]
fn every_planted_defect_is_named_by_file_and_line_and_nothing_else_is_a_fault() {
    let place = Place::new();
    let planted = spoilt(&place);
    let output = place.run(&format!("doctor data --backbone {ENCODER} --json --fix-list fix.tsv"));
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let problems: BTreeSet<(String, String)> =
        problems.map(|p| (text(&p["path"]), text(&p["kind"]))).collect();
    assert_eq!(problems, planted.problems);
    assert_eq!(strings(&report["duplicates"]), planted.duplicates);
    assert_eq!(strings(&report["differing"]), planted.differing);
    assert_eq!(strings(&report["contradictions"]), planted.contradictions);
    assert_eq!((strings(&report["leaks"]), &report["equal_leaks"]), (planted.leaks, &EACH.into()));
    let near: BTreeSet<Vec<String>> = report["near_duplicates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["paths"].as_array().unwrap().iter().map(text).collect())
        .collect();
    assert_eq!(near, planted.near);
    // Four kinds of rows that cannot be used, two labels for one text, texts on both sides: nothing else must be mended.
    assert_eq!(report["faults"], 6 * EACH);
    assert!(report["leakage"]["accuracy_without"].as_f64() > Some(0.9), "{}", report["leakage"]);
    assert_eq!(report["balance"]["pos"]["val"], 50 + EACH / 2);
    assert_eq!(report["missing"], serde_json::json!([]));
    // Where a text stands under two labels one of them is wrong, too.
    let suspects = report["suspects"].as_array().unwrap().iter().map(|s| text(&s["path"]));
    let contradicting: BTreeSet<String> = planted.contradictions.into_iter().flatten().collect();
    let first: BTreeSet<String> =
        suspects.filter(|path| !contradicting.contains(path)).take(2 * EACH).collect();
    let found = planted.swapped.intersection(&first).count();
    assert!(
        found >= EACH - 1,
        "{found} of {EACH} swapped labels are among the first {}: {first:?}",
        2 * EACH
    );

    // What the list proposes is left out, and then nothing is wrong with the rows.
    let list = std::fs::read_to_string(place.path("fix.tsv")).unwrap();
    let proposed = list.lines().filter(|line| !line.starts_with('#')).count();
    // Unusable rows, one of a pair of copies, both of a contradiction, the leak in train.
    assert_eq!(proposed, 4 * EACH + 2 * EACH + 2 * EACH + EACH);
    assert!(list.contains("the same text as ") && list.contains(", but for case or spaces"), "{list}");
    let strict = format!("train data --strict --backbone {ENCODER} -o m.safetensors");
    let output = place.run(&strict);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("train.tsv:"), "{}", err(&output));
    let report = place.json(&format!("{strict} --exclude fix.tsv --json"));
    let excluded = report["skipped"].as_array().unwrap().iter();
    assert!(excluded.clone().all(|s| s["reason"] == "excluded"), "{}", report["skipped"]);
    assert_eq!(excluded.count(), proposed);
    // 500 and 100 clean rows, and what is left of the pairs.
    assert_eq!(
        (&report["train"]["n"], &report["val"]["n"]),
        (&(500 + 7 * EACH).into(), &(100 + EACH).into())
    );

    // The same for people.
    let output = place.run(&format!("doctor data --backbone {ENCODER}"));
    let said = out(&output);
    for part in [
        "rows        10 empty_text, 10 empty_label, 10 few_columns, 10 not_utf8, 10 short, 10 cut",
        "texts longer than the network reads (a remark)",
        "tokens are lost: the network reads 24",
        "the same text under two labels",
        "the same text, but for case or spaces",
        "held-out texts are in an earlier split; accuracy",
        "60 things to mend",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn rows_are_looked_at_without_a_network_and_classes_that_cannot_be_learned_are_named() {
    let place = Place::new();
    let row = |text: &str, label: &str, split: &str| {
        format!("{}\n", serde_json::json!({"text": text, "label": label, "split": split}))
    };
    let mut words = Sentences(3);
    let mut lines: Vec<String> =
        (0..12).map(|i| row(&words.next("pos"), ["a", "b"][i % 2], "train")).collect();
    lines.push(row(&words.next("pos"), "c", "dev"));
    lines.push(row(&words.next("pos"), "a", "never"));
    lines.push("{\"text\": \n".to_owned());
    lines.push("{\"label\": \"a\"}\n".to_owned());
    std::fs::write(place.path("r.jsonl"), lines.concat()).unwrap();
    let output = place.run("doctor r.jsonl --files-only --json");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap().iter();
    let problems: Vec<[&str; 2]> =
        problems.map(|p| ["path", "kind"].map(|key| p[key].as_str().unwrap())).collect();
    let expected =
        [["r.jsonl:14", "unknown_split"], ["r.jsonl:15", "not_json"], ["r.jsonl:16", "empty_text"]];
    assert_eq!(problems, expected);
    let missing = serde_json::json!([
        {"class": "a", "split": "val"}, {"class": "b", "split": "val"}, {"class": "c", "split": "train"}
    ]);
    assert_eq!(report["missing"], missing);
    assert_eq!((output.status.code(), &report["faults"], &report["files"]), (Some(1), &4.into(), &13.into()));
    assert!(report["backbone"].is_null() && report["outliers"] == serde_json::json!([]));
}

#[test]
fn texts_without_labels_are_compared_with_others() {
    let place = Place::new();
    let mut words = Sentences(5);
    let mut table = |name: &str, header: &str, label: &str| {
        let rows: String = (0..60).map(|_| format!("{}\n", words.next(label))).collect();
        std::fs::write(place.path(name), format!("{header}\n{rows}")).unwrap();
    };
    table("a.tsv", "text", "pos");
    table("b.tsv", "text", "pos");
    table("c.csv", "said", "neg");
    let shift = |line: &str| {
        let output = place.run(&format!("doctor {line} --backbone {ENCODER} --json"));
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(
            err(&output).contains("looked at without labels; --label-column names one"),
            "{}",
            err(&output)
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["balance"], serde_json::json!({}));
        report["shift_auc"].as_f64().unwrap()
    };
    let alike = shift("a.tsv --against b.tsv");
    std::fs::write(
        place.path("a2.tsv"),
        std::fs::read_to_string(place.path("a.tsv")).unwrap().replacen("text", "said", 1),
    )
    .unwrap();
    let apart = shift("a2.tsv --text-column said --against c.csv");
    assert!(alike < 0.65 && apart > 0.8, "{alike} {apart}");
}
