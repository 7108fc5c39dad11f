//! The pictures or texts of a page: which are shown, and each of them once.

use super::html::Html;
use super::shown::Shown;
use super::{Page, percent};
use crate::Session;
use crate::metrics::Answer;
use std::collections::{BTreeMap, BTreeSet};

/// Pictures of a page at most.
const PICTURES: usize = 320;
/// Characters that all pictures of a page may take: with the rest it stays below 3 MB.
const CHARACTERS: usize = 2_100_000;
/// Pictures behind one cell of the confusion matrix, wrong and right ones.
const WRONG: usize = 12;
const RIGHT: usize = 4;
/// Pictures in each of the lists of mistakes and doubts.
const LISTED: usize = 12;

/// Thumbnails by the position of their answer.
#[derive(Debug, Default)]
pub(super) struct Album {
    /// Or why there is none.
    thumbnails: BTreeMap<usize, Result<Shown, String>>,
    /// The pictures behind each cell, by target and answer.
    cells: BTreeMap<(usize, usize), Vec<usize>>,
    /// The mistakes that were made with the greatest certainty.
    pub(super) worst: Vec<usize>,
    /// The answers that were closest to another one.
    pub(super) uncertain: Vec<usize>,
}

impl Album {
    /// Chooses among the answers of a page and decodes what is shown of its pictures, which are in the same order.
    pub(super) fn new(session: &Session, page: &Page) -> Album {
        let Page { kind, answers, pictures, words, .. } = page;
        let mut album = Album::chosen(answers);
        let wanted = album.wanted(answers);
        let thumbnails = session.pool.map(wanted.len(), |i| {
            let Some(picture) = pictures.get(wanted[i]) else { return Err("it is not at hand".to_owned()) };
            let words = words.as_ref().ok().and_then(|words| words.get(&wanted[i]));
            let shown =
                words.map_or_else(|| Shown::of(*kind, picture), |words| Shown::weighed(picture, words));
            shown.map_err(|e| e.to_string())
        });
        let mut left = CHARACTERS;
        for (answer, thumbnail) in wanted.into_iter().zip(thumbnails) {
            let size = thumbnail.as_ref().map_or(0, Shown::len);
            if size <= left {
                left -= size;
                album.thumbnails.insert(answer, thumbnail);
            }
        }
        let there = &album.thumbnails;
        for list in album.cells.values_mut().chain([&mut album.worst, &mut album.uncertain]) {
            list.retain(|answer| there.contains_key(answer));
        }
        album
    }

    /// The answers of the lists: the surest mistakes, then the closest decisions.
    pub(super) fn listed(answers: &[Answer]) -> [Vec<usize>; 2] {
        let album = Album::chosen(answers);
        [album.worst, album.uncertain]
    }

    fn chosen(answers: &[Answer]) -> Album {
        let mut order: Vec<usize> = (0..answers.len()).collect();
        // Wrong answers by their certainty, right ones by their doubt: what teaches most first.
        order.sort_by(|&a, &b| {
            let by = |i: usize| {
                if answers[i].is_right() { -answers[i].probability } else { answers[i].probability }
            };
            by(b).total_cmp(&by(a)).then(a.cmp(&b))
        });
        let wrong = order.iter().copied().filter(|&i| !answers[i].is_right());
        let worst: Vec<usize> = wrong.take(LISTED).collect();
        let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for &i in &order {
            let cell = cells.entry((answers[i].target, answers[i].predicted)).or_default();
            if cell.len() < if answers[i].is_right() { RIGHT } else { WRONG } {
                cell.push(i);
            }
        }
        // A picture stands in one list only: each is in the page once.
        let mut uncertain: Vec<usize> = (0..answers.len()).filter(|i| !worst.contains(i)).collect();
        uncertain.sort_by(|&a, &b| margin(&answers[a]).total_cmp(&margin(&answers[b])).then(a.cmp(&b)));
        uncertain.truncate(LISTED);
        Album { thumbnails: BTreeMap::new(), cells, worst, uncertain }
    }

    /// What is shown, most wanted first: the lists, then the cells in turn, wrong answers before right ones.
    fn wanted(&self, answers: &[Answer]) -> Vec<usize> {
        let behind = self.cells.values().flat_map(|cell| cell.iter().copied().enumerate());
        let mut behind: Vec<(usize, usize)> = behind
            .map(|(rank, i)| (if answers[i].is_right() { rank + WRONG / 2 } else { rank }, i))
            .collect();
        behind.sort_unstable();
        let all = self.worst.iter().chain(&self.uncertain).copied().chain(behind.into_iter().map(|(_, i)| i));
        let mut seen = BTreeSet::new();
        all.filter(|&i| seen.insert(i)).take(PICTURES).collect()
    }

    /// The pictures behind a cell of the confusion matrix, those that are shown.
    pub(super) fn behind(&self, target: usize, predicted: usize) -> &[usize] {
        self.cells.get(&(target, predicted)).map_or(&[], Vec::as_slice)
    }

    /// Pictures that are shown behind a cell alone: they wait until someone asks.
    pub(super) fn waiting(&self) -> impl Iterator<Item = usize> {
        let listed = |i: &usize| self.worst.contains(i) || self.uncertain.contains(i);
        self.thumbnails.keys().copied().filter(move |i| !listed(i))
    }

    /// A picture with what was answered.
    pub(super) fn figure(&self, h: &mut Html, i: usize, answer: &Answer, labels: &[String]) {
        let id = format!("picture-{i}");
        let (truth, taken) = (&labels[answer.target], &labels[answer.predicted]);
        h.tag("figure", &[("class", &"picture"), ("id", &id)], |h| {
            self.image(h, i, answer, labels);
            h.tag("figcaption", &[], |h| {
                let probability = percent(f64::from(answer.probability));
                if answer.is_right() {
                    h.leaf("span", &[("class", &"verdict right")], format_args!("✓ {taken} {probability}"));
                    if let Some((second, p)) = answer.top.get(1) {
                        let p = percent(f64::from(*p));
                        h.leaf("span", &[("class", &"truth")], format_args!("then {} {p}", labels[*second]));
                    }
                } else {
                    h.leaf("span", &[("class", &"verdict wrong")], format_args!("✗ {taken} {probability}"));
                    let p = percent(f64::from(answer.target_probability));
                    h.leaf("span", &[("class", &"truth")], format_args!("labelled {truth} {p}"));
                }
                h.leaf("span", &[("class", &"path"), ("title", &answer.path)], &answer.path);
            });
        });
    }

    fn image(&self, h: &mut Html, i: usize, answer: &Answer, labels: &[String]) {
        match self.thumbnails.get(&i) {
            Some(Ok(shown)) => {
                let name = answer.path.rsplit('/').next().unwrap_or_default();
                let alt = format!(
                    "{name}: labelled {}, answered {}",
                    labels[answer.target], labels[answer.predicted]
                );
                shown.write(h, &alt);
            }
            Some(Err(why)) => {
                h.leaf("p", &[("class", &"lost")], format_args!("not shown: {why}"));
            }
            None => {}
        }
    }
}

/// How far the answer is before the next one.
fn margin(answer: &Answer) -> f32 {
    match answer.top.as_slice() {
        [(_, first), (_, second), ..] => first - second,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(target: usize, predicted: usize, probability: f32) -> Answer {
        let top = vec![(predicted, probability), (1 - predicted, 1.0 - probability)];
        let target_probability = if target == predicted { probability } else { 1.0 - probability };
        Answer { path: "a.jpg".into(), target, predicted, probability, target_probability, top }
    }

    #[test]
    fn certain_mistakes_come_first_and_right_answers_by_their_doubt() {
        let answers =
            [answer(0, 0, 0.9), answer(0, 1, 0.7), answer(0, 1, 0.99), answer(1, 1, 0.55), answer(0, 0, 0.6)];
        let album = Album::chosen(&answers);
        assert_eq!(album.worst, [2, 1]);
        assert_eq!(album.uncertain, [3, 4, 0]);
        assert_eq!(
            (album.behind(0, 1), album.behind(0, 0), album.behind(1, 0)),
            (&[2, 1][..], &[4, 0][..], &[][..])
        );
        assert_eq!(album.wanted(&answers), [2, 1, 3, 4, 0]);
    }

    #[test]
    fn a_cell_holds_a_few_and_a_page_holds_its_share() {
        let answers: Vec<Answer> = (0..5000).map(|i| answer(i % 2, (i / 2) % 2, 0.6)).collect();
        let album = Album::chosen(&answers);
        assert_eq!((album.behind(0, 1).len(), album.behind(0, 0).len()), (WRONG, RIGHT));
        assert!(album.wanted(&answers).len() <= PICTURES);
    }
}
