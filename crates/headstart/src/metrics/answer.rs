//! What a classifier answered for each labelled image: the record behind the numbers.

use headstart_tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{argmax, softmax};

/// Classes of an answer that are kept.
const TOP: usize = 3;

/// The answer for one labelled image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The image, relative to the data.
    pub path: String,
    /// Its class.
    pub target: usize,
    /// The most probable class.
    pub predicted: usize,
    /// The probability of `predicted`, 0 to 1.
    pub probability: f32,
    /// The probability of `target`, 0 to 1.
    pub target_probability: f32,
    /// The three most probable classes (or all, of two), best first, with their probabilities.
    pub top: Vec<(usize, f32)>,
}

impl Answer {
    /// The answers behind finite logits `[n, classes]` of the images `paths`, whose classes are `targets`, in their order.
    pub fn of<'a>(
        logits: &Tensor,
        targets: &[usize],
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Answer> {
        let answer = |(i, (&target, path)): (usize, (&usize, &str))| {
            let row = logits.row(i);
            let probabilities = softmax(row);
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            let of = |class: usize| probabilities[class] as f32;
            let predicted = argmax(row);
            Answer {
                path: path.to_owned(),
                target,
                predicted,
                probability: of(predicted),
                target_probability: of(target),
                top: order.into_iter().take(TOP).map(|class| (class, of(class))).collect(),
            }
        };
        targets.iter().zip(paths).enumerate().map(answer).collect()
    }

    /// Whether it is right.
    pub fn is_right(&self) -> bool {
        self.predicted == self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_image_and_its_most_probable_classes() {
        let z = Tensor::new([2, 4], vec![0.0, 2.0, 1.0, 2.0, 5.0, 0.0, 0.0, 0.0]).unwrap();
        let answers = Answer::of(&z, &[3, 0], ["a.jpg", "b.jpg"]);
        let first = &answers[0];
        assert_eq!((first.path.as_str(), first.target, first.predicted), ("a.jpg", 3, 1));
        assert_eq!(first.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 2]);
        assert_eq!(first.probability, first.target_probability, "of equal ones the first is the answer");
        assert!(!first.is_right() && answers[1].is_right());
        let line = serde_json::to_string(first).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), *first);
    }
}
