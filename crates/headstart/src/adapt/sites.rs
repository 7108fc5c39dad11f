//! What both domains look like: the target through a trunk, the source as it is and in another style.

use super::domains::Source;
use super::score::some;
use super::statistics::MovedNorm;
use crate::evaluate::labels;
use crate::fine_tune::boundary::Photos;
use crate::head::LinearHead;
use crate::{Backbone, Error, Features, Session, SkippedFile, extract};
use headstart_data::{Dataset, Item, OpenOptions, Picture, Style, TextColumns};
use headstart_graph::Params;
use headstart_tensor::Tensor;
use std::path::Path;

/// A trunk, and what the target looks like through it.
pub(super) struct Site {
    pub(super) backbone: Backbone,
    pub(super) target: Tensor,
    /// Of the images to measure on.
    pub(super) eval: Option<Tensor>,
    /// Of the few that are labelled.
    pub(super) few: Option<Tensor>,
    pub(super) moved: Vec<MovedNorm>,
}

/// The source in a style, and the head that is fitted to it.
pub(super) struct Redrawn {
    pub(super) style: Style,
    pub(super) source: Source,
    pub(super) head: LinearHead,
}

/// The labelled images of all of `path` that can be read, whatever their splits, and their features.
///
/// # Errors
/// Where there is no image that can be read, or one of an unknown class.
pub(super) fn open_labelled(
    session: &Session,
    backbone: &Backbone,
    path: &Path,
    classes: &[String],
    what: &str,
    skipped: &mut Vec<SkippedFile>,
) -> Result<(Photos, Tensor), Error> {
    backbone.input.expect(&backbone.name, path, &TextColumns::default())?;
    let options = OpenOptions { classes: Some(classes.to_vec()), columns: TextColumns::default() };
    let data = Dataset::open(path, &options)?;
    skipped.extend(data.skipped.iter().map(SkippedFile::from));
    let parts = [Some(&data.train), data.val.as_ref(), data.test.as_ref()];
    let items: Vec<Item> = parts.into_iter().flatten().flatten().cloned().collect();
    let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
    let features: Features = extract(session, backbone, &pictures, 1, 0, what)?;
    skipped.extend(features.skipped.iter().map(SkippedFile::from));
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: path.display().to_string() });
    }
    let labels = labels(&items, &features.kept);
    let pictures = features.kept.iter().map(|&i| items[i].picture.clone()).collect();
    Ok((Photos { pictures, hashes: features.hashes, labels }, features.values))
}

/// Features of at most `most` of the images, redrawn.
///
/// # Errors
/// Where the run was interrupted.
pub(super) fn redraw(
    session: &Session,
    backbone: &Backbone,
    images: &Photos,
    style: Style,
    most: usize,
    seed: u64,
) -> Result<Source, Error> {
    let rows = some(images.pictures.len(), most, seed, "source");
    let pictures: Vec<&Picture> = rows.iter().map(|&row| &images.pictures[row]).collect();
    let what = format!("source in {}", style.name());
    let features = extract(session, &redrawing(backbone, style)?, &pictures, 1, seed, &what)?;
    let labels = features.kept.iter().map(|&i| images.labels[rows[i]]).collect();
    Ok(Source { features: features.values, labels })
}

/// A backbone with other weights.
pub(super) fn with_params(of: &Backbone, params: Params) -> Result<Backbone, Error> {
    let (graph, classifier) = (of.graph.clone(), of.classifier.clone());
    Backbone::new(graph, classifier, params, of.input.clone(), of.name.clone())
}

/// A backbone that is shown pictures in a style.
fn redrawing(of: &Backbone, style: Style) -> Result<Backbone, Error> {
    let mut preprocess = of.input.preprocess("adapt")?.clone();
    preprocess.style = Some(style);
    let (graph, classifier) = (of.graph.clone(), of.classifier.clone());
    Backbone::new(graph, classifier, of.params.clone(), preprocess, of.name.clone())
}
