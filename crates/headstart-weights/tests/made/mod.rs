//! Files of `torch.save` made by hand: sound ones, and whatever a test does to them.
#![allow(unreachable_pub, reason = "a module of tests")]

/// A zip archive of stored entries with right checksums, and the offsets of their central records.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (crc, size) = (crc32fast::hash(data).to_le_bytes(), (data.len() as u32).to_le_bytes());
        let fields =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0], &crc[..], &size, &size, &[name.len() as u8, 0, 0, 0]].concat();
        directory
            .extend([b"PK\x01\x02\x14\0", &fields[..], &[0; 10], &(out.len() as u32).to_le_bytes()].concat());
        directory.extend(name.as_bytes());
        out.extend([b"PK\x03\x04", &fields[..], name.as_bytes(), data].concat());
    }
    let (start, size) = (out.len() as u32, directory.len() as u32);
    let count = (entries.len() as u16).to_le_bytes();
    out.extend(directory);
    out.extend(
        [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size.to_le_bytes(), &start.to_le_bytes(), &[0; 2]]
            .concat(),
    );
    out
}

/// A pickled dict of one f32 tensor `w` over storage `0` of `numel` elements.
pub fn pickle(numel: u32, offset: i32, size: &[u32], stride: &[i32]) -> Vec<u8> {
    let numbers = |code: u8, values: Vec<[u8; 4]>| {
        let items: Vec<u8> = values.iter().flat_map(|v| [&[code], &v[..]].concat()).collect();
        [b"(", &items[..], b"t"].concat()
    };
    [
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n",
        b"X\x01\0\0\x000X\x03\0\0\0cpuJ".as_slice(),
        &numel.to_le_bytes(),
        b"tQJ",
        &offset.to_le_bytes(),
        &numbers(b'J', size.iter().map(|v| v.to_le_bytes()).collect()),
        &numbers(b'J', stride.iter().map(|v| v.to_le_bytes()).collect()),
        b"\x89NtRs.",
    ]
    .concat()
}

/// A file of `torch.save` with that one tensor.
pub fn one(numel: u32, offset: i32, size: &[u32], stride: &[i32], data: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl", &pickle(numel, offset, size, stride)), ("a/data/0", data)])
}
