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
mod encoder_config;
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
mod network;
mod outline;
mod positions;
mod pretrained;
mod published;
#[cfg(feature = "download")]
mod pull;
#[cfg(feature = "download")]
mod pull_encoder;
pub mod registry;
mod resnet;
#[cfg(feature = "download")]
mod sources;
mod squeezenet;
mod tokens;
mod vgg;
mod vit;
mod wrapped;

pub use bert::{Bert, CLASSIFIER, ENCODERS, Family, Sentence};
pub use encoder::TextEncoder;
pub use error::ModelsError;
pub use fingerprint::{fingerprint, sha256_hex};
#[cfg(feature = "download")]
pub use headstart_download as download;
pub use home::{Home, is_repository};
pub use imagenet::IMAGENET_1K;
pub use import::{Imported, Precision, import};
pub use key_map::KeyMap;
pub use load::{LoadReport, Mismatch, load};
pub use network::{Network, NetworkRecord, check_name, network_record, refuse_onnx};
pub use outline::Outline;
pub use pretrained::{Pretrained, Whereabouts};
#[cfg(feature = "download")]
pub use pull::{Pulled, pull};
#[cfg(feature = "download")]
pub use pull_encoder::{EncoderPull, pull_encoder};
pub use registry::{Architecture, DEFAULT_BACKBONE, Origin, PretrainedCfg};
#[cfg(feature = "download")]
pub use sources::Sources;
pub use tokens::{Piece, Tokens};
