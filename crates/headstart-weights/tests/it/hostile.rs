//! Weight files made to mislead. None may panic, run code, or cost much time or memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::made::{one, pickle, zip};
use headstart_weights::{StateDict, WeightsError};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<StateDict, WeightsError> {
    let start = Instant::now();
    let result = StateDict::from_bytes(bytes.to_vec(), Path::new("w.pt"));
    assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());
    result
}

fn refusal(bytes: &[u8]) -> String {
    match read(bytes) {
        Ok(state) => panic!("{} tensors were read", state.len()),
        Err(error) => error.to_string(),
    }
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|w| w == part).unwrap()
}

#[test]
fn the_archive_of_these_tests_is_sound() {
    let state = read(&one(6, 1, &[2, 2], &[1, 2], &[0; 24])).unwrap();
    assert_eq!(state.get("w").unwrap().shape().dims(), [2, 2]);
}

#[test]
fn a_tensor_that_reaches_past_its_storage_is_refused() {
    for (offset, size, stride) in [
        (1, &[6u32][..], &[1i32][..]),
        (0, &[2, 3], &[4, 1]),
        (6, &[1], &[1]),
        (0, &[2], &[i32::MAX]),
        (i32::MAX, &[1], &[1]),
    ] {
        let text = refusal(&one(6, offset, size, stride, &[0; 24]));
        assert!(text.contains(r#"elements of storage "0", which holds 6"#), "{text}");
    }
    let huge = [i32::MAX as u32; 3];
    assert!(refusal(&one(6, 0, &huge, &[0, 0, 0], &[0; 24])).contains("which holds 6"));
    for (offset, size, stride) in
        [(-1, &[2u32][..], &[1i32][..]), (0, &[2], &[-1]), (0, &[2, 1], &[1]), (0, &[1; 65], &[1; 65])]
    {
        let text = refusal(&one(6, offset, size, stride, &[0; 24]));
        assert!(text.contains("a tensor of a kind that is not known"), "{text}");
    }
}

#[test]
fn a_stride_of_nothing_cannot_take_the_memory() {
    let text = refusal(&one(6, 0, &[1 << 30], &[0], &[0; 24]));
    assert!(text.contains("into 4294967296 bytes") && text.contains("contiguous()"), "{text}");
}

#[test]
fn a_storage_whose_size_lies_is_refused() {
    assert!(refusal(&one(7, 0, &[6], &[1], &[0; 24])).contains("expected 7 elements of F32, found 24 bytes"));
    assert!(refusal(&one(5, 0, &[5], &[1], &[0; 24])).contains("expected 5 elements of F32"));
    let missing = zip(&[("a/data.pkl", &pickle(6, 0, &[6], &[1])), ("a/data/1", &[0; 24])]);
    assert!(refusal(&missing).contains(r#"storage "0": expected its bytes in the file, found none"#));
}

#[test]
fn a_changed_byte_of_the_weights_fails_the_checksum() {
    let mut bytes = one(6, 0, &[6], &[1], b"0123456789abcdefghijklmn");
    let at = find(&bytes, b"0123456789");
    bytes[at + 5] ^= 1;
    assert!(refusal(&bytes).contains(r#"storage "0": expected checksum"#));
}

#[test]
fn entries_that_overlap_or_lie_about_their_size_are_refused() {
    let bytes = one(6, 0, &[6], &[1], &[0; 24]);
    let first = find(&bytes, b"PK\x01\x02");
    let second = first + 1 + find(&bytes[first + 1..], b"PK\x01\x02");

    // The second record names the first entry's bytes under another name, then under the same.
    let mut overlap = bytes.clone();
    overlap[second + 42..second + 46].fill(0);
    assert!(refusal(&overlap).contains("a local header that agrees"));
    let twice = zip(&[("a/data.pkl", b"N."), ("a/data.pkl", b"N.")]);
    assert!(refusal(&twice).contains(r#""a/data.pkl" twice"#));

    // The first entry's size reaches into the second.
    let pickle = pickle(6, 0, &[6], &[1]).len() as u32;
    let mut long = bytes.clone();
    long[first + 20..first + 24].copy_from_slice(&(pickle + 20).to_le_bytes());
    assert!(
        refusal(&long).contains(&format!("expected {pickle} bytes, its size, found {} stored", pickle + 20))
    );
    long[first + 24..first + 28].copy_from_slice(&(pickle + 20).to_le_bytes());
    assert!(refusal(&long).contains("the entries: expected each its own bytes"));

    let mut beyond = bytes.clone();
    beyond[second + 20..second + 28].fill(0xf0);
    assert!(refusal(&beyond).contains("expected at most 24 bytes"), "{}", refusal(&beyond));
    let mut wide = bytes.clone();
    wide[second + 20..second + 28].fill(0xff);
    assert!(refusal(&wide).contains("a record of the central directory"));

    let mut encrypted = bytes.clone();
    encrypted[second + 8] = 1;
    assert!(refusal(&encrypted).contains(r#"entry "a/data/0" is encrypted"#));
    let mut fewer = bytes;
    let end = find(&fewer, b"PK\x05\x06");
    fewer[end + 10] = 1;
    assert!(refusal(&fewer).contains("expected 1 entries"));
}

#[test]
fn a_zip_that_is_no_checkpoint_is_described() {
    assert!(refusal(&zip(&[("weights.npy", b"x")])).contains("0 entries named data.pkl"));
    assert!(refusal(&zip(&[])).contains("0 entries"));
    assert!(refusal(&zip(&[("a/data.pkl", b"N."), ("b/data.pkl", b"N.")])).contains("2 entries"));
    let big = zip(&[("a/byteorder", b"big"), ("a/data.pkl", b"}.")]);
    assert!(refusal(&big).contains("the byte order: expected little, found big"));
    assert!(
        refusal(&zip(&[("a/data.pkl", b"}.}.")])).contains("expected one pickle, found 2 bytes behind it")
    );
    assert!(refusal(&zip(&[("a/data.pkl", b"}.")])).contains("an empty dict"));
}

#[test]
fn names_that_stand_twice_are_refused() {
    let once = pickle(6, 0, &[6], &[1]);
    // The pair of key and tensor again, set into the same dict.
    let pair = &once[3..once.len() - 1];
    let twice = [b"\x80\x02}", pair, pair, b"."].concat();
    assert!(refusal(&zip(&[("a/data.pkl", &twice), ("a/data/0", &[0; 24])])).contains(r#""w" twice"#));
}

#[test]
fn one_dict_under_many_keys_is_refused_before_it_is_walked() {
    let keys = |n: u32, value: &[u8]| -> Vec<u8> {
        (0..n).flat_map(|i| [b"J", &i.to_le_bytes()[..], value].concat()).collect()
    };
    let bomb = [b"\x80\x02}(N}q\0(", &keys(1000, b"N")[..], b"u", &keys(30_000, b"h\0"), b"u."].concat();
    let text = refusal(&zip(&[("a/data.pkl", &bomb)]));
    assert!(text.contains("values in a full walk"), "{text}");
    let mut deep = vec![b')'];
    deep.extend([0x85; 1000]);
    deep.push(b'.');
    assert!(refusal(&zip(&[("a/data.pkl", &deep)])).contains("levels of nesting"));
}

#[test]
fn every_truncation_of_a_file_is_refused() {
    for name in
        ["types.zip.pt", "types.legacy.pth", "types.safetensors", "checkpoint.legacy.pth", "zip64.zip.pt"]
    {
        let file = fixture(name);
        for length in 0..file.len() {
            assert!(
                read(&file[..length]).is_err(),
                "{name} cut to {length} of {} bytes was read",
                file.len()
            );
        }
    }
}

#[test]
fn no_changed_byte_makes_a_reader_panic_or_hang() {
    for name in
        ["views.zip.pt", "views.legacy.pth", "types.safetensors", "python2.legacy.pth", "zip64.zip.pt"]
    {
        let file = fixture(name);
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff, 0x20, 0x04] {
                let mut changed = file.clone();
                changed[at] ^= flip;
                if let Ok(state) = read(&changed) {
                    for (_, tensor) in state.iter() {
                        let _ = tensor.to_tensor();
                    }
                }
            }
        }
    }
}

#[test]
fn a_legacy_file_must_end_where_its_last_storage_ends() {
    let mut file = fixture("views.legacy.pth");
    file.push(0);
    assert!(refusal(&file).contains("1 bytes behind it"));
    let mut file = fixture("python2.legacy.pth");
    let at = file.len() - 16;
    file[at + 4] = 0xff;
    assert!(
        refusal(&file).contains("elements of 4 bytes, found 16 bytes left in the file"),
        "{}",
        refusal(&file)
    );
    // The same storage listed twice, and a storage that nobody uses.
    let keys = find(&file, b"U\x0210U\x0211e.");
    file[keys + 7] = b'0';
    assert!(refusal(&file).contains("one place in the list"));
    file[keys + 7] = b'7';
    assert!(refusal(&file).contains(r#"storage "17""#));
}

#[test]
fn every_seed_and_finding_of_the_fuzzers_is_read_or_refused() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, at_least) in [("safetensors", 3), ("torch", 13)] {
        let files: Vec<_> =
            std::fs::read_dir(corpus.join(target)).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(files.len() >= at_least, "{} files in {target}", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            for bytes in
                [zip(&[("a/data.pkl", &bytes), ("a/data/0", &[1; 64]), ("a/data/1", &[0x3c; 24])]), bytes]
            {
                if let Ok(state) = read(&bytes) {
                    assert!(
                        state.iter().all(|(_, t)| t.to_tensor().is_ok_and(|v| v.len() == t.shape().len()))
                    );
                }
            }
        }
    }
}
