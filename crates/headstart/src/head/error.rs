//! What can be wrong with a head, its settings or the features it is fitted to.

use headstart_tensor::{Shape, ShapeError};

/// Why a head could not be fitted or applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The features are no matrix of at least one row and one column.
    #[error("features have shape {found}: expected [images, features], both at least 1")]
    Features {
        /// The shape of what was given.
        found: Shape,
    },
    /// The head was made for features of another length.
    #[error("the head reads {expected} features an image and was given {found}: use the backbone it was fitted on")]
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
    #[error("feature {column} of image {row} is {value}: the image or the backbone's weights are damaged; leave the image out or load the weights again")]
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
    /// The caller asked to stop.
    #[error("interrupted while fitting the head: nothing was written; run again")]
    Interrupted,
    /// A tensor could not be built.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
