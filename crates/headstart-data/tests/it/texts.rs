//! Files of texts: every format, and every way in which a row or a file can be wrong.

use headstart_data::{
    Dataset, Item, Kind, OpenOptions, Picture, Skipped, TextColumns, open_unlabelled_texts, texts_of_lines,
};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

fn columns(text: &str, label: &str) -> OpenOptions {
    let column = |name: &str| Some(name.parse().unwrap());
    OpenOptions { classes: None, columns: TextColumns { text: column(text), label: column(label) } }
}

fn text(picture: &Picture) -> String {
    String::from_utf8(picture.bytes().unwrap().into_owned()).unwrap()
}

/// Name, text and class of each item.
fn shown(data: &Dataset, items: &[Item]) -> Vec<(String, String, String)> {
    let one = |i: &Item| (i.picture.path().to_owned(), text(&i.picture), data.classes[i.label].clone());
    items.iter().map(one).collect()
}

fn rows(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    expected.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect()
}

fn named(skipped: &[Skipped]) -> Vec<(&str, &str, bool)> {
    skipped.iter().map(|s| (s.path.as_str(), s.reason.name(), s.reason.is_fault())).collect()
}

#[test]
fn csv_tsv_and_json_lines_say_the_same() {
    let csv = "\u{feff}label,note,Text\r\ngood,,\"a \"\"fine\"\" film,\r\nreally\"\r\nbad,x, dull \r\n";
    let tsv = "text\tlabel\na \"fine\" film,\tgood\n\ndull\tbad";
    let json =
        "{\"text\":\"a \\\"fine\\\" film,\",\"label\":\"good\"}\n\n{\"label\":\"bad\",\"text\":\"dull\"}\n";
    let root = folder(&[("r.csv", csv.as_bytes()), ("r.tsv", tsv.as_bytes()), ("r.jsonl", json.as_bytes())]);
    let open = |name| Dataset::open(root.path().join(name), &OpenOptions::default()).unwrap();
    let data = open("r.csv");
    assert_eq!((data.kind, &data.classes[..]), (Kind::Texts, &["bad".to_owned(), "good".to_owned()][..]));
    assert_eq!(
        shown(&data, &data.train),
        rows(&[("r.csv:2", "a \"fine\" film,\r\nreally", "good"), ("r.csv:4", "dull", "bad")])
    );
    let data = open("r.tsv");
    assert_eq!(
        shown(&data, &data.train),
        rows(&[("r.tsv:2", "a \"fine\" film,", "good"), ("r.tsv:4", "dull", "bad")])
    );
    let data = open("r.jsonl");
    assert_eq!(
        shown(&data, &data.train),
        rows(&[("r.jsonl:1", "a \"fine\" film,", "good"), ("r.jsonl:3", "dull", "bad")])
    );
    assert!(data.skipped.is_empty());
}

#[test]
fn a_byte_order_mark_before_the_column_of_texts_is_no_part_of_its_name() {
    let long = "x".repeat(100_000);
    let table = format!("\u{feff}text,label\nfine,good\ndull,bad\n{long},bad\n");
    let root = folder(&[("r.csv", table.as_bytes())]);
    let data = Dataset::open(root.path().join("r.csv"), &OpenOptions::default()).unwrap();
    assert_eq!((data.kind, data.train.len()), (Kind::Texts, 3));
    assert_eq!(text(&data.train[0].picture), "fine");
}

#[test]
fn a_folder_of_split_files_without_names_is_read_by_numbers() {
    let root = folder(&[
        ("train.tsv", b"he said \"no\t1\nfine\t1\nbad\t0\n"),
        ("dev.tsv", b"so so\t0\n"),
        ("test.tsv", b"good\t1\n"),
        ("README.md", b"notes"),
    ]);
    let data = Dataset::open(root.path(), &columns("1", "2")).unwrap();
    assert_eq!(
        shown(&data, &data.train),
        rows(&[
            ("train.tsv:1", "he said \"no", "1"),
            ("train.tsv:2", "fine", "1"),
            ("train.tsv:3", "bad", "0")
        ])
    );
    assert_eq!(shown(&data, data.val.as_ref().unwrap()), rows(&[("dev.tsv:1", "so so", "0")]));
    assert_eq!(data.held_out().0, "test");
    assert_eq!(named(&data.skipped), [("README.md", "other_file", false)]);

    let message = Dataset::open(root.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(
        message.contains("needs a first line with the columns text and label; it has: he said \"no, 1 (")
    );
    assert!(message.contains("number them, from 1"), "{message}");
    fs::write(root.path().join("val.csv"), "text,label\na,b\n").unwrap();
    let message = Dataset::open(root.path(), &columns("1", "2")).unwrap_err().to_string();
    assert!(message.contains("has both dev.tsv and val.csv"), "{message}");
}

#[test]
fn rows_that_cannot_be_used_are_named_and_the_others_stay() {
    let mut bytes = b"text\tlabel\tsplit\ngood film\t1\t\n\t1\ttrain\nno label\t\ttrain\nshort\n".to_vec();
    bytes.extend(b"caf\xE9\t0\ttrain\nodd\t0\tsometimes\nbad\t0\ttest\nworse\t0\ttrain\n");
    let root = folder(&[("r.tsv", &bytes)]);
    let data = Dataset::open(root.path().join("r.tsv"), &OpenOptions::default()).unwrap();
    assert_eq!(shown(&data, &data.train), rows(&[("r.tsv:2", "good film", "1"), ("r.tsv:9", "worse", "0")]));
    assert_eq!(shown(&data, data.test.as_ref().unwrap()), rows(&[("r.tsv:8", "bad", "0")]));
    assert_eq!(
        named(&data.skipped),
        [
            ("r.tsv:3", "empty_text", true),
            ("r.tsv:4", "empty_label", true),
            ("r.tsv:5", "few_columns", true),
            ("r.tsv:6", "not_utf8", true),
            ("r.tsv:7", "unknown_split", true),
        ]
    );

    let json = "{\"text\":\"a\",\"label\":1}\nnot json\n[1]\n{\"text\":[],\"label\":1}\n{\"label\":1}\n{\"text\":\"b\",\"label\":true}\n";
    let root = folder(&[("r.jsonl", json.as_bytes())]);
    let data = Dataset::open(root.path().join("r.jsonl"), &OpenOptions::default()).unwrap();
    assert_eq!(data.classes, ["1", "true"]);
    let names: Vec<_> = named(&data.skipped).iter().map(|s| (s.0, s.1)).collect();
    assert_eq!(
        names,
        [
            ("r.jsonl:2", "not_json"),
            ("r.jsonl:3", "not_json"),
            ("r.jsonl:4", "not_json"),
            ("r.jsonl:5", "empty_text")
        ]
    );
}

#[test]
fn files_that_cannot_be_used_are_refused_in_words() {
    let root = folder(&[
        ("a.csv", b"review,sentiment\nfine,good\n"),
        ("empty.tsv", b"text\tlabel\n\t\n"),
        ("wide.csv", &[b"\xFF\xFE".as_slice(), b"t\0e\0"].concat()),
        ("j.jsonl", b"{\"text\":\"a\",\"label\":1}\n"),
        ("photo.jpg", b"\xFF\xD8\xFF\xE0"),
    ]);
    let refusal = |name: &str, options: &OpenOptions| {
        Dataset::open(root.path().join(name), options).unwrap_err().to_string()
    };
    let message = refusal("a.csv", &columns("review", "label"));
    assert!(
        message.contains("needs a first line with the columns review and label; it has: review, sentiment")
    );
    let message = refusal("a.csv", &columns("1", "sentiment"));
    assert!(message.contains("both columns by name or both by number"), "{message}");
    let message = refusal("a.csv", &columns("1", "9"));
    assert!(message.contains("has no columns 1 and 9"), "{message}");
    let message = refusal("empty.tsv", &OpenOptions::default());
    assert!(message.contains("no texts that can be used (empty.tsv:2: the text is empty)"), "{message}");
    assert!(refusal("wide.csv", &columns("text", "label")).contains("UTF-16"));
    assert!(refusal("j.jsonl", &columns("1", "2")).contains("have names, not numbers"));
    let path = |name: &str| vec![root.path().join(name)];
    let open = |paths: Vec<PathBuf>| open_unlabelled_texts(&paths, &TextColumns::default());
    assert!(open(path("photo.jpg")).unwrap_err().to_string().contains("is an image"));
    assert!(open(vec![root.path().to_owned()]).unwrap_err().to_string().contains("is a folder"));
    assert!(open(path("gone.tsv")).unwrap_err().to_string().contains("does not exist"));
    let message = open(path("a.csv")).unwrap_err().to_string();
    assert!(message.contains("with the columns text; it has: review, sentiment"), "{message}");
}

#[test]
fn unlabelled_texts_are_lines_or_a_column() {
    let root = folder(&[("notes.txt", b"one\r\n\r\ntwo\n"), ("t.csv", b"text\n\"a, b\"\n")]);
    let paths = ["notes.txt", "t.csv"].map(|name| root.path().join(name));
    let (texts, skipped) = open_unlabelled_texts(&paths, &TextColumns::default()).unwrap();
    assert_eq!(texts.iter().map(text).collect::<Vec<_>>(), ["one", "two", "a, b"]);
    assert!(texts[1].path().ends_with("notes.txt:3") && texts[2].path().ends_with("t.csv:2"));
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].path.ends_with("notes.txt:2"));
    let (texts, skipped) = texts_of_lines("-", b"a\nb");
    assert_eq!((texts[1].path(), text(&texts[1]).as_str(), skipped.len()), ("-:2", "b", 0));
}
