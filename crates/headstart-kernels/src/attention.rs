//! Multi-head self-attention of one sequence (Vaswani et al. 2017): `softmax(q k^T / sqrt(head)) v`, head by head.
//!
//! The input is `[tokens, 3, heads, head]`, as a joint projection leaves it: a token's row is its queries, keys and
//! values. The output is `[tokens, heads, head]`. Scores exist for a block of queries and one head at a time. Keys that
//! are not to be seen are left out before anything is computed.
#![allow(unsafe_code)]

use crate::simd::{self, Kernel, Simd};
use crate::softmax::exponentials;
use crate::tile::{self, Lefts, Target};
use crate::{Isa, Pool};

/// Queries whose scores are held at once: whole register tiles of every instruction set but the generic one.
const BLOCK: usize = 42;

/// Values of a cache line.
const LINE: usize = 16;

/// Sizes of a self-attention, for one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    isa: Isa,
    tokens: usize,
    heads: usize,
    /// Values of a query, key or value.
    head: usize,
    lanes: usize,
}

impl Attention {
    /// Attention among `tokens`, by `heads` heads whose queries, keys and values have `head` values.
    pub fn new(isa: Isa, tokens: usize, heads: usize, head: usize) -> Self {
        Attention { isa, tokens, heads, head, lanes: simd::lanes(isa) }
    }

    /// The same among another number of tokens.
    pub fn among(self, tokens: usize) -> Self {
        Attention { tokens, ..self }
    }

    /// Values of a token's queries, keys and values together.
    pub fn joint(&self) -> usize {
        3 * self.heads * self.head
    }

    /// Values of a row of scores.
    fn score_row(&self) -> usize {
        self.tokens.next_multiple_of(self.lanes)
    }

    /// Values of the packed keys of a head, then of its keys and values.
    fn panels(&self) -> [usize; 2] {
        let line = |n: usize| n.next_multiple_of(LINE);
        let keys = line(self.head * self.score_row());
        [keys, keys + line(self.tokens * self.head.next_multiple_of(self.lanes))]
    }

    /// Values of scratch that [`Attention::run`] wants.
    pub fn scratch(&self) -> usize {
        let blocks = self.tokens.div_ceil(BLOCK);
        LINE + self.heads * self.panels()[1] + blocks * BLOCK * self.score_row()
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
    /// Where a slice has another size, or `scratch` is too small.
    pub fn run(&self, pool: &Pool, qkv: &[f32], keys: Option<&[f32]>, scratch: &mut [f32], out: &mut [f32]) {
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
            return out.fill(0.0);
        }
        // Panels begin at a cache line.
        let skip = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let [_, a_head] = self.panels();
        let (panels, scores) = scratch[skip..].split_at_mut(self.heads * a_head);
        pool.chunks_mut(panels, a_head, |head, panels| self.pack(qkv, keys, seen, head, panels));
        let panels = &*panels;
        let share = self.tokens.div_ceil(pool.threads()).next_multiple_of(BLOCK);
        pool.zip_chunks_mut((out, share * width), (scores, BLOCK * self.score_row()), |i, out, scores| {
            let queries = &qkv[i * share * 3 * width..];
            simd::run(self.isa, Queries { sizes: self, queries, panels, seen, scores, out });
        });
    }

    /// A head's keys as panels `[head, 2 vectors of keys]`, its values as panels `[keys, 2 vectors of values]`.
    fn pack(&self, qkv: &[f32], keys: Option<&[f32]>, seen: usize, head: usize, panels: &mut [f32]) {
        let (width, wide) = (self.heads * self.head, 2 * self.lanes);
        let rows = qkv.chunks_exact(3 * width).enumerate();
        let rows = rows.filter(|(t, _)| keys.is_none_or(|k| k[*t] != 0.0)).map(|(_, row)| row);
        let (key_panels, value_panels) = panels.split_at_mut(self.panels()[0]);
        let padded = seen.next_multiple_of(self.lanes);
        for (t, row) in rows.enumerate() {
            let key = &row[width + head * self.head..][..self.head];
            let first = t / wide * wide;
            let columns = (padded - first).min(wide);
            let panel = &mut key_panels[first * self.head + t - first..];
            for (&k, to) in key.iter().zip(panel.iter_mut().step_by(columns)) {
                *to = k;
            }
            let values = &row[2 * width + head * self.head..][..self.head];
            for (p, some) in values.chunks(wide).enumerate() {
                let columns = some.len().next_multiple_of(self.lanes);
                let to = &mut value_panels[p * wide * seen + t * columns..][..columns];
                to[..some.len()].copy_from_slice(some);
                to[some.len()..].fill(0.0);
            }
        }
        // The columns that fill the last vector of keys: their scores are never read, but they must be numbers to load.
        for t in seen..padded {
            let first = t / wide * wide;
            let panel = &mut key_panels[first * self.head + t - first..];
            panel.iter_mut().step_by((padded - first).min(wide)).take(self.head).for_each(|v| *v = 0.0);
        }
    }
}

/// The attention of some queries, all heads.
struct Queries<'a> {
    sizes: &'a Attention,
    /// From the first query's row on.
    queries: &'a [f32],
    panels: &'a [f32],
    /// Keys in the panels.
    seen: usize,
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Queries<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (head, seen) = (self.sizes.head, self.seen);
        let width = self.sizes.heads * head;
        let [keys, a_head] = self.sizes.panels();
        let score_row = seen.next_multiple_of(S::LANES);
        let scale = 1.0 / (head as f32).sqrt();
        assert!(self.queries.len() >= 3 * self.out.len(), "a query for each row of the output");
        let count = BLOCK.min(self.out.len() / width);
        assert!(self.scores.len() >= count * score_row, "room for the scores of a block");
        for (h, panels) in self.panels.chunks_exact(a_head).enumerate() {
            for (block, out) in self.out.chunks_mut(BLOCK * width).enumerate() {
                let count = out.len() / width;
                let queries = &self.queries[block * BLOCK * 3 * width + h * head..];
                let lefts = Lefts {
                    first: queries.as_ptr(),
                    count,
                    step: 3 * width,
                    runs: 1,
                    run: head,
                    next_run: 0,
                };
                let to = Target::plain(self.scores.as_mut_ptr(), score_row, score_row);
                for first in (0..score_row / S::LANES).step_by(2) {
                    // SAFETY: `count` rows of queries are there, and room for their scores (asserted above); the
                    // panels hold whole vectors of keys.
                    unsafe { tile::multiply(simd, lefts, panels.as_ptr(), first, to) };
                }
                let mut factors = [0.0; BLOCK];
                for (factor, row) in
                    factors.iter_mut().zip(self.scores.chunks_exact_mut(score_row)).take(count)
                {
                    // SAFETY: inside a kernel.
                    *factor = 1.0 / unsafe { exponentials(simd, &mut row[..seen], scale) };
                }
                let (first, run) = (self.scores.as_ptr(), seen);
                let lefts = Lefts { first, count, step: score_row, runs: 1, run, next_run: 0 };
                let columns = &mut out[h * head..];
                let to = Target::plain(columns.as_mut_ptr(), width, head);
                for first in (0..head.div_ceil(S::LANES)).step_by(2) {
                    // SAFETY: the scores were written above; the panels hold whole vectors of each key's values;
                    // the head's columns of `count` rows lie inside the output.
                    unsafe { tile::multiply(simd, lefts, panels[keys..].as_ptr(), first, to) };
                }
                for (row, factor) in columns.chunks_mut(width).zip(factors) {
                    row[..head].iter_mut().for_each(|v| *v *= factor);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw};
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_over_odd_sizes_and_masks() {
        let mut rng = Rng::new(26);
        for isa in Isa::available() {
            let lanes = simd::lanes(isa);
            for tokens in [0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, BLOCK + 1, 3 * BLOCK - 1] {
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
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_that_is_not_seen_changes_no_byte() {
        let mut rng = Rng::new(27);
        for isa in Isa::available() {
            let attention = Attention::new(isa, 20, 2, 8);
            let mut qkv = draw(&mut rng, 20 * 48);
            let keys: Vec<f32> = (0..20).map(|t| if t < 13 { 1.0 } else { 0.0 }).collect();
            let run = |qkv: &[f32]| {
                let (mut out, mut scratch) = (vec![f32::NAN; 20 * 16], vec![f32::NAN; attention.scratch()]);
                attention.run(&Pool::single(), qkv, Some(&keys), &mut scratch, &mut out);
                out
            };
            let before = run(&qkv);
            qkv[13 * 48 + 16..14 * 48].fill(f32::NAN);
            assert_eq!(before[..13 * 16], run(&qkv)[..13 * 16]);
            let mut out = vec![f32::NAN; 20 * 16];
            attention.run(
                &Pool::single(),
                &qkv,
                Some(&[0.0; 20]),
                &mut vec![0.0; attention.scratch()],
                &mut out,
            );
            assert_eq!(out, [0.0; 20 * 16], "nothing is seen");
        }
    }
}
