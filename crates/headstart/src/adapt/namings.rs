//! What the source calls the target, in many ways: class means of the source, as it is and in every style, through the trunk with the
//! source's statistics and with the target's, are asked about the target.
//!
//! Each is a weak naming, wrong in its own way. Namings that say the same count less: the weight of one is 1 over the sum of its
//! kappas with all of them (the density weighting of Henikoff and Henikoff 1994 for related sequences, with kappa for
//! likeness), so that four versions of one naming count about as one. A style that takes away what tells the classes apart names
//! nothing: the weight is multiplied with the kappa between what its class means say of the source as it is, and its labels.

use super::domains::{Source, centred, class_sums, hard, one_hot, soft, unit};
use super::statistics::Statistics;
use crate::head::LinearHead;
use crate::{Error, Session};
use headstart_data::Style;
use headstart_tensor::Tensor;
use std::collections::BTreeMap;

/// The way answers come about: from the source in that style, and by which statistics the target is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) style: Option<Style>,
    pub(super) statistics: Option<Statistics>,
}

impl Way {
    /// That of the model as it is.
    pub(super) const UNADAPTED: Way = Way { style: None, statistics: None };
}

/// What cosines are multiplied by to become logits.
const SHARPNESS: f32 = 20.0;

/// Namings of some rows of the target.
#[derive(Debug, Default)]
pub(super) struct Namings {
    classes: usize,
    /// The rows of the target that are named.
    rows: Vec<usize>,
    ways: Vec<Way>,
    answers: Vec<Vec<usize>>,
    /// Probabilities `[rows, classes]` of each.
    soft: Vec<Tensor>,
    /// Kappa of each with each.
    alike: Vec<Vec<f64>>,
    /// Whether each names the source as it is, 0 to 1.
    skills: Vec<f64>,
    weights: Vec<f64>,
}

impl Namings {
    /// None yet, of these rows of the target.
    pub(super) fn new(classes: usize, rows: Vec<usize>) -> Namings {
        Namings { classes, rows, ..Namings::default() }
    }

    /// The rows of the target that are named.
    pub(super) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// One more: the nearest class mean of `source` among features `target`, each domain centred by its own mean, by the
    /// cosine. What it says of `plain`, the source as it is in that space, is its skill; 1 without that.
    ///
    /// # Errors
    /// Where features are not finite or of another length.
    pub(super) fn add(
        &mut self,
        session: &Session,
        way: Way,
        source: &Source,
        target: &Tensor,
        plain: Option<&Source>,
    ) -> Result<(), Error> {
        let pool = session.pool;
        let centre = |rows: &Tensor| Ok::<_, Error>(unit(pool, &centred(pool, rows, false)?.0));
        let rows = centre(&source.features)?;
        let means = unit(pool, &class_sums(pool, &one_hot(&source.labels, self.classes), &rows)?);
        let head = LinearHead::new(means, Tensor::zeros([self.classes]))?;
        let mut cosines = head.logits(pool, &centre(target)?.rows(&self.rows))?;
        let skill = match plain {
            None => 1.0,
            Some(plain) => {
                let said = hard(&head.logits(pool, &centre(&plain.features)?)?);
                kappa(said.into_iter().zip(plain.labels.iter().copied())).max(0.0)
            }
        };
        self.skills.push(skill);
        self.ways.push(way);
        self.answers.push(hard(&cosines));
        cosines.data_mut().iter_mut().for_each(|c| *c *= SHARPNESS);
        self.soft.push(soft(&cosines));
        self.alike =
            self.answers.iter().map(|a| self.answers.iter().map(|b| likeness(a, b)).collect()).collect();
        let weight = |(row, skill): (&Vec<f64>, &f64)| skill / row.iter().sum::<f64>().max(1.0);
        self.weights = self.alike.iter().zip(&self.skills).map(weight).collect();
        Ok(())
    }

    /// How much `answers` of all rows are like the namings of other ways than `ways`: their mean kappa. A naming that is much
    /// like one of these says little more, and counts as much less. `None` where there is no other.
    ///
    /// Answers of two ways are compared fairly by what knows neither: with both among `ways`.
    pub(super) fn support(&self, ways: &[Way], answers: &[usize]) -> Option<f64> {
        let some: Vec<usize> = self.rows.iter().map(|&row| answers[row]).collect();
        self.agreed(ways, &some)
    }

    /// The same for answers of the rows that are named.
    fn agreed(&self, ways: &[Way], answers: &[usize]) -> Option<f64> {
        let own: Vec<usize> = (0..self.ways.len()).filter(|&i| ways.contains(&self.ways[i])).collect();
        let (mut sum, mut weights) = (0.0, 0.0);
        for (i, named) in self.answers.iter().enumerate().filter(|(i, _)| !own.contains(i)) {
            let weight = own.iter().fold(self.weights[i], |w, &own| w * (1.0 - self.alike[own][i]));
            sum += weight * kappa(answers.iter().copied().zip(named.iter().copied()));
            weights += weight;
        }
        (weights > 0.0).then(|| sum / weights)
    }

    /// The style whose naming the others support most, if none of the source as it is has more.
    pub(super) fn best_style(&self) -> Option<Style> {
        let plain = (0..self.ways.len()).filter(|&i| self.ways[i].statistics.is_none());
        let worth = |i: usize| self.agreed(&[self.ways[i]], &self.answers[i]).unwrap_or(0.0);
        let best = plain.reduce(|best, i| if worth(i) > worth(best) { i } else { best });
        best.and_then(|i| self.ways[i].style)
    }

    /// What the namings say of each row that is named: the weighted mean of their probabilities, `[rows, classes]`.
    pub(super) fn votes(&self) -> Tensor {
        let mut votes = Tensor::zeros([self.rows.len(), self.classes]);
        let all = self.weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        for (soft, weight) in self.soft.iter().zip(&self.weights) {
            let share = (weight / all) as f32;
            votes.data_mut().iter_mut().zip(soft.data()).for_each(|(v, p)| *v += share * p);
        }
        votes
    }
}

/// Kappa, at least 0, and 1 for the same answers.
fn likeness(a: &[usize], b: &[usize]) -> f64 {
    if a == b { 1.0 } else { kappa(a.iter().copied().zip(b.iter().copied())).max(0.0) }
}

/// Cohen's kappa of pairs of answers: 1 where they are the same, 0 for what chance gives and where there is no choice.
pub(super) fn kappa(pairs: impl Iterator<Item = (usize, usize)>) -> f64 {
    let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
    let (mut n, mut same) = (0.0, 0.0);
    for (a, b) in pairs {
        *left.entry(a).or_insert(0.0) += 1.0;
        *right.entry(b).or_insert(0.0) += 1.0;
        same += f64::from(u8::from(a == b));
        n += 1.0;
    }
    let chance: f64 = left.iter().map(|(c, l)| l * right.get(c).unwrap_or(&0.0)).sum::<f64>() / (n * n);
    if chance < 1.0 { (same / n - chance) / (1.0 - chance) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{cluster, quiet};

    /// A way that none of these namings came about.
    const OTHER: Way = Way { style: None, statistics: Some(Statistics::AdaBn) };

    fn way(style: Option<Style>) -> Way {
        Way { style, statistics: None }
    }

    /// Namings by sources whose labels are turned by so much.
    fn namings(session: &Session, turned: &[(Option<Style>, usize)]) -> (Namings, Vec<usize>) {
        let (target, labels) = cluster(240, 3, 5);
        let (features, known) = cluster(90, 3, 8);
        let mut namings = Namings::new(3, (0..240).collect());
        for (style, by) in turned {
            let source =
                Source { features: features.clone(), labels: known.iter().map(|c| (c + by) % 3).collect() };
            namings.add(session, way(*style), &source, &target, None).unwrap();
        }
        (namings, labels)
    }

    #[test]
    fn answers_are_supported_by_namings_of_another_way() {
        quiet(|session| {
            let (found, labels) = namings(session, &[(None, 0)]);
            assert_eq!(found.support(&[way(None)], &labels), None, "none of another way");
            assert!(found.support(&[OTHER], &labels).unwrap() > 0.95);
            assert!(
                found.support(&[OTHER], &labels.iter().map(|c| (c + 1) % 3).collect::<Vec<_>>()).unwrap()
                    < -0.4
            );
            assert!(
                found.support(&[OTHER], &labels.iter().map(|&c| c.min(1)).collect::<Vec<_>>()).unwrap() < 0.6
            );
            assert_eq!(found.support(&[OTHER], &[2; 240]), Some(0.0));
        });
    }

    #[test]
    fn versions_of_one_naming_count_as_one() {
        quiet(|session| {
            let versions = [(None, 1), (Some(Style::Gray), 1), (Some(Style::Dark), 1)];
            let (found, labels) = namings(session, &[&versions[..], &[(Some(Style::Edges), 0)]].concat());
            assert!((found.weights.iter().sum::<f64>() - 2.0).abs() < 0.05, "{:?}", found.weights);
            let votes = found.votes();
            let (right, wrong) = (votes.row(0)[labels[0]], votes.row(0)[(labels[0] + 1) % 3]);
            assert!((right - 0.5).abs() < 0.05 && (wrong - 0.5).abs() < 0.05, "{right} {wrong}");
            // What is like the own naming is no support, and what knows both is no judge between them.
            assert_eq!(found.support(&[way(None), way(Some(Style::Edges))], &labels), None);
            assert!(found.support(&[way(None)], &found.answers[0]).unwrap() < 0.0);
        });
    }

    #[test]
    fn a_style_that_cannot_name_the_source_has_no_vote() {
        quiet(|session| {
            let (mut found, labels) = namings(session, &[(None, 0)]);
            let (target, _) = cluster(240, 3, 5);
            let (features, known) = cluster(90, 3, 8);
            let plain = Source { features: features.clone(), labels: known.clone() };
            let turned = Source { features, labels: known.iter().map(|c| (c + 1) % 3).collect() };
            found.add(session, way(Some(Style::Lines)), &turned, &target, Some(&plain)).unwrap();
            assert_eq!(found.weights[1], 0.0);
            assert!(found.support(&[OTHER], &labels).unwrap() > 0.95);
            assert_eq!(found.support(&[way(None)], &labels), None, "nobody else says anything");
            assert_eq!(found.best_style(), None);
        });
    }

    #[test]
    fn the_style_that_others_support_is_the_best() {
        quiet(|session| {
            let (edges, lines) = (Some(Style::Edges), Some(Style::Lines));
            let (mut found, _) = namings(session, &[(None, 1), (edges, 0), (lines, 2)]);
            let (target, labels) = cluster(240, 3, 5);
            // By the target's statistics two of three classes are told as from the edges.
            let own = Source { features: target.clone(), labels: labels.iter().map(|&c| c.min(1)).collect() };
            found.add(session, OTHER, &own, &target, None).unwrap();
            assert_eq!(found.best_style(), edges);
            assert_eq!(Namings::new(3, Vec::new()).best_style(), None);
        });
    }
}
