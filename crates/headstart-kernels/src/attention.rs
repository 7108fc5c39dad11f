//! Multi-head self-attention of one sequence (Vaswani et al. 2017): `softmax(q k^T / sqrt(head)) v`, head by head.
//!
//! The input is `[tokens, 3, heads, head]`, as a joint projection leaves it: a token's row is its queries, keys and
//! values. The output is `[tokens, heads, head]`. Scores exist for a block of queries and one head at a time. Keys that
//! are not to be seen are left out before anything is computed.
#![allow(unsafe_code)]

use crate::amx::{self, Lines, Unit};
use crate::element::Element;
use crate::simd::{self, Dot, Kernel, Simd};
use crate::softmax::exponentials;
use crate::tile::{self, Ahead, Lefts, Target};
use crate::{Isa, Pool};

/// Values of a cache line.
const LINE: usize = 16;

/// The most queries of a block.
const MOST: usize = 64;

/// Sizes of a self-attention, for one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    isa: Isa,
    tokens: usize,
    heads: usize,
    /// Values of a query, key or value.
    head: usize,
    lanes: usize,
    /// What is multiplied.
    dot: Dot,
}

impl Attention {
    /// Attention among `tokens`, by `heads` heads whose queries, keys and values have `head` values.
    pub fn new(isa: Isa, tokens: usize, heads: usize, head: usize) -> Self {
        Attention { isa, tokens, heads, head, lanes: simd::lanes(isa), dot: Dot::F32 }
    }

    /// The same among another number of tokens.
    pub fn among(self, tokens: usize) -> Self {
        Attention { tokens, ..self }
    }

    /// The same in bf16: what is read, multiplied and written; sums and the softmax stay f32.
    pub fn in_bf16(self) -> Self {
        Attention { dot: Dot::Bf16, ..self }
    }

    /// Values of a token's queries, keys and values together.
    pub fn joint(&self) -> usize {
        3 * self.heads * self.head
    }

    /// Values of a row of scores.
    fn score_row(&self) -> usize {
        self.tokens.next_multiple_of(self.lanes)
    }

    /// Queries whose scores are held at once: whole tiles of the matrix unit, or of the registers of every instruction set but the
    /// generic one.
    fn block(&self) -> usize {
        if self.by_unit() { MOST } else { 42 }
    }

    fn by_unit(&self) -> bool {
        self.isa == Isa::Amx && self.dot != Dot::F32
    }

    /// Words of a query or a key.
    fn head_words(&self) -> usize {
        self.words(self.head)
    }

    /// Words of the probabilities of `seen` keys: whole tiles for the matrix unit.
    fn key_words(&self, seen: usize) -> usize {
        let words = self.words(seen);
        if self.by_unit() { words.next_multiple_of(LINE) } else { words }
    }

    fn words(&self, values: usize) -> usize {
        if self.dot == Dot::F32 { values } else { values.div_ceil(2) }
    }

    /// Words of the packed keys of a head, then of its keys and values.
    fn panels(&self) -> [usize; 2] {
        let line = |n: usize| n.next_multiple_of(LINE);
        let keys = line(self.head_words() * self.score_row());
        [keys, keys + line(self.key_words(self.tokens) * self.head.next_multiple_of(self.lanes))]
    }

    /// Words of a block of queries, and of it and its scores.
    fn queries(&self) -> [usize; 2] {
        let queries = self.block() * self.head_words().next_multiple_of(LINE);
        [queries, queries + self.block() * self.score_row()]
    }

    /// Words of scratch that [`Attention::run`] wants.
    pub fn scratch(&self) -> usize {
        let blocks = self.tokens.div_ceil(self.block());
        LINE + self.heads * self.panels()[1] + blocks * self.queries()[1]
    }

    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        2 * (self.tokens * self.tokens * self.heads * self.head) as u64
    }

    /// Attention over `qkv` `[tokens, 3, heads, head]`, to `out` `[tokens, heads, head]`; queries are spread over
    /// `pool`, and the bytes do not depend on it. `keys`, one mark a token, leaves out those that are 0; where all are,
    /// the output is 0.
    ///
    /// # Panics
    /// Where a slice has another size or other elements than this attention's, or `scratch` is too small.
    pub fn run<E: Element>(
        &self,
        pool: &Pool,
        qkv: &[E],
        keys: Option<&[f32]>,
        scratch: &mut [f32],
        out: &mut [E],
    ) {
        assert_eq!(E::DOT, self.dot, "the elements of an attention");
        let width = self.heads * self.head;
        assert_eq!(qkv.len(), 3 * self.tokens * width, "the input of an attention");
        assert!(
            out.len() == self.tokens * width && keys.is_none_or(|k| k.len() == self.tokens),
            "its output, and a mark for each key"
        );
        if out.is_empty() {
            return;
        }
        let seen = keys.map_or(self.tokens, |k| k.iter().filter(|&&mark| mark != 0.0).count());
        if seen == 0 {
            return out.fill(E::default());
        }
        // Panels begin at a cache line.
        let skip = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let [_, a_head] = self.panels();
        let (panels, blocks) = scratch[skip..].split_at_mut(self.heads * a_head);
        pool.chunks_mut(panels, a_head, |head, panels| self.pack(qkv, keys, seen, head, panels));
        let panels = &*panels;
        let share = self.tokens.div_ceil(pool.threads()).next_multiple_of(self.block());
        pool.zip_chunks_mut((out, share * width), (blocks, self.queries()[1]), |i, out, room| {
            let queries = &qkv[i * share * 3 * width..];
            simd::run(self.isa, Queries { sizes: self, queries, panels, seen, room, out });
        });
    }

    /// A head's keys as panels `[words of a head, 2 vectors of keys]`, its values as panels `[words of keys, 2 vectors of values]`; zeros
    /// where there is none.
    fn pack<E: Element>(
        &self,
        qkv: &[E],
        keys: Option<&[f32]>,
        seen: usize,
        head: usize,
        panels: &mut [f32],
    ) {
        let (width, wide) = (self.heads * self.head, 2 * self.lanes);
        let rows = qkv.chunks_exact(3 * width).enumerate();
        let rows = rows.filter(|(t, _)| keys.is_none_or(|k| k[*t] != 0.0)).map(|(_, row)| row);
        panels.fill(0.0);
        let (key_panels, value_panels) = panels.split_at_mut(self.panels()[0]);
        let [key_panels, value_panels]: [&mut [E]; 2] =
            [key_panels, value_panels].map(bytemuck::cast_slice_mut);
        let (padded, depth) = (seen.next_multiple_of(self.lanes), self.key_words(seen));
        for (t, row) in rows.enumerate() {
            let key = &row[width + head * self.head..][..self.head];
            let first = t / wide * wide;
            let columns = (padded - first).min(wide);
            let panel = &mut key_panels[(first * self.head_words() + t - first) * E::IN_WORD..];
            for (w, word) in panel.chunks_mut(columns * E::IN_WORD).take(self.head_words()).enumerate() {
                for (i, to) in word.iter_mut().take(E::IN_WORD).enumerate() {
                    *to = key.get(w * E::IN_WORD + i).copied().unwrap_or_default();
                }
            }
            let values = &row[2 * width + head * self.head..][..self.head];
            for (p, some) in values.chunks(wide).enumerate() {
                let columns = some.len().next_multiple_of(self.lanes);
                let at = (p * wide * depth + t / E::IN_WORD * columns) * E::IN_WORD + t % E::IN_WORD;
                let to = &mut value_panels[at..];
                some.iter().enumerate().for_each(|(c, &v)| to[c * E::IN_WORD] = v);
            }
        }
    }
}

/// The attention of some queries, all heads; `E` is multiplied.
struct Queries<'a, E> {
    sizes: &'a Attention,
    /// From the first query's row on.
    queries: &'a [E],
    panels: &'a [f32],
    /// Keys in the panels.
    seen: usize,
    /// For a block of queries and its scores.
    room: &'a mut [f32],
    out: &'a mut [E],
}

impl<E: Element> Kernel for Queries<'_, E> {
    const DOT: Dot = E::DOT;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (sizes, seen) = (self.sizes, self.seen);
        let (head, head_words) = (sizes.head, sizes.head_words());
        let width = sizes.heads * head;
        let [keys, a_head] = sizes.panels();
        let (score_row, key_words) = (seen.next_multiple_of(S::LANES), sizes.key_words(seen));
        let query_row = head_words.next_multiple_of(LINE);
        let scale = 1.0 / (head as f32).sqrt();
        let block = sizes.block();
        assert!(self.queries.len() >= 3 * self.out.len(), "a query for each row of the output");
        assert!(self.room.len() >= sizes.queries()[1], "room for a block and its scores");
        let (queries, scores) = self.room.split_at_mut(sizes.queries()[0]);
        for (h, panels) in self.panels.chunks_exact(a_head).enumerate() {
            for (b, out) in self.out.chunks_mut(block * width).enumerate() {
                let count = out.len() / width;
                let rows = self.queries[b * block * 3 * width + h * head..].chunks(3 * width);
                for (row, to) in rows.zip(queries.chunks_exact_mut(query_row)).take(count) {
                    let (to, beyond) = bytemuck::cast_slice_mut(to).split_at_mut(head);
                    to.copy_from_slice(&row[..head]);
                    beyond.fill(E::default());
                }
                let (first, step) = (queries.as_ptr().cast::<E>(), query_row * E::IN_WORD);
                let lefts = Lefts { first, count, step, runs: 1, run: head_words, next_run: 0 };
                let to = Target::plain(scores.as_mut_ptr(), score_row, score_row);
                // SAFETY: `count` rows of queries are there, and room for their scores (asserted above); the
                // panels hold whole vectors of keys.
                unsafe { product(simd, sizes.isa, lefts, panels.as_ptr(), to) };
                let mut factors = [0.0; MOST];
                for (factor, row) in factors.iter_mut().zip(scores.chunks_exact_mut(score_row)).take(count) {
                    // SAFETY: inside a kernel.
                    *factor = 1.0 / unsafe { exponentials(simd, &mut row[..seen], scale) };
                    if E::IN_WORD > 1 {
                        row[seen..].fill(0.0);
                        // SAFETY: inside a kernel.
                        unsafe { shorten::<S, E>(simd, row, *factor, key_words * E::IN_WORD) };
                    }
                }
                let (first, step) = (scores.as_ptr().cast::<E>(), score_row * E::IN_WORD);
                let lefts = Lefts { first, count, step, runs: 1, run: key_words, next_run: 0 };
                let columns = &mut out[h * head..];
                let to = Target::plain(columns.as_mut_ptr(), width, head);
                // SAFETY: the scores were written above; the panels hold whole vectors of each key's values;
                // the head's columns of `count` rows lie inside the output.
                unsafe { product(simd, sizes.isa, lefts, panels[keys..].as_ptr(), to) };
                if E::IN_WORD == 1 {
                    for (row, factor) in columns.chunks_mut(width).zip(factors) {
                        row[..head].iter_mut().for_each(|v| *v = E::from_f32(v.to_f32() * factor));
                    }
                }
            }
        }
    }
}

/// Rows times the panels of all columns.
///
/// # Safety
/// As [`tile::multiply`].
#[inline(always)]
unsafe fn product<S: Simd, I: Element, O: Element>(
    simd: S,
    isa: Isa,
    lefts: Lefts<I>,
    panels: *const f32,
    to: Target<O>,
) {
    // SAFETY: the caller's contract.
    unsafe {
        if let Some(unit) = Unit::of(isa, I::DOT, lefts.run) {
            return amx::multiply(simd, unit, Lines::one(lefts), panels, to);
        }
        for first in (0..to.columns.div_ceil(S::LANES)).step_by(2) {
            tile::multiply(simd, lefts, panels, first, to, Ahead::NONE);
        }
    }
}

/// `factor` times a row of whole vectors as elements, in place, the first ones of its memory; zeros behind them up to `count`.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
unsafe fn shorten<S: Simd, E: Element>(simd: S, row: &mut [f32], factor: f32, count: usize) {
    let len = row.len();
    // SAFETY: inside a kernel.
    let factor = unsafe { simd.splat(factor) };
    for i in (0..len).step_by(S::LANES) {
        // SAFETY: elements are no larger than values, so that what is written was read before.
        unsafe {
            let v = simd.mul(simd.load(row.as_ptr().add(i)), factor);
            E::store(simd, row.as_mut_ptr().cast::<E>().add(i), v);
        }
    }
    let elements: &mut [E] = bytemuck::cast_slice_mut(row);
    elements[len.min(count)..count].fill(E::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw};
    use crate::reference;
    use half::bf16;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_over_odd_sizes_and_masks() {
        let mut rng = Rng::new(26);
        for isa in Isa::available() {
            let lanes = simd::lanes(isa);
            for tokens in [0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, 43, 125] {
                for (heads, head) in [(1, 1), (3, 5), (2, lanes), (2, lanes + 1), (1, 64), (0, 4)] {
                    let width = heads * head;
                    let qkv: Vec<f32> = draw(&mut rng, 3 * tokens * width).iter().map(|v| 3.0 * v).collect();
                    let some: Vec<f32> =
                        (0..tokens).map(|_| f32::from(u8::from(rng.uniform() < 0.6))).collect();
                    for keys in [None, Some(some)] {
                        let attention = Attention::new(isa, tokens, heads, head);
                        let run = |pool: &Pool| {
                            let mut out = vec![f32::NAN; tokens * width];
                            let mut scratch = vec![f32::NAN; attention.scratch()];
                            attention.run(pool, &qkv, keys.as_deref(), &mut scratch, &mut out);
                            out
                        };
                        let out = run(&Pool::single());
                        let what = format!("{isa} {tokens} tokens {heads}x{head}");
                        assert_eq!(out, run(&Pool::new(3)), "{what}: the same bytes with three threads");
                        let expected = if width == 0 {
                            vec![]
                        } else {
                            reference::attention(&qkv, heads, head, keys.as_deref())
                        };
                        close(&out, &expected, &what);
                        let rounded: Vec<bf16> = qkv.iter().map(|&v| bf16::from_f32(v)).collect();
                        let values: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
                        let expected = if width == 0 {
                            vec![]
                        } else {
                            reference::attention(&values, heads, head, keys.as_deref())
                        };
                        let short = |pool: &Pool| {
                            let attention = attention.in_bf16();
                            let mut out = vec![bf16::NAN; tokens * width];
                            let mut scratch = vec![f32::NAN; attention.scratch()];
                            attention.run(pool, &rounded, keys.as_deref(), &mut scratch, &mut out);
                            out.iter().map(|v| v.to_f32()).collect::<Vec<f32>>()
                        };
                        let (found, split) = (short(&Pool::single()), short(&Pool::new(3)));
                        assert_eq!(found, split, "{what} in bf16: the same bytes with three threads");
                        let norm = |of: &mut dyn Iterator<Item = f32>| of.map(|v| v * v).sum::<f32>().sqrt();
                        let apart = norm(&mut found.iter().zip(&expected).map(|(f, e)| f - e));
                        let whole = norm(&mut expected.iter().copied());
                        assert!(apart <= 2e-2 * whole, "{what} in bf16: {apart} of {whole}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_that_is_not_seen_changes_no_byte() {
        fn unseen<E: Element>(attention: Attention) {
            let mut rng = Rng::new(27);
            let mut qkv: Vec<E> = draw(&mut rng, 20 * 48).into_iter().map(E::from_f32).collect();
            let bytes = |of: &[E]| bytemuck::cast_slice::<E, u8>(of).to_vec();
            let run = |qkv: &[E], keys: &[f32]| {
                let (mut out, mut scratch) =
                    (vec![E::from_f32(f32::NAN); 20 * 16], vec![f32::NAN; attention.scratch()]);
                attention.run(&Pool::single(), qkv, Some(keys), &mut scratch, &mut out);
                bytes(&out)
            };
            let keys: Vec<f32> = (0..20).map(|t| if t < 13 { 1.0 } else { 0.0 }).collect();
            let before = run(&qkv, &keys);
            qkv[13 * 48 + 16..14 * 48].fill(E::from_f32(f32::NAN));
            let seen = 13 * 16 * size_of::<E>();
            assert_eq!(before[..seen], run(&qkv, &keys)[..seen]);
            assert_eq!(run(&qkv, &[0.0; 20]), bytes(&[E::default(); 20 * 16]), "nothing is seen");
        }
        for isa in Isa::available() {
            let attention = Attention::new(isa, 20, 2, 8);
            unseen::<f32>(attention);
            unseen::<bf16>(attention.in_bf16());
        }
    }
}
