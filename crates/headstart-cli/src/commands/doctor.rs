//! `headstart doctor`: what is wrong with a data set, counted first, then by name.

use crate::args::Doctor;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::data::Kind;
use headstart::data::doctor::DefectKind;
use headstart::{DoctorReport, FixList, doctor};

/// Findings of a kind that are named; the rest is a count.
const NAMED: usize = 10;
/// Classes with a line in the table; of more the smallest and the largest.
const CLASSES: usize = 20;

pub(crate) fn run(args: &Doctor, printer: &Printer) -> anyhow::Result<Outcome> {
    if let Some(path) = &args.fix_list {
        FixList::check(path)?;
    }
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let report = doctor(&workplace.session(), &args.options())?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        printer.data(&text(&report))?;
    }
    let list = FixList::of(&report);
    if let Some(path) = &args.fix_list {
        list.write(&report.data, path)?;
        printer.say(&format!(
            "{}: {} lines, {} of them propose to leave {} out; `headstart train {} --exclude {}` does.",
            path.display(),
            list.len(),
            list.proposed(),
            if report.kind == Kind::Images { "an image" } else { "a text" },
            report.data,
            path.display()
        ));
    } else if list.proposed() > 0 {
        printer.say("Next: --fix-list FILE writes a list that `headstart train --exclude FILE` takes.");
    }
    Ok(if report.faults > 0 { Outcome::Fault } else { Outcome::Fine })
}

fn text(report: &DoctorReport) -> String {
    let mut text = summary(report);
    if !report.balance.is_empty() {
        text += &format!("\n{}", balance(report));
    }
    for kind in DefectKind::ALL {
        let of_kind = report.problems.iter().filter(|problem| problem.kind == kind);
        let lines = of_kind.map(|p| format!("{}: {}", p.path, p.detail)).collect();
        section(&mut text, heading(kind), lines);
    }
    let paths = |group: &Vec<String>| group.join(" = ");
    let one = report.kind.one();
    section(
        &mut text,
        &format!("the same {one} under two labels"),
        report.contradictions.iter().map(paths).collect(),
    );
    let repeated = report.duplicates.iter().filter(|group| !report.contradictions.contains(group));
    let (differing, plain): (Vec<_>, Vec<_>) = repeated.partition(|group| report.differing.contains(group));
    section(&mut text, &format!("the same {one} more than once"), plain.into_iter().map(paths).collect());
    let how = if report.kind == Kind::Images { ", stored anew" } else { ", but for case or spaces" };
    section(&mut text, &format!("the same {one}{how}"), differing.into_iter().map(paths).collect());
    let leaks = report.leaks.iter().enumerate().map(|(i, [first, held_out])| {
        format!("{held_out} {} {first}", if i < report.equal_leaks { "=" } else { "~" })
    });
    section(&mut text, "held out, and in an earlier split too", leaks.collect());
    let near = report.near_duplicates.iter().map(|group| {
        let labels = if group.contradiction { ", under two labels" } else { "" };
        format!("{} ({:.3}{labels})", group.paths.join(" ~ "), group.similarity)
    });
    section(&mut text, &format!("nearly the same {one}"), near.collect());
    let suspects = report
        .suspects
        .iter()
        .map(|s| format!("{}: labelled {}, looks like {} ({:.3})", s.path, s.label, s.suggested, s.score));
    section(&mut text, "labels to look at, the most suspicious first", suspects.collect());
    let outliers = report.outliers.iter().map(|o| format!("{} ({:.3})", o.path, o.distance));
    section(&mut text, "unlike all others, the farthest first", outliers.collect());
    let aspects = report.aspect.iter().map(|a| format!("{}: {} x {}", a.path, a.size[0], a.size[1]));
    section(&mut text, "so long that a centre crop shows little", aspects.collect());
    let shared = report.shift.iter().flat_map(|shift| &shift.shared);
    section(&mut text, "in both sets", shared.map(|[there, here]| format!("{there} = {here}")).collect());
    let left_out = report.left_out.iter().map(|s| format!("{}: {}", s.path, s.detail));
    section(&mut text, "left out", left_out.collect());
    text
}

/// Counts, a line each.
fn summary(report: &DoctorReport) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| text += &format!("{what:<11} {value}\n");
    let classes = match report.balance.len() {
        0 => ", without labels".to_owned(),
        n => format!(" of {n} classes"),
    };
    let (one, many) = (report.kind.one(), report.kind.many());
    line(many, format!("{}{classes}", report.files));
    let counts = DefectKind::ALL.iter().filter_map(|kind| {
        let count = report.problems.iter().filter(|problem| problem.kind == *kind).count();
        (count > 0).then(|| format!("{count} {}", kind.name()))
    });
    line(
        if report.kind == Kind::Images { "files" } else { "rows" },
        none_or(counts.collect::<Vec<_>>().join(", "), "nothing wrong"),
    );
    let (groups, contradictions) = (report.duplicates.len(), report.contradictions.len());
    let labels =
        if contradictions > 0 { format!(" ({contradictions} under two labels)") } else { String::new() };
    let near = match report.backbone {
        Some(_) => format!(", {} of nearly the same", report.near_duplicates.len()),
        None => String::new(),
    };
    line("duplicates", format!("{groups} groups of the same {one}{labels}{near}"));
    if report.balance.values().any(|counts| counts.len() > 1) {
        let near = report.leaks.len() - report.equal_leaks;
        let accuracy = report.leakage.as_ref().map(|leakage| {
            let without = leakage.accuracy_without.map_or_else(|| "none left".to_owned(), percent);
            format!("; accuracy {} with them, {without} without", percent(leakage.accuracy))
        });
        let nearly = if near > 0 { format!(" and {near} nearly") } else { String::new() };
        let what = format!("held-out {many} are in an earlier split");
        line("leaks", format!("{}{nearly} {what}{}", report.equal_leaks, accuracy.unwrap_or_default()));
    }
    if let Some(wrong) = report.wrong_labels {
        let agreed = report.agreed_labels.unwrap_or_default();
        line(
            "labels",
            format!(
                "{} to look at; about {wrong} do not agree with the {many}, to heads that give {} of all labels",
                report.suspects.len(),
                percent(agreed)
            ),
        );
    }
    if report.backbone.is_some() {
        line("outliers", report.outliers.len().to_string());
    }
    if let Some(shift) = &report.shift {
        line("shift", format!("AUC {:.2} against {}: {}", shift.auc, shift.against, shift.meaning));
    }
    if let Some(backbone) = &report.backbone {
        let [computed, cached] = report.features;
        line("features", format!("{computed} computed, {cached} cached, of {backbone}"));
    }
    line("time", format!("{:.1} s", report.seconds));
    line(
        "verdict",
        match report.faults {
            0 => "nothing that must be mended".to_owned(),
            1 => "1 thing to mend".to_owned(),
            n => format!("{n} things to mend"),
        },
    );
    text
}

fn none_or(text: String, none: &str) -> String {
    if text.is_empty() { none.to_owned() } else { text }
}

/// Images by class and split.
fn balance(report: &DoctorReport) -> String {
    let mut rows: Vec<(&String, Vec<usize>)> =
        report.balance.iter().map(|(class, counts)| (class, counts.values().copied().collect())).collect();
    let splits = report.balance.values().next().map(|counts| counts.keys().copied().collect::<Vec<_>>());
    let mut note = String::new();
    if rows.len() > CLASSES {
        rows.sort_by_key(|(_, counts)| counts.iter().sum::<usize>());
        note = format!("  and {} classes between them (--json lists all)\n", rows.len() - CLASSES);
        rows.drain(CLASSES / 2..rows.len() - CLASSES / 2);
    }
    let mut table = Table::new([("class", Align::Left), (report.kind.many(), Align::Left)]);
    let splits = splits.unwrap_or_default();
    for (class, counts) in rows {
        let counts = splits.iter().zip(&counts).map(|(split, n)| match splits.len() {
            1 => n.to_string(),
            _ => format!("{n} {split}"),
        });
        table.row([class.clone(), counts.collect::<Vec<_>>().join(", ")]);
    }
    format!("{table}{note}")
}

fn heading(kind: DefectKind) -> &'static str {
    match kind {
        DefectKind::Truncated => "truncated",
        DefectKind::Empty => "empty files",
        DefectKind::NotAnImage => "no images",
        DefectKind::Unreadable => "unreadable",
        DefectKind::Huge => "huge",
        DefectKind::Mistyped => "another format than their names say",
        DefectKind::Blank => "blank",
        DefectKind::Tiny => "tiny",
        DefectKind::EmptyClass => "class folders without images",
        DefectKind::EmptyText => "rows without a text",
        DefectKind::EmptyLabel => "rows without a label",
        DefectKind::FewColumns => "rows with too few columns",
        DefectKind::NotUtf8 => "rows that are not UTF-8",
        DefectKind::NotJson => "lines that are no JSON object with a text",
        DefectKind::UnknownSplit => "rows of a split that there is not",
        DefectKind::NoTokens => "texts of which the tokenizer makes nothing",
        DefectKind::Short => "very short texts (a remark)",
        DefectKind::Cut => "texts longer than the network reads (a remark)",
        DefectKind::Rotated => "turned by EXIF (read upright here: a remark)",
        DefectKind::Hidden => "hidden or the system's own (left out: a remark)",
        _ => "other",
    }
}

/// A heading and its findings, the first few by name.
fn section(text: &mut String, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    *text += &format!("\n{heading}\n");
    for line in lines.iter().take(NAMED) {
        *text += &format!("  {line}\n");
    }
    if lines.len() > NAMED {
        *text += &format!("  and {} more (--json lists all)\n", lines.len() - NAMED);
    }
}
