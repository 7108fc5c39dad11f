//! Transfer learning on labelled images, and on labelled texts.
//!
//! [`train()`] does the main job: every image through a frozen, pre-trained network once (its features are cached),
//! a linear head fitted on the features, an honest accuracy, one model file. [`Classifier`] answers with it.
//! For loops of your own there are the graph ([`graph`]), its weights ([`models`]), the loss and the optimisers.

pub mod adapt;
pub mod artifact;
mod backbone;
mod bench;
mod bench_train;
mod cache;
pub mod calibration;
mod classifier;
mod compare;
mod cross_validation;
pub mod doctor;
mod embed;
mod error;
mod evaluate;
mod explain;
mod features;
pub mod fine_tune;
mod fit;
pub mod head;
mod input;
pub mod loss;
pub mod metrics;
mod onnx;
pub mod optim;
mod parts;
mod precision;
mod rank;
mod recipe;
pub mod report;
mod session;
mod skipped;
mod train;
pub mod unknown;

pub use adapt::{AdaptOptions, AdaptReport, adapt};
pub use artifact::{Artifact, Manifest};
pub use backbone::Backbone;
pub use bench::{BenchOptions, BenchReport, LayerTime, bench};
pub use bench_train::{BenchTrainOptions, BenchTrainReport, bench_train};
pub use cache::{CacheInfo, CachePrecision, FeatureCache, FeatureKey, cache_clear, cache_info};
pub use classifier::{Classifier, Prediction, Ranked};
pub use compare::{AnswerLine, CompareReport, Pair, RunAccuracy, compare, read_answers, write_answers};
pub use cross_validation::{CrossValidation, Fold, Repeats, SeedAccuracy};
pub use doctor::{DoctorOptions, DoctorReport, FixList, doctor};
pub use embed::{EmbedReport, embed};
pub use error::Error;
pub use evaluate::{EvalReport, OtherImages, Uncalibrated, evaluate, evaluate_columns, evaluate_other};
pub use explain::{
    ExplainReport, Explainer, Explanation, Heatmap, TextExplainer, TextExplanation, TextReport, TokenWeight,
    WordWeight, explain, explain_texts,
};
pub use features::{Features, activations, extract};
pub use fine_tune::{TuneOptions, TuneRecipe, TuneReport, fine_tune};
pub use fit::{Epoch, fit_epochs};
pub use head::ClassWeights;
pub use headstart_data as data;
pub use headstart_graph as graph;
pub use headstart_kernels::{Isa, Pool};
pub use headstart_models as models;
pub use headstart_tensor as tensor;
pub use input::Input;
pub use onnx::{OnnxError, OnnxImport, OnnxImportOptions, OnnxReport, export_onnx, import_onnx};
pub use precision::{PrecisionChoice, PrecisionPart, Tried};
pub use rank::{RankOptions, RankReport, RankedNetwork, Recommendation, logme, rank};
pub use recipe::{ClassWeighting, EpochOptions, OptimizerKind, Solver, TrainOptions};
pub use session::{Progress, Quiet, Session};
pub use skipped::SkippedFile;
pub use train::{TrainReport, train};
