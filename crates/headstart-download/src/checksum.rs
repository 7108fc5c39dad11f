//! What is known of a file's content before it comes.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is known of a file's content before it comes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Checksum {
    /// The SHA-256, or its first digits (eight in torchvision's file names), in small hexadecimal.
    Sha256(String),
    /// Nothing: only its size can be compared.
    #[default]
    Unknown,
}

impl Checksum {
    /// The checksum that `digits` are the first ones of; unknown where there are none.
    pub fn starting_with(digits: &str) -> Checksum {
        match digits {
            "" => Checksum::Unknown,
            digits => Checksum::Sha256(digits.to_ascii_lowercase()),
        }
    }

    /// Whether a content of that SHA-256 may be the file.
    pub fn fits(&self, sha256: &str) -> bool {
        match self {
            Checksum::Sha256(digits) => sha256.starts_with(digits.as_str()),
            Checksum::Unknown => true,
        }
    }

    /// Whether the file at `path` is there and has such a content.
    pub fn is_of(&self, path: &Path) -> bool {
        let sha256 = || -> io::Result<String> {
            let mut hasher = Sha256::new();
            add(&mut hasher, &mut File::open(path)?)?;
            Ok(hex(hasher))
        };
        path.is_file() && (!self.is_known() || sha256().is_ok_and(|sha256| self.fits(&sha256)))
    }

    pub(crate) fn is_known(&self) -> bool {
        *self != Checksum::Unknown
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Checksum::Sha256(digits) if digits.len() < 64 => write!(f, "SHA-256 {digits}.."),
            Checksum::Sha256(digits) => write!(f, "SHA-256 {digits}"),
            Checksum::Unknown => f.write_str("no checksum"),
        }
    }
}

/// Adds all of `reader` to `hasher`; the number of bytes.
pub(crate) fn add(hasher: &mut Sha256, reader: &mut impl Read) -> io::Result<u64> {
    let (mut buffer, mut count) = (vec![0; 1 << 16], 0);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(count),
            n => {
                hasher.update(&buffer[..n]);
                count += n as u64;
            }
        }
    }
}

/// What `hasher` has seen, in hexadecimal.
pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_digits_are_enough_and_none_say_nothing() {
        let mut hasher = Sha256::new();
        assert_eq!(add(&mut hasher, &mut &b"abc"[..]).unwrap(), 3);
        let sha = hex(hasher);
        assert_eq!(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(Checksum::starting_with("BA7816BF").fits(&sha));
        assert!(!Checksum::starting_with("ba7816b0").fits(&sha));
        assert!(Checksum::starting_with("").fits(&sha));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        assert!(!Checksum::Unknown.is_of(&path), "there is no such file");
        std::fs::write(&path, "abc").unwrap();
        assert!(Checksum::Unknown.is_of(&path) && Checksum::starting_with("ba7816bf").is_of(&path));
        assert!(!Checksum::starting_with("ba7816b0").is_of(&path));
        assert_eq!(Checksum::starting_with("ba7816bf").to_string(), "SHA-256 ba7816bf..");
    }
}
