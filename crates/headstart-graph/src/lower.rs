//! From f32 steps to the steps of a lower precision: what each reads and writes, with conversions in between.
//!
//! Convolutions and max pooling work on stored bf16 or bytes; the pooled features, and all that follows, are f32
//! again. Linear layers of many rows multiply bf16, in an int8 trunk of texts bytes whose rows are quantised on the way, and attention bf16 where the machine has
//! instructions for it. The first convolution of an int8 trunk is bf16: its three channels hold what 8 bits cannot; and what no
//! such kernel reads (an average over all pixels does) stays f32.

use crate::GraphError;
use crate::compile::{Kernel, Source, Step};
use crate::format::{Calibration, Format, Precision};
use crate::rows::Rows;
use headstart_kernels::{Dot, Isa, Scale, Scales};
use headstart_tensor::Shape;
use std::collections::BTreeMap;

/// Products of a byte and a signed byte whose sum fits into 32 bits for certain.
const EXACT: usize = i32::MAX as usize / (255 * 128);

/// The steps in `precision`, and where the output, f32 again, is. `input` is the input's node and shape.
pub(crate) fn lower(
    (steps, result): (Vec<Step>, Source),
    input: (&str, &Shape),
    precision: Precision,
    calibration: &Calibration,
) -> Result<(Vec<Step>, Source), GraphError> {
    if precision == Precision::F32 {
        return Ok((steps, result));
    }
    let mut lowering = Lowering {
        input,
        precision,
        calibration,
        steps: Vec::new(),
        place: Vec::new(),
        converted: BTreeMap::new(),
    };
    // Whether stored elements of a step's output are multiplied, or added to such products.
    let mut multiplied = vec![false; steps.len()];
    for step in &steps {
        let reads_stored = matches!(
            step.kernel,
            Kernel::Dense { .. }
                | Kernel::Pooled { .. }
                | Kernel::Depthwise { .. }
                | Kernel::Grouped { .. }
                | Kernel::Expand { .. }
                | Kernel::MaxPool { .. }
        );
        for source in [Some(step.input), step.residual].into_iter().flatten().filter(|_| reads_stored) {
            if let Source::Step(s) = source {
                multiplied[s] = true;
            }
        }
    }
    let short = short_rows(&steps, result);
    for ((step, multiplied), short) in steps.into_iter().zip(multiplied).zip(short) {
        lowering.add(step, multiplied, short)?;
    }
    let result = lowering.now(result);
    let result = lowering.stored(result, Precision::F32)?;
    Ok((lowering.steps, result))
}

/// Of a transformer's rows, which steps write bf16: those that are read only by steps which multiply it, or hand it on.
fn short_rows(steps: &[Step], result: Source) -> Vec<bool> {
    let attends = Isa::current().has_dot(Dot::Bf16);
    let mut short = vec![false; steps.len()];
    for s in (0..steps.len()).rev() {
        let writes = match &steps[s].kernel {
            Kernel::Linear { .. } => is_of_rows(&steps[s]) && steps[s].residual.is_none(),
            Kernel::Rows(Rows::Attention(_)) => attends,
            Kernel::Rows(Rows::LayerNorm { .. } | Rows::Smooth(_)) => true,
            _ => false,
        };
        let takes = |reader: usize| match &steps[reader].kernel {
            Kernel::Linear { .. } => is_of_rows(&steps[reader]),
            Kernel::Rows(Rows::Attention(_) | Rows::Smooth(_)) => short[reader],
            _ => false,
        };
        let own = Source::Step(s);
        let mut readers = (s + 1..steps.len()).filter(|&r| steps[r].input == own).peekable();
        let added = steps[s + 1..].iter().any(|step| step.residual == Some(own));
        short[s] = writes && result != own && !added && readers.peek().is_some() && readers.all(takes);
    }
    short
}

/// Whether a linear layer has many rows: one is no work.
fn is_of_rows(step: &Step) -> bool {
    step.shape.rank() == 2 || step.shape.len() > step.bias.len()
}

/// Whether a step is a linear layer whose rows can be quantised one by one, and its sums of bytes are exact.
fn is_dynamic(step: &Step) -> bool {
    match &step.kernel {
        Kernel::Linear { weights } => is_of_rows(step) && weights.len() / step.bias.len().max(1) <= EXACT,
        _ => false,
    }
}

struct Lowering<'a> {
    input: (&'a str, &'a Shape),
    precision: Precision,
    calibration: &'a Calibration,
    steps: Vec<Step>,
    /// Where each f32 step went.
    place: Vec<Source>,
    converted: BTreeMap<(Source, Precision), Source>,
}

impl Lowering<'_> {
    /// Adds a step; `multiplied` says whether one that works on stored elements reads it, `short` whether it is of rows that are
    /// handed on in bf16.
    fn add(&mut self, mut step: Step, multiplied: bool, short: bool) -> Result<(), GraphError> {
        let input = self.now(step.input);
        // Rows of images stay bf16: those of ConvNeXt lose more in bytes than its convolutions do.
        let of_tokens = self.input.1.rank() == 1;
        let dynamic = self.precision == Precision::Int8 && of_tokens && is_dynamic(&step);
        let (reads, writes) = match &step.kernel {
            Kernel::Dense { conv, .. } | Kernel::Pooled { conv, .. } => {
                let higher = input == Source::Input || conv.patch() > EXACT;
                let reads = match self.precision {
                    Precision::Int8 if higher => Precision::Bf16,
                    precision => precision,
                };
                // Winograd's bf16 kernel writes what it reads.
                let winograd = conv.kernel == [3, 3] && conv.stride == [1, 1];
                let exact = !multiplied && (self.precision == Precision::Int8 || !winograd);
                (reads, if exact { Precision::F32 } else { self.precision })
            }
            Kernel::Expand { point, .. } if input == Source::Input || point.patch() > EXACT => {
                (Precision::Bf16, Precision::Bf16)
            }
            Kernel::Grouped { conv, .. } => {
                let higher = input == Source::Input || conv.patch() > EXACT;
                let reads = match self.precision {
                    Precision::Int8 if higher => Precision::Bf16,
                    precision => precision,
                };
                (reads, if multiplied { self.precision } else { Precision::F32 })
            }
            Kernel::Depthwise { .. } | Kernel::Expand { .. } | Kernel::MaxPool { .. } => {
                (self.precision, self.precision)
            }
            Kernel::GlobalAvgPool { .. } => (self.format(input).precision(), Precision::F32),
            Kernel::Linear { .. } if is_of_rows(&step) => {
                // Rows that are quantised on the way are read as they come.
                let reads = match self.format(input) {
                    Format::F32 if dynamic => Precision::F32,
                    _ => Precision::Bf16,
                };
                (reads, if short { Precision::Bf16 } else { Precision::F32 })
            }
            Kernel::Rows(Rows::LayerNorm { .. }) if short => (Precision::F32, Precision::Bf16),
            Kernel::Rows(_) if short => (Precision::Bf16, Precision::Bf16),
            Kernel::Linear { .. }
            | Kernel::Dynamic { .. }
            | Kernel::Rows(_)
            | Kernel::Scale { .. }
            | Kernel::Copy
            | Kernel::Convert => (Precision::F32, Precision::F32),
        };
        step.input = self.stored(input, reads)?;
        step.reads = self.format(step.input);
        let name = step.nodes.last().map_or("", String::as_str);
        step.writes = match &step.kernel {
            Kernel::MaxPool { .. } => step.reads,
            // Pooling keeps the scale of what it reads.
            Kernel::Pooled { node, .. } => self.format_of(node, writes)?,
            _ => self.format_of(name, writes)?,
        };
        if let Kernel::Expand { node, between, .. } = &mut step.kernel {
            *between = self.format_of(node, writes)?;
        }
        if let Some(residual) = step.residual {
            let residual = self.now(residual);
            // The second input of rows is a mask, or what scales channels.
            let stored = if matches!(step.kernel, Kernel::Rows(_)) { Precision::F32 } else { writes };
            let residual = self.stored(residual, stored)?;
            step.residual = Some(residual);
            step.scales.residual = self.format(residual).scale();
        }
        step.kernel = match step.kernel {
            Kernel::Linear { weights } if dynamic => Kernel::Dynamic { weights },
            kernel => kernel,
        };
        step.scales = Scales { input: step.reads.scale(), output: step.writes.scale(), ..step.scales };
        self.steps.push(step);
        self.place.push(Source::Step(self.steps.len() - 1));
        Ok(())
    }

    /// Where the output of an f32 step is now.
    fn now(&self, source: Source) -> Source {
        match source {
            Source::Input => Source::Input,
            Source::Step(s) => self.place[s],
        }
    }

    fn format(&self, source: Source) -> Format {
        match source {
            Source::Input => Format::F32,
            Source::Step(s) => self.steps[s].writes,
        }
    }

    /// What the output of `node` is stored as in `precision`.
    fn format_of(&self, node: &str, precision: Precision) -> Result<Format, GraphError> {
        Ok(match precision {
            Precision::F32 => Format::F32,
            Precision::Bf16 => Format::Bf16,
            Precision::Int8 => {
                let range = self.calibration.ranges.get(node);
                let (low, high) = range.ok_or_else(|| GraphError::NotCalibrated { node: node.to_owned() })?;
                if !(low.is_finite() && high.is_finite()) {
                    return Err(GraphError::NotFinite { node: node.to_owned() });
                }
                Format::Bytes(Scale::of_range(*low, *high))
            }
        })
    }

    /// A value in another precision: itself, or a conversion that all readers share.
    fn stored(&mut self, source: Source, precision: Precision) -> Result<Source, GraphError> {
        let reads = self.format(source);
        if reads.precision() == precision {
            return Ok(source);
        }
        if let Some(&done) = self.converted.get(&(source, precision)) {
            return Ok(done);
        }
        let (node, shape) = match source {
            Source::Input => (self.input.0.to_owned(), self.input.1.clone()),
            Source::Step(s) => {
                (self.steps[s].nodes.last().cloned().unwrap_or_default(), self.steps[s].shape.clone())
            }
        };
        let writes = self.format_of(&node, precision)?;
        let scales = Scales { input: reads.scale(), output: writes.scale(), ..Scales::ONE };
        let (kernel, nodes) = (Kernel::Convert, vec![node]);
        let step = Step { reads, writes, scales, nodes, shape, ..Step::new(kernel, source) };
        self.steps.push(step);
        let done = Source::Step(self.steps.len() - 1);
        self.converted.insert((source, precision), done);
        Ok(done)
    }
}
