//! What an ONNX file says of itself besides the graph.

use crate::Classifier;
use headstart_data::Preprocess;
use headstart_models::registry;
use std::collections::BTreeMap;

/// The lines: words and numbers as they are, lists as JSON.
pub(crate) fn metadata(
    classifier: &Classifier,
    preprocess: &Preprocess,
    with_preprocessing: bool,
    licence: Option<&str>,
) -> BTreeMap<String, String> {
    let json = |value: &dyn Fn() -> serde_json::Result<String>| value().unwrap_or_default();
    let filter = json(&|| serde_json::to_string(&preprocess.interpolation));
    let (resize, crop) = (preprocess.resize, preprocess.crop);
    let done = match with_preprocessing {
        true => "inside the graph: give upright RGB pixels of any size".to_owned(),
        false => format!(
            "before the graph: resize the shorter side to {resize} pixels ({filter}, antialiased), take the middle {crop} x {crop}, \
             then (pixel / 255 - mean) / std, channels first"
        ),
    };
    let mut about = BTreeMap::from([
        ("backbone", classifier.backbone.name.clone()),
        ("classifier", classifier.backbone.classifier.clone()),
        ("crop", crop.to_string()),
        ("headstart", env!("CARGO_PKG_VERSION").to_owned()),
        ("input_size", json(&|| serde_json::to_string(&[3, crop, crop]))),
        ("interpolation", filter.trim_matches('"').to_owned()),
        ("labels", json(&|| serde_json::to_string(classifier.labels()))),
        ("mean", json(&|| serde_json::to_string(&preprocess.mean))),
        ("preprocessing", done.replace('"', "")),
        ("resize", resize.to_string()),
        ("std", json(&|| serde_json::to_string(&preprocess.std))),
        ("temperature", classifier.temperature().to_string()),
        ("trunk_sha256", classifier.backbone.fingerprint.clone()),
    ]);
    if let Some(licence) = licence {
        about.insert("licence", format!("weights of the backbone: {licence}"));
    }
    about.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The licence of a backbone's weights, and who publishes them.
pub(crate) fn licence(backbone: &str) -> Option<String> {
    registry::find(backbone).ok().map(|(_, cfg)| format!("{} ({})", cfg.licence, cfg.source))
}
