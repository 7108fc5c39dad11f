//! How fast a training step runs here: forward, backward and the optimiser, on synthetic data.

use crate::bench::arbitrary;
use crate::loss::cross_entropy;
use crate::optim::{Optimizer, Rule};
use crate::{Error, Session};
use headstart_graph::{BnStats, Freeze, Trainer, Trunk};
use headstart_kernels::{Dot, Isa, peak};
use headstart_models::Outline;
use headstart_tensor::{Rng, Tensor};
use serde::Serialize;
use std::time::Instant;

/// Classes of the classifier: as many as a data set of one's own has, not the thousand of the published weights.
const CLASSES: usize = 10;

/// Which step to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchTrainOptions {
    /// `arch` or `arch.tag`. Its weights need not be here: values do not change the speed.
    pub backbone: String,
    /// Images a batch, 1 or more.
    pub batch: usize,
    /// Side of the square images; the network's own where not given.
    pub size: Option<usize>,
    /// How long to measure.
    pub seconds: f64,
    /// Stages, layers or parameters that are trained besides the classifier; `all` for every one.
    pub unfreeze: Vec<String>,
    /// Whether a step begins at the cached activations of the trunk, else with the trunk.
    pub cached: bool,
    /// By which statistics trained norms normalise.
    pub stats: BnStats,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchTrainReport {
    /// `arch.tag`.
    pub backbone: String,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// Images a batch.
    pub batch: usize,
    /// Side of the square images.
    pub size: usize,
    /// The node after which the network is cut: what comes before runs once an image where activations are cached.
    pub cut: String,
    /// Whether the step began at the cut.
    pub cached: bool,
    /// Classes of the classifier.
    pub classes: usize,
    /// Trained values.
    pub trainable_parameters: usize,
    /// Steps measured, after one that was not.
    pub steps: usize,
    /// Of the median step.
    pub images_per_second: f64,
    /// Of the median step.
    pub ms_per_step: f64,
    /// The parts of the median step, in milliseconds: the trunk, forward, backward, the optimiser.
    pub parts_ms: [f64; 4],
    /// What multiply-adds from registers reach on all threads, in 10^9 operations a second.
    pub peak_gflops: f64,
}

/// Measures a training step: SGD with momentum on the mean cross-entropy.
///
/// # Errors
/// Where a name is unknown, a setting is out of its range, the size does not fit, or the run was interrupted.
pub fn bench_train(session: &Session, options: &BenchTrainOptions) -> Result<BenchTrainReport, Error> {
    let (batch, out_of) =
        (options.batch, |name, found: String, expected| Error::Setting { name, found, expected });
    if !(1..=1024).contains(&batch) {
        return Err(out_of("--batch", batch.to_string(), "1 to 1024"));
    }
    if let Some(size) = options.size.filter(|s| !(1..=4096).contains(s)) {
        return Err(out_of("--size", size.to_string(), "1 to 4096 pixels"));
    }
    let Outline { name: backbone, classifier, graph, .. } =
        Outline::open(&options.backbone, session.home, options.size)?;
    let size = graph.input().dims()[0];
    let graph = graph.with_classes(&classifier, CLASSES)?;
    let stages: Vec<String> = graph.stages().into_iter().map(str::to_owned).collect();
    let all = options.unfreeze.iter().any(|name| name == "all");
    let names = if all { &stages } else { &options.unfreeze };
    let mut freeze = Freeze::everything().unfreeze(&graph, &classifier)?;
    for name in names {
        freeze = freeze.unfreeze(&graph, name)?;
    }
    let split = graph.split(&freeze)?;
    let mut rng = Rng::named(0, "bench");
    let mut params = arbitrary(&graph, &mut rng);
    let trunk = match split.trunk.nodes().len() {
        1 => None,
        _ => Some(Trunk::compile(&split.trunk, &params)?),
    };
    let images = Tensor::from_fn([batch, size, size, 3], |_| rng.range(-2.0, 2.0) as f32);
    let mut x = match &trunk {
        None => images.clone(),
        Some(trunk) => trunk.run(session.pool, &images)?,
    };
    let trunk = trunk.filter(|_| !options.cached);
    let targets: Vec<usize> = (0..batch).map(|i| i % CLASSES).collect();
    let trainable_parameters = freeze.trainable().filter_map(|name| params.get(name)).map(Tensor::len).sum();
    let mut trainer = Trainer::new(split.tail, freeze, options.stats);
    let mut optimizer = Optimizer::new(Rule::sgd(0.9))?;
    let limit = peak(Isa::current(), Dot::F32, session.pool);

    let mut steps: Vec<[f64; 4]> = Vec::new();
    let mut started = Instant::now();
    for step in 0.. {
        if step > 5 && started.elapsed().as_secs_f64() >= options.seconds {
            break;
        }
        session.check()?;
        let clock = Instant::now();
        if let Some(trunk) = &trunk {
            x = trunk.run(session.pool, &images)?;
        }
        let began = clock.elapsed().as_secs_f64();
        let logits = trainer.forward(&params, &x, session.pool)?;
        let (_, gradient) = cross_entropy(logits, &targets, None)?;
        trainer.update_statistics(&mut params)?;
        let forward = clock.elapsed().as_secs_f64();
        let gradients = trainer.backward(&params, &gradient, session.pool)?;
        let backward = clock.elapsed().as_secs_f64();
        // So small a rate that the arbitrary network stays as it is.
        optimizer.step_all(&mut params, gradients, 1e-9)?;
        let done = clock.elapsed().as_secs_f64();
        match step {
            0 => started = Instant::now(),
            _ => steps.push([began, forward - began, backward - forward, done - backward]),
        }
    }
    let total = |parts: &[f64; 4]| parts.iter().sum::<f64>();
    steps.sort_by(|a, b| total(a).total_cmp(&total(b)));
    let parts = steps[steps.len() / 2];
    let median = total(&parts);
    Ok(BenchTrainReport {
        backbone,
        isa: Isa::current().to_string(),
        threads: session.pool.threads(),
        batch,
        size,
        cut: split.cut,
        cached: options.cached,
        classes: CLASSES,
        trainable_parameters,
        steps: steps.len(),
        images_per_second: batch as f64 / median,
        ms_per_step: 1e3 * median,
        parts_ms: parts.map(|p| 1e3 * p),
        peak_gflops: limit / 1e9,
    })
}
