//! Why a pickle was refused.

/// Why a pickle was refused. Offsets are in bytes from the start of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The input ends inside an opcode or before STOP.
    #[error("the pickle is cut short: {opcode} at byte {offset} needs {needed} more bytes, {found} are left")]
    Truncated {
        /// The opcode whose argument is missing, or "an opcode" where there is none.
        opcode: &'static str,
        /// Where the opcode stands.
        offset: usize,
        /// Bytes that the argument needs.
        needed: u64,
        /// Bytes that are left.
        found: usize,
    },
    /// An opcode that builds no plain value, or none at all.
    #[error("opcode {opcode} (0x{code:02x}) at byte {offset} is refused: only plain data can be read")]
    OpcodeRefused {
        /// Its name in Python's `pickletools`, or "unknown".
        opcode: &'static str,
        /// Its byte.
        code: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A global that is not on the allow-list.
    #[error("{opcode} at byte {offset} names {module}.{name}, which is not on the list of allowed names")]
    GlobalRefused {
        /// GLOBAL or STACK_GLOBAL.
        opcode: &'static str,
        /// Where it stands.
        offset: usize,
        /// The module, shortened to 100 characters.
        module: String,
        /// The name in it, shortened likewise.
        name: String,
    },
    /// The stack does not hold what the opcode takes.
    #[error("{opcode} at byte {offset} takes {expected}, found {found}")]
    Operand {
        /// The opcode.
        opcode: &'static str,
        /// Where it stands.
        offset: usize,
        /// What it takes.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// An argument in the byte stream that is not well formed.
    #[error("{opcode} at byte {offset} has a malformed argument, expected {expected}")]
    Literal {
        /// The opcode.
        opcode: &'static str,
        /// Where it stands.
        offset: usize,
        /// What the argument must be.
        expected: &'static str,
    },
    /// A memo index that nothing was stored under.
    #[error("{opcode} at byte {offset} asks for memo entry {index}, which was never stored")]
    Memo {
        /// The opcode.
        opcode: &'static str,
        /// Where it stands.
        offset: usize,
        /// The index.
        index: usize,
    },
    /// A bound of [`Limits`](crate::Limits) was reached.
    #[error("the pickle is refused at byte {offset}: more than {limit} {what}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
        /// Where the reader stood.
        offset: usize,
    },
    /// A value that contains itself.
    #[error("the pickle that ends at byte {offset} holds a value that contains itself")]
    Cycle {
        /// Where the pickle ends.
        offset: usize,
    },
}
