//! Products by the matrix unit of x86-64 (AMX): a tile of up to 16 rows by 16 columns, with sums of 16 words, an instruction.
//!
//! A tile of the left matrix is 16 rows of an NHWC image where they lie, a run of a patch for each; a tile of the right one is 16 words
//! of a packed panel ([`tile::pack`] has the unit's own order). Two by two tiles of sums stay in the unit while all words pass: four
//! loads for four products, which take twice as long. A row of a tile that lies in two cache lines costs some ten times as much,
//! so images begin at a line.
#![allow(unsafe_code)]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "amx/none.rs"]
mod unit;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unit;

use crate::Isa;
use crate::element::Element;
use crate::simd::{Dot, Simd};
use crate::tile::{Lefts, Target};
use std::sync::OnceLock;

/// Rows of a tile, and words or sums of one of its rows.
const SIDE: usize = 16;
/// Bytes of a row of a tile.
const LINE: usize = 64;

/// Whether the machine has the unit, for bf16 and for bytes, and the system lets this process use it.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(unit::detect)
}

/// How the unit takes a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    dot: Dot,
    /// Words of a row that a tile holds: runs are whole numbers of them.
    words: usize,
}

impl Unit {
    /// For runs of `run` words; none where the unit is not there, or the run can be cut only into small pieces.
    pub(crate) fn of(isa: Isa, dot: Dot, run: usize) -> Option<Unit> {
        let words = (1..=SIDE).rev().find(|words| run.is_multiple_of(*words))?;
        let worth = words >= 4 || words == run;
        (isa == Isa::Amx && dot != Dot::F32 && run > 0 && worth).then_some(Unit { dot, words })
    }
}

/// Left rows in lines, those of one image after the other's, and the output pixels that they are for.
#[derive(Clone, Copy)]
pub(crate) struct Lines<I> {
    /// The first line.
    pub(crate) line: Lefts<I>,
    pub(crate) images: usize,
    /// Elements from one image to the next.
    pub(crate) next_image: usize,
    /// Of an image.
    pub(crate) lines: usize,
    /// Elements from one line to the next.
    pub(crate) next_line: usize,
    /// Of so many rows of a line ..
    pub(crate) pitch: usize,
    /// .. the first so many are pixels of the output.
    pub(crate) width: usize,
    /// Output pixels of an image.
    pub(crate) pixels: usize,
}

impl<I: Copy> Lines<I> {
    /// One line of rows, each an output pixel.
    pub(crate) fn one(line: Lefts<I>) -> Lines<I> {
        let count = line.count;
        Lines {
            line,
            images: 1,
            next_image: 0,
            lines: 1,
            next_line: 0,
            pitch: count,
            width: count,
            pixels: count,
        }
    }

    /// Output rows of `line.count` pixels, `height` of them in each of some images; `down` elements lie between them in the image. Short rows
    /// leave tiles half empty: with `dense`, where the stride is 1, an image may be taken as one long row instead, borders and all.
    pub(crate) fn new(
        line: Lefts<I>,
        height: usize,
        down: usize,
        dense: bool,
        (images, next_image): (usize, usize),
    ) -> Lines<I> {
        /// Clocks from a product to the next one of the same sums.
        const LATENCY: usize = 52;
        let width = line.count;
        let pairs = |lines: usize, count: usize| (lines * count.div_ceil(SIDE)).div_ceil(2);
        let of = Lines { images, next_image, pixels: height * width, ..Lines::one(line) };
        if dense && height > 1 {
            let pitch = down / line.step.max(1);
            let count = (height - 1) * pitch + width;
            let short = pairs(height, width) * LATENCY.max(4 * width.min(SIDE));
            if pairs(1, count) * 4 * SIDE < short {
                return Lines { line: Lefts { count, ..line }, pitch, ..of };
            }
        }
        Lines { lines: height, next_line: down, ..of }
    }
}

/// What a pair of blocks is made of, as the instructions below read it.
#[repr(C)]
struct Pass {
    /// Tiles of a run.
    chunks: usize,
    /// Bytes from one tile of a run to the next, in the left rows ..
    next_left: usize,
    /// .. and in the panel.
    next_right: usize,
    /// Bytes from behind a run of a left row to the next run.
    gap: usize,
    /// Bytes to fetch ahead while a tile is multiplied: [`AHEAD`] or none.
    ahead: usize,
    runs: usize,
    /// Where the sums go: of the first block, and of the second.
    sums: [*mut f32; 2],
    /// Bytes from one left row to the next.
    step: usize,
}

/// Bytes of the next panel that are fetched into the second-level cache for each tile of this one.
const AHEAD: usize = 4 * LINE;

/// Sums of two blocks, two vectors a row.
#[repr(C, align(64))]
struct Sums([f32; 4 * SIDE * SIDE]);

/// All rows times all panels of weights, of two vectors each; the last may be one vector wide.
///
/// # Safety
/// As [`crate::tile::multiply`]; `simd` has as many lanes as a tile has columns, and the unit is available.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, I: Element, O: Element>(
    simd: S,
    unit: Unit,
    of: Lines<I>,
    panels: *const f32,
    to: Target<O>,
) {
    let Lefts { first, count, step, runs, run, next_run } = of.line;
    let rows = count.min(SIDE);
    let in_line = count.div_ceil(SIDE);
    let in_image = in_line * of.lines;
    let blocks = in_image * of.images;
    if blocks * to.columns == 0 {
        return;
    }
    // The image, the line and the first row of a block.
    let at = |block: usize| {
        let (image, block) = (block / in_image, block % in_image);
        (image, block / in_line, (block % in_line * SIDE).min(count - rows))
    };
    let mut sums = Sums([0.0; 4 * SIDE * SIDE]);
    let first_sums = sums.0.as_mut_ptr();
    // SAFETY: the caller's contract: every row of a block is one of `of`, and a panel holds `runs * run` words a column; half of the
    // sums lies behind the first.
    unsafe {
        let configured = unit::Configured::new(rows, unit.words);
        for channel in (0..to.columns).step_by(2 * SIDE) {
            let panel = panels.add(channel * runs * run);
            let to = to.at_column(channel);
            let wide = to.columns > SIDE;
            let line = if wide { 2 * LINE } else { LINE };
            let mut pass = Pass {
                chunks: run / unit.words,
                next_left: 4 * unit.words,
                next_right: line * unit.words,
                gap: size_of::<I>().wrapping_mul(next_run).wrapping_sub(4 * run),
                ahead: 0,
                runs,
                sums: [first_sums, first_sums.add(2 * SIDE * SIDE)],
                step: size_of::<I>() * step,
            };
            // What is still to be fetched of the next panel.
            let mut next = panel.cast::<u8>().wrapping_add(line * runs * run);
            let mut left = if to.columns > 2 * SIDE { line * runs * run } else { 0 };
            for pair in (0..blocks).step_by(2) {
                // The last of an odd number has itself for company.
                let pair = [pair, (pair + 1).min(blocks - 1)];
                let lefts = pair.map(|block| {
                    let (image, line, start) = at(block);
                    first.add(image * of.next_image + line * of.next_line + start * step).cast::<u8>()
                });
                pass.ahead = if left > 0 { AHEAD } else { 0 };
                configured.multiply(unit.dot, wide, lefts, panel, next, &pass);
                let fetched = pass.ahead * runs * pass.chunks;
                (next, left) = (next.wrapping_add(fetched), left.saturating_sub(fetched));
                for (block, sums) in pair.into_iter().zip(pass.sums) {
                    let (image, line, start) = at(block);
                    let first = image * of.pixels;
                    // Rows of several lines are pixels one after the other; of one long row, those that are no border.
                    let (mut y, mut x) = match of.lines {
                        1 => (start / of.pitch, start % of.pitch),
                        _ => (0, line * count + start),
                    };
                    let (pitch, width) =
                        if of.lines == 1 { (of.pitch, of.width) } else { (usize::MAX, usize::MAX) };
                    for row in 0..rows {
                        if x < width {
                            let values = line_of(wide);
                            let sums = std::slice::from_raw_parts(sums.add(row * values), values);
                            finish::<S, I, O>(simd, sums, to.at_row(first + y * of.width + x));
                        }
                        x += 1;
                        if x == pitch {
                            (y, x) = (y + 1, 0);
                        }
                    }
                }
            }
        }
    }
}

/// The epilogue of a row.
///
/// # Safety
/// As [`Target::write_whole`], for one row.
#[inline(always)]
unsafe fn finish<S: Simd, I: Element, O: Element>(simd: S, sums: &[f32], to: Target<O>) {
    // SAFETY: the caller's contract.
    unsafe {
        let first = || simd.load(sums.as_ptr());
        match (sums.len() > SIDE, to.columns >= sums.len()) {
            (true, true) => {
                to.write_whole::<S, I, 1, 2>(simd, [[first(), simd.load(sums.as_ptr().add(SIDE))]])
            }
            (false, true) => to.write_whole::<S, I, 1, 1>(simd, [[first()]]),
            (true, false) => to.write::<S, I, 2>(simd, sums),
            (false, false) => to.write::<S, I, 1>(simd, sums),
        }
    }
}

/// Sums of a row.
fn line_of(wide: bool) -> usize {
    if wide { 2 * SIDE } else { SIDE }
}

/// Multiply-adds that the unit does with operands that stay in it, `rounds` times four products.
pub(crate) fn probe(dot: Dot, rounds: usize) -> usize {
    if available() && dot != Dot::F32 {
        // SAFETY: the unit is available.
        unsafe { unit::Configured::new(SIDE, SIDE).probe(dot, rounds) };
    }
    let in_word = if dot == Dot::Int8 { 4 } else { 2 };
    4 * rounds * SIDE * SIDE * SIDE * in_word
}
