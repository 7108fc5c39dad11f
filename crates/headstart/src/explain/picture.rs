//! One picture explained: heat over it, written to a file, and what was found in words and numbers.

use super::{Explainer, Heatmap, position, probability};
use crate::metrics::argmax;
use crate::{Classifier, Error, Session};
use headstart_data::{ImageError, Picture, RgbImage};
use headstart_weights::replace_file;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Of an overlay that is written as JPEG.
const QUALITY: u8 = 92;

/// What `explain` reports.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainReport {
    /// The image.
    pub path: String,
    /// The class that is explained.
    pub class: String,
    /// Its probability.
    pub probability: f64,
    /// The most probable class.
    pub predicted: String,
    /// The node of the network whose output is the map.
    pub layer: String,
    /// Where the evidence for the class lies in what the network saw.
    pub heat: Heatmap,
    /// What the network saw of the image: left, top, width and height as shares of its sides.
    pub seen: [f64; 4],
    /// The picture that was written.
    pub output: String,
}

/// Explains why `classifier` would call `picture` by `class` (by the most probable one where none is named), and writes
/// the heat over the picture to `output`, a PNG or JPEG file by its name, in the picture's own size.
///
/// # Errors
/// Where the network has no map ([`Error::NotConvolutional`]), the class is unknown, the image cannot be read, or the file
/// cannot be written.
pub fn explain(
    session: &Session,
    classifier: &Classifier,
    picture: &Picture,
    class: Option<&str>,
    output: &Path,
) -> Result<ExplainReport, Error> {
    let encode = encoder(output)?;
    check(picture, output)?;
    let labels = classifier.labels();
    let class = class.map(|name| position(labels, name)).transpose()?;
    let mut explainer = Explainer::new(&classifier.backbone, &classifier.head)?;
    let unreadable = |source: ImageError| Error::Image { path: picture.path().to_owned(), source };
    let bytes = picture.bytes().map_err(unreadable)?;
    let preprocess = classifier.backbone.input.preprocess("explain")?;
    let image = preprocess.decode(picture, &bytes).map_err(unreadable)?;
    let found = explainer.explain(session, &image, class)?;
    let bytes = encode(&explainer.overlay(&image, &found.heat)).map_err(unreadable)?;
    replace_file(output, |out| out.write_all(&bytes)).map_err(Error::io("write", output))?;
    Ok(ExplainReport {
        path: picture.path().to_owned(),
        class: labels[found.class].clone(),
        probability: probability(classifier, &found.logits, found.class),
        predicted: labels[argmax(&found.logits)].clone(),
        layer: explainer.layer().to_owned(),
        heat: found.heat,
        seen: preprocess.seen(image.width, image.height),
        output: output.display().to_string(),
    })
}

type Encode = fn(&RgbImage) -> Result<Vec<u8>, ImageError>;

/// How the file of that name is written.
fn encoder(output: &Path) -> Result<Encode, Error> {
    let extension = output.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "png" => Ok(RgbImage::to_png),
        "jpg" | "jpeg" => Ok(|image| image.to_jpeg(QUALITY)),
        _ => {
            let found = output.display().to_string();
            Err(Error::Setting { name: "--output", found, expected: "a name that ends in .png or .jpg" })
        }
    }
}

/// Whether the overlay can be written without the picture being lost.
fn check(picture: &Picture, output: &Path) -> Result<(), Error> {
    let bad =
        |expected| Err(Error::Setting { name: "--output", found: output.display().to_string(), expected });
    let place = |path: &Path| path.canonicalize().ok();
    if picture.file().is_some_and(|file| place(file).is_some_and(|file| Some(file) == place(output))) {
        return bad("another file than the picture");
    }
    if output.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return bad("a file in a folder that exists");
    }
    Ok(())
}
