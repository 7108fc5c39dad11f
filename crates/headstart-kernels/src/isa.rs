//! Which instructions the kernels may use: detected once, and overridden by `HEADSTART_ISA`.

use std::fmt;
use std::sync::OnceLock;

/// A set of instructions the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every machine of the target has: plain Rust loops.
    Generic,
    /// The widest vector instructions of this machine (AVX2 and AVX-512 on x86-64, NEON on Arm).
    Native,
}

/// `HEADSTART_ISA` names no known instruction set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HEADSTART_ISA is `{found}`: expected `generic` or `native`, or leave it unset")]
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
            None => Ok(Isa::Native),
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
        *CURRENT.get_or_init(|| Isa::from_env().unwrap_or(Isa::Native))
    }

    /// Every instruction set this machine can run, plainest first: tests loop over them.
    pub fn available() -> [Isa; 2] {
        [Isa::Generic, Isa::Native]
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Generic => "generic",
            Isa::Native => "native",
        })
    }
}
