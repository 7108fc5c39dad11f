//! The kernels of `headstart-kernels` behind one call: a number of images, each a run of 32-bit words that hold stored
//! elements.

use crate::rows::{Rows, ShortRows};
use headstart_kernels::{
    Activation, Conv, Element, Isa, PackedConv, PackedDepthwise, PackedDynamic, PackedExpand, PackedGrouped,
    PackedPooled, PackedWinograd, Pool, Scale, Scales, convert, epilogue, global_avg_pool, max_pool,
};
use std::fmt::Debug;
use std::marker::PhantomData;

/// What a call reads and writes, images one after the other.
pub(crate) struct Data<'a> {
    pub(crate) images: usize,
    /// Tokens of a sequence, and of the one that the kernel was made for; the same number for all that is no sequence.
    pub(crate) tokens: (usize, usize),
    pub(crate) x: &'a [f32],
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) scratch: &'a mut [f32],
    pub(crate) out: &'a mut [f32],
}

impl Data<'_> {
    /// What of `all`, as many as the kernel was made for, there is now.
    fn now(&self, all: usize) -> usize {
        let (now, then) = self.tokens;
        if now == then { all } else { all / then * now }
    }

    /// Calls `f` with the input, the residual and the output of each image, of so many elements, and the scratch.
    fn each<I: Element, O: Element>(
        self,
        (inputs, outputs): (usize, usize),
        mut f: impl FnMut(&[I], Option<&[O]>, &mut [f32], &mut [O]),
    ) {
        let words = |all: usize| (all / self.images.max(1)).max(1);
        let (one, size) = (words(self.x.len()), words(self.out.len()));
        for (i, out) in self.out.chunks_exact_mut(size).enumerate() {
            let x = &self.x[i * one..(i + 1) * one];
            let rest = self.residual.map(|r| &bytemuck::cast_slice(&r[i * size..(i + 1) * size])[..outputs]);
            let out = &mut bytemuck::cast_slice_mut(out)[..outputs];
            f(&bytemuck::cast_slice(x)[..inputs], rest, self.scratch, out);
        }
    }

    /// Calls `f` with the words of the input, of the second input and of the output of each image, and the scratch.
    fn each_with_second(self, mut f: impl FnMut(&[f32], Option<&[f32]>, &mut [f32], &mut [f32])) {
        // The second input need not be as long as the output.
        let each = |all: usize| (all / self.images.max(1)).max(1);
        let (one, size) = (each(self.x.len()), each(self.out.len()));
        let second = self.residual.map(|r| (r, each(r.len())));
        for (i, out) in self.out.chunks_exact_mut(size).enumerate() {
            let second = second.map(|(r, len)| &r[i * len..(i + 1) * len]);
            f(&self.x[i * one..(i + 1) * one], second, self.scratch, out);
        }
    }

    /// As [`Data::each`], of all images at once where nothing lies between them: those that do not fill their last word leave a gap.
    fn joint<I: Element, O: Element>(
        self,
        (inputs, outputs): (usize, usize),
        f: impl FnMut(&[I], Option<&[O]>, &mut [f32], &mut [O]),
    ) {
        let gapless = inputs.is_multiple_of(I::IN_WORD) && outputs.is_multiple_of(O::IN_WORD);
        let joint = if gapless { self.images.max(1) } else { 1 };
        let data = Data { images: self.images / joint, ..self };
        data.each((inputs * joint, outputs * joint), f);
    }
}

/// A kernel with its weights.
pub(crate) trait Run: Debug + Send + Sync {
    /// Bytes of its weights.
    fn bytes(&self) -> usize {
        0
    }
    /// Words of scratch for `n` images.
    fn scratch(&self, _n: usize) -> usize {
        0
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data);
}

fn sizes(conv: &Conv) -> (usize, usize) {
    (conv.input.iter().product(), conv.output.iter().product())
}

impl<I: Element, O: Element> Run for PackedConv<I, O> {
    fn bytes(&self) -> usize {
        PackedConv::bytes(self)
    }
    fn scratch(&self, n: usize) -> usize {
        self.scratch_together(n).div_ceil(I::IN_WORD)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        let (inputs, outputs) = sizes(self.conv());
        if pool.threads() > 1 || data.images == 1 {
            return data.each((inputs, outputs), |x, residual, scratch, out| {
                self.run(pool, x, residual, activation, bytemuck::cast_slice_mut(scratch), out);
            });
        }
        data.joint::<I, O>((inputs, outputs), |x, residual, scratch, out| {
            self.run_together(x, residual, activation, bytemuck::cast_slice_mut(scratch), out);
        });
    }
}

/// A matrix product: the rows of all images at once, so that the weights pass once.
#[derive(Debug)]
pub(crate) struct Product<I, O>(pub(crate) PackedConv<I, O>);

impl<I: Element, O: Element> Run for Product<I, O> {
    fn bytes(&self) -> usize {
        PackedConv::bytes(&self.0)
    }
    fn scratch(&self, _: usize) -> usize {
        PackedConv::scratch(&self.0).div_ceil(I::IN_WORD)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        let (inputs, outputs) = sizes(self.0.conv());
        let (inputs, outputs) = (data.now(inputs), data.now(outputs));
        if pool.threads() > 1 && data.tokens.0 == data.tokens.1 {
            return data.each((inputs, outputs), |x, residual, scratch, out| {
                self.0.run(pool, x, residual, activation, bytemuck::cast_slice_mut(scratch), out);
            });
        }
        data.joint((inputs, outputs), |x, residual, _, out| self.0.multiply(x, residual, activation, out));
    }
}

impl<I: Element, O: Element> Run for PackedDynamic<I, O> {
    fn bytes(&self) -> usize {
        PackedDynamic::bytes(self)
    }
    fn scratch(&self, n: usize) -> usize {
        PackedDynamic::scratch(self, n.saturating_mul(self.conv().pixels()))
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        let (inputs, outputs) = sizes(self.conv());
        let (inputs, outputs) = (data.now(inputs), data.now(outputs));
        data.joint((inputs, outputs), |x, residual, scratch, out| {
            self.run(pool, x, residual, activation, scratch, out);
        });
    }
}

impl<I: Element, O: Element> Run for PackedPooled<I, O> {
    fn bytes(&self) -> usize {
        PackedPooled::bytes(self)
    }
    fn scratch(&self, _: usize) -> usize {
        let (scratch, band) = PackedPooled::scratch(self);
        scratch.div_ceil(I::IN_WORD) + band.div_ceil(O::IN_WORD)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        let words = PackedPooled::scratch(self).0.div_ceil(I::IN_WORD);
        data.each(self.sizes(), |x, _, scratch, out| {
            let (scratch, band) = scratch.split_at_mut(words);
            let room = (bytemuck::cast_slice_mut(scratch), bytemuck::cast_slice_mut(band));
            self.run(pool, x, activation, room, out);
        });
    }
}

impl<E: Element> Run for PackedDepthwise<E> {
    fn bytes(&self) -> usize {
        PackedDepthwise::bytes(self)
    }
    fn scratch(&self, _: usize) -> usize {
        PackedDepthwise::scratch(self).div_ceil(E::IN_WORD)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        data.each(sizes(self.conv()), |x, residual, scratch, out| {
            self.run(pool, x, residual, activation, bytemuck::cast_slice_mut(scratch), out);
        });
    }
}

impl<I: Element, O: Element> Run for PackedGrouped<I, O> {
    fn bytes(&self) -> usize {
        PackedGrouped::bytes(self)
    }
    fn scratch(&self, _: usize) -> usize {
        let (inner, outer) = PackedGrouped::scratch(self);
        inner.div_ceil(I::IN_WORD) + outer.div_ceil(O::IN_WORD)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        let words = PackedGrouped::scratch(self).0.div_ceil(I::IN_WORD);
        data.each(sizes(self.conv()), |x, residual, scratch, out| {
            let (inner, outer) = scratch.split_at_mut(words);
            let room = (bytemuck::cast_slice_mut(inner), bytemuck::cast_slice_mut(outer));
            self.run(pool, x, residual, activation, room, out);
        });
    }
}

impl<E: Element> Run for PackedExpand<E> {
    fn bytes(&self) -> usize {
        PackedExpand::bytes(self)
    }
    fn scratch(&self, _: usize) -> usize {
        PackedExpand::scratch(self).div_ceil(E::IN_WORD)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        data.each(self.sizes(), |x, residual, scratch, out| {
            self.run(pool, x, residual, activation, bytemuck::cast_slice_mut(scratch), out);
        });
    }
}

impl<E: Element, const IN: usize, const OUT: usize> Run for PackedWinograd<E, IN, OUT> {
    fn bytes(&self) -> usize {
        PackedWinograd::bytes(self)
    }
    fn scratch(&self, n: usize) -> usize {
        PackedWinograd::scratch(self, n)
    }
    fn run(&self, pool: &Pool, activation: Option<Activation>, data: Data) {
        // Whole vectors of channels: an image's elements fill its words.
        let residual = data.residual.map(bytemuck::cast_slice);
        let (x, out) = (bytemuck::cast_slice(data.x), bytemuck::cast_slice_mut(data.out));
        self.run(pool, x, residual, activation, data.scratch, out);
    }
}

/// `x scale + bias`, channel by channel.
#[derive(Debug)]
pub(crate) struct ScaleRows {
    pub(crate) scale: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Run for ScaleRows {
    fn bytes(&self) -> usize {
        4 * self.scale.len()
    }
    fn run(&self, _: &Pool, activation: Option<Activation>, data: Data) {
        let len = data.x.len() / data.images.max(1);
        data.each((len, len), |x: &[f32], residual, _, out| {
            for (out, x) in out.chunks_exact_mut(self.scale.len()).zip(x.chunks_exact(self.scale.len())) {
                for ((o, &v), &s) in out.iter_mut().zip(x).zip(&self.scale) {
                    *o = v * s;
                }
            }
            epilogue(out, &self.bias, residual, activation);
        });
    }
}

/// The epilogue alone.
#[derive(Debug)]
pub(crate) struct CopyRows {
    pub(crate) bias: Vec<f32>,
}

impl Run for CopyRows {
    fn bytes(&self) -> usize {
        4 * self.bias.len()
    }
    fn run(&self, _: &Pool, activation: Option<Activation>, data: Data) {
        let len = data.x.len() / data.images.max(1);
        data.each((len, len), |x: &[f32], residual, _, out| {
            out.copy_from_slice(x);
            // Rows for more tokens than there are now.
            let bias = &self.bias[..self.bias.len().min(out.len())];
            epilogue(out, bias, residual, activation);
        });
    }
}

impl Run for Rows {
    fn bytes(&self) -> usize {
        4 * self.values()
    }
    fn scratch(&self, _: usize) -> usize {
        Rows::scratch(self)
    }
    fn run(&self, pool: &Pool, _: Option<Activation>, data: Data) {
        data.each_with_second(|x, second, scratch, out| self.run(pool, x, second, scratch, out));
    }
}

impl Run for ShortRows {
    fn bytes(&self) -> usize {
        4 * self.values()
    }
    fn scratch(&self, _: usize) -> usize {
        ShortRows::scratch(self)
    }
    fn run(&self, pool: &Pool, _: Option<Activation>, data: Data) {
        data.each_with_second(|x, mask, scratch, out| self.run(pool, x, mask, scratch, out));
    }
}

/// Max pooling of stored elements.
#[derive(Debug)]
pub(crate) struct MaxPooling<E> {
    pub(crate) isa: Isa,
    pub(crate) pool: Conv,
    pub(crate) of: PhantomData<E>,
}

impl<E: Element> Run for MaxPooling<E> {
    fn run(&self, _: &Pool, _: Option<Activation>, data: Data) {
        data.each(sizes(&self.pool), |x: &[E], _, _, out| max_pool(self.isa, &self.pool, x, out));
    }
}

/// The mean over all pixels, f32.
#[derive(Debug)]
pub(crate) struct Average<E> {
    pub(crate) inputs: usize,
    pub(crate) channels: usize,
    pub(crate) scale: Scale,
    pub(crate) of: PhantomData<E>,
}

impl<E: Element> Run for Average<E> {
    fn run(&self, _: &Pool, _: Option<Activation>, data: Data) {
        data.each((self.inputs, self.channels), |x: &[E], _, _, out| global_avg_pool(x, self.scale, out));
    }
}

/// From one kind of stored element to another.
#[derive(Debug)]
pub(crate) struct Convert<I, O> {
    pub(crate) isa: Isa,
    pub(crate) len: usize,
    pub(crate) scales: Scales,
    pub(crate) of: PhantomData<(I, O)>,
}

impl<I: Element, O: Element> Run for Convert<I, O> {
    fn run(&self, _: &Pool, _: Option<Activation>, data: Data) {
        let len = data.now(self.len);
        data.each((len, len), |x: &[I], _, _, out: &mut [O]| convert(self.isa, x, out, &self.scales));
    }
}
