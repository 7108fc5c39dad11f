//! How fast a trunk runs here, and what part of the machine's peak that is.

use crate::{Error, Session};
use headstart_graph::{CompiledLayer, Freeze, Graph, Params, Precision, Trunk};
use headstart_kernels::{Isa, peak};
use headstart_models::Outline;
use headstart_tensor::{Rng, Tensor};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// `arch` or `arch.tag`. Its weights need not be here: values do not change the speed.
    pub backbone: String,
    /// Precision of the trunk.
    pub precision: Precision,
    /// Images a batch, 1 or more.
    pub batch: usize,
    /// Side of the square images; the network's own where not given.
    pub size: Option<usize>,
    /// How long to measure.
    pub seconds: f64,
    /// Whether each kernel call is timed too.
    pub per_layer: bool,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// `arch.tag`.
    pub backbone: String,
    /// Precision of the trunk.
    pub precision: Precision,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// Images a batch.
    pub batch: usize,
    /// Side of the square images.
    pub size: usize,
    /// Batches measured, after one that was not.
    pub batches: usize,
    /// Of the median batch.
    pub images_per_second: f64,
    /// Of the median batch.
    pub ms_per_batch: f64,
    /// Multiply-accumulates of one image, in 10^9.
    pub gmacs: f64,
    /// What products of the lowest precision in it reach from registers on all threads, in 10^9 operations a second.
    pub peak_gflops: f64,
    /// The median batch's operations a second, by the peak.
    pub fraction_of_peak: f64,
    /// Every kernel call on one thread, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerTime>,
}

/// A kernel call's time.
#[derive(Debug, Clone, Serialize)]
pub struct LayerTime {
    /// What it computes.
    #[serde(flatten)]
    pub layer: CompiledLayer,
    /// Milliseconds an image.
    pub ms: f64,
    /// Operations a second, in 10^9.
    pub gflops: f64,
    /// By one thread's peak.
    pub fraction_of_peak: f64,
}

/// Measures the trunk of a network: all before its classifier, the same for any weights.
///
/// # Errors
/// Where the name is unknown, a setting is out of its range, the size does not fit, or the run was interrupted.
pub fn bench(session: &Session, options: &BenchOptions) -> Result<BenchReport, Error> {
    if !(1..=1024).contains(&options.batch) {
        return Err(Error::Setting {
            name: "--batch",
            found: options.batch.to_string(),
            expected: "1 to 1024",
        });
    }
    if options.size.is_some_and(|s| !(1..=4096).contains(&s)) {
        let found = options.size.unwrap_or(0).to_string();
        return Err(Error::Setting { name: "--size", found, expected: "1 to 4096 pixels" });
    }
    let Outline { name, classifier, graph, .. } =
        Outline::open(&options.backbone, session.home, options.size)?;
    let size = graph.input().dims()[0];
    let graph = graph.split(&Freeze::everything().unfreeze(&graph, &classifier)?)?.trunk;
    let mut rng = Rng::named(0, "bench");
    let params = arbitrary(&graph, &mut rng);
    let images = Tensor::from_fn([options.batch, size, size, 3], |_| rng.range(-2.0, 2.0) as f32);
    let one = Tensor::new([1, size, size, 3], images.row(0).to_vec())?;
    let calibration = Trunk::calibrate(&graph, &params, session.pool, &one)?;
    let trunk = Trunk::compile_in(options.precision, &graph, &params, &calibration)?;
    // Networks without kernels of bytes multiply bf16.
    let lowest = trunk.products().last().copied().unwrap_or_default();
    let limit = peak(Isa::current(), lowest.dot(), session.pool);
    let flops = 2.0 * graph.macs() as f64;

    let mut times = Vec::new();
    trunk.run(session.pool, &images)?;
    let started = Instant::now();
    while times.len() < 5 || started.elapsed().as_secs_f64() < options.seconds {
        session.check()?;
        let batch = Instant::now();
        trunk.run(session.pool, &images)?;
        times.push(batch.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    Ok(BenchReport {
        backbone: name,
        precision: options.precision,
        isa: Isa::current().to_string(),
        threads: session.pool.threads(),
        batch: options.batch,
        size,
        batches: times.len(),
        images_per_second: options.batch as f64 / median,
        ms_per_batch: 1e3 * median,
        gmacs: graph.macs() as f64 / 1e9,
        peak_gflops: limit / 1e9,
        fraction_of_peak: flops * options.batch as f64 / median / limit,
        layers: if options.per_layer { layers(session, &trunk, &images, limit)? } else { Vec::new() },
    })
}

/// Parameters of a network that computes nothing in particular.
pub(crate) fn arbitrary(graph: &Graph, rng: &mut Rng) -> Params {
    let mut params = Params::new();
    for spec in graph.params() {
        // Small weights and statistics near one: no value overflows or becomes subnormal.
        let spread = 1.0 / (spec.shape.dims().iter().skip(1).product::<usize>() as f64).sqrt();
        let statistics =
            spec.name.ends_with("running_var") || spec.shape.rank() == 1 && spec.name.ends_with("weight");
        let value = |rng: &mut Rng| if statistics { 1.0 } else { rng.range(-spread, spread) };
        let value = Tensor::from_fn(spec.shape.clone(), |_| value(rng) as f32);
        params.insert(spec.name, value);
    }
    params
}

/// Times every kernel call on one thread, the median of nine groups of images.
fn layers(session: &Session, trunk: &Trunk, images: &Tensor, limit: f64) -> Result<Vec<LayerTime>, Error> {
    let limit = limit / session.pool.threads() as f64;
    let layers = trunk.layers();
    let n = trunk.group().min(images.dims()[0]);
    let mut out = vec![0.0; n * trunk.output().len()];
    let mut runs: Vec<Vec<Duration>> = Vec::new();
    for _ in 0..9 {
        session.check()?;
        let mut times = vec![Duration::ZERO; layers.len()];
        trunk.run_timed(&images.data()[..n * images.row_len()], &mut out, &mut times);
        runs.push(times);
    }
    let time = |i: usize| {
        let mut times: Vec<f64> = runs.iter().map(|run| run[i].as_secs_f64() / n as f64).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let row = |(i, layer): (usize, CompiledLayer)| {
        let (seconds, flops) = (time(i).max(1e-9), 2.0 * layer.macs as f64);
        LayerTime {
            layer,
            ms: 1e3 * seconds,
            gflops: flops / seconds / 1e9,
            fraction_of_peak: flops / seconds / limit,
        }
    };
    Ok(layers.into_iter().enumerate().map(row).collect())
}
