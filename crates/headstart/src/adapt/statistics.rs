//! Batch norm statistics estimated anew on the target, in two ways.
//!
//! *AdaBN* (Li et al. 2017, "Revisiting Batch Normalization for Practical Domain Adaptation", ICLR workshop), by what lies between the
//! domains and no more. A backbone's statistics are those of the images that it was pre-trained on, not of the source: with the
//! target's in their place the network would move twice. Where the source is given, every channel of the target is brought, norm
//! by norm from the first, to the mean and deviation that the source's images have there in the unadapted network. The head and
//! what it was fitted to stay. The last norm is the head's: it was fitted to standardised features, whose mean and deviation are
//! statistics like any norm's, and where the source is given the target's are brought to them too. Without a source the old
//! statistics stand for it, which is AdaBN as in the paper, and the head has none.
//!
//! *DSBN*, statistics of each domain's own (Chang et al. 2019, "Domain-Specific Batch Normalization for Unsupervised Domain
//! Adaptation", CVPR, without its training): the target's in the place of the old ones, the source's likewise, and a head fitted to
//! the source so seen. Where the source is far from what the network was pre-trained on and the target is not, AdaBN leads the
//! target away from what the network knows; this leads the source there.
//!
//! Batches of the target run through the trunk, every norm by the statistics of its batch, and the means of these statistics are
//! taken. Few images say little: `N` of them count against the source's statistics as `N / (N + 16)` (Schneider et al. 2020, "Improving
//! robustness against common corruptions by covariate shift adaptation", NeurIPS).

use crate::{Backbone, Error, Session};
use headstart_data::Picture;
use headstart_graph::{BnStats, Freeze, Graph, Op, Params, Trainer};
use headstart_tensor::{Rng, Tensor};
use serde::{Deserialize, Serialize};

/// Images that are looked at, at most: statistics are known well before.
const MOST: usize = 512;
/// Images that the old statistics count for.
const PRIOR: f64 = 16.0;
/// Values of a batch's activations, about: 1 GB.
const BATCH_VALUES: usize = 256 << 20;

/// Whose place the target's batch norm statistics take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistics {
    /// The source's; its features and head stay.
    AdaBn,
    /// The pre-training's, and the source's own do so for the source.
    Dsbn,
}

impl Statistics {
    /// Both.
    pub const ALL: [Statistics; 2] = [Statistics::AdaBn, Statistics::Dsbn];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Statistics::AdaBn => "adabn",
            Statistics::Dsbn => "dsbn",
        }
    }

    /// What it does, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Statistics::AdaBn => {
                "the target's batch norm statistics brought to the source's (Li et al. 2017)"
            }
            Statistics::Dsbn => "batch norm statistics of each domain's own (Chang et al. 2019)",
        }
    }
}

/// How the statistics of one norm moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovedNorm {
    /// The batch norm.
    pub name: String,
    /// How far its means moved: the root of the mean square over channels, in standard deviations
    /// of the old statistics.
    pub mean_shift: f64,
    /// The geometric mean over channels of the new variance over the old one.
    pub variance_ratio: f64,
}

impl MovedNorm {
    /// Between means and variances of the same channels.
    pub(super) fn between(
        name: &str,
        [mean, var]: [&[f64]; 2],
        [new_mean, new_var]: [&[f64]; 2],
    ) -> MovedNorm {
        let n = mean.len().max(1) as f64;
        let tiny = 1e-12;
        let shift: f64 =
            mean.iter().zip(new_mean).zip(var).map(|((a, b), v)| (b - a).powi(2) / v.max(tiny)).sum();
        let ratio: f64 = var.iter().zip(new_var).map(|(a, b)| (b.max(tiny) / a.max(tiny)).ln()).sum();
        MovedNorm { name: name.to_owned(), mean_shift: (shift / n).sqrt(), variance_ratio: (ratio / n).exp() }
    }
}

/// A batch norm.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a> {
    pub(super) name: &'a str,
    eps: f64,
}

/// The batch norms of `graph`, from the first.
pub(super) fn norms(graph: &Graph) -> impl Iterator<Item = Norm<'_>> {
    graph.nodes().iter().filter_map(|node| match &node.op {
        Op::BatchNorm2d(norm) => Some(Norm { name: &node.name, eps: norm.eps }),
        _ => None,
    })
}

/// The trunk's parameters with norms that bring the target to where the source is, or to where the images were that the network
/// was pre-trained on; and how far their statistics moved.
///
/// # Errors
/// Where there is no batch norm, no image that can be read, or the run was interrupted.
pub(super) fn restate(
    session: &Session,
    backbone: &Backbone,
    source: Option<&[Picture]>,
    target: &[Picture],
    what: &str,
    seed: u64,
) -> Result<(Params, Vec<MovedNorm>), Error> {
    let look = |params: &Params, stats, pictures, what: &str| {
        Look { session, backbone, params, stats, seed }.at(pictures, what)
    };
    let plain = &backbone.params;
    let watched = BnStats::Watched { momentum: 1.0 };
    let source = match source {
        Some(pictures) => look(plain, watched, pictures, "statistics of the source")?.0,
        None => plain.clone(),
    };
    let mut params = plain.clone();
    for norm in norms(backbone.trunk_graph()) {
        let (weight, bias) = (format!("{}.weight", norm.name), format!("{}.bias", norm.name));
        let moved = source_units(norm, plain, &source);
        let old = values(plain, &weight).to_vec();
        edit(&mut params, &weight, |c, w| f64::from(w) * moved[c].1);
        edit(&mut params, &bias, |c, b| f64::from(b) + f64::from(old[c]) * moved[c].0);
    }
    let by_batch = BnStats::Batch { momentum: 1.0 };
    let (target, seen) = look(&params, by_batch, target, &format!("statistics of {what}"))?;
    let mut adapted = plain.clone();
    let share = share(seen);
    for norm in norms(backbone.trunk_graph()) {
        let [mean, var] = ["running_mean", "running_var"].map(|part| format!("{}.{part}", norm.name));
        let moved = source_units(norm, plain, &source);
        let mixed = |name: &str, c: usize| {
            let [old, new] = [&source, &target].map(|params| f64::from(values(params, name)[c]));
            old + share * (new - old)
        };
        let deviation = |c: usize| (mixed(&var, c).max(0.0) + norm.eps).sqrt() / moved[c].1;
        edit(&mut adapted, &mean, |c, _| mixed(&mean, c) - moved[c].0 * deviation(c));
        edit(&mut adapted, &var, |c, _| (deviation(c).powi(2) - norm.eps).max(0.0));
    }
    let moved = norms(backbone.trunk_graph()).map(|norm| moved(norm.name, plain, &adapted)).collect();
    Ok((adapted, moved))
}

/// What the statistics of so many images count for beside the source's, from 0 to 1.
pub(super) fn share(images: f64) -> f64 {
    images / (images + PRIOR)
}

/// Of each channel, the mean and the deviation that the source's images have behind the norm, before its scale and shift.
fn source_units(norm: Norm, plain: &Params, source: &Params) -> Vec<(f64, f64)> {
    let [mean, var] = ["running_mean", "running_var"].map(|part| format!("{}.{part}", norm.name));
    let of = |params: &Params, name: &str, c: usize| f64::from(values(params, name)[c]);
    // A channel that is the same everywhere on the source has no deviation to come to.
    let deviation = |params: &Params, c: usize| (of(params, &var, c).max(0.0) + norm.eps).sqrt().max(1e-12);
    let unit = |c: usize| {
        let old = deviation(plain, c);
        ((of(source, &mean, c) - of(plain, &mean, c)) / old, deviation(source, c) / old)
    };
    (0..values(plain, &mean).len()).map(unit).collect()
}

fn values<'a>(params: &'a Params, name: &str) -> &'a [f32] {
    params.get(name).map(Tensor::data).unwrap_or_default()
}

fn edit(params: &mut Params, name: &str, to: impl Fn(usize, f32) -> f64) {
    let values = params.get_mut(name).map(Tensor::data_mut).unwrap_or_default();
    values.iter_mut().enumerate().for_each(|(c, v)| *v = to(c, *v) as f32);
}

/// Images shown to the trunk with these parameters.
struct Look<'a> {
    session: &'a Session<'a>,
    backbone: &'a Backbone,
    params: &'a Params,
    /// With a momentum of 1 the running statistics are those of the last batch.
    stats: BnStats,
    seed: u64,
}

impl Look<'_> {
    /// The parameters with the mean statistics of what norms take in, and the number of images.
    fn at(&self, pictures: &[Picture], what: &str) -> Result<(Params, f64), Error> {
        let (session, graph) = (self.session, self.backbone.trunk_graph());
        let names: Vec<String> = norms(graph)
            .flat_map(|n| ["running_mean", "running_var"].map(|part| format!("{}.{part}", n.name)))
            .collect();
        if names.is_empty() {
            return Err(Error::NoBatchNorm { network: self.backbone.name.clone() });
        }
        let free = |f: Freeze, n: Norm| f.unfreeze(graph, &format!("{}.weight", n.name));
        let freeze = norms(graph).try_fold(Freeze::everything(), free)?;
        let mut trainer = Trainer::new(graph.clone(), freeze, self.stats);
        let order = order(pictures.len(), self.seed);
        let each: usize = graph.nodes().iter().map(|n| n.shape.len()).sum();
        let batch = (BATCH_VALUES / each.max(1)).clamp(8, 64).min(order.len().max(1));
        let mut last = self.params.clone();
        let mut sums: Vec<Vec<f64>> = names.iter().map(|name| vec![0.0; values(&last, name).len()]).collect();
        let mut seen = 0.0;
        session.progress.start(what, order.len());
        for some in order.chunks(batch) {
            session.check().inspect_err(|_| session.progress.finish())?;
            let rows = session.pool.map(some.len(), |i| read(self.backbone, &pictures[some[i]]));
            let rows: Vec<Vec<f32>> = rows.into_iter().flatten().collect();
            // A rest that is too small to have statistics says nothing.
            if 2 * rows.len() >= batch {
                let input = Tensor::new([&[rows.len()], graph.input().dims()].concat(), rows.concat())?;
                trainer.forward(self.params, &input, session.pool)?;
                trainer.update_statistics(&mut last)?;
                for (name, sum) in names.iter().zip(&mut sums) {
                    let new = values(&last, name).iter();
                    sum.iter_mut().zip(new).for_each(|(s, &v)| *s += rows.len() as f64 * f64::from(v));
                }
                seen += rows.len() as f64;
            }
            session.progress.advance(some.len());
        }
        session.progress.finish();
        if seen == 0.0 {
            return Err(Error::NothingReadable { what: format!("images for the {what}") });
        }
        for (name, sum) in names.iter().zip(&sums) {
            edit(&mut last, name, |c, _| sum[c] / seen);
        }
        Ok((last, seen))
    }
}

/// Images in the order in which they are looked at: in a folder's own order a batch would be of one class, and its statistics that
/// class's.
fn order(images: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    Rng::named(seed, "batch norm statistics").shuffle(&mut order);
    order.truncate(MOST);
    order
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
    let of = |params: &Params, part: &str| -> Vec<f64> {
        values(params, &format!("{name}.{part}")).iter().map(|&v| f64::from(v)).collect()
    };
    let (mean, var) = (of(before, "running_mean"), of(before, "running_var"));
    let (new_mean, new_var) = (of(after, "running_mean"), of(after, "running_var"));
    MovedNorm::between(name, [&mean, &var], [&new_mean, &new_var])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::quiet;
    use headstart_data::{Decode, Interpolation, Preprocess};
    use headstart_graph::{Activation, GraphBuilder, Padding};
    use headstart_testing::relative_l2;
    use headstart_weights::StateDict;
    use std::path::Path;

    /// The network of the fixture.
    fn backbone(fixture: &StateDict) -> Backbone {
        let mut b = GraphBuilder::new([8, 8, 3]);
        let mut x = b.input();
        for (i, stride) in [(1, 1), (2, 2)] {
            x = b.conv(&format!("conv{i}"), x, 6, (3, stride), Padding::Symmetric([1, 1])).unwrap();
            x = b.batch_norm(&format!("bn{i}"), x, 1e-5).unwrap();
            x = b.activation(&format!("relu{i}"), x, Activation::Relu).unwrap();
        }
        let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        b.linear("fc", x, 2).unwrap();
        let graph = b.finish();
        let known = graph.params().into_iter().filter(|p| !p.name.starts_with("fc."));
        let params: Params = known.map(|p| (p.name.clone(), fixture.tensor(&p.name).unwrap())).collect();
        let preprocess = Preprocess {
            resize: 8,
            crop: 8,
            interpolation: Interpolation::Bilinear,
            mean: [0.5; 3],
            std: [0.25; 3],
            decode: Decode::Exact,
            style: None,
        };
        Backbone::new(graph, "fc".into(), params, preprocess, "small.none".into()).unwrap()
    }

    fn pictures(images: &Tensor) -> Vec<Picture> {
        let of = |i: usize| {
            let values = images.row(i).iter().map(|&v| v as u8).collect();
            let mut png = std::io::Cursor::new(Vec::new());
            let picture = image::RgbImage::from_raw(8, 8, values).unwrap();
            picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
            Picture::from_bytes(format!("{i}.png"), png.into_inner())
        };
        (0..images.dims()[0]).map(of).collect()
    }

    /// The fixture is written by `scripts/fixtures/adapt_statistics.py`.
    #[test]
    fn statistics_are_those_of_pytorch_without_a_source_and_beside_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapt_statistics.safetensors");
        let fixture = StateDict::open(&path).unwrap();
        let backbone = backbone(&fixture);
        let [source, target] = ["source", "target"].map(|name| pictures(&fixture.tensor(name).unwrap()));
        for (case, source) in [("alone", None), ("beside", Some(&source[..]))] {
            quiet(|session| {
                let (params, moved) = restate(session, &backbone, source, &target, "it", 0).unwrap();
                assert_eq!(moved.len(), 2);
                for name in ["bn1.running_mean", "bn1.running_var", "bn2.running_mean", "bn2.running_var"] {
                    let expected = fixture.tensor(&format!("{case}.{name}")).unwrap();
                    let apart = relative_l2(params.get(name).unwrap().data(), expected.data());
                    assert!(apart < 1e-5, "{case}.{name}: {apart}");
                }
                for name in ["bn1.weight", "bn2.bias", "conv2.weight"] {
                    assert_eq!(params.get(name), backbone.params.get(name), "{name} stays");
                }
            });
        }
    }

    #[test]
    fn a_batch_is_of_all_folders() {
        let order = order(1000, 0);
        assert_eq!(order.len(), MOST);
        for batch in order.chunks(64) {
            let folders: std::collections::BTreeSet<usize> = batch.iter().map(|i| i / 250).collect();
            assert_eq!(folders.len(), 4, "{batch:?}");
        }
    }
}
