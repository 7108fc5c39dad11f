//! Label shift: the target's class mix, estimated from the answers, goes into the bias (Saerens, Latinne and Decaestecker 2002,
//! "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural Computation 14).
//!
//! EM: with the mix `q` at that of the source, `p'(c | x) ~ p(c | x) q_c / q0_c`, then `q_c = mean p'(c | x)`, until it stays.
//! Features do not move; what looks different in the target is taken for another mix, so it helps only where nothing else
//! has changed.

use super::alignment::Alignment;
use super::domains::{Domains, soft};
use crate::head::LinearHead;
use crate::{Error, Session};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct LabelShift {
    /// Rounds of EM, at most.
    pub rounds: usize,
    /// No class is taken to be rarer than this share.
    pub least: f64,
}

impl Default for LabelShift {
    fn default() -> Self {
        LabelShift { rounds: 100, least: 1e-3 }
    }
}

impl LabelShift {
    /// The target's class mix from probabilities under `prior`: the shares of the classes in the source.
    fn mix(&self, probabilities: &[f32], prior: &[f64]) -> Vec<f64> {
        let classes = prior.len();
        let mut mix = prior.to_vec();
        for _ in 0..self.rounds {
            let mut sums = vec![0.0; classes];
            for row in probabilities.chunks_exact(classes) {
                let weighted: Vec<f64> =
                    row.iter().zip(&mix).zip(prior).map(|((&p, q), q0)| f64::from(p) * q / q0).collect();
                let total: f64 = weighted.iter().sum();
                sums.iter_mut().zip(weighted).for_each(|(s, w)| *s += w / total.max(f64::MIN_POSITIVE));
            }
            let n = (probabilities.len() / classes).max(1) as f64;
            let next: Vec<f64> = sums.iter().map(|s| (s / n).max(self.least)).collect();
            let total: f64 = next.iter().sum();
            let next: Vec<f64> = next.iter().map(|q| q / total).collect();
            let moved = next.iter().zip(&mix).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            mix = next;
            if moved < 1e-6 {
                break;
            }
        }
        mix
    }
}

impl Alignment for LabelShift {
    fn name(&self) -> &'static str {
        "label-shift"
    }

    fn about(&self) -> &'static str {
        "the target's class mix by EM, in the bias (Saerens et al. 2002)"
    }

    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error> {
        let source = domains.source(self.name())?;
        let mut prior = vec![0.0; domains.classes()];
        source.labels.iter().for_each(|&label| prior[label] += 1.0 / source.labels.len() as f64);
        prior.iter_mut().for_each(|q| *q = q.max(self.least));
        let mix = self.mix(soft(&domains.answers(session)?).data(), &prior);
        let mut head = domains.head.clone();
        for (b, (q, q0)) in head.bias.data_mut().iter_mut().zip(mix.iter().zip(&prior)) {
            *b += (q / q0).ln() as f32;
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    #[test]
    fn the_mix_of_a_sample_is_found_from_probabilities_under_another_mix() {
        // Two Gaussians at -1 and 1, in the source one to one; in the sample 10 % are of the second.
        let mut rng = Rng::new(4);
        let mut probabilities = Vec::new();
        for i in 0..20_000 {
            let x = rng.normal() + if i % 10 == 0 { 1.0 } else { -1.0 };
            let p = 1.0 / (1.0 + (-2.0 * x).exp());
            probabilities.extend([(1.0 - p) as f32, p as f32]);
        }
        let mix = LabelShift::default().mix(&probabilities, &[0.5, 0.5]);
        assert!((mix[1] - 0.1).abs() < 0.02, "{mix:?}");
        let naive = probabilities.iter().skip(1).step_by(2).map(|&p| f64::from(p)).sum::<f64>() / 2e4;
        assert!(naive > 0.2, "the mean probability is far from the mix: {naive}");
    }
}
