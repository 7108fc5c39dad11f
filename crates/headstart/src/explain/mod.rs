//! Why a classifier answers as it does. Of texts: which words spoke for the answer (`words`). Of images: where a convolutional
//! network looked, Grad-CAM (R. R. Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep
//! networks via gradient-based localization", ICCV).
//!
//! With `A [h, w, k]` the last map of features before pooling and `y` the logit of a class:
//!
//! ```text
//! alpha_k = mean over positions of dy / dA[.., k]        heat = ReLU(sum over k of alpha_k A[.., k])
//! ```
//!
//! The network up to the map is compiled as any trunk; only what lies behind it is differentiated. `alpha` needs no
//! gradient of an input: a norm that changes nothing stands between both parts, and the gradient of its shift of channel
//! `k` is the sum over positions of `dy / dA[.., k]`.

mod heatmap;
mod overlay;
mod picture;
mod text;
mod words;

pub use heatmap::Heatmap;
pub use picture::{ExplainReport, explain};
pub use text::{TextReport, explain_texts};
pub use words::{TextExplainer, TextExplanation, TokenWeight, WordWeight};

use crate::head::LinearHead;
use crate::loss::log_sum_exp;
use crate::metrics::argmax;
use crate::{Backbone, Classifier, Error, Session};
use headstart_data::{Preprocess, RgbImage, View};
use headstart_graph::{
    BatchNorm2d, BnStats, Freeze, Graph, GraphBuilder, NodeId, Op, Params, Trainer, Trunk, nearest,
};
use headstart_tensor::Tensor;

/// What stands between both parts and changes nothing.
const SHIFT: &str = "explain.shift";

/// Finds where a convolutional network looked. Always in f32, whatever the precision of the model.
#[derive(Debug)]
pub struct Explainer {
    /// The network up to the map.
    trunk: Trunk,
    /// What lies behind it, a norm that changes nothing first.
    tail: Trainer,
    /// The parameters of the tail.
    params: Params,
    preprocess: Preprocess,
    layer: String,
}

/// What spoke for a class in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The class that is explained, as a position among the labels.
    pub class: usize,
    /// Logits of the image, `[classes]`.
    pub logits: Vec<f32>,
    /// Where the evidence for the class lies in what the network saw.
    pub heat: Heatmap,
}

impl Explainer {
    /// For a network and the head on it.
    ///
    /// # Errors
    /// [`Error::NotConvolutional`] where the features before its classifier are no map of the image.
    pub fn new(backbone: &Backbone, head: &LinearHead) -> Result<Explainer, Error> {
        let preprocess = backbone.input.preprocess("explain")?.clone();
        let graph = backbone.graph.with_classes(&backbone.classifier, head.classes())?;
        let Some(map) = last_map(&graph) else {
            return Err(Error::NotConvolutional { name: backbone.name.clone() });
        };
        let trunk = Trunk::compile(&graph.prefix(map)?, &backbone.params)?;
        let channels = trunk.output().dims().last().copied().unwrap_or(0);
        let tail = behind_a_shift(&graph, map, Op::BatchNorm2d(BatchNorm2d { channels, eps: 0.0 }))?;
        let mut params = Params::default();
        for (part, value) in [("weight", &head.weight), ("bias", &head.bias)] {
            params.insert(format!("{}.{part}", backbone.classifier), value.clone());
        }
        for (part, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            params.insert(format!("{SHIFT}.{part}"), Tensor::full([channels], value));
        }
        for spec in tail.params() {
            if let (None, Some(value)) = (params.get(&spec.name), backbone.params.get(&spec.name)) {
                params.insert(spec.name, value.clone());
            }
        }
        let freeze = Freeze::everything().unfreeze(&tail, &format!("{SHIFT}.bias"))?;
        Ok(Explainer {
            trunk,
            tail: Trainer::new(tail, freeze, BnStats::Running),
            params,
            preprocess,
            layer: graph.nodes()[map.index()].name.clone(),
        })
    }

    /// The node whose output is the map.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// What speaks for `class` in `image`; for the most probable class where none is named.
    ///
    /// # Errors
    /// Where `class` is none of the classes.
    pub fn explain(
        &mut self,
        session: &Session,
        image: &RgbImage,
        class: Option<usize>,
    ) -> Result<Explanation, Error> {
        let side = self.preprocess.crop;
        let mut input = Tensor::zeros([1, side, side, 3]);
        self.preprocess.apply(image, View::Center, input.data_mut());
        self.of_input(session, &input, class)
    }

    /// As [`Explainer::explain`], of a preprocessed image `[1, height, width, 3]`.
    ///
    /// # Errors
    /// Where `class` is none of the classes, or the image has not the network's size.
    pub fn of_input(
        &mut self,
        session: &Session,
        input: &Tensor,
        class: Option<usize>,
    ) -> Result<Explanation, Error> {
        let map = self.trunk.run(session.pool, input)?;
        let logits = self.tail.forward(&self.params, &map, session.pool)?.data().to_vec();
        let class = class.unwrap_or_else(|| argmax(&logits));
        if class >= logits.len() {
            let found = class.to_string();
            return Err(Error::Setting { name: "the class", found, expected: "the position of a label" });
        }
        let gradient = Tensor::from_fn([1, logits.len()], |i| if i == class { 1.0 } else { 0.0 });
        let gradients = self.tail.backward(&self.params, &gradient, session.pool)?;
        let &[_, height, width, channels] = map.dims() else {
            return Err(Error::NotConvolutional { name: self.layer.clone() });
        };
        let sums = gradients.get(&format!("{SHIFT}.bias")).map_or(&[][..], Tensor::data);
        let positions = (height * width) as f64;
        let alpha: Vec<f64> = sums.iter().map(|&sum| f64::from(sum) / positions).collect();
        let weighted = |at: &[f32]| at.iter().zip(&alpha).map(|(&a, w)| f64::from(a) * w).sum::<f64>();
        let values = map.data().chunks_exact(channels).map(|at| weighted(at).max(0.0) as f32).collect();
        Ok(Explanation { class, logits, heat: Heatmap::new(height, width, values) })
    }

    /// `heat` over the picture that it is of, in the picture's own size: bright where the evidence lies, grey where the
    /// network saw nothing of it.
    pub fn overlay(&self, image: &RgbImage, heat: &Heatmap) -> RgbImage {
        overlay::over(image, heat, self.preprocess.seen(image.width, image.height))
    }
}

/// The last map of features behind which there are only pools and a classifier. None where attention or tokens follow.
fn last_map(graph: &Graph) -> Option<NodeId> {
    let nodes = graph.nodes();
    let makes_a_map = |op: &Op| {
        matches!(op, Op::Conv2d(_) | Op::BatchNorm2d(_) | Op::Activation { .. } | Op::Smooth { .. } | Op::Add)
    };
    let last = nodes.iter().rposition(|n| makes_a_map(&n.op) && n.shape.rank() == 3)?;
    let behind = |op: &Op| {
        matches!(
            op,
            Op::MaxPool2d(_)
                | Op::AdaptiveAvgPool(_)
                | Op::GlobalAvgPool
                | Op::Flatten
                | Op::Linear(_)
                | Op::LayerNorm(_)
                | Op::Activation { .. }
                | Op::Smooth { .. }
        )
    };
    let pools = nodes[last + 1..].iter().all(|n| behind(&n.op));
    let id = graph.node(&nodes[last].name)?.0;
    pools.then_some(id)
}

/// What lies behind the node `at`, with `shift` in front of it.
fn behind_a_shift(graph: &Graph, at: NodeId, shift: Op) -> Result<Graph, Error> {
    let tail = graph.suffix(at)?;
    let mut builder = GraphBuilder::new(tail.input().clone());
    let mut ids = vec![builder.add(SHIFT, shift, &[builder.input()])?];
    for node in &tail.nodes()[1..] {
        builder.stage(&node.stage);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| ids[i.index()]).collect();
        ids.push(builder.add(&node.name, node.op.clone(), &inputs)?);
    }
    Ok(builder.finish())
}

/// The probability of a class, by the classifier's temperature.
fn probability(classifier: &Classifier, logits: &[f32], class: usize) -> f64 {
    let temperature = classifier.temperature();
    let logits: Vec<f32> = logits.iter().map(|&z| (f64::from(z) / temperature) as f32).collect();
    (f64::from(logits[class]) - log_sum_exp(&logits)).exp()
}

/// The position of the class `name`.
fn position(labels: &[String], name: &str) -> Result<usize, Error> {
    labels.iter().position(|label| label == name).ok_or_else(|| Error::UnknownClass {
        name: name.to_owned(),
        nearest: nearest(name, labels.iter().map(String::as_str)),
        classes: labels.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_models::registry::ARCHITECTURES;

    #[test]
    fn the_map_of_every_architecture_is_the_one_before_its_pool() {
        let map = |name: &str| {
            let architecture = ARCHITECTURES.iter().find(|a| a.name == name).unwrap();
            let graph = architecture.build(224, 10).unwrap();
            last_map(&graph).map(|id| {
                let node = &graph.nodes()[id.index()];
                (node.name.clone(), node.shape.dims().to_vec())
            })
        };
        let at = |name: &str, shape: &[usize]| Some((name.to_owned(), shape.to_vec()));
        assert_eq!(map("resnet18"), at("layer4.1.relu2", &[7, 7, 512]));
        assert_eq!(map("tf_efficientnet_lite0"), at("act2", &[7, 7, 1280]));
        assert_eq!(map("vgg16"), at("features.29", &[14, 14, 512]));
        assert_eq!(map("vit_tiny_patch16_224"), None);
        for architecture in ARCHITECTURES {
            assert_eq!(map(architecture.name).is_none(), architecture.name.contains("patch"));
        }
    }

    #[test]
    fn the_tail_keeps_its_layers_behind_the_shift() {
        let graph = ARCHITECTURES.iter().find(|a| a.name == "vgg11").unwrap().build(64, 10).unwrap();
        let norm = Op::BatchNorm2d(BatchNorm2d { channels: 512, eps: 0.0 });
        let tail = behind_a_shift(&graph, last_map(&graph).unwrap(), norm).unwrap();
        let names: Vec<&str> = tail.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names[..4], ["input", SHIFT, "features.20", "avgpool"]);
        assert_eq!(tail.output().dims(), [10]);
    }
}
