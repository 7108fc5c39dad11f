//! Element types as files store them, little endian.

use std::fmt;

/// The type of a stored element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// A truth value, one byte.
    Bool,
    /// Unsigned 8 bits.
    U8,
    /// Signed 8 bits.
    I8,
    /// Signed 16 bits.
    I16,
    /// Signed 32 bits.
    I32,
    /// Signed 64 bits.
    I64,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

/// Each type with its safetensors name and PyTorch's storage class.
const NAMES: [(DType, &str, &str); 10] = [
    (DType::Bool, "BOOL", "BoolStorage"),
    (DType::U8, "U8", "ByteStorage"),
    (DType::I8, "I8", "CharStorage"),
    (DType::I16, "I16", "ShortStorage"),
    (DType::I32, "I32", "IntStorage"),
    (DType::I64, "I64", "LongStorage"),
    (DType::F16, "F16", "HalfStorage"),
    (DType::BF16, "BF16", "BFloat16Storage"),
    (DType::F32, "F32", "FloatStorage"),
    (DType::F64, "F64", "DoubleStorage"),
];

impl DType {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The name in a safetensors header: "F16".
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The type of a `torch.<class>`.
    pub(crate) fn from_storage_class(class: &str) -> Option<Self> {
        NAMES.iter().find(|row| row.2 == class).map(|row| row.0)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_both_of_its_names() {
        for (dtype, name, class) in NAMES {
            assert_eq!(DType::from_name(name), Some(dtype));
            assert_eq!(DType::from_storage_class(class), Some(dtype));
            assert_eq!(dtype.to_string(), name);
        }
        assert_eq!(DType::from_name("F8_E4M3"), None);
    }
}
