//! The convolutions of ResNet and EfficientNet-Lite0 and the rows of ViT-S at 224 pixels, one image on one thread.
//! `cargo bench -p headstart-kernels`; a throughput of `Gelem/s` is 10^9 multiply-accumulates a second.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headstart_kernels::{
    Activation, Attention, Conv, Element, Isa, MaxPool, PackedConv, PackedDepthwise, PackedPooled,
    PackedWinograd, Pool, Scales, Smooth, bf16, layer_norm,
};
use std::hint::black_box;

/// A convolution over square images, padded to keep `size / stride`.
fn conv(size: usize, channels: (usize, usize), kernel: usize, stride: usize) -> Conv {
    let out = size.div_ceil(stride);
    Conv {
        input: [size, size, channels.0],
        output: [out, out, channels.1],
        kernel: [kernel; 2],
        stride: [stride; 2],
        pad: [kernel / 2; 2],
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect()
}

fn stored<E: Element>(n: usize) -> Vec<E> {
    values(n).into_iter().map(E::from_f32).collect()
}

/// Times `run(image, scratch, out)`.
fn time<I: Element, S: Element, O: Element>(
    c: &mut Criterion,
    name: &str,
    conv: &Conv,
    (macs, scratch): (usize, usize),
    run: impl Fn(&[I], &mut [S], &mut [O]),
) {
    let image = stored(conv.input.iter().product());
    let (mut scratch, mut out) = (stored(scratch), stored(conv.output.iter().product()));
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(macs as u64));
    let [size, _, inner] = conv.input;
    let id = format!(
        "{size}x{size}x{inner} to {}, {}x{}/{}",
        conv.output[2], conv.kernel[0], conv.kernel[1], conv.stride[0]
    );
    group.bench_function(id, |b| b.iter(|| run(black_box(&image), &mut scratch, &mut out)));
    group.finish();
}

const RELU: Option<Activation> = Some(Activation::Relu);

fn direct<I: Element, O: Element>(c: &mut Criterion, name: &str, conv: Conv) {
    let macs = conv.patch() * conv.output.iter().product::<usize>();
    let (weights, bias) = (values(conv.patch() * conv.output[2]), values(conv.output[2]));
    let packed = PackedConv::<I, O>::stored(Isa::current(), conv, &weights, &bias, &Scales::ONE);
    time(c, name, &conv, (macs, packed.scratch()), |x: &[I], s, out: &mut [O]| {
        packed.run(&Pool::single(), x, None, RELU, s, out)
    });
}

fn winograd<E: Element, const IN: usize, const OUT: usize>(c: &mut Criterion, name: &str, conv: Conv) {
    if PackedWinograd::<E, IN, OUT>::suits(Isa::current(), &conv) {
        let macs = conv.patch() * conv.output.iter().product::<usize>();
        let (weights, bias) = (values(conv.patch() * conv.output[2]), values(conv.output[2]));
        let packed = PackedWinograd::<E, IN, OUT>::new(Isa::current(), conv, &weights, &bias);
        time(c, name, &conv, (macs, packed.scratch(1)), |x: &[E], s: &mut [f32], out: &mut [E]| {
            packed.run(&Pool::single(), x, None, RELU, s, out)
        });
    }
}

fn depthwise<E: Element>(c: &mut Criterion, name: &str, conv: Conv) {
    let taps = conv.kernel[0] * conv.kernel[1];
    let macs = taps * conv.output.iter().product::<usize>();
    let (weights, bias) = (values(taps * conv.input[2]), values(conv.input[2]));
    let packed = PackedDepthwise::<E>::stored(Isa::current(), conv, &weights, &bias, &Scales::ONE);
    time(c, name, &conv, (macs, packed.scratch()), |x: &[E], s, out: &mut [E]| {
        packed.run(&Pool::single(), x, None, RELU, s, out)
    });
}

fn pooled<I: Element, O: Element>(c: &mut Criterion, name: &str, conv: Conv) {
    let macs = conv.patch() * conv.output.iter().product::<usize>();
    let (weights, bias) = (values(conv.patch() * conv.output[2]), values(conv.output[2]));
    let packed = PackedConv::<I, O>::stored(Isa::current(), conv, &weights, &bias, &Scales::ONE);
    let [size, _, channels] = conv.output;
    let pool = MaxPool {
        input: conv.output,
        output: [size / 2, size / 2, channels],
        kernel: [3; 2],
        stride: [2; 2],
        pad: [1; 2],
    };
    let packed = PackedPooled::new(packed, pool);
    let (scratch, band) = packed.scratch();
    let ends = Conv { output: pool.output, ..conv };
    time(c, name, &ends, (macs, scratch), |x: &[I], scratch, out: &mut [O]| {
        packed.run(&Pool::single(), x, RELU, (scratch, &mut vec![O::default(); band]), out)
    });
}

fn kernels(c: &mut Criterion) {
    let stem = conv(224, (3, 64), 7, 2);
    pooled::<f32, f32>(c, "direct f32 + max pool", stem);
    pooled::<bf16, bf16>(c, "direct bf16 + max pool", stem);
    pooled::<bf16, u8>(c, "direct bf16 to int8 + max pool", stem);
    for conv in [
        conv(224, (3, 64), 7, 2),
        conv(56, (64, 64), 3, 1),
        conv(56, (64, 128), 3, 2),
        conv(28, (128, 128), 3, 1),
        conv(14, (256, 256), 3, 1),
        conv(7, (512, 512), 3, 1),
        conv(224, (3, 32), 3, 2),
        conv(112, (16, 96), 1, 1),
        conv(56, (144, 24), 1, 1),
        conv(56, (64, 256), 1, 1),
        conv(14, (672, 112), 1, 1),
        conv(14, (1024, 256), 1, 1),
        conv(7, (320, 1280), 1, 1),
    ] {
        direct::<f32, f32>(c, "direct f32", conv);
        direct::<bf16, bf16>(c, "direct bf16", conv);
        match conv.input[2] {
            3 => direct::<bf16, u8>(c, "direct bf16 to int8", conv),
            _ => direct::<u8, u8>(c, "direct int8", conv),
        }
        winograd::<f32, 6, 4>(c, "winograd 4x4 f32", conv);
        winograd::<bf16, 4, 2>(c, "winograd 2x2 bf16", conv);
    }
    for conv in [
        conv(112, (32, 32), 3, 1),
        conv(112, (96, 96), 3, 2),
        conv(28, (240, 240), 5, 1),
        conv(7, (1152, 1152), 5, 1),
    ] {
        depthwise::<f32>(c, "depthwise f32", conv);
        depthwise::<bf16>(c, "depthwise bf16", conv);
        depthwise::<u8>(c, "depthwise int8", conv);
    }
}

/// 197 tokens of 384 values, 6 heads. The throughput of attention is in multiply-accumulates, that of the others in values.
fn rows(c: &mut Criterion) {
    let (isa, pool, tokens, width) = (Isa::current(), Pool::single(), 197, 384);
    let mut group = c.benchmark_group("rows");
    let attention = Attention::new(isa, tokens, 6, width / 6);
    let (qkv, mut out) = (values(3 * tokens * width), vec![0.0; tokens * width]);
    let mut scratch = vec![0.0; attention.scratch()];
    group.throughput(Throughput::Elements(attention.macs()));
    group.bench_function("attention 197x384, 6 heads", |b| {
        b.iter(|| attention.run(&pool, black_box(&qkv), None, &mut scratch, &mut out))
    });
    let (x, weight) = (values(tokens * width), values(width));
    group.throughput(Throughput::Elements((tokens * width) as u64));
    group.bench_function("layer norm 197x384", |b| {
        b.iter(|| layer_norm(isa, &pool, black_box(&x), (&weight, &weight, 1e-6), &mut out))
    });
    let (x, mut out) = (values(4 * tokens * width), vec![0.0; 4 * tokens * width]);
    group.throughput(Throughput::Elements((4 * tokens * width) as u64));
    for smooth in [Smooth::Gelu, Smooth::GeluTanh] {
        let id = format!("{smooth:?} 197x1536");
        group.bench_function(id, |b| b.iter(|| smooth.run(isa, &pool, black_box(&x), &mut out)));
    }
    group.finish();
}

criterion_group!(benches, kernels, rows);
criterion_main!(benches);
