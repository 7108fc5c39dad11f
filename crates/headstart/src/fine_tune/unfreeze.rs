//! Which parameters are trained: names and patterns to a [`Freeze`], and each parameter's stage.

use crate::Error;
use headstart_graph::{Freeze, Graph, Op, ParamKind};

/// What a fine-tuning trains of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfrozen {
    /// All of it: the classifier too.
    pub freeze: Freeze,
    /// The stages that have trained parameters, from the input to the classifier.
    pub stages: Vec<String>,
}

/// The parameters that `names` and the classifier stand for. A name is `last` (the last stage that looks further than
/// a pixel or a token, and what follows it), `all`, a stage, a layer, a parameter, a prefix of one up to a dot, or a
/// pattern with `*` (any letters) and `?` (one letter).
///
/// # Errors
/// Where the network has nothing of such a name, or the names stand for no parameter besides the classifier's.
pub fn unfreeze(graph: &Graph, classifier: &str, names: &[String]) -> Result<Unfrozen, Error> {
    let mut freeze = Freeze::everything().unfreeze(graph, classifier)?;
    let head = freeze.trainable().count();
    for name in names.iter().map(|n| n.trim()).filter(|n| !n.is_empty()) {
        let stages = graph.stages();
        freeze = match name {
            "all" => stages.iter().try_fold(freeze, |f, stage| f.unfreeze(graph, stage))?,
            "last" => stages[last(graph)..].iter().try_fold(freeze, |f, stage| f.unfreeze(graph, stage))?,
            pattern if pattern.contains(['*', '?']) => {
                let mut matched: Vec<String> = Vec::new();
                for node in &graph.nodes()[1..] {
                    let params = node.params().into_iter().filter(|p| p.kind == ParamKind::Weight);
                    let here = matches(pattern, &node.stage) || matches(pattern, &node.name);
                    matched.extend(params.map(|p| p.name).filter(|p| here || matches(pattern, p)));
                }
                match matched.is_empty() {
                    // The error with the nearest names: a pattern is no name.
                    true => freeze.unfreeze(graph, pattern)?,
                    false => matched.iter().try_fold(freeze, |f, name| f.unfreeze(graph, name))?,
                }
            }
            name => freeze.unfreeze(graph, name)?,
        };
    }
    if freeze.trainable().count() == head {
        let stages: Vec<&str> = graph.stages().into_iter().filter(|s| has_weights(graph, s)).collect();
        return Err(Error::NothingUnfrozen { names: names.join(","), stages: stages.join(", ") });
    }
    let stages = graph.stages().into_iter().filter(|stage| trains(graph, &freeze, stage));
    Ok(Unfrozen { stages: stages.map(str::to_owned).collect(), freeze })
}

impl Unfrozen {
    /// The same, with only the uppermost `count` stages besides the classifier's trained.
    pub(crate) fn upper(&self, graph: &Graph, count: usize) -> Result<Unfrozen, Error> {
        let from = self.stages.len().saturating_sub(count + 1);
        let stages = self.stages[from..].to_vec();
        let mut freeze = Freeze::everything();
        for name in self.freeze.trainable() {
            if stage_of(graph, name).is_some_and(|stage| stages.iter().any(|s| s == stage)) {
                freeze = freeze.unfreeze(graph, name)?;
            }
        }
        Ok(Unfrozen { freeze, stages })
    }
}

/// The stage that a parameter belongs to.
pub(crate) fn stage_of<'a>(graph: &'a Graph, param: &str) -> Option<&'a str> {
    let node = graph.nodes().iter().find(|n| n.params().iter().any(|p| p.name == param));
    node.map(|n| n.stage.as_str())
}

/// The stage of `last`, as a position in [`Graph::stages`].
fn last(graph: &Graph) -> usize {
    let stages = graph.stages();
    let mixes = |op: &Op| match op {
        Op::Conv2d(conv) => conv.kernel != [1, 1],
        op => matches!(op, Op::Attention(_)),
    };
    let spatial = graph.nodes().iter().rfind(|n| mixes(&n.op));
    let with_weights = || stages.iter().rposition(|s| has_weights(graph, s));
    spatial.and_then(|n| stages.iter().position(|s| *s == n.stage)).or_else(with_weights).unwrap_or(0)
}

fn has_weights(graph: &Graph, stage: &str) -> bool {
    graph.nodes().iter().any(|n| n.stage == stage && n.params().iter().any(|p| p.kind == ParamKind::Weight))
}

fn trains(graph: &Graph, freeze: &Freeze, stage: &str) -> bool {
    let nodes = graph.nodes()[1..].iter().filter(|n| n.stage == stage);
    nodes.flat_map(|n| n.params()).any(|p| freeze.is_trainable(&p.name))
}

/// Whether the whole of `text` fits `pattern`.
fn matches(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on from after the last `*`, and how much it has taken.
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == t[j]) {
            (i, j) = (i + 1, j + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (i, j) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    p[i..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_models::registry;

    fn network(name: &str) -> (Graph, &'static str) {
        let arch = registry::architecture(name).unwrap();
        (arch.build(64, 10).unwrap(), arch.classifier)
    }

    fn of(arch: &str, names: &[&str]) -> Result<Unfrozen, Error> {
        let (graph, classifier) = network(arch);
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        unfreeze(&graph, classifier, &names)
    }

    #[test]
    fn last_is_the_last_block_of_every_family() {
        assert_eq!(of("resnet18", &["last"]).unwrap().stages, ["layer4", "fc"]);
        assert_eq!(of("resnet50", &["last"]).unwrap().stages, ["layer4", "fc"]);
        let mobile = ["features.17", "features.18", "classifier"];
        assert_eq!(of("mobilenet_v2", &["last"]).unwrap().stages, mobile);
        let lite = ["blocks.6", "conv_head", "classifier"];
        assert_eq!(of("tf_efficientnet_lite0", &["last"]).unwrap().stages, lite);
        let arch = registry::architecture("vit_tiny_patch16_224").unwrap();
        let graph = arch.build(224, 10).unwrap();
        let vit = unfreeze(&graph, arch.classifier, &["last".into()]).unwrap();
        assert_eq!(vit.stages, ["blocks.11", "norm", "head"]);
        // Parameters without a dot in their names have a stage too.
        assert_eq!(stage_of(&graph, "cls_token"), Some("stem"));
    }

    #[test]
    fn all_is_every_weight_and_no_statistic() {
        let (graph, _) = network("resnet18");
        let all = of("resnet18", &["all"]).unwrap();
        let weights = graph.params().into_iter().filter(|p| p.kind == ParamKind::Weight).count();
        assert_eq!(all.freeze.trainable().count(), weights);
        assert!(!all.freeze.is_trainable("bn1.running_mean"));
        assert_eq!(all.upper(&graph, 1).unwrap(), of("resnet18", &["layer4"]).unwrap());
        assert_eq!(all.upper(&graph, 99).unwrap(), all);
    }

    #[test]
    fn patterns_choose_by_stage_layer_and_parameter() {
        let trained = |names: &[&str]| {
            let found = of("resnet18", names).unwrap();
            found.freeze.trainable().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(trained(&["layer?"]), trained(&["layer1", "layer2", "layer3", "layer4"]));
        let norms = trained(&["layer4.*.bn*"]);
        assert_eq!(norms.len(), 2 + 2 * 4, "{norms:?}");
        assert_eq!(trained(&["*conv1.weight"]).len(), 2 + 1 + 8);
        assert!(matches("a*b*c", "aXXbYbZc") && !matches("a*b", "abc") && matches("*", ""));
    }

    #[test]
    fn unknown_names_are_answered_and_nothing_is_refused() {
        let message = |names: &[&str]| of("resnet18", names).unwrap_err().to_string();
        assert!(message(&["layre4"]).contains("did you mean `layer4`"));
        assert!(
            message(&["layers4.*"]).contains("`layers4.*` names no stage"),
            "{}",
            message(&["layers4.*"])
        );
        for nothing in [&[][..], &[""], &["fc"], &["pool"], &["layer4.0.bn1.running_mean"]] {
            let text = message(nothing);
            assert!(text.contains("stem, layer1, layer2, layer3, layer4, fc"), "{text}");
        }
    }
}
