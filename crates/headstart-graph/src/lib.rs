//! A network as a value: ops, parameters, freezing, inference and training.
//!
//! An architecture builds a [`Graph`]: nodes in topological order, each a variant of the closed [`Op`].
//! Loading, inspecting, freezing, cutting, running and training are functions of that value.
//! [`Graph::split`] cuts it at the freeze boundary: the trunk is compiled ([`Trunk`]), the tail is trained
//! ([`Trainer`]).
//!
//! Shapes are those of one image, `[height, width, channels]`, `[tokens, features]` or `[features]`; batches add a first
//! axis.

mod builder;
mod call;
mod compile;
mod error;
mod format;
mod freeze;
mod graph;
mod kernels;
mod lower;
mod nearest;
mod op;
mod ops;
mod params;
mod plan;
mod rows;
mod summary;
mod train;
mod trunk;

pub use builder::GraphBuilder;
pub use call::CompiledLayer;
pub use error::GraphError;
pub use format::{Calibration, Precision};
pub use freeze::{BnStats, Freeze, Split};
pub use graph::{Graph, Node, NodeId};
pub use nearest::nearest;
pub use op::{Op, ParamKind, ParamSpec};
pub use ops::{
    Activation, AdaptiveAvgPool, AddRows, Attention, AvgPool2d, BatchNorm2d, ClassToken, Conv2d, Embedding,
    LayerNorm, LayerScale, Linear, Linears, MaxPool2d, Padding, Pooled, Smooth, TokenPool,
};
pub use params::Params;
pub use summary::{LayerSummary, Summary};
pub use train::{Gradients, Trainer};
pub use trunk::Trunk;
