//! Which instructions the kernels may use: detected once, and overridden by `HEADSTART_ISA`.

use crate::amx;
use crate::simd::Dot;
use std::fmt;
use std::sync::OnceLock;

/// A set of instructions the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every machine of the target has: plain Rust.
    Generic,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
    /// x86-64 with AVX-512 and the matrix unit AMX, for bf16 and bytes; f32 as AVX-512.
    Amx,
    /// Arm with NEON.
    Neon,
}

/// `HEADSTART_ISA` names no instruction set of this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HEADSTART_ISA is `{found}`: this machine has {}; or leave it unset", Isa::names())]
pub struct IsaError {
    /// The value of the variable.
    pub found: String,
}

impl Isa {
    /// What `HEADSTART_ISA` asks for, or the best of this machine where it is unset.
    ///
    /// # Errors
    /// Where the variable holds something else than a name of [`Isa::available`].
    pub fn from_env() -> Result<Isa, IsaError> {
        match std::env::var_os("HEADSTART_ISA") {
            None => Ok(Isa::best()),
            Some(value) => Isa::available()
                .into_iter()
                .find(|isa| *value == *isa.to_string())
                .ok_or_else(|| IsaError { found: value.to_string_lossy().into_owned() }),
        }
    }

    /// The instruction set of this process: [`Isa::from_env`], or the best of the machine where the variable
    /// cannot be read. A program reports that error itself, before its first kernel.
    pub fn current() -> Isa {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Isa::from_env().unwrap_or_else(|_| Isa::best()))
    }

    /// Every instruction set this machine can run, plainest first: tests loop over them.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![Isa::Generic];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Isa::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                all.push(Isa::Avx512);
            }
        }
        if amx::available() {
            all.push(Isa::Amx);
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Isa::Neon);
        all
    }

    /// Whether dot products of such values are single instructions; else they are several, and slower.
    pub fn has_dot(self, dot: Dot) -> bool {
        match (self, dot) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Dot::Bf16) => is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Dot::Int8) => is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Dot::Int8) => is_x86_feature_detected!("avxvnni"),
            (Isa::Amx, _) => true,
            (_, dot) => dot == Dot::F32,
        }
    }

    fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Generic)
    }

    fn names() -> String {
        Isa::available().iter().map(|isa| format!("`{isa}`")).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Generic => "generic",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
        })
    }
}
