//! The instructions of the unit, and how Linux is asked for it.

use super::{Dot, LINE, Pass};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

pub(super) fn detect() -> bool {
    /// In the fourth word of leaf 7: AMX-BF16, AMX-TILE, AMX-INT8.
    const AMX: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    let vectors = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512vnni");
    vectors && __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & AMX == AMX && permitted()
}

/// Asks Linux for the unit's state, 8 KiB that threads have only on request (`arch_prctl`, `ARCH_REQ_XCOMP_PERM`). It holds for all
/// threads of the process.
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XTILEDATA: u64 = 18;
    let answer: i64;
    // SAFETY: the call reads no memory of this process and writes none; the kernel changes rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// The unit with tiles of some size on this thread, until it is dropped: tiles 0 to 3 for sums, 4 and 5 for rows of the left, 6 and 7
/// for words of the right.
pub(super) struct Configured(());

/// Palette 1: the number of the palette, then from byte 16 on the bytes of a row of each tile, from byte 48 on its rows.
#[repr(C, align(64))]
struct Palette([u8; 64]);

/// Two blocks of rows by one or two vectors of columns, all words: the instructions for a tile of a run, and those that store the
/// sums at `{to}`, first of one block, then of the other.
macro_rules! products {
    ($pass:ident, $lefts:ident, $panel:ident, $next:ident, $line:ident,
     [$($product:expr),+], [$($first:expr),+], [$($second:expr),+]) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "mov {to}, [{pass}]",
            "3:",
            $($product,)+
            "add {a}, [{pass} + 8]",
            "add {b}, [{pass} + 8]",
            "add {right}, [{pass} + 16]",
            "prefetcht1 [{next}]",
            "prefetcht1 [{next} + 64]",
            "prefetcht1 [{next} + 128]",
            "prefetcht1 [{next} + 192]",
            "add {next}, [{pass} + 32]",
            "dec {to}",
            "jnz 3b",
            "add {a}, [{pass} + 24]",
            "add {b}, [{pass} + 24]",
            "dec {runs}",
            "jnz 2b",
            "mov {to}, [{pass} + 48]",
            $($first,)+
            "mov {to}, [{pass} + 56]",
            $($second,)+
            a = inout(reg) $lefts[0] => _,
            b = inout(reg) $lefts[1] => _,
            right = inout(reg) $panel => _,
            next = inout(reg) $next => _,
            runs = inout(reg) $pass.runs => _,
            to = out(reg) _,
            pass = in(reg) $pass,
            step = in(reg) $pass.step,
            line = in(reg) $line,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Configured {
    /// # Safety
    /// The unit is available; `rows` and `words` are from 1 to 16.
    pub(super) unsafe fn new(rows: usize, words: usize) -> Configured {
        let mut palette = Palette([0; 64]);
        palette.0[0] = 1;
        for tile in 0..8 {
            let (rows, bytes) = match tile {
                0..4 => (rows, LINE),
                4 | 5 => (rows, 4 * words),
                _ => (words, LINE),
            };
            palette.0[16 + 2 * tile] = bytes as u8;
            palette.0[48 + tile] = rows as u8;
        }
        // SAFETY: the caller's contract; the palette is 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &palette, options(nostack, readonly)) };
        Configured(())
    }

    /// Two blocks of rows, from `lefts` on, times a panel of one or two vectors; from `next` on memory is fetched ahead, whatever is there.
    ///
    /// # Safety
    /// All that `pass` says lies in memory that is good for it.
    #[inline(always)]
    pub(super) unsafe fn multiply(
        &self,
        dot: Dot,
        wide: bool,
        lefts: [*const u8; 2],
        panel: *const f32,
        next: *const u8,
        pass: &Pass,
    ) {
        let line = if wide { 2 * LINE } else { LINE };
        macro_rules! of {
            ($dot:literal) => {
                if wide {
                    products!(
                        pass,
                        lefts,
                        panel,
                        next,
                        line,
                        [
                            "tileloadd tmm4, [{a} + {step}]",
                            "tileloadd tmm6, [{right} + {line}]",
                            "tileloadd tmm7, [{right} + {line} + 64]",
                            concat!($dot, " tmm0, tmm4, tmm6"),
                            concat!($dot, " tmm1, tmm4, tmm7"),
                            "tileloadd tmm5, [{b} + {step}]",
                            concat!($dot, " tmm2, tmm5, tmm6"),
                            concat!($dot, " tmm3, tmm5, tmm7")
                        ],
                        ["tilestored [{to} + {line}], tmm0", "tilestored [{to} + {line} + 64], tmm1"],
                        ["tilestored [{to} + {line}], tmm2", "tilestored [{to} + {line} + 64], tmm3"]
                    )
                } else {
                    products!(
                        pass,
                        lefts,
                        panel,
                        next,
                        line,
                        [
                            "tileloadd tmm4, [{a} + {step}]",
                            "tileloadd tmm6, [{right} + {line}]",
                            concat!($dot, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm5, [{b} + {step}]",
                            concat!($dot, " tmm2, tmm5, tmm6")
                        ],
                        ["tilestored [{to} + {line}], tmm0"],
                        ["tilestored [{to} + {line}], tmm2"]
                    )
                }
            };
        }
        // SAFETY: the caller's contract.
        unsafe {
            match dot {
                Dot::Int8 => of!("tdpbusd"),
                Dot::F32 | Dot::Bf16 => of!("tdpbf16ps"),
            }
        }
    }

    /// `rounds` times four products of what is in the tiles.
    ///
    /// # Safety
    /// The unit is configured.
    pub(super) unsafe fn probe(&self, dot: Dot, rounds: usize) {
        macro_rules! rounds {
            ($dot:literal) => {
                asm!(
                    "2:",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    concat!($dot, " tmm3, tmm5, tmm7"),
                    "dec {rounds}",
                    "jnz 2b",
                    rounds = inout(reg) rounds.max(1) => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nomem, nostack),
                )
            };
        }
        // SAFETY: the caller's contract; the tiles hold zeros, or what came before.
        unsafe {
            match dot {
                Dot::Int8 => rounds!("tdpbusd"),
                Dot::F32 | Dot::Bf16 => rounds!("tdpbf16ps"),
            }
        }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: the unit is there, for it was configured. Its state is empty again, so that no change of threads carries it along.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}
