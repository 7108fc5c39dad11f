//! The tail and the head trained on both domains, from cached activations at the cut: for the source's labels, and for what brings
//! the domains together.

use super::discriminator::{Discriminator, descend};
use super::domains::soft;
use super::pull::{Kind, Pull, confusion, mmd};
use super::tail::{Best, Tail, annealed, back, move_tail, ran_away};
use crate::fine_tune::boundary::{Boundary, Photos};
use crate::head::LinearHead;
use crate::loss::cross_entropy;
use crate::optim::{Optimizer, Rule};
use crate::{Error, Session};
use headstart_data::View;
use headstart_graph::{BnStats, Params, Trainer};
use headstart_tensor::{Rng, Tensor};

/// Images of each domain a step.
const HALF: usize = 32;
/// The learning rate of the tail at the start; that of what is fitted anew is ten times as large.
const LR: f64 = 1e-3;
const ANEW: f64 = 10.0;

/// How both are trained; the head is where it starts from.
#[derive(Clone, Copy)]
pub(super) struct JointFit<'a> {
    pub(super) tail: Tail<'a>,
    pub(super) source: &'a Photos,
    pub(super) pull: Pull,
}

impl JointFit<'_> {
    /// The parameters and the head of the best epoch, and which that is: 0 where none is better than the start. A loss that runs away
    /// ends the fit.
    ///
    /// # Errors
    /// Where a name is unknown, an image cannot be read any more, or the run was interrupted.
    pub(super) fn run(&self) -> Result<((Params, LinearHead), usize), Error> {
        let Tail { session, backbone, epochs, seed, .. } = self.tail;
        let pool = session.pool;
        let freeze = self.tail.free(false)?;
        let split = backbone.trunk_graph().split(&freeze)?;
        let mut params = backbone.params.clone();
        let mut source = self.tail.open(&split.trunk, self.source)?;
        let mut target = self.tail.open(&split.trunk, self.tail.target)?;
        let mut trainer = Trainer::new(split.tail, freeze, BnStats::Running);
        let mut optimizer = Optimizer::new(Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3 })?;
        let mut head = self.tail.head.clone();
        let mut apart = self.apart()?;
        let (mut sources, mut targets) =
            (Deck::new(self.source, seed, "source"), Deck::new(self.tail.target, seed, "target"));
        let each = self.tail.target.hashes.len().div_ceil(HALF);
        let steps = epochs * each;
        let name = self.pull.name();
        let features = self.tail.features(&mut target, trainer.graph(), &params)?;
        let mut best = Best::new(self.tail.judged(&features, &head)?, (params.clone(), head.clone()));
        let mut last = 0;
        'epochs: for epoch in 1..=epochs {
            session.progress.start(&format!("{name} {epoch}/{epochs}"), each);
            let mut sums = [0.0; 2];
            for step in (epoch - 1) * each..epoch * each {
                session.check().inspect_err(|_| session.progress.finish())?;
                let (known, unknown) = (sources.deal(), targets.deal());
                let rows = both(
                    deal(session, &mut source, self.source, &known)?,
                    deal(session, &mut target, self.tail.target, &unknown)?,
                )?;
                let labels: Vec<usize> = known.iter().map(|&i| self.source.labels[i]).collect();
                let lr = annealed(LR, step, steps);
                let features = trainer.forward(&params, &rows, pool)?.clone();
                let found = self.losses(&features, &head, &labels, &mut apart, lr, grown(step, steps))?;
                if !found.losses.iter().all(|l| l.is_finite()) {
                    ran_away(session, name, epoch);
                    break 'epochs;
                }
                sums.iter_mut().zip(found.losses).for_each(|(sum, loss)| *sum += loss / each as f64);
                let by_logits = (&found.logits, &features);
                descend(&mut optimizer, pool, ("head", &mut head), by_logits, ANEW * lr)?;
                let gradients = trainer.backward(&params, &found.features, pool)?;
                move_tail(&mut optimizer, &mut params, gradients, lr)?;
                session.progress.advance(1);
            }
            session.progress.finish();
            let [labels, pull] = sums;
            session
                .progress
                .note(&format!("{name} {epoch}/{epochs}: cross-entropy {labels:.4}, {name} {pull:.4}"));
            let features = self.tail.features(&mut target, trainer.graph(), &params)?;
            last = epoch;
            if !best.see(self.tail.judged(&features, &head)?, epoch, || (params.clone(), head.clone())) {
                break;
            }
        }
        Ok(best.take(session, name, last))
    }

    /// What tells the domains apart, where it is asked for.
    fn apart(&self) -> Result<Option<Discriminator>, Error> {
        let (d, classes) = (self.tail.head.weight.row_len(), self.tail.head.classes());
        let answers = match self.pull.kind {
            Kind::Mmd | Kind::Mcc => return Ok(None),
            Kind::Dann => None,
            Kind::Cdan => Some(classes),
        };
        Ok(Some(Discriminator::new(d, answers, self.tail.seed)?))
    }

    /// Losses of features `[n, d]`, of which the first have these labels, and their gradients; that of a discriminator counts as
    /// much as it has `grown`.
    fn losses(
        &self,
        features: &Tensor,
        head: &LinearHead,
        labels: &[usize],
        apart: &mut Option<Discriminator>,
        lr: f64,
        grown: f64,
    ) -> Result<Losses, Error> {
        let pool = self.tail.session.pool;
        let logits = head.logits(pool, features)?;
        let (sources, classes) = (labels.len(), logits.row_len());
        let known: Vec<usize> = (0..sources).collect();
        let unknown: Vec<usize> = (sources..features.dims()[0]).collect();
        let (loss, slopes) = cross_entropy(&logits.rows(&known), labels, None)?;
        let mut by_logits = Tensor::zeros([features.dims()[0], classes]);
        by_logits.data_mut()[..sources * classes].copy_from_slice(slopes.data());
        let (pull, by_features) = match (self.pull.kind, apart) {
            (Kind::Mcc, _) => {
                let (pull, slopes) = confusion(&logits.rows(&unknown));
                by_logits.data_mut()[sources * classes..].copy_from_slice(slopes.data());
                (pull, None)
            }
            (_, Some(apart)) => {
                let (pull, mut slopes) = apart.step(pool, features, &soft(&logits), sources, ANEW * lr)?;
                slopes.data_mut().iter_mut().for_each(|v| *v *= -grown as f32);
                (pull, Some(slopes))
            }
            (_, None) => {
                let (pull, slopes) = mmd(features, sources);
                (pull, Some(slopes))
            }
        };
        let mut gradient = back(pool, &by_logits, head)?;
        if let Some(slopes) = by_features {
            gradient.data_mut().iter_mut().zip(slopes.data()).for_each(|(g, s)| *g += s);
        }
        Ok(Losses { losses: [f64::from(loss), pull], logits: by_logits, features: gradient })
    }
}

/// How much a discriminator counts at a step, 0 to 1: one that knows nothing yet has nothing to say (Ganin et al. 2016, section 5.2.2).
fn grown(step: usize, steps: usize) -> f64 {
    2.0 / (1.0 + (-10.0 * step as f64 / steps.max(1) as f64).exp()) - 1.0
}

/// Losses of a step, the cross-entropy and that of both domains, and their gradients.
struct Losses {
    losses: [f64; 2],
    logits: Tensor,
    features: Tensor,
}

/// Images dealt in a random order, all before one comes again.
struct Deck {
    order: Vec<usize>,
    next: usize,
    rng: Rng,
}

impl Deck {
    fn new(photos: &Photos, seed: u64, name: &str) -> Deck {
        let order: Vec<usize> = (0..photos.hashes.len()).collect();
        Deck { next: order.len(), order, rng: Rng::named(seed, &format!("order of the {name}")) }
    }

    fn deal(&mut self) -> Vec<usize> {
        let n = HALF.min(self.order.len());
        if self.next + n > self.order.len() {
            self.rng.shuffle(&mut self.order);
            self.next = 0;
        }
        self.next += n;
        self.order[self.next - n..self.next].to_vec()
    }
}

fn deal(
    session: &Session,
    boundary: &mut Boundary,
    photos: &Photos,
    some: &[usize],
) -> Result<Tensor, Error> {
    let wanted: Vec<(usize, View)> = some.iter().map(|&i| (i, View::Center)).collect();
    boundary.rows(session, photos, &wanted)
}

/// Rows of one batch behind those of another.
fn both(first: Tensor, second: Tensor) -> Result<Tensor, Error> {
    let mut dims = first.dims().to_vec();
    dims[0] += second.dims()[0];
    let mut values = first.into_data();
    values.extend(second.into_data());
    Ok(Tensor::new(dims, values)?)
}
