//! Self-training: the most certain answers become labels, a head is fitted to them and the source, and again with more of them
//! (Yarowsky 1995; class by class as in Zou et al. 2018, "Class-Balanced Self-Training", ECCV, so that no class takes over).

use super::alignment::Alignment;
use super::domains::{Domains, soft};
use crate::head::{L2, LinearHead, LogisticRegression};
use crate::metrics::argmax;
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct SelfTraining {
    /// Rounds, 1 or more.
    pub rounds: usize,
    /// The share of each class's answers that is believed in the first round and in the last, above 0 to 1.
    pub share: [f64; 2],
}

impl Default for SelfTraining {
    fn default() -> Self {
        SelfTraining { rounds: 6, share: [0.1, 0.6] }
    }
}

impl SelfTraining {
    /// The rows that are believed, and what they are taken for: of each class the most certain `share`, at least one.
    fn believed(probabilities: &Tensor, share: f64) -> (Vec<usize>, Vec<usize>) {
        let classes = probabilities.row_len();
        let mut members: Vec<Vec<(f32, usize)>> = vec![Vec::new(); classes];
        for i in 0..probabilities.dims()[0] {
            let best = argmax(probabilities.row(i));
            members[best].push((probabilities.row(i)[best], i));
        }
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for (class, mut members) in members.into_iter().enumerate() {
            members.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let kept = ((share * members.len() as f64).ceil() as usize).min(members.len());
            rows.extend(members[..kept].iter().map(|m| m.1));
            labels.extend(std::iter::repeat_n(class, kept));
        }
        (rows, labels)
    }
}

impl Alignment for SelfTraining {
    fn name(&self) -> &'static str {
        "self-training"
    }

    fn about(&self) -> &'static str {
        "certain answers become labels, class by class, in growing numbers (Zou et al. 2018)"
    }

    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error> {
        let (source, classes) = (domains.source(self.name())?, domains.classes());
        let mut head = domains.head.clone();
        let settings = LogisticRegression { l2: L2::Fixed(domains.l2), ..LogisticRegression::default() };
        for round in 0..self.rounds {
            let along = round as f64 / (self.rounds - 1).max(1) as f64;
            let share = self.share[0] + (self.share[1] - self.share[0]) * along;
            let answers = soft(&head.logits(session.pool, domains.target)?);
            let (rows, mut labels) = Self::believed(&answers, share);
            let mut values = domains.target.rows(&rows).into_data();
            values.extend_from_slice(source.features.data());
            labels.extend_from_slice(&source.labels);
            let features = Tensor::new([labels.len(), domains.target.row_len()], values)?;
            head = settings.fit(&features, &labels, classes, session.pool, session.interrupt)?.head;
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_certain_rows_of_each_class_are_believed() {
        let p = Tensor::new([5, 2], vec![0.9, 0.1, 0.6, 0.4, 0.2, 0.8, 0.7, 0.3, 0.45, 0.55]).unwrap();
        assert_eq!(SelfTraining::believed(&p, 0.5), (vec![0, 3, 2], vec![0, 0, 1]));
        assert_eq!(SelfTraining::believed(&p, 0.01), (vec![0, 2], vec![0, 1]));
        assert_eq!(SelfTraining::believed(&p, 1.0).0.len(), 5);
    }
}
