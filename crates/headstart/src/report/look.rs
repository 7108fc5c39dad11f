//! Where the network looked in a few pictures: its mistakes first, with what spoke for the answer and for the label.

use super::base64::data_uri;
use crate::metrics::Answer;
use crate::{Classifier, Error, Explainer, Session};
use headstart_data::{ImageError, Picture, RgbImage};

/// The longer side, in pixels.
const SIDE: usize = 208;
const QUALITY: u8 = 80;
/// Mistakes and right answers that are looked into.
const WRONG: usize = 4;
const RIGHT: usize = 2;

/// A picture, and the heat for one or two classes over it.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The position of its answer.
    pub answer: usize,
    /// The picture itself first.
    pub views: Vec<Seen>,
}

/// One view of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it shows.
    pub caption: String,
    /// The JPEG as a data URI.
    pub uri: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

impl Look {
    /// Looks into a few of `answers`, whose `pictures` are in the same order. A sentence where the network has no map.
    ///
    /// # Errors
    /// Where the network cannot be run. A picture that cannot be read is left out.
    pub(super) fn into(
        session: &Session,
        classifier: &Classifier,
        answers: &[Answer],
        pictures: &[Picture],
    ) -> Result<Result<Vec<Look>, String>, Error> {
        let Ok(preprocess) = classifier.backbone.input.preprocess("explain") else {
            return Ok(Ok(Vec::new()));
        };
        let mut explainer = match Explainer::new(&classifier.backbone, &classifier.head) {
            Err(error @ Error::NotConvolutional { .. }) => return Ok(Err(format!("{error}."))),
            explainer => explainer?,
        };
        let mut looks = Vec::new();
        for answer in chosen(answers) {
            session.check()?;
            let Some(picture) = pictures.get(answer) else { continue };
            let Ok(image) = picture.bytes().and_then(|bytes| preprocess.decode(picture, &bytes)) else {
                continue;
            };
            let small = image.thumbnail(SIDE);
            let mut views = Vec::new();
            views.extend(seen("the picture".to_owned(), &small));
            let (predicted, target) = (answers[answer].predicted, answers[answer].target);
            let classes = if predicted == target { vec![predicted] } else { vec![predicted, target] };
            for class in classes {
                let found = explainer.explain(session, &image, Some(class))?;
                let caption = match found.heat.values.iter().any(|&v| v > 0.0) {
                    true => format!("for {}", classifier.labels()[class]),
                    false => format!("nothing for {}", classifier.labels()[class]),
                };
                views.extend(seen(caption, &explainer.overlay(&small, &found.heat)));
            }
            looks.push(Look { answer, views });
        }
        Ok(Ok(looks))
    }
}

fn seen(caption: String, image: &RgbImage) -> Result<Seen, ImageError> {
    let uri = data_uri("image/jpeg", &image.to_jpeg(QUALITY)?);
    Ok(Seen { caption, uri, size: [image.width, image.height] })
}

/// The surest mistakes, and the surest right answers.
fn chosen(answers: &[Answer]) -> Vec<usize> {
    let surest = |right: bool, count: usize| {
        let mut some: Vec<usize> = (0..answers.len()).filter(|&i| answers[i].is_right() == right).collect();
        some.sort_by(|&a, &b| answers[b].probability.total_cmp(&answers[a].probability).then(a.cmp(&b)));
        some.truncate(count);
        some
    };
    [surest(false, WRONG), surest(true, RIGHT)].concat()
}
