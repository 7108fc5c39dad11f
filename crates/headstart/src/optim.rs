//! Optimizers: how a parameter moves against its gradient. PyTorch's update rules.
//!
//! A step is one named parameter at a time: which parameters move, and how fast each, is the caller's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::head::HeadError;
use headstart_graph::{Gradients, Params};
use headstart_tensor::Tensor;

/// An update rule and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Stochastic gradient descent (`torch.optim.SGD`, dampening 0).
    Sgd {
        /// Share of the last direction that is kept, from 0 to below 1.
        momentum: f64,
        /// Look ahead along the momentum (Sutskever et al. 2013); needs `momentum` above 0.
        nesterov: bool,
        /// Added to the gradient, times the parameter; from 0.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019; `torch.optim.AdamW`).
    AdamW {
        /// Memories of the gradient's mean and of its square's, each from 0 to below 1.
        betas: [f64; 2],
        /// Added to the square root of the second memory, above 0.
        eps: f64,
        /// Share of the parameter, times the learning rate, that is taken off a step; from 0.
        weight_decay: f64,
    },
}

/// What an optimizer remembers of one parameter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Steps taken.
    pub steps: u64,
    /// Momentum, or Adam's mean of the gradient. Empty for SGD without momentum.
    pub first: Vec<f32>,
    /// Adam's mean of the squared gradient. Empty for SGD.
    pub second: Vec<f32>,
}

/// A rule, and what it remembers of each parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    rule: Rule,
    /// By parameter name; a name appears with its first step.
    pub state: BTreeMap<String, Memory>,
}

impl Rule {
    /// Plain SGD with momentum.
    pub fn sgd(momentum: f64) -> Rule {
        Rule::Sgd { momentum, nesterov: false, weight_decay: 0.0 }
    }

    /// AdamW with PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01.
    pub fn adamw() -> Rule {
        Rule::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), HeadError> {
        let share = |name, v: f64| within((0.0..1.0).contains(&v), name, v, "from 0 to below 1");
        let from_zero = |name, v: f64| within(v >= 0.0 && v.is_finite(), name, v, "a number from 0");
        match *self {
            Rule::Sgd { momentum, nesterov, weight_decay } => {
                share("momentum", momentum)?;
                within(!nesterov || momentum > 0.0, "momentum", momentum, "above 0 with nesterov")?;
                from_zero("weight_decay", weight_decay)
            }
            Rule::AdamW { betas, eps, weight_decay } => {
                share("beta1", betas[0])?;
                share("beta2", betas[1])?;
                within(eps > 0.0 && eps.is_finite(), "eps", eps, "a number above 0")?;
                from_zero("weight_decay", weight_decay)
            }
        }
    }
}

impl Optimizer {
    /// An optimizer that has taken no step.
    ///
    /// # Errors
    /// Where a setting of `rule` is out of its range.
    pub fn new(rule: Rule) -> Result<Optimizer, HeadError> {
        rule.check()?;
        Ok(Optimizer { rule, state: BTreeMap::new() })
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Moves every parameter that has a gradient one step of learning rate `lr`, in the order of the names.
    ///
    /// # Errors
    /// As [`Optimizer::step`]; a gradient of a parameter that is not there is one of another length.
    pub fn step_all(&mut self, params: &mut Params, gradients: &Gradients, lr: f64) -> Result<(), HeadError> {
        for (name, gradient) in gradients {
            let parameter = params.get_mut(name).map(Tensor::data_mut).unwrap_or_default();
            self.step(name, parameter, gradient.data(), lr)?;
        }
        Ok(())
    }

    /// Moves parameter `name` one step of learning rate `lr` (from 0) against its gradient.
    ///
    /// # Errors
    /// Where `lr` is no number from 0, or gradient or state have another length than the parameter; then nothing
    /// has moved.
    pub fn step(
        &mut self,
        name: &str,
        parameter: &mut [f32],
        gradient: &[f32],
        lr: f64,
    ) -> Result<(), HeadError> {
        self.step_by(self.rule, name, parameter, gradient, lr)
    }

    /// As [`Optimizer::step`], without weight decay: for norms and biases.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub fn step_undecayed(
        &mut self,
        name: &str,
        parameter: &mut [f32],
        gradient: &[f32],
        lr: f64,
    ) -> Result<(), HeadError> {
        let rule = match self.rule {
            Rule::Sgd { momentum, nesterov, .. } => Rule::Sgd { momentum, nesterov, weight_decay: 0.0 },
            Rule::AdamW { betas, eps, .. } => Rule::AdamW { betas, eps, weight_decay: 0.0 },
        };
        self.step_by(rule, name, parameter, gradient, lr)
    }

    fn step_by(
        &mut self,
        rule: Rule,
        name: &str,
        parameter: &mut [f32],
        gradient: &[f32],
        lr: f64,
    ) -> Result<(), HeadError> {
        within(lr >= 0.0 && lr.is_finite(), "learning rate", lr, "a number from 0")?;
        let n = parameter.len();
        let same = |what, found| match found == n {
            true => Ok(()),
            false => Err(HeadError::Parameter { name: name.to_owned(), parameter: n, what, found }),
        };
        same("gradient", gradient.len())?;
        let remembers = match rule {
            Rule::Sgd { momentum, .. } => [momentum > 0.0, false],
            Rule::AdamW { .. } => [true, true],
        };
        let [first, second] = remembers.map(|r| if r { vec![0.0; n] } else { Vec::new() });
        let fresh = Memory { steps: 0, first, second };
        let memory = self.state.entry(name.to_owned()).or_insert(fresh);
        if remembers[0] {
            same("optimizer state", memory.first.len())?;
        }
        if remembers[1] {
            same("optimizer state", memory.second.len())?;
        }
        memory.steps += 1;
        match rule {
            Rule::Sgd { momentum, nesterov, weight_decay } => {
                sgd(parameter, gradient, memory, lr, momentum, nesterov, weight_decay);
            }
            Rule::AdamW { betas, eps, weight_decay } => {
                adamw(parameter, gradient, memory, lr, betas, eps, weight_decay);
            }
        }
        Ok(())
    }
}

/// `g += decay p`, `m = momentum m + g` (from 0), `p -= lr m`, or `p -= lr (g + momentum m)` with Nesterov.
fn sgd(p: &mut [f32], g: &[f32], memory: &mut Memory, lr: f64, momentum: f64, nesterov: bool, decay: f64) {
    let (lr, momentum, decay) = (lr as f32, momentum as f32, decay as f32);
    if memory.first.is_empty() {
        p.iter_mut().zip(g).for_each(|(p, g)| *p -= lr * (g + decay * *p));
        return;
    }
    for ((p, g), m) in p.iter_mut().zip(g).zip(&mut memory.first) {
        let g = g + decay * *p;
        *m = momentum * *m + g;
        *p -= lr * if nesterov { g + momentum * *m } else { *m };
    }
}

/// `p -= lr decay p`, `m += (1-b1)(g-m)`, `v += (1-b2)(g^2-v)`, then
/// `p -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps)`.
fn adamw(p: &mut [f32], g: &[f32], memory: &mut Memory, lr: f64, betas: [f64; 2], eps: f64, decay: f64) {
    // A power of a share in [0, 1) is 0 in f64 long before `i32` ends.
    let steps = i32::try_from(memory.steps).unwrap_or(i32::MAX);
    let correction = betas.map(|beta| 1.0 - beta.powi(steps));
    let rate = (lr / correction[0]) as f32;
    let root = correction[1].sqrt() as f32;
    let keep = (1.0 - lr * decay) as f32;
    let (eps, [b1, b2]) = (eps as f32, betas);
    let (toward, old, new) = ((1.0 - b1) as f32, b2 as f32, (1.0 - b2) as f32);
    let moments = memory.first.iter_mut().zip(&mut memory.second);
    for ((p, &g), (m, v)) in p.iter_mut().zip(g).zip(moments) {
        *m += toward * (g - *m);
        *v = old * *v + new * g * g;
        *p = keep * *p - rate * (*m / (v.sqrt() / root + eps));
    }
}

fn within(ok: bool, name: &'static str, found: f64, expected: &'static str) -> Result<(), HeadError> {
    if ok { Ok(()) } else { Err(HeadError::Setting { name, found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four steps from 1, -2, 0.5 at lr 0.1, the gradient of step t being `p * [1, 0.5, 3] + [0.1, -0.2, 0] * t`.
    fn four_steps(rule: Rule) -> [f32; 3] {
        let mut optimizer = Optimizer::new(rule).unwrap();
        let mut p = [1.0, -2.0, 0.5];
        for t in 1..=4 {
            let t = t as f32;
            let g = [p[0] + 0.1 * t, 0.5 * p[1] - 0.2 * t, 3.0 * p[2]];
            optimizer.step("w", &mut p, &g, 0.1).unwrap();
        }
        assert_eq!(optimizer.state["w"].steps, 4);
        p
    }

    #[test]
    fn four_steps_of_each_rule_end_where_pytorchs_do() {
        // p = torch.tensor([1., -2., .5]); optimizer over p with lr .1; for t in 1..4:
        // p.grad = p * torch.tensor([1., .5, 3.]) + torch.tensor([.1, -.2, 0.]) * t; step()
        let sgd = |momentum, nesterov, weight_decay| Rule::Sgd { momentum, nesterov, weight_decay };
        for (rule, expected) in [
            (sgd(0.0, false, 0.0), [0.56561, -1.4387649, 0.12005]),
            (sgd(0.0, false, 0.5), [0.435915, -1.13122, 0.0892531]),
            (sgd(0.9, false, 0.0), [0.06008, -0.8106551, -0.3214]),
            (sgd(0.9, true, 0.1), [-0.1819071, -0.2996093, -0.2124087]),
            (Rule::adamw(), [0.5966246, -1.5914448, 0.1116201]),
            (
                Rule::AdamW { betas: [0.8, 0.95], eps: 1e-2, weight_decay: 0.3 },
                [0.5073854, -1.388791, 0.0834315],
            ),
        ] {
            let found = four_steps(rule);
            let close = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6);
            assert!(close, "{rule:?}: {found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn a_step_without_decay_is_one_of_the_same_rule_with_none() {
        let sgd = |weight_decay| Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay };
        let adamw = |weight_decay| Rule::AdamW { betas: [0.9, 0.99], eps: 1e-8, weight_decay };
        for (with, without) in [(sgd(0.5), sgd(0.0)), (adamw(0.5), adamw(0.0))] {
            let (mut a, mut b) = (Optimizer::new(with).unwrap(), Optimizer::new(without).unwrap());
            let (mut x, mut y) = ([1.0f32, -2.0], [1.0f32, -2.0]);
            for _ in 0..3 {
                a.step_undecayed("w", &mut x, &[0.3, 0.1], 0.1).unwrap();
                b.step("w", &mut y, &[0.3, 0.1], 0.1).unwrap();
            }
            assert_eq!(x, y);
            a.step("w", &mut x, &[0.3, 0.1], 0.1).unwrap();
            b.step("w", &mut y, &[0.3, 0.1], 0.1).unwrap();
            assert_ne!(x, y);
        }
    }

    #[test]
    fn parameters_are_remembered_apart_and_a_saved_optimizer_goes_on_the_same() {
        let mut a = Optimizer::new(Rule::adamw()).unwrap();
        let (mut x, mut y) = ([1.0f32], [1.0f32, 2.0]);
        a.step("x", &mut x, &[1.0], 0.1).unwrap();
        a.step("y", &mut y, &[1.0, -1.0], 0.1).unwrap();
        a.step("x", &mut x, &[0.5], 0.1).unwrap();
        assert_eq!((a.state["x"].steps, a.state["y"].steps), (2, 1));
        let mut b: Optimizer = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        assert_eq!(a, b);
        let mut other = x;
        a.step("x", &mut x, &[0.3], 0.1).unwrap();
        b.step("x", &mut other, &[0.3], 0.1).unwrap();
        assert_eq!(x, other);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let adamw = |betas, eps, weight_decay| Rule::AdamW { betas, eps, weight_decay };
        for (rule, name) in [
            (Rule::sgd(-0.1), "momentum"),
            (Rule::sgd(1.0), "momentum"),
            (Rule::sgd(f64::NAN), "momentum"),
            (Rule::Sgd { momentum: 0.0, nesterov: true, weight_decay: 0.0 }, "momentum"),
            (Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: -1.0 }, "weight_decay"),
            (adamw([1.0, 0.9], 1e-8, 0.0), "beta1"),
            (adamw([0.9, -0.1], 1e-8, 0.0), "beta2"),
            (adamw([0.9, 0.9], 0.0, 0.0), "eps"),
            (adamw([0.9, 0.9], 1e-8, f64::INFINITY), "weight_decay"),
        ] {
            let error = Optimizer::new(rule).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} is ")), "{error}");
        }
    }

    #[test]
    fn a_step_that_does_not_fit_moves_nothing() {
        let mut optimizer = Optimizer::new(Rule::sgd(0.9)).unwrap();
        let mut p = [1.0, 2.0];
        for lr in [-0.1, f64::NAN, f64::INFINITY] {
            let error = optimizer.step("w", &mut p, &[1.0, 1.0], lr).unwrap_err();
            assert!(error.to_string().starts_with("learning rate is "), "{error}");
        }
        let short = optimizer.step("w", &mut p, &[1.0], 0.1).unwrap_err();
        assert!(short.to_string().contains("its gradient has 1"), "{short}");
        optimizer.step("w", &mut [0.0], &[1.0], 0.1).unwrap();
        let state = optimizer.step("w", &mut p, &[1.0, 1.0], 0.1).unwrap_err();
        assert!(state.to_string().contains("its optimizer state has 1"), "{state}");
        assert_eq!((p, optimizer.state["w"].steps), ([1.0, 2.0], 1));
    }
}
