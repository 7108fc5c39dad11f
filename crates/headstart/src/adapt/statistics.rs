//! AdaBN: batch norm statistics estimated anew on the target (Li et al. 2017, "Revisiting Batch Normalization for Practical Domain
//! Adaptation", ICLR workshop).
//!
//! Batches of the target run through the trunk, every norm by the statistics of its batch, and the means of these statistics
//! are taken. Few images say little: `N` of them count against the old statistics as `N / (N + 16)` (Schneider et al. 2020,
//! "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS). Nothing else moves.
//!
//! A backbone's statistics are those of the images that it was pre-trained on, not of the source. Where the source is given it is
//! seen by statistics of its own too, and a head is fitted to that: what lies between the domains is left out, and no more.

use crate::{Backbone, Error, Session};
use headstart_data::Picture;
use headstart_graph::{BnStats, Freeze, Graph, Op, Params, Trainer};
use headstart_tensor::{Rng, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Images that are looked at, at most: statistics are known well before.
const MOST: usize = 2048;
/// Images that the old statistics count for.
const PRIOR: f64 = 16.0;
/// Values of a batch's activations, about: 1 GB.
const BATCH_VALUES: usize = 256 << 20;

/// How the statistics of one norm moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovedNorm {
    /// The batch norm.
    pub name: String,
    /// How far its means moved: the root of the mean square over channels, in standard deviations of the source.
    pub mean_shift: f64,
    /// The geometric mean over channels of the new variance over the old one.
    pub variance_ratio: f64,
}

/// The batch norms of `graph`.
pub(super) fn norms(graph: &Graph) -> Vec<&str> {
    let is_norm = |op: &Op| matches!(op, Op::BatchNorm2d(_));
    graph.nodes().iter().filter(|n| is_norm(&n.op)).map(|n| n.name.as_str()).collect()
}

/// The trunk's parameters with the statistics of its norms on `pictures`, and how far these moved.
///
/// # Errors
/// Where there is no batch norm, no image that can be read, or the run was interrupted.
pub(super) fn restate(
    session: &Session,
    backbone: &Backbone,
    pictures: &[&Picture],
    seed: u64,
) -> Result<(Params, Vec<MovedNorm>), Error> {
    let graph = backbone.trunk_graph();
    let norms = norms(graph);
    if norms.is_empty() {
        return Err(Error::NoBatchNorm { network: backbone.name.clone() });
    }
    let freeze =
        norms.iter().try_fold(Freeze::everything(), |f, n| f.unfreeze(graph, &format!("{n}.weight")))?;
    // With a momentum of 1 the running statistics are those of the last batch.
    let mut trainer = Trainer::new(graph.clone(), freeze, BnStats::Batch { momentum: 1.0 });
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    Rng::named(seed, "batch norm statistics").shuffle(&mut order);
    order.truncate(MOST);
    let each: usize = graph.nodes().iter().map(|n| n.shape.len()).sum();
    let batch = (BATCH_VALUES / each.max(1)).clamp(8, 64).min(order.len().max(1));
    let mut last = backbone.params.clone();
    let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut seen = 0.0;
    session.progress.start("batch norm statistics", order.len());
    for some in order.chunks(batch) {
        session.check().inspect_err(|_| session.progress.finish())?;
        let rows = session.pool.map(some.len(), |i| read(backbone, pictures[some[i]]));
        let rows: Vec<Vec<f32>> = rows.into_iter().flatten().collect();
        // A rest that is too small to have statistics says nothing.
        if 2 * rows.len() >= batch {
            let input = Tensor::new([&[rows.len()], graph.input().dims()].concat(), rows.concat())?;
            trainer.forward(&last, &input, session.pool)?;
            trainer.update_statistics(&mut last)?;
            for name in norms.iter().flat_map(|n| [format!("{n}.running_mean"), format!("{n}.running_var")]) {
                let values = last.get(&name).map(Tensor::data).unwrap_or_default();
                let sum = sums.entry(name).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(s, &v)| *s += rows.len() as f64 * f64::from(v));
            }
            seen += rows.len() as f64;
        }
        session.progress.advance(some.len());
    }
    session.progress.finish();
    if seen == 0.0 {
        return Err(Error::NothingReadable { what: "the target".into() });
    }
    let mut params = backbone.params.clone();
    for (name, sums) in sums {
        let Some(old) = params.get_mut(&name) else { continue };
        for (value, sum) in old.data_mut().iter_mut().zip(sums) {
            *value = ((PRIOR * f64::from(*value) + sum) / (PRIOR + seen)) as f32;
        }
    }
    let moved = norms.iter().map(|name| moved(name, &backbone.params, &params)).collect();
    Ok((params, moved))
}

/// What the network reads of an image; nothing where it cannot be read, which feature extraction says.
fn read(backbone: &Backbone, picture: &Picture) -> Option<Vec<f32>> {
    let bytes = picture.bytes().ok()?;
    let read = backbone.input.read(picture, &bytes).ok()?;
    let mut row = Vec::new();
    backbone.input.append(&read, headstart_data::View::Center, &mut row);
    Some(row)
}

fn moved(name: &str, before: &Params, after: &Params) -> MovedNorm {
    let of = |params: &Params, what: &str| -> Vec<f64> {
        let found = params.get(&format!("{name}.{what}"));
        found.map(|t| t.data().iter().map(|&v| f64::from(v)).collect()).unwrap_or_default()
    };
    let (mean, var) = (of(before, "running_mean"), of(before, "running_var"));
    let (new_mean, new_var) = (of(after, "running_mean"), of(after, "running_var"));
    let n = mean.len().max(1) as f64;
    let tiny = 1e-12;
    let shift: f64 =
        mean.iter().zip(&new_mean).zip(&var).map(|((a, b), v)| (b - a).powi(2) / v.max(tiny)).sum();
    let ratio: f64 = var.iter().zip(&new_var).map(|(a, b)| (b.max(tiny) / a.max(tiny)).ln()).sum();
    MovedNorm { name: name.to_owned(), mean_shift: (shift / n).sqrt(), variance_ratio: (ratio / n).exp() }
}
