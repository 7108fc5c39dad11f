//! Any bytes as a file of `torch.save`.
//!
//! Bytes that start as neither of its formats become the pickle of a sound zip archive: its checksums would
//! otherwise keep the fuzzer from reaching what is behind them.

#![no_main]

use std::path::Path;

use headstart_weights::StateDict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let raw = data.starts_with(b"PK") || data.starts_with(b"\x80\x02\x8a\x0a");
    let file = if raw { data.to_vec() } else { zip(data) };
    let size = file.len();
    let Ok(state) = StateDict::from_bytes(file, Path::new("input")) else { return };
    let mut copied = 0;
    for (_, tensor) in state.iter() {
        assert_eq!(
            tensor.shape().checked_len().map(|n| n * tensor.dtype().size()),
            Some(tensor.bytes().len())
        );
        if tensor.bytes().len() <= size {
            let _ = tensor.to_tensor();
        } else {
            copied += tensor.bytes().len();
        }
    }
    assert!(copied <= size * 8 + (16 << 20));
});

/// An archive of `pickle` and the storages "0" (64 bytes), "1" (24 bytes) and "2" (no bytes).
fn zip(pickle: &[u8]) -> Vec<u8> {
    let entries =
        [("a/data.pkl", pickle), ("a/data/0", &[1; 64]), ("a/data/1", &[0x3c; 24]), ("a/data/2", &[])];
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fields.extend(crc32fast::hash(data).to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend([name.len() as u8, 0, 0, 0]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&fields);
        out.extend(name.as_bytes());
        out.extend(data);
    }
    let (start, size) = (out.len() as u32, directory.len() as u32);
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x04\0\x04\0");
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}
