//! Optimisers, by PyTorch's update rules.

use std::collections::BTreeMap;

/// Stochastic gradient descent with momentum (dampening 0): `g += weight_decay p; b = momentum b + g; p -= lr b`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// Share of the last step that is kept, 0 to below 1.
    pub momentum: f64,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f64,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameter that a step of rate 1 takes away.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1e-2 }
    }
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Sgd(Sgd),
    AdamW(AdamW),
}

/// An optimiser with its state, a parameter a name.
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    steps: i32,
    /// For every parameter: momentum, or first and second moment.
    state: BTreeMap<String, [Vec<f32>; 2]>,
}

impl From<Sgd> for Optimizer {
    fn from(sgd: Sgd) -> Self {
        Optimizer { rule: Rule::Sgd(sgd), steps: 0, state: BTreeMap::new() }
    }
}

impl From<AdamW> for Optimizer {
    fn from(adam: AdamW) -> Self {
        Optimizer { rule: Rule::AdamW(adam), steps: 0, state: BTreeMap::new() }
    }
}

impl Optimizer {
    /// Begins the next step: to be called once before its parameters are moved.
    pub fn begin_step(&mut self) {
        self.steps += 1;
    }

    /// Moves one parameter by its gradient at learning rate `lr`.
    pub fn step(&mut self, name: &str, param: &mut [f32], gradient: &[f32], lr: f64) {
        let second = if matches!(self.rule, Rule::AdamW(_)) { param.len() } else { 0 };
        let fresh = || [vec![0.0; param.len()], vec![0.0; second]];
        let [first, second] = self.state.entry(name.to_owned()).or_insert_with(fresh);
        match self.rule {
            Rule::Sgd(sgd) => {
                for ((p, &g), b) in param.iter_mut().zip(gradient).zip(first) {
                    let g = f64::from(g) + sgd.weight_decay * f64::from(*p);
                    *b = (sgd.momentum * f64::from(*b) + g) as f32;
                    *p = (f64::from(*p) - lr * f64::from(*b)) as f32;
                }
            }
            Rule::AdamW(adam) => {
                let (b1, b2) = adam.betas;
                let corrected = (1.0 - b1.powi(self.steps), 1.0 - b2.powi(self.steps));
                for (((p, &g), m), v) in param.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = f64::from(g);
                    *m = (b1 * f64::from(*m) + (1.0 - b1) * g) as f32;
                    *v = (b2 * f64::from(*v) + (1.0 - b2) * g * g) as f32;
                    let root = (f64::from(*v) / corrected.1).sqrt() + adam.eps;
                    let decayed = f64::from(*p) * (1.0 - lr * adam.weight_decay);
                    *p = (decayed - lr * f64::from(*m) / corrected.0 / root) as f32;
                }
            }
        }
    }
}
