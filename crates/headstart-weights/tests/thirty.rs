//! Weight files made to run code, to exhaust the machine, or to mislead. Each is refused, for the right reason, in less than
//! a second and with less than 100 MB. An executable of its own: the peak of memory is the process's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod made;

use headstart_weights::StateDict;
use made::{one, pickle, zip};
use std::path::Path;
use std::time::{Duration, Instant};

const MEGABYTE: u64 = 1 << 20;

/// Bytes in memory: now, or the most since the last [`forget_peak`]. 0 where the system does not tell.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kb| kb << 10)
}

fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The pickle in an archive, with a storage of 24 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl", pickle), ("a/data/0", &[0; 24])])
}

/// A legacy file: what stands before its object (magic number, protocol, system), the object, and the storages.
fn legacy(object: &[u8], rest: &[u8]) -> Vec<u8> {
    let sound =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tied.legacy.pth")).unwrap();
    let head = sound.windows(13).position(|w| w == b"\x80\x02ccollection").unwrap();
    [&sound[..head], object, rest].concat()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A dict with `n` small keys that all hold `value`.
fn keys(n: u32, value: &[u8]) -> Vec<u8> {
    (0..n).flat_map(|i| [b"J", &i.to_le_bytes()[..], value].concat()).collect()
}

fn files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let sound = one(6, 0, &[6], &[1], &[1; 24]);
    let find =
        |part: &[u8], from: usize| from + sound[from..].windows(part.len()).position(|w| w == part).unwrap();
    let first = find(b"PK\x01\x02", 0);
    let second = find(b"PK\x01\x02", first + 1);
    let change = |at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let huge = [i32::MAX as u32; 3];
    let mut memo = b"\x80\x02N".to_vec();
    (0..60u8).for_each(|i| memo.extend([b'q', i, b'h', i, 0x86]));
    memo.push(b'.');
    let tensor = |key: &str| {
        let made = pickle(6, 0, &[6], &[1]);
        let at = made.windows(6).position(|w| w == b"X\x01\0\0\x000").unwrap();
        [&made[..at], b"X", &(key.len() as u32).to_le_bytes(), key.as_bytes(), &made[at + 6..]].concat()
    };
    // A thousand tensors of 4 MiB each, out of one number: no one of them is too large.
    let mut many = b"\x80\x02}(".to_vec();
    let stretched = pickle(6, 0, &[1 << 20], &[0]);
    for i in 0..1000u32 {
        many.extend(
            [b"X\x04\0\0\0", format!("{i:04}").as_bytes(), &stretched[9..stretched.len() - 2]].concat(),
        );
    }
    many.extend(b"u.");
    let bombs = |opcodes: &[u8], n: usize, end: &[u8]| {
        archive(&[b"\x80\x02", &opcodes.repeat(n)[..], end, b"."].concat())
    };
    vec![
        // Code.
        ("os.system", archive(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."), "names os.system"),
        (
            "posix.system",
            archive(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."),
            "names posix.system",
        ),
        ("eval", archive(b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R."), "names builtins.eval"),
        (
            "getattr",
            archive(b"\x80\x02cbuiltins\ngetattr\ncos\nX\x06\0\0\0system\x86R."),
            "names builtins.getattr",
        ),
        ("an instance", archive(b"(X\x04\0\0\0trueisubprocess\nPopen\n."), "INST (0x69)"),
        ("an object", archive(b"(cargparse\nNamespace\no."), "OBJ (0x6f)"),
        ("a new object", archive(b"\x80\x02crunpy\n_run_code\n)\x81."), "names runpy._run_code"),
        (
            "a built module",
            archive(b"\x80\x02ctorch.nn.modules.module\nModule\n)\x81}b."),
            "torch.save(model.state_dict()",
        ),
        (
            "a load in a load",
            archive(b"\x80\x02ctorch.serialization\nload\nX\x01\0\0\0x\x85R."),
            "names torch.serialization.load",
        ),
        (
            "a method of an allowed name",
            archive(b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93."),
            "which is not on the list",
        ),
        ("an extension", archive(b"\x80\x02\x82\x01."), "EXT1 (0x82)"),
        ("a call of a call", archive(b"\x80\x02ccollections\nOrderedDict\n)R)R."), "a call"),
        (
            "code in a legacy file",
            legacy(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.", b"\x80\x02]."),
            "names os.system",
        ),
        (
            "a script",
            zip(&[("a/data.pkl", b"}."), ("a/code/__torch__.py", b"import os")]),
            "TorchScript program",
        ),
        ("a terminal's orders", archive(b"\x80\x02cos\n\x1b[2Jsystem\n."), "not on the list"),
        // Sizes.
        ("a huge text", archive(b"\x80\x02X\xff\xff\xff\xffab."), "byte 2"),
        ("huge bytes", archive(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab."), "byte 2"),
        ("a far memo", archive(b"\x80\x02Nr\xff\xff\xff\xff."), "1048576 memo entries"),
        ("a huge shape", one(6, 0, &huge, &[0, 0, 0], &[0; 24]), "which holds 6"),
        ("a stride of nothing", one(6, 0, &[1 << 30], &[0], &[0; 24]), "into 4294967296 bytes"),
        ("many strides of nothing", archive(&many), "repeats its storage"),
        ("a negative stride", one(6, 0, &[2], &[-1], &[0; 24]), "a kind that is not known"),
        ("an offset outside", one(6, i32::MAX, &[1], &[1], &[0; 24]), "which holds 6"),
        (
            "a storage that lies",
            one(7, 0, &[6], &[1], &[0; 24]),
            "expected 7 elements of F32, found 24 bytes",
        ),
        (
            "a legacy storage that lies",
            legacy(
                &pickle(6, 0, &[6], &[1]),
                &[b"\x80\x02](X\x01\0\0\x000e.", &(1u64 << 62).to_le_bytes()[..]].concat(),
            ),
            "4611686018427387904 elements of 4 bytes",
        ),
        (
            "a safetensors header without an end",
            [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat(),
            "is no weight file",
        ),
        (
            "safetensors that overlap",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                &[0; 12],
            ),
            "damaged",
        ),
        (
            "safetensors of 2^62 values",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
                &[0; 8],
            ),
            "takes",
        ),
        (
            "a deep safetensors header",
            safetensors(&format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000)), b""),
            "header is malformed",
        ),
        // Archives.
        ("a compressed entry", change(second + 10, &[8]), "compressed (method 8)"),
        ("an encrypted entry", change(second + 8, &[1]), "encrypted"),
        ("overlapping entries", change(second + 42, &[0; 4]), "a local header that agrees"),
        ("an entry past the end", change(second + 20, &[0xf0; 8]), "expected at most 24 bytes"),
        ("a changed byte", change(find(&[1; 24], 0), &[2]), "checksum"),
        (
            "a path outwards",
            zip(&[("a/data.pkl", &tensor("../../../etc/passwd")), ("a/data/0", &[0; 24])]),
            "expected its bytes in the file, found none",
        ),
        ("an entry twice", zip(&[("a/data.pkl", b"N."), ("a/data.pkl", b"N.")]), "twice"),
        // Bombs.
        ("a memo bomb", archive(&memo), "values in a full walk"),
        (
            "one dict under many keys",
            archive(
                &[b"\x80\x02}(N}q\0(", &keys(1000, b"N")[..], b"u", &keys(30_000, b"h\0"), b"u."].concat(),
            ),
            "values in a full walk",
        ),
        ("deep tuples", bombs(b"", 0, &[&b")"[..], &[0x85; 500_000]].concat()), "levels of nesting"),
        ("deep lists", bombs(b"]", 60_000, &b"a".repeat(59_999)), "levels of nesting"),
        ("open marks", bombs(b"(", 1_000_000, b""), "open marks"),
        ("a full stack", bombs(b"N", 3_000_000, b""), "values on the stack"),
        (
            "a flood of values",
            bombs(b"", 0, &[&b"]"[..], &b"Na".repeat(2_000_000)].concat()),
            "1048576 values",
        ),
        ("a list in itself", archive(b"\x80\x02]q\0h\0a."), "contains itself"),
    ]
}

#[test]
fn every_one_is_refused_for_its_reason_in_a_second_and_a_hundred_megabytes() {
    let files = files();
    assert!(files.len() >= 30);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    let mut faults = Vec::new();
    for (name, bytes, part) in files {
        std::fs::write(&path, &bytes).unwrap();
        for from_disk in [true, false] {
            let copy = if from_disk { Vec::new() } else { bytes.clone() };
            forget_peak();
            let (before, start) = (memory("VmRSS"), Instant::now());
            let result = match from_disk {
                true => StateDict::open(&path),
                false => StateDict::from_bytes(copy, Path::new("w.pth")),
            };
            let (took, grew) = (start.elapsed(), memory("VmHWM").saturating_sub(before));
            let text = match result {
                Ok(state) => format!("{} tensors were read", state.len()),
                Err(error) => error.to_string(),
            };
            if !text.contains(part) || !text.contains("w.pth") || text.contains('\x1b') {
                faults.push(format!("{name}: {text:?}"));
            }
            if took >= Duration::from_secs(1) || grew >= 100 * MEGABYTE {
                faults.push(format!("{name}: {took:?} and {} MB", grew / MEGABYTE));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_measure_of_memory_sees_what_is_taken() {
    forget_peak();
    let before = memory("VmRSS");
    if before == 0 {
        return;
    }
    let taken = std::hint::black_box(vec![1u8; 64 << 20]);
    assert!(memory("VmHWM").saturating_sub(before) > 60 * MEGABYTE, "{}", taken.len());
}
