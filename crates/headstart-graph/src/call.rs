//! One kernel call of a compiled network: a step with its weights in the order of the instruction set's kernels.

use crate::compile::{Kernel, Source, Step};
use crate::format::Format;
use crate::kernels::{Average, Convert, CopyRows, Data, MaxPooling, Product, Run, ScaleRows};
use headstart_kernels::{
    Activation, Conv, Element, Isa, PackedConv, PackedDepthwise, PackedDynamic, PackedExpand, PackedGrouped,
    PackedPooled, Pool, Scales, Winograd2, Winograd4, bf16,
};
use headstart_tensor::Shape;
use serde::Serialize;
use std::marker::PhantomData;

/// One kernel call as a row of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompiledLayer {
    /// The nodes it computes, joined by `+`.
    pub nodes: String,
    /// The kernel.
    pub kernel: String,
    /// The output's shape for one image.
    pub output: Vec<usize>,
    /// Bytes of packed weights.
    pub bytes: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
}

#[derive(Debug)]
pub(crate) struct Call {
    kernel: Box<dyn Run>,
    pub(crate) input: Source,
    pub(crate) residual: Option<Source>,
    activation: Option<Activation>,
    /// Words of the output for one image.
    pub(crate) words: usize,
    writes: Format,
    layer: CompiledLayer,
}

impl Call {
    pub(crate) fn of(step: Step, isa: Isa) -> Call {
        let (words, shape) = (step.words(), step.shape.dims().to_vec());
        let (input, residual, activation, writes) = (step.input, step.residual, step.activation, step.writes);
        let nodes = step.nodes.join("+");
        let (kernel, name, macs) = packed(step, isa);
        let layer = CompiledLayer { nodes, kernel: name, output: shape, bytes: kernel.bytes(), macs };
        Call { kernel, input, residual, activation, words, writes, layer }
    }

    /// Words of the output for one image of `now` tokens, where the whole is for `then`.
    pub(crate) fn words_of(&self, (now, then): (usize, usize)) -> usize {
        if now == then {
            return self.words;
        }
        self.writes.words(self.layer.output.iter().product::<usize>() / then * now)
    }

    pub(crate) fn layer(&self) -> CompiledLayer {
        self.layer.clone()
    }

    /// Whether the step is faster over several images at once.
    pub(crate) fn wants_company(step: &Step, isa: Isa) -> bool {
        match (&step.kernel, step.reads) {
            (Kernel::Dense { conv, .. }, Format::F32) => {
                Winograd4::suits(isa, conv) && Winograd4::wants_company(conv)
            }
            (Kernel::Dense { conv, .. }, Format::Bf16) => {
                takes_winograd2(step, isa, conv) && Winograd2::wants_company(conv)
                    || PackedConv::<bf16>::wants_company(isa, conv)
            }
            (Kernel::Dense { conv, .. }, Format::Bytes(_)) => PackedConv::<u8>::wants_company(isa, conv),
            _ => false,
        }
    }

    /// Words of scratch for `n` images.
    pub(crate) fn scratch(&self, n: usize) -> usize {
        self.kernel.scratch(n)
    }

    /// Runs over images one after the other.
    pub(crate) fn run(&self, pool: &Pool, data: Data) {
        self.kernel.run(pool, self.activation, data);
    }
}

fn takes_winograd2(step: &Step, isa: Isa, conv: &Conv) -> bool {
    step.writes == Format::Bf16 && Winograd2::suits(isa, conv)
}

/// The kernel of a step, its name, and its multiply-accumulates for one image.
fn packed(step: Step, isa: Isa) -> (Box<dyn Run>, String, u64) {
    let size = |conv: &Conv| format!("{}x{}/{}", conv.kernel[0], conv.kernel[1], conv.stride[0]);
    let macs = |conv: &Conv, a_value: usize| {
        (a_value as u64).saturating_mul(conv.output.iter().product::<usize>() as u64)
    };
    let taps = |conv: &Conv| conv.kernel[0] * conv.kernel[1];
    let winograd2 = matches!(&step.kernel, Kernel::Dense { conv, .. } if takes_winograd2(&step, isa, conv));
    let (reads, writes, bias, scales) = (step.reads, step.writes, step.bias, step.scales);
    let inputs = reads.precision();
    match step.kernel {
        Kernel::Dense { conv, weights } => {
            let macs = macs(&conv, conv.patch());
            if reads == Format::F32 && Winograd4::suits(isa, &conv) {
                let kernel = Winograd4::new(isa, conv, &weights, &bias);
                return (Box::new(kernel), "winograd 4x4 f32".to_owned(), macs);
            }
            if reads == Format::Bf16 && winograd2 {
                let kernel = Winograd2::new(isa, conv, &weights, &bias);
                return (Box::new(kernel), "winograd 2x2 bf16".to_owned(), macs);
            }
            let name = format!("direct {} {inputs}", size(&conv));
            (dense(isa, conv, Of::Convolution, &weights, &bias, (reads, writes), &scales), name, macs)
        }
        Kernel::Pooled { conv, weights, pool, .. } => {
            let name = format!("direct {} + max pool {} {inputs}", size(&conv), size(&pool));
            let macs = macs(&conv, conv.patch());
            (dense(isa, conv, Of::Pooled(pool), &weights, &bias, (reads, writes), &scales), name, macs)
        }
        Kernel::Linear { weights } => {
            let conv = product(&step.shape, weights.len(), bias.len());
            let macs = macs(&conv, conv.patch());
            let kernel = dense(isa, conv, Of::Product, &weights, &bias, (reads, writes), &scales);
            (kernel, format!("linear {inputs}"), macs)
        }
        Kernel::Dynamic { weights } => {
            let conv = product(&step.shape, weights.len(), bias.len());
            let kernel: Box<dyn Run> = match (reads, writes) {
                (Format::Bf16, Format::Bf16) => {
                    Box::new(PackedDynamic::<bf16, bf16>::new(isa, conv, &weights, &bias))
                }
                (Format::Bf16, _) => Box::new(PackedDynamic::<bf16, f32>::new(isa, conv, &weights, &bias)),
                (_, Format::Bf16) => Box::new(PackedDynamic::<f32, bf16>::new(isa, conv, &weights, &bias)),
                _ => Box::new(PackedDynamic::<f32, f32>::new(isa, conv, &weights, &bias)),
            };
            (kernel, "linear int8 (rows)".to_owned(), macs(&conv, conv.patch()))
        }
        Kernel::Depthwise { conv, weights } => {
            let kernel: Box<dyn Run> = match reads {
                Format::F32 => Box::new(PackedDepthwise::<f32>::stored(isa, conv, &weights, &bias, &scales)),
                Format::Bf16 => {
                    Box::new(PackedDepthwise::<bf16>::stored(isa, conv, &weights, &bias, &scales))
                }
                Format::Bytes(_) => {
                    Box::new(PackedDepthwise::<u8>::stored(isa, conv, &weights, &bias, &scales))
                }
            };
            (kernel, format!("depthwise {} {inputs}", size(&conv)), macs(&conv, taps(&conv)))
        }
        Kernel::Grouped { conv, groups, weights } => {
            let name = format!("direct {} in {groups} groups {inputs}", size(&conv));
            let macs = macs(&conv, conv.patch() / groups.max(1));
            (dense(isa, conv, Of::Groups(groups), &weights, &bias, (reads, writes), &scales), name, macs)
        }
        Kernel::Expand { point, point_weights, bias: before, activation, between, conv, weights, .. } => {
            let name = format!("expand 1x1 + depthwise {} {inputs}", size(&conv));
            let point_macs = macs(&point, point.patch()).saturating_mul(conv.input[0] as u64);
            let both = Both {
                isa,
                point: (point, &point_weights, &before),
                activation,
                conv: (conv, &weights, &bias),
                first: Scales { input: scales.input, output: between.scale(), ..Scales::ONE },
                second: Scales { input: between.scale(), ..scales },
            };
            let kernel = match reads {
                Format::F32 => both.expand::<f32>(),
                Format::Bf16 => both.expand::<bf16>(),
                Format::Bytes(_) => both.expand::<u8>(),
            };
            (kernel, name, point_macs + macs(&conv, taps(&conv)))
        }
        Kernel::Scale { scale } => (Box::new(ScaleRows { scale, bias }), "scale f32".to_owned(), 0),
        Kernel::Copy => (Box::new(CopyRows { bias }), "copy".to_owned(), 0),
        Kernel::Rows(rows) => {
            let (name, macs) = (rows.name(), rows.macs());
            match rows.in_bf16().filter(|_| writes == Format::Bf16) {
                Some(short) => (Box::new(short), name.replace("f32", "bf16"), macs),
                None => (Box::new(rows), name.to_owned(), macs),
            }
        }
        Kernel::MaxPool { pool } => {
            let kernel: Box<dyn Run> = match reads {
                Format::F32 => Box::new(MaxPooling::<f32> { isa, pool, of: PhantomData }),
                Format::Bf16 => Box::new(MaxPooling::<bf16> { isa, pool, of: PhantomData }),
                Format::Bytes(_) => Box::new(MaxPooling::<u8> { isa, pool, of: PhantomData }),
            };
            (kernel, format!("max pool {} {inputs}", size(&pool)), 0)
        }
        Kernel::GlobalAvgPool { inputs: len } => {
            let (inputs, channels, scale) = (len, step.shape.len(), scales.input);
            let kernel: Box<dyn Run> = match reads {
                Format::F32 => Box::new(Average::<f32> { inputs, channels, scale, of: PhantomData }),
                Format::Bf16 => Box::new(Average::<bf16> { inputs, channels, scale, of: PhantomData }),
                Format::Bytes(_) => Box::new(Average::<u8> { inputs, channels, scale, of: PhantomData }),
            };
            (kernel, "global average".to_owned(), 0)
        }
        Kernel::Convert => {
            fn from<I: Element>(isa: Isa, len: usize, scales: Scales, writes: Format) -> Box<dyn Run> {
                match writes {
                    Format::F32 => Box::new(Convert::<I, f32> { isa, len, scales, of: PhantomData }),
                    Format::Bf16 => Box::new(Convert::<I, bf16> { isa, len, scales, of: PhantomData }),
                    Format::Bytes(_) => Box::new(Convert::<I, u8> { isa, len, scales, of: PhantomData }),
                }
            }
            let len = step.shape.len();
            let kernel = match reads {
                Format::F32 => from::<f32>(isa, len, scales, writes),
                Format::Bf16 => from::<bf16>(isa, len, scales, writes),
                Format::Bytes(_) => from::<u8>(isa, len, scales, writes),
            };
            (kernel, format!("{inputs} to {}", writes.precision()), 0)
        }
    }
}

/// The product of a linear layer with so many weights and outputs a row.
fn product(output: &Shape, weights: usize, outer: usize) -> Conv {
    let rows = (output.len() / outer.max(1)).max(1);
    Conv::linear(rows, weights / outer.max(1), outer)
}

/// What a dense kernel is.
#[derive(Clone, Copy)]
enum Of {
    Convolution,
    /// A convolution and the max pooling behind it.
    Pooled(Conv),
    Product,
    /// A convolution in so many groups.
    Groups(usize),
}

fn dense(
    isa: Isa,
    conv: Conv,
    of: Of,
    weights: &[f32],
    bias: &[f32],
    (reads, writes): (Format, Format),
    scales: &Scales,
) -> Box<dyn Run> {
    struct Dense<'a>(Isa, Conv, Of, &'a [f32], &'a [f32], &'a Scales);
    impl Dense<'_> {
        fn elements<I: Element, O: Element>(self) -> Box<dyn Run> {
            let Dense(isa, conv, of, weights, bias, scales) = self;
            let packed = || PackedConv::<I, O>::stored(isa, conv, weights, bias, scales);
            match of {
                Of::Convolution => Box::new(packed()),
                Of::Pooled(pool) => Box::new(PackedPooled::new(packed(), pool)),
                Of::Product => Box::new(Product(packed())),
                Of::Groups(groups) => {
                    Box::new(PackedGrouped::<I, O>::stored(isa, conv, groups, weights, bias, scales))
                }
            }
        }
    }
    let of = Dense(isa, conv, of, weights, bias, scales);
    match (reads, writes) {
        (Format::F32, _) => of.elements::<f32, f32>(),
        (Format::Bf16, Format::F32) => of.elements::<bf16, f32>(),
        (Format::Bf16, Format::Bf16) => of.elements::<bf16, bf16>(),
        (Format::Bf16, Format::Bytes(_)) => of.elements::<bf16, u8>(),
        (Format::Bytes(_), Format::F32) => of.elements::<u8, f32>(),
        (Format::Bytes(_), Format::Bf16) => of.elements::<u8, bf16>(),
        (Format::Bytes(_), Format::Bytes(_)) => of.elements::<u8, u8>(),
    }
}

/// A pointwise convolution and the depthwise one that reads it: sizes, weights and bias of each.
struct Both<'a> {
    isa: Isa,
    point: (Conv, &'a [f32], &'a [f32]),
    activation: Option<Activation>,
    conv: (Conv, &'a [f32], &'a [f32]),
    first: Scales,
    second: Scales,
}

impl Both<'_> {
    fn expand<E: Element>(&self) -> Box<dyn Run> {
        let ((point, weights, bias), isa) = (self.point, self.isa);
        let point = PackedConv::<E>::stored(isa, point, weights, bias, &self.first);
        let (conv, weights, bias) = self.conv;
        let depthwise = PackedDepthwise::<E>::stored(isa, conv, weights, bias, &self.second);
        Box::new(PackedExpand::new(point, self.activation, depthwise))
    }
}
