//! Architectures, their registry and pre-trained weights.
//!
//! `arch.tag` names a set of published weights, as in timm: `resnet50.tv2_in1k`. An architecture alone stands
//! for its first set. [`registry`] lists what there is; [`Pretrained`] joins a network, its parameters and the
//! preprocessing it was trained with.

mod bert;
mod convnext;
mod densenet;
mod efficientnet;
mod efficientnet_b;
mod embedded;
mod encoder;
mod error;
mod fingerprint;
mod home;
mod imagenet;
mod import;
mod inverted_residual;
mod key_map;
mod load;
mod mobilenet;
mod mobilenet_v3;
mod positions;
mod pretrained;
mod published;
pub mod registry;
mod resnet;
mod squeezenet;
mod tokens;
mod vgg;
mod vit;

pub use bert::{Bert, CLASSIFIER, ENCODERS, Sentence};
pub use encoder::TextEncoder;
pub use error::ModelsError;
pub use fingerprint::{fingerprint, sha256_hex};
pub use home::Home;
pub use imagenet::IMAGENET_1K;
pub use import::{Imported, Precision, import};
pub use key_map::KeyMap;
pub use load::{LoadReport, Mismatch, load};
pub use pretrained::{Pretrained, Whereabouts};
pub use registry::{Architecture, DEFAULT_BACKBONE, PretrainedCfg};
pub use tokens::Tokens;
