//! What the tail is trained for on images without labels: a loss of the logits, by name.

use super::domains::soft;
use headstart_tensor::Tensor;

/// A loss of logits without labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    name: &'static str,
    about: &'static str,
    /// Whether only the scales and shifts of norms learn.
    pub(super) norms_only: bool,
    /// Whether answering all classes equally often is asked for.
    diversity: bool,
    /// The weight of the cross-entropy with pseudo-labels.
    pseudo: f64,
    /// The learning rate, if none is given.
    pub(super) lr: f64,
}

/// Every objective.
pub fn objectives() -> Vec<Objective> {
    vec![
        Objective {
            name: "tent",
            about: "certain answers, by the scales and shifts of norms alone (Wang et al. 2021)",
            norms_only: true,
            diversity: false,
            pseudo: 0.0,
            lr: 1e-3,
        },
        Objective {
            name: "shot",
            about: "certain and diverse answers that agree with the target's clusters (Liang et al. 2020)",
            norms_only: false,
            diversity: true,
            pseudo: 0.3,
            lr: 1e-3,
        },
    ]
}

impl Objective {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it asks for, in a few words, and the paper.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// The loss of logits `[n, classes]` with pseudo-labels `pseudo`, and its gradient.
    ///
    /// `H + D + b CE`: the mean entropy `H = -1/n sum_i sum_c p_ic ln p_ic`; for diversity `D = sum_c m_c ln m_c` of the mean
    /// probabilities `m`; the mean cross-entropy with the pseudo-labels.
    pub(super) fn loss(&self, logits: &Tensor, pseudo: &[usize]) -> (f64, Tensor) {
        let (n, classes) = (logits.dims()[0], logits.row_len());
        let each = 1.0 / n.max(1) as f64;
        let probabilities = soft(logits);
        let log = |p: f64| p.max(1e-12).ln();
        let mut mean = vec![0.0; classes];
        for i in 0..n {
            mean.iter_mut().zip(probabilities.row(i)).for_each(|(m, &p)| *m += f64::from(p) * each);
        }
        let mut loss = match self.diversity {
            true => mean.iter().map(|&m| m * log(m)).sum(),
            false => 0.0,
        };
        let mut gradient = Tensor::zeros([n, classes]);
        for (i, out) in gradient.data_mut().chunks_exact_mut(classes).enumerate() {
            let p: Vec<f64> = probabilities.row(i).iter().map(|&p| f64::from(p)).collect();
            let entropy: f64 = p.iter().map(|&p| -p * log(p)).sum();
            let along: f64 = p.iter().zip(&mean).map(|(p, &m)| p * log(m)).sum();
            loss += each * (entropy - self.pseudo * log(p[pseudo[i]]));
            for (c, out) in out.iter_mut().enumerate() {
                let mut slope = -p[c] * (log(p[c]) + entropy);
                if self.diversity {
                    slope += p[c] * (log(mean[c]) - along);
                }
                slope += self.pseudo * (p[c] - f64::from(u8::from(c == pseudo[i])));
                *out = (each * slope) as f32;
            }
        }
        (loss, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{close, losses};
    use headstart_tensor::Rng;

    #[test]
    fn gradients_are_finite_differences() {
        let mut rng = Rng::new(3);
        let logits = Tensor::from_fn([6, 4], |_| rng.normal() as f32);
        let pseudo = [0, 3, 1, 1, 2, 0];
        for objective in objectives() {
            let (_, gradient) = objective.loss(&logits, &pseudo);
            for i in 0..24 {
                let at = |by: f32| {
                    let mut moved = logits.clone();
                    moved.data_mut()[i] += by;
                    objective.loss(&moved, &pseudo).0
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                let found = f64::from(gradient.data()[i]);
                assert!((slope - found).abs() < 1e-4, "{}: {slope} {found}", objective.name());
            }
        }
    }

    #[test]
    fn losses_and_gradients_are_those_of_pytorch() {
        let fixture = losses();
        let of = |name: &str| fixture.tensor(name).unwrap();
        let pseudo: Vec<usize> = of("pseudo").data().iter().map(|&l| l as usize).collect();
        for objective in objectives() {
            let found = objective.loss(&of("logits"), &pseudo);
            close(objective.name(), 1e-5, found, &fixture);
        }
    }
}
