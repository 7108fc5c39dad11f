//! CIFAR-like batches as Python wrote them, in every protocol.

use headstart_pickle::{Limits, Pickle, Policy, Value, read};

const GLOBALS: &[(&str, &str)] = &[
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
];

fn policy() -> Policy<'static> {
    Policy { globals: GLOBALS, limits: Limits::default() }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Bytes as Python 3 pickles them below protocol 3: `_codecs.encode(text, "latin1")`.
fn bytes(value: Value<'_>) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::Call(call) => {
            assert_eq!(call.global().name, "encode");
            let text = call.args().get(0).and_then(|v| v.text()).unwrap();
            text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn entry<'p>(pickle: &'p Pickle<'_>, key: &[u8]) -> Value<'p> {
    let Value::Dict(dict) = pickle.root() else { panic!("{:?}", pickle.root()) };
    dict.iter().find(|(k, _)| bytes(*k) == key).unwrap().1
}

fn integers(value: Value<'_>) -> Vec<i64> {
    let Value::List(list) = value else { panic!("{value:?}") };
    list.iter().map(|v| if let Value::Int(n) = v { n } else { panic!("{v:?}") }).collect()
}

#[test]
fn every_protocol_gives_the_same_batch() {
    for protocol in 0..6 {
        let file = fixture(&format!("batch{protocol}.pkl"));
        let pickle = read(&file, &policy()).unwrap();
        assert_eq!(pickle.end(), file.len());
        assert_eq!(integers(entry(&pickle, b"labels")), [3, 8, 0]);
        assert_eq!(bytes(entry(&pickle, b"batch_label")), b"testing batch 1 of 1");
        assert!(matches!(entry(&pickle, b"scale"), Value::Float(0.5)));
        let flags = entry(&pickle, b"flags").tuple().unwrap();
        let flags: Vec<_> = flags.iter().map(|v| format!("{v:?}")).collect();
        assert_eq!(
            flags,
            ["Bool(true)", "Bool(false)", "None", "Int(-1)", "Int(70000)", "Int(-1099511627776)"]
        );
        if protocol >= 2 {
            let Value::Long(big) = entry(&pickle, b"big") else { panic!() };
            assert_eq!(big, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        let Value::Call(data) = entry(&pickle, b"data") else { panic!() };
        let pixels = if protocol < 5 {
            assert_eq!(data.global().name, "_reconstruct");
            data.state().unwrap().tuple().unwrap().get(4).unwrap()
        } else {
            data.args().get(0).unwrap()
        };
        assert_eq!(bytes(pixels), (0..24).collect::<Vec<u8>>(), "protocol {protocol}");
    }
}

#[test]
fn a_batch_of_python_2_is_read_with_its_byte_strings() {
    let file = fixture("batch_python2.pkl");
    let pickle = read(&file, &policy()).unwrap();
    assert_eq!(integers(entry(&pickle, b"labels")), [3, 8, 0]);
    let Value::Call(data) = entry(&pickle, b"data") else { panic!() };
    let state = data.state().unwrap().tuple().unwrap();
    let shape: Vec<_> = state.get(1).unwrap().tuple().unwrap().iter().map(|v| v.size()).collect();
    assert_eq!(shape, [Some(3), Some(8)]);
    assert_eq!(bytes(state.get(4).unwrap()), (0..24).collect::<Vec<u8>>());
}

#[test]
fn no_prefix_and_no_changed_byte_makes_the_reader_panic() {
    for name in ["batch0.pkl", "batch2.pkl", "batch5.pkl", "batch_python2.pkl"] {
        let file = fixture(name);
        for length in 0..file.len() {
            assert!(read(&file[..length], &policy()).is_err(), "{name} cut to {length} bytes");
        }
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff, 0x20] {
                let mut changed = file.clone();
                changed[at] ^= flip;
                let _ = read(&changed, &policy());
            }
        }
    }
}
