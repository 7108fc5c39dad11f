//! One kernel call of a compiled network: a step with its weights in the order of the instruction set's kernels.

use crate::compile::{Kernel, Source, Step};
use headstart_kernels::{
    Activation, Conv, Isa, PackedConv, PackedDepthwise, PackedExpand, Pool, Scale, Winograd4, epilogue,
    global_avg_pool, max_pool,
};
use serde::Serialize;

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
    kernel: Packed,
    pub(crate) input: Source,
    pub(crate) residual: Option<Source>,
    activation: Option<Activation>,
    /// Values of the output for one image.
    pub(crate) len: usize,
    layer: CompiledLayer,
}

#[derive(Debug)]
enum Packed {
    Conv(PackedConv),
    Winograd(Winograd4),
    Depthwise(PackedDepthwise),
    Expand(PackedExpand),
    Scale { scale: Vec<f32>, bias: Vec<f32> },
    Copy { bias: Vec<f32> },
    MaxPool(Conv),
    GlobalAvgPool,
}

impl Call {
    pub(crate) fn of(step: Step, isa: Isa) -> Call {
        let size = |conv: &Conv| format!("{}x{}/{}", conv.kernel[0], conv.kernel[1], conv.stride[0]);
        let macs = |conv: &Conv, a_value: usize| {
            (a_value as u64).saturating_mul(conv.output.iter().product::<usize>() as u64)
        };
        let (bias, values) = (step.bias, step.kernel.values());
        let (kernel, name, macs) = match step.kernel {
            Kernel::Dense { conv, weights } if Winograd4::suits(isa, &conv) => {
                let packed = Packed::Winograd(Winograd4::new(isa, conv, &weights, &bias));
                (packed, "winograd 3x3/1 f32".to_owned(), macs(&conv, conv.patch()))
            }
            Kernel::Dense { conv, weights } => {
                let packed = Packed::Conv(PackedConv::new(isa, conv, &weights, &bias));
                (packed, format!("direct {} f32", size(&conv)), macs(&conv, conv.patch()))
            }
            Kernel::Depthwise { conv, weights } => {
                let packed = Packed::Depthwise(PackedDepthwise::new(isa, conv, &weights, &bias));
                (
                    packed,
                    format!("depthwise {} f32", size(&conv)),
                    macs(&conv, conv.kernel[0] * conv.kernel[1]),
                )
            }
            Kernel::Expand { point, point_weights, bias: before, activation, conv, weights } => {
                let expand = PackedConv::new(isa, point, &point_weights, &before);
                let depthwise = PackedDepthwise::new(isa, conv, &weights, &bias);
                let rows = conv.input[0] as u64;
                let macs = macs(&point, point.patch()).saturating_mul(rows)
                    + macs(&conv, conv.kernel[0] * conv.kernel[1]);
                let packed = Packed::Expand(PackedExpand::new(expand, activation, depthwise));
                (packed, format!("expand 1x1 + depthwise {} f32", size(&conv)), macs)
            }
            Kernel::Linear { weights } => (
                Packed::Conv(PackedConv::linear(isa, &weights, &bias)),
                "linear f32".to_owned(),
                weights.len() as u64,
            ),
            Kernel::Scale { scale } => (Packed::Scale { scale, bias }, "scale f32".to_owned(), 0),
            Kernel::MaxPool { pool } => (Packed::MaxPool(pool), format!("max pool {}", size(&pool)), 0),
            Kernel::GlobalAvgPool => (Packed::GlobalAvgPool, "global average".to_owned(), 0),
            Kernel::Copy => (Packed::Copy { bias }, "copy".to_owned(), 0),
        };
        let layer = CompiledLayer {
            nodes: step.nodes.join("+"),
            kernel: name,
            output: step.shape.dims().to_vec(),
            bytes: 4 * values,
            macs,
        };
        let (input, residual, activation) = (step.input, step.residual, step.activation);
        Call { kernel, input, residual, activation, len: step.shape.len(), layer }
    }

    pub(crate) fn layer(&self) -> CompiledLayer {
        self.layer.clone()
    }

    /// Whether the step is faster over several images at once.
    pub(crate) fn wants_company(step: &Step, isa: Isa) -> bool {
        match &step.kernel {
            Kernel::Dense { conv, .. } => {
                Winograd4::suits(isa, conv) && Winograd4::wants_company(conv)
            }
            Kernel::Depthwise { .. }
            | Kernel::Expand { .. }
            | Kernel::Linear { .. }
            | Kernel::Scale { .. }
            | Kernel::MaxPool { .. }
            | Kernel::GlobalAvgPool
            | Kernel::Copy => false,
        }
    }

    /// Values of scratch for `n` images.
    pub(crate) fn scratch(&self, n: usize) -> usize {
        match &self.kernel {
            Packed::Conv(conv) => conv.scratch(),
            Packed::Winograd(conv) => conv.scratch(n),
            Packed::Depthwise(conv) => conv.scratch(),
            Packed::Expand(both) => both.scratch(),
            Packed::Scale { .. } | Packed::Copy { .. } | Packed::MaxPool(_) | Packed::GlobalAvgPool => 0,
        }
    }

    /// `n` images, `x`, `residual` and `out` one after the other.
    pub(crate) fn run(
        &self,
        pool: &Pool,
        n: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        if let Packed::Winograd(conv) = &self.kernel {
            return conv.run(pool, x, residual, self.activation, scratch, out);
        }
        let one = x.len() / n.max(1);
        for (i, out) in out.chunks_exact_mut(self.len).enumerate() {
            let residual = residual.map(|r| &r[i * self.len..(i + 1) * self.len]);
            self.run_one(pool, &x[i * one..(i + 1) * one], residual, scratch, out);
        }
    }

    fn run_one(
        &self,
        pool: &Pool,
        x: &[f32],
        residual: Option<&[f32]>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        match &self.kernel {
            Packed::Winograd(conv) => conv.run(pool, x, residual, self.activation, scratch, out),
            Packed::Conv(conv) => conv.run(pool, x, residual, self.activation, scratch, out),
            Packed::Expand(both) => both.run(pool, x, residual, self.activation, scratch, out),
            Packed::Depthwise(conv) => conv.run(pool, x, residual, self.activation, scratch, out),
            Packed::Scale { scale, bias } => {
                for (out, x) in out.chunks_exact_mut(scale.len()).zip(x.chunks_exact(scale.len())) {
                    for ((o, &v), &s) in out.iter_mut().zip(x).zip(scale) {
                        *o = v * s;
                    }
                }
                epilogue(out, bias, residual, self.activation);
            }
            Packed::Copy { bias } => {
                out.copy_from_slice(x);
                epilogue(out, bias, residual, self.activation);
            }
            Packed::MaxPool(pool) => max_pool(pool, x, out),
            Packed::GlobalAvgPool => global_avg_pool(x, Scale::ONE, out),
        }
    }
}
