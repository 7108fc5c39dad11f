//! What the doctor found, as programs read it.

use crate::SkippedFile;
use headstart_data::Kind;
use headstart_data::doctor::DefectKind;
use serde::Serialize;
use std::collections::BTreeMap;

/// What the doctor found. Paths are relative to the data; a text is called by file and line. What is said of images holds
/// for texts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DoctorReport {
    /// What was looked at; not part of the JSON.
    #[serde(skip)]
    pub kind: Kind,
    /// The data.
    pub data: String,
    /// Image files looked at, the unusable ones included.
    pub files: usize,
    /// Defects of files, folders and rows, by path.
    pub problems: Vec<Problem>,
    /// Images whose centre crop leaves most of them out.
    pub aspect: Vec<Aspect>,
    /// Groups of images that are equal byte for byte or pixel for pixel, or of texts that are equal word for word, each
    /// sorted, by their first path.
    pub duplicates: Vec<Vec<String>>,
    /// Those of `duplicates` whose bytes differ: images that were stored anew, texts that differ in case or spaces.
    pub differing: Vec<Vec<String>>,
    /// Those of `duplicates` that have more than one label.
    pub contradictions: Vec<Vec<String>>,
    /// Groups of images that are nearly the same; of equal ones the first stands for all.
    pub near_duplicates: Vec<NearDuplicates>,
    /// Held-out images that stand in an earlier split too: that one's path, and theirs. Equal ones first, then nearly equal
    /// ones.
    pub leaks: Vec<[String; 2]>,
    /// How many of `leaks` are equal, not nearly equal.
    pub equal_leaks: usize,
    /// What leaks do to the accuracy; absent without leaks or without labels.
    pub leakage: Option<Leakage>,
    /// Labels that look wrong, the most suspicious first.
    pub suspects: Vec<Suspect>,
    /// How many labels are wrong by the confident joint of labels and truth; absent where there was nothing to learn from.
    pub wrong_labels: Option<usize>,
    /// The share of the labels that heads which did not see the image give it too: where it is small, many suspects are
    /// mistakes of the heads; absent as `wrong_labels`.
    pub agreed_labels: Option<f64>,
    /// Images unlike all others, the farthest first.
    pub outliers: Vec<Outlier>,
    /// Usable images by class and split.
    pub balance: BTreeMap<String, BTreeMap<&'static str, usize>>,
    /// Classes without a usable image in a split that others have images in.
    pub missing: Vec<Missing>,
    /// How well a classifier tells the two sets apart; absent without a second one. See [`Shift`].
    pub shift_auc: Option<f64>,
    /// The comparison with the second set.
    pub shift: Option<Shift>,
    /// What is no part of the images and no defect.
    pub left_out: Vec<SkippedFile>,
    /// The network whose features were looked at; absent where only files were.
    pub backbone: Option<String>,
    /// Images that went through it, and images whose features were in the cache.
    pub features: [usize; 2],
    /// Findings that should be mended: faulty files and folders, images in two splits or under two labels, classes that
    /// cannot be learned.
    pub faults: usize,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// A defect of a file, a folder or a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, folder or row.
    pub path: String,
    /// What is wrong.
    pub kind: DefectKind,
    /// In words.
    pub detail: String,
    /// Whether it should be mended. Others are remarks: photos turned by EXIF, hidden
    /// files, texts that are very short or longer than the network reads.
    pub fault: bool,
}

/// An image of extreme proportions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aspect {
    /// The image.
    pub path: String,
    /// Width and height.
    pub size: [usize; 2],
    /// Longer side over shorter side.
    pub ratio: f64,
}

/// Images that are nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearDuplicates {
    /// The images, sorted.
    pub paths: Vec<String>,
    /// The lowest cosine that joins one of them to the others.
    pub similarity: f32,
    /// Whether they have more than one label.
    pub contradiction: bool,
}

/// What images on both sides do to the accuracy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leakage {
    /// Held-out images in all, those with a class that training lacks left out.
    pub held_out: usize,
    /// Share of them that a head fitted on the training images has right.
    pub accuracy: f64,
    /// The same over the images without leaks; absent where none is left.
    pub accuracy_without: Option<f64>,
}

/// A label that looks wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect {
    /// The image.
    pub path: String,
    /// Its label.
    pub label: String,
    /// The class that heads which did not see the image find most probable.
    pub suggested: String,
    /// One minus the probability they give its label: 0 to 1, higher is more suspicious.
    pub score: f64,
}

/// An image unlike all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlier {
    /// The image.
    pub path: String,
    /// One minus the cosine to its tenth nearest neighbour.
    pub distance: f32,
}

/// A class without images in a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The class.
    pub class: String,
    /// The split.
    pub split: &'static str,
}

/// The comparison with a second set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shift {
    /// The second set.
    pub against: String,
    /// Its usable images.
    pub files: usize,
    /// Area under the ROC curve of a cross-validated classifier that is told to tell the sets apart: 0.5 by guessing, 1 where
    /// it always can. Over at most 3,000 images of each.
    pub auc: f64,
    /// What that means.
    pub meaning: String,
    /// Images of the first set that are pixel for pixel (texts word for word) in the second: path there, path here.
    pub shared: Vec<[String; 2]>,
}
