//! Reading: every size is checked before a tensor is handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use headstart_tensor::Shape;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{MAX_HEADER, METADATA};
use crate::source::Source;
use crate::stored::byte_len;
use crate::{DType, StoredTensor, WeightsError};

/// What a safetensors file holds, in the order of its header.
pub(crate) struct Contents {
    pub(crate) tensors: Vec<(String, StoredTensor)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// True where `bytes` start as a safetensors file does.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|n| u64::from_le_bytes(*n));
    length.is_some_and(|n| n <= MAX_HEADER) && bytes.get(8) == Some(&b'{')
}

/// Reads `source`.
///
/// The data must follow the header without hole, overlap or rest; names are unique; a tensor's bytes are
/// those of its type and shape.
pub(crate) fn read(source: &Arc<Source>, file: &Path) -> Result<Contents, WeightsError> {
    let bytes = source.bytes();
    let damaged = |part: &str, expected: String, found: String| WeightsError::Damaged {
        file: file.to_owned(),
        part: part.to_owned(),
        expected,
        found,
    };
    let length = bytes.first_chunk().map_or(u64::MAX, |n| u64::from_le_bytes(*n));
    if length > MAX_HEADER {
        let expected = format!("a length of at most {MAX_HEADER} bytes");
        return Err(damaged("the header", expected, length.to_string()));
    }
    let start = 8 + length as usize;
    let Some(header) = bytes.get(8..start) else {
        return Err(damaged("the header", format!("{length} bytes"), (bytes.len() - 8).to_string()));
    };
    let header: Header = serde_json::from_slice(header)
        .map_err(|source| WeightsError::Header { file: file.to_owned(), source })?;

    let duplicate = |name: &str| WeightsError::DuplicateName { file: file.to_owned(), name: name.to_owned() };
    let mut metadata = BTreeMap::new();
    for (key, value) in header.metadata {
        if let Some(old) = metadata.insert(key.clone(), value) {
            drop(old);
            return Err(duplicate(&key));
        }
    }
    let mut names = BTreeSet::new();
    if let Some((name, _)) = header.tensors.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return Err(duplicate(name));
    }

    let mut order: Vec<_> = header.tensors.iter().map(|(name, info)| (info.data_offsets, name)).collect();
    order.sort();
    let mut end = 0;
    for ((from, to), name) in order {
        if from != end || to < from {
            let expected = format!("bytes that start at {end} of the data");
            return Err(damaged(&format!("tensor {name:?}"), expected, format!("bytes {from} to {to}")));
        }
        end = to;
    }
    let held = bytes.len() - start;
    if end != held {
        return Err(damaged("the data", format!("{end} bytes, as the header says"), held.to_string()));
    }

    let tensors = header.tensors.into_iter().map(|(name, info)| {
        let dtype = DType::from_name(&info.dtype).ok_or_else(|| WeightsError::UnsupportedType {
            file: file.to_owned(),
            tensor: name.clone(),
            found: info.dtype.clone(),
        })?;
        let shape = Shape::from(info.shape.0);
        let (from, to) = info.data_offsets;
        match StoredTensor::view(dtype, shape.clone(), source, start + from..start + to) {
            Some(tensor) => Ok((name, tensor)),
            None => Err(WeightsError::Size {
                file: file.to_owned(),
                tensor: name,
                expected: byte_len(dtype, &shape).unwrap_or(usize::MAX),
                dtype,
                shape,
                found: to - from,
            }),
        }
    });
    Ok(Contents { tensors: tensors.collect::<Result<_, _>>()?, metadata })
}

/// The header as it stands, duplicates kept.
struct Header {
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, Info)>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Extents,
    data_offsets: (usize, usize),
}

/// At most 64 extents: no tensor has more, and a header of them would take eight times its size.
struct Extents(Vec<usize>);

/// Pairs of text, duplicates kept.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { metadata: Vec::new(), tensors: Vec::new() };
                let mut seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA {
                        header.tensors.push((name, map.next_value()?));
                    } else if seen {
                        return Err(A::Error::custom("__metadata__ stands there twice"));
                    } else {
                        seen = true;
                        header.metadata = map.next_value::<Pairs>()?.0;
                    }
                }
                Ok(header)
            }
        }
        from.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Texts)
    }
}

impl<'de> Deserialize<'de> for Extents {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Extents;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at most 64 extents")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Extents, A::Error> {
                let mut extents = Vec::new();
                while let Some(extent) = seq.next_element()? {
                    if extents.len() == 64 {
                        return Err(A::Error::invalid_length(65, &self));
                    }
                    extents.push(extent);
                }
                Ok(Extents(extents))
            }
        }
        from.deserialize_seq(Numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend(header.as_bytes());
        out.extend((0..data).map(|i| i as u8));
        out
    }

    fn refusal(bytes: Vec<u8>) -> String {
        match read(&Arc::new(Source::Owned(bytes)), Path::new("f.safetensors")) {
            Ok(_) => panic!("it was read"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tensors_stand_in_the_order_of_the_header() {
        let header = r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"__metadata__":{"k":"v"},
            "a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"z":{"dtype":"I64","shape":[0],"data_offsets":[8,8]}}  "#;
        let contents = read(&Arc::new(Source::Owned(file(header, 8))), Path::new("f")).unwrap();
        let names: Vec<_> = contents.tensors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "a", "z"]);
        assert_eq!(contents.tensors[1].1.bytes(), [0, 1, 2, 3]);
        assert_eq!(contents.metadata["k"], "v");
    }

    #[test]
    fn offsets_with_a_hole_an_overlap_a_rest_or_the_wrong_way_are_refused() {
        let two = |a: &str, b: &str| {
            format!(
                r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
            )
        };
        assert!(
            refusal(file(&two("[0,4]", "[5,9]"), 9)).contains("tensor \"b\": expected bytes that start at 4")
        );
        assert!(refusal(file(&two("[0,4]", "[3,7]"), 7)).contains("found bytes 3 to 7"));
        assert!(refusal(file(&two("[0,4]", "[0,4]"), 4)).contains("tensor \"b\""));
        assert!(refusal(file(&two("[4,8]", "[8,12]"), 12)).contains("start at 0"));
        assert!(
            refusal(file(&two("[0,4]", "[4,8]"), 9))
                .contains("expected 8 bytes, as the header says, found 9")
        );
        assert!(refusal(file(&two("[0,4]", "[4,8]"), 7)).contains("found 7"));
        assert!(refusal(file(&two("[0,4]", "[4,2]"), 4)).contains("found bytes 4 to 2"));
        assert!(refusal(file(&two("[0,4]", "[4,18446744073709551615]"), 8)).contains("18446744073709551615"));
    }

    #[test]
    fn a_shape_that_does_not_fit_its_bytes_is_refused() {
        let one = |dtype: &str, shape: &str| {
            file(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,8]}}}}"#), 8)
        };
        assert!(refusal(one("F32", "[3]")).contains("shape [3] takes 12 bytes, found 8"));
        assert!(refusal(one("F32", "[4294967296,4294967296]")).contains("takes 18446744073709551615 bytes"));
        assert!(refusal(one("F8_E4M3", "[8]")).contains("type F8_E4M3"));
        assert!(refusal(one("U8", "[-8]")).contains("malformed"));
        assert!(refusal(one("U8", &format!("[{}8]", "1,".repeat(64)))).contains("at most 64 extents"));
    }

    #[test]
    fn names_and_fields_stand_once() {
        let a = r#""a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
        assert!(refusal(file(&format!("{{{a},{a}}}"), 0)).contains("\"a\" twice"));
        assert!(refusal(file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0)).contains("\"k\" twice"));
        assert!(refusal(file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0)).contains("__metadata__"));
        assert!(refusal(file(r#"{"__metadata__":{"k":1}}"#, 0)).contains("malformed"));
        let field = r#"{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
        assert!(refusal(file(field, 0)).contains("duplicate field"));
        let extra = r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"strides":[1]}}"#;
        assert!(refusal(file(extra, 0)).contains("unknown field"));
    }

    #[test]
    fn a_header_length_that_lies_is_refused() {
        let mut long = file("{}", 0);
        long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(refusal(long).contains("at most 33554432 bytes"));
        let mut beyond = file("{}", 0);
        beyond[0] = 3;
        assert!(refusal(beyond).contains("expected 3 bytes, found 2"));
        assert!(refusal(vec![2, 0, 0]).contains("at most"));
        assert!(refusal(file("{} x", 0)).contains("malformed"));
    }
}
