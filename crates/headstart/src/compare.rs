//! Whether classifiers that answered the same images differ, or could by chance.

use crate::metrics::{Answer, McNemar, holm, wilson_interval};
use crate::{Classifier, Error, Session, evaluate};
use headstart_weights::replace_file;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// A difference with a smaller `p` is called real.
const LEVEL: f64 = 0.05;

/// A line of an answers file (`eval --answers`): what was said about one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerLine {
    /// The image, relative to the data.
    pub path: String,
    /// Its class.
    pub label: String,
    /// The class it was answered with.
    pub predicted: String,
    /// The probability of `predicted`, 0 to 1.
    pub probability: f32,
    /// The probability of `label`, 0 to 1.
    pub label_probability: f32,
}

/// What `compare` reports.
#[derive(Debug, Clone, Serialize)]
pub struct CompareReport {
    /// Images that all answered.
    pub n: usize,
    /// The runs, in the order they were named.
    pub runs: Vec<RunAccuracy>,
    /// Every two of them.
    pub pairs: Vec<Pair>,
}

/// A run by itself.
#[derive(Debug, Clone, Serialize)]
pub struct RunAccuracy {
    /// The model or answers file.
    pub name: String,
    /// Share that is right.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub accuracy_ci95: [f64; 2],
}

/// Two runs on the same images.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    /// The first.
    pub first: String,
    /// The second.
    pub second: String,
    /// The paired test.
    #[serde(flatten)]
    pub test: McNemar,
    /// `p` after Holm's correction for the number of pairs.
    pub p_corrected: f64,
    /// Whether the difference is real: `p_corrected` below 0.05.
    pub real: bool,
    /// That in words.
    pub verdict: String,
}

/// Compares `runs`: answers files (`.jsonl`), or models that are asked about the held-out part of `data`.
///
/// # Errors
/// Where fewer than two are named, one cannot be read, a model has no data, or they answered different images.
pub fn compare(session: &Session, runs: &[String], data: Option<&Path>) -> Result<CompareReport, Error> {
    if runs.len() < 2 {
        let (found, expected) = (runs.len().to_string(), "two runs or more");
        return Err(Error::Setting { name: "the number of runs", found, expected });
    }
    let mut answered = Vec::with_capacity(runs.len());
    for run in runs {
        answered.push(match Path::new(run).extension().is_some_and(|e| e == "jsonl") {
            true => read_answers(Path::new(run))?,
            false => ask(session, run, data)?,
        });
    }
    let truth = right(&runs[0], &answered[0])?;
    let mut all = vec![truth.values().map(|&(_, right)| right).collect::<Vec<bool>>()];
    for (run, lines) in runs.iter().zip(&answered).skip(1) {
        let other = right(run, lines)?;
        same_images((&runs[0], &truth), (run, &other))?;
        all.push(other.values().map(|&(_, right)| right).collect());
    }
    let n = truth.len();
    let accuracies = runs.iter().zip(&all).map(|(run, right)| {
        let correct = right.iter().filter(|&&right| right).count();
        let accuracy = correct as f64 / n as f64;
        RunAccuracy { name: run.clone(), accuracy, accuracy_ci95: wilson_interval(correct, n) }
    });
    let places = (0..runs.len()).flat_map(|a| (a + 1..runs.len()).map(move |b| (a, b)));
    let tests: Vec<(usize, usize, McNemar)> = places.map(|(a, b)| (a, b, paired(&all[a], &all[b]))).collect();
    let corrected = holm(&tests.iter().map(|t| t.2.p).collect::<Vec<_>>());
    let pairs = tests.iter().zip(corrected).map(|(&(a, b, test), p_corrected)| {
        let real = p_corrected < LEVEL;
        let verdict = verdict(&runs[a], &runs[b], &test, p_corrected);
        Pair { first: runs[a].clone(), second: runs[b].clone(), test, p_corrected, real, verdict }
    });
    Ok(CompareReport { n, runs: accuracies.collect(), pairs: pairs.collect() })
}

/// The answers of a model about `data`.
fn ask(session: &Session, model: &str, data: Option<&Path>) -> Result<Vec<AnswerLine>, Error> {
    let Some(data) = data else {
        let (found, expected) = ("not given".to_owned(), "labelled images to ask model files about");
        return Err(Error::Setting { name: "--data", found, expected });
    };
    let classifier = Classifier::open(model, session.home)?;
    let report = evaluate(session, &classifier, data)?;
    Ok(lines(&report.answers, classifier.labels()))
}

/// Answers as lines, with the names `labels` of the classes.
fn lines(answers: &[Answer], labels: &[String]) -> Vec<AnswerLine> {
    let line = |answer: &Answer| AnswerLine {
        path: answer.path.clone(),
        label: labels[answer.target].clone(),
        predicted: labels[answer.predicted].clone(),
        probability: answer.probability,
        label_probability: answer.target_probability,
    };
    answers.iter().map(line).collect()
}

/// Writes `answers` to `path`, a JSON object a line; `labels` are the classes' names.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_answers(path: &Path, answers: &[Answer], labels: &[String]) -> Result<(), Error> {
    let write = replace_file(path, |w| {
        lines(answers, labels).iter().try_for_each(|line| writeln!(w, "{}", serde_json::to_string(line)?))
    });
    write.map_err(Error::io("write", path))
}

/// Reads what [`write_answers`] wrote.
///
/// # Errors
/// Where the file cannot be read, or a line is no answer.
pub fn read_answers(path: &Path) -> Result<Vec<AnswerLine>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let bad = |detail: String| Error::Answers { path: path.to_owned(), detail };
    let mut answers = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        answers.push(serde_json::from_str(line).map_err(|e| bad(format!("line {}: {e}", i + 1)))?);
    }
    if answers.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    Ok(answers)
}

/// For each image its class, and whether it was answered with it.
type Right<'a> = BTreeMap<&'a str, (&'a str, bool)>;

fn right<'a>(run: &str, lines: &'a [AnswerLine]) -> Result<Right<'a>, Error> {
    let mut right = BTreeMap::new();
    for line in lines {
        if right.insert(line.path.as_str(), (line.label.as_str(), line.label == line.predicted)).is_some() {
            let detail = format!("{} is answered twice", line.path);
            return Err(Error::Answers { path: run.into(), detail });
        }
    }
    Ok(right)
}

fn same_images(first: (&str, &Right), second: (&str, &Right)) -> Result<(), Error> {
    let differ = |detail: String| Error::Answers {
        path: second.0.into(),
        detail: format!("{detail}: only answers for the same images can be compared"),
    };
    for (a, b, here, there) in
        [(first.1, second.1, first.0, second.0), (second.1, first.1, second.0, first.0)]
    {
        if let Some(path) = a.keys().find(|path| !b.contains_key(*path)) {
            let (n, m) = (a.len(), b.len());
            return Err(differ(format!(
                "{path} is among the {n} images of {here} and not the {m} of {there}"
            )));
        }
    }
    match first.1.iter().find(|(path, (label, _))| second.1.get(*path).is_some_and(|other| other.0 != *label))
    {
        None => Ok(()),
        Some((path, (label, _))) => Err(differ(format!("{path} is `{label}` in {} and not here", first.0))),
    }
}

fn paired(first: &[bool], second: &[bool]) -> McNemar {
    let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|&(&a, &b)| a && !b).count();
    McNemar::of(only(first, second), only(second, first), first.len())
}

fn verdict(first: &str, second: &str, test: &McNemar, p: f64) -> String {
    let [low, high] = test.difference_ci95.map(|v| 100.0 * v);
    let points = format!("{:+.1} points (95 % interval {low:+.1} to {high:+.1})", 100.0 * test.difference);
    match (p < LEVEL, test.difference > 0.0) {
        (true, true) => format!("{second} is better than {first}: {points}, p = {p:.2e}"),
        (true, false) => format!("{second} is worse than {first}: {points}, p = {p:.2e}"),
        (false, _) => {
            format!(
                "{second} is not shown to differ from {first}: {points}, which chance gives too (p = {p:.2})"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: usize, label: &str, predicted: &str) -> AnswerLine {
        AnswerLine {
            path: format!("{path}.jpg"),
            label: label.into(),
            predicted: predicted.into(),
            probability: 0.9,
            label_probability: 0.9,
        }
    }

    #[test]
    fn images_are_paired_by_their_path_whatever_the_order() {
        let a: Vec<AnswerLine> = (0..4).map(|i| line(i, "cat", ["cat", "dog"][i % 2])).collect();
        let b: Vec<AnswerLine> =
            (0..4).rev().map(|i| line(i, "cat", ["cat", "cat", "dog", "cat"][i])).collect();
        let (a, b) = (right("a", &a).unwrap(), right("b", &b).unwrap());
        same_images(("a", &a), ("b", &b)).unwrap();
        let of = |r: &Right| r.values().map(|v| v.1).collect::<Vec<_>>();
        let test = paired(&of(&a), &of(&b));
        assert_eq!((test.only_first, test.only_second, test.difference), (1, 2, 0.25));
    }

    #[test]
    fn answers_for_other_images_or_labels_are_refused_with_the_first_that_differs() {
        let refusal = |a: &[AnswerLine], b: &[AnswerLine]| {
            let (a, b) = (right("a", a).unwrap(), right("b", b).unwrap());
            same_images(("a", &a), ("b", &b)).unwrap_err().to_string()
        };
        let (one, two) = (line(1, "cat", "cat"), line(2, "cat", "cat"));
        let text = refusal(&[one.clone(), two.clone()], std::slice::from_ref(&one));
        assert!(text.contains("2.jpg is among the 2 images of a and not the 1 of b"), "{text}");
        let text = refusal(std::slice::from_ref(&one), &[one.clone(), two]);
        assert!(text.contains("2.jpg is among the 2 images of b"), "{text}");
        let text = refusal(std::slice::from_ref(&one), &[line(1, "dog", "cat")]);
        assert!(text.contains("1.jpg is `cat` in a and not here"), "{text}");
        assert!(right("a", &[one.clone(), one]).unwrap_err().to_string().contains("answered twice"));
    }

    #[test]
    fn the_verdict_says_whether_the_difference_is_real() {
        let say = |a, b| {
            let test = McNemar::of(a, b, 500);
            verdict("a", "b", &test, test.p)
        };
        assert!(say(10, 40).starts_with("b is better than a: +6.0 points"), "{}", say(10, 40));
        assert!(say(40, 10).starts_with("b is worse than a: -6.0 points"));
        assert!(say(10, 12).starts_with("b is not shown to differ from a"));
    }
}
