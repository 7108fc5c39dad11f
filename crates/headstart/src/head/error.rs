//! What can be wrong with a head, with what it is fitted to, and with how it is trained or judged.

use headstart_tensor::{Shape, ShapeError};

/// Why a head could not be fitted, trained, applied or judged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The rows are not whole images.
    #[error("{rows} rows are not a whole number of images with {views} views each")]
    Views {
        /// Views of an image.
        views: usize,
        /// Rows of features.
        rows: usize,
    },
    /// The features are no matrix of at least one row and one column.
    #[error("features have shape {found}: expected [images, features], both at least 1")]
    Features {
        /// The shape of what was given.
        found: Shape,
    },
    /// The logits are no matrix of at least one row and one column.
    #[error("logits have shape {found}: expected [images, classes], both at least 1")]
    Logits {
        /// The shape of what was given.
        found: Shape,
    },
    /// Not one name a logit.
    #[error("{names} class names were given for {classes} logits an image: expected one a class")]
    ClassNames {
        /// The number of names.
        names: usize,
        /// The number of logits.
        classes: usize,
    },
    /// A logit is NaN or infinite.
    #[error(
        "the logit of class {class} of image {row} is {value}: the model's weights are damaged or the training diverged; load them again or lower the learning rate"
    )]
    NotFiniteLogit {
        /// Index of the image.
        row: usize,
        /// The class.
        class: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The head was made for features of another length.
    #[error(
        "the head reads {expected} features an image and was given {found}: use the backbone it was fitted on"
    )]
    FeatureCount {
        /// What the head's weight says.
        expected: usize,
        /// What the features say.
        found: usize,
    },
    /// Weight and bias are no linear layer.
    #[error("a head of weight {weight} and bias {bias}: expected [classes, features] and [classes]")]
    HeadShape {
        /// The weight's shape.
        weight: Shape,
        /// The bias's shape.
        bias: Shape,
    },
    /// A feature is NaN or infinite.
    #[error(
        "feature {column} of image {row} is {value}: the image or the backbone's weights are damaged; leave the image out or load the weights again"
    )]
    NotFinite {
        /// Index of the image, from 0, in the order of the features.
        row: usize,
        /// Index of the feature.
        column: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// Not one target an image.
    #[error("{targets} labels were given for {rows} images: expected one an image")]
    TargetCount {
        /// Number of images.
        rows: usize,
        /// Number of labels.
        targets: usize,
    },
    /// A label that is no class.
    #[error("image {row} has class {target}, but there are only {classes} classes (0 to {last})", last = classes.saturating_sub(1))]
    Target {
        /// Index of the image.
        row: usize,
        /// Its label.
        target: usize,
        /// The number of classes.
        classes: usize,
    },
    /// Fewer than two classes.
    #[error("a classifier needs at least two classes and was given {classes}")]
    TooFewClasses {
        /// The number of classes.
        classes: usize,
    },
    /// A class without a training image: nothing can be learned about it.
    #[error("class {class} has no training image: add one or leave the class out")]
    EmptyClass {
        /// The class.
        class: usize,
    },
    /// Not one weight a class.
    #[error("{found} class weights were given for {classes} classes: expected one a class")]
    ClassWeightCount {
        /// The number of weights.
        found: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A class weight that is not a positive number.
    #[error("the weight of class {class} is {found}: expected a finite number above 0")]
    ClassWeight {
        /// The class.
        class: usize,
        /// Its weight.
        found: f64,
    },
    /// A setting out of its range.
    #[error("{name} is {found}: expected {expected}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Its range, in words.
        expected: &'static str,
    },
    /// A gradient, or the state of the optimizer, has another length than its parameter.
    #[error(
        "parameter {name} has {parameter} values, its {what} has {found}: they must come from the same model"
    )]
    Parameter {
        /// The parameter's name.
        name: String,
        /// Its number of values.
        parameter: usize,
        /// `gradient` or `optimizer state`.
        what: &'static str,
        /// How many values that has.
        found: usize,
    },
    /// The caller asked to stop.
    #[error("interrupted while fitting the head: nothing was written; run again")]
    Interrupted,
    /// A tensor could not be built.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
