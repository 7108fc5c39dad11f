//! Any bytes as a safetensors file; what is read must survive being written and read again.

#![no_main]

use std::path::Path;

use headstart_weights::{Format, StateDict, write_safetensors_to};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(state) = StateDict::from_bytes(data.to_vec(), Path::new("input")) else { return };
    if state.format() != Format::Safetensors {
        return;
    }
    let tensors: Vec<_> = state.iter().collect();
    for (_, tensor) in &tensors {
        let values = tensor.to_tensor().map(|t| t.len());
        assert!(values.is_err() || values.ok() == tensor.shape().checked_len());
    }
    let mut written = Vec::new();
    write_safetensors_to(&mut written, &tensors, state.metadata()).expect("memory takes every byte");
    let again = StateDict::from_bytes(written, Path::new("written")).expect("what was written is read");
    assert!(again.iter().eq(tensors.iter().copied()));
    assert_eq!(again.metadata(), state.metadata());
});
