//! Pickles made to run code, to exhaust memory or to mislead. Each is refused for the right reason.

use std::time::{Duration, Instant};

use headstart_pickle::{Limits, PickleError, Policy, Value, read, read_from};

const GLOBALS: &[(&str, &str)] = &[("collections", "OrderedDict")];

fn refusal(input: &[u8]) -> PickleError {
    let start = Instant::now();
    let error = read(input, &Policy { globals: GLOBALS, limits: Limits::default() }).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "{error} took {:?}", start.elapsed());
    error
}

fn message(input: &[u8]) -> String {
    refusal(input).to_string()
}

#[test]
fn a_global_that_runs_code_is_refused_where_it_is_named() {
    assert_eq!(
        message(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."),
        "GLOBAL at byte 2 names os.system, which is not on the list of allowed names"
    );
    assert_eq!(
        message(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."),
        "STACK_GLOBAL at byte 17 names posix.system, which is not on the list of allowed names"
    );
    // The dotted name that would reach through an allowed module.
    assert!(
        message(b"\x80\x04\x8c\x0bcollections\x8c\x12OrderedDict.update\x93.").contains("not on the list")
    );
    let terminal = message(b"cos\n\x1b[2Jsystem\n.");
    assert!(!terminal.contains('\x1b'), "{terminal:?}");
}

#[test]
fn opcodes_that_reach_outside_are_refused_by_name_and_offset() {
    for (input, name) in [
        (b"N(i__main__\nX\n.".as_slice(), "INST (0x69) at byte 2"),
        (b"N(o.", "OBJ (0x6f) at byte 2"),
        (b"\x82\x01.", "EXT1 (0x82) at byte 0"),
        (b"N\x97.", "NEXT_BUFFER (0x97) at byte 1"),
        (b"Pid\n.", "PERSID (0x50) at byte 0"),
        (b"N0.", "POP (0x30) at byte 1"),
        (b"\xff.", "unknown (0xff) at byte 0"),
    ] {
        let text = message(input);
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_call_of_anything_but_an_allowed_global_is_refused() {
    assert!(matches!(refusal(b"X\x01\0\0\0a)R."), PickleError::Operand { found: "text", .. }));
    assert!(matches!(refusal(b"ccollections\nOrderedDict\nNR."), PickleError::Operand { found: "None", .. }));
    // The result of a call is a symbol: it can be given a state, and nothing can be called on it.
    assert!(matches!(
        refusal(b"ccollections\nOrderedDict\n)R)R."),
        PickleError::Operand { found: "a call", .. }
    ));
    assert!(matches!(refusal(b"]Nb."), PickleError::Operand { found: "a list", .. }));
}

#[test]
fn a_memo_bomb_is_refused_by_the_size_of_its_walk() {
    // Each tuple holds the one before it twice: 2^40 values in 200 bytes.
    let mut bomb = b"N".to_vec();
    for i in 0..40u8 {
        bomb.extend([b'q', i, b'h', i, 0x86]);
    }
    bomb.push(b'.');
    assert!(message(&bomb).contains("values in a full walk"), "{}", message(&bomb));
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let mut tuples = b")".to_vec();
    tuples.extend(std::iter::repeat_n(0x85, 500_000));
    tuples.push(b'.');
    assert!(message(&tuples).contains("64 levels of nesting"), "{}", message(&tuples));

    let mut lists = vec![b']'; 60_000];
    lists.extend(vec![b'a'; 59_999]);
    lists.push(b'.');
    assert!(message(&lists).contains("64 levels of nesting"), "{}", message(&lists));

    // Outermost first, through the memo: no value is deep when it is attached.
    let mut outside_in = b"(]".to_vec();
    outside_in.extend(b"]q\x01ah\x01".repeat(5_000));
    outside_in.extend(b"t.");
    assert!(message(&outside_in).contains("64 levels of nesting"), "{}", message(&outside_in));
    let mut marks = vec![b'('; 200_000];
    marks.push(b'.');
    assert!(message(&marks).contains("open marks"));
}

#[test]
fn a_value_inside_itself_is_refused() {
    assert!(matches!(refusal(b"]q\0h\0a."), PickleError::Cycle { offset: 7 }));
    assert!(matches!(refusal(b"}q\0N](h\0eu."), PickleError::Operand { .. }));
    assert!(matches!(refusal(b"}q\0(N](h\0eu."), PickleError::Cycle { .. }));
}

#[test]
fn a_length_that_lies_costs_no_memory() {
    for input in [
        b"X\xff\xff\xff\xffab.".as_slice(),
        b"T\xff\xff\xff\x7fab.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",
        b"\x8a\xff\x01.",
    ] {
        let PickleError::Truncated { needed, found, .. } = refusal(input) else {
            panic!("{}", message(input))
        };
        assert!(needed > found as u64);
    }
    assert!(message(b"Nr\xff\xff\xff\xff.").contains("1048576 memo entries"));
    assert!(message(b"Np4000000000\n.").contains("memo entries"));
}

#[test]
fn floods_of_opcodes_and_values_end_at_their_limits() {
    let mut stack = vec![b'N'; 70_000];
    stack.push(b'.');
    assert!(message(&stack).contains("65536 values on the stack"));
    let mut values = b"]".to_vec();
    values.extend(b"Na".repeat(1_100_000));
    values.push(b'.');
    assert!(message(&values).contains("1048576 values"));
    let mut steps = b"]q\0".to_vec();
    steps.extend(b"q\0".repeat(4_200_000));
    assert!(message(&steps).contains("4194304 opcodes"));
    let policy = Policy { globals: GLOBALS, limits: Limits { bytes: 10, ..Limits::default() } };
    let error = read(b"X\x20\0\0\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.", &policy).unwrap_err();
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[test]
fn an_unbalanced_stack_is_refused() {
    for input in
        [b".".as_slice(), b"NN.", b"(N.", b"N(.", b"(N)s.", b"t.", b"e.", b"]e.", b"(a.", b"\x85.", b"N\x86."]
    {
        assert!(matches!(refusal(input), PickleError::Operand { .. }), "{}", message(input));
    }
    assert!(matches!(refusal(b"h\x05."), PickleError::Memo { index: 5, .. }));
    assert!(matches!(refusal(b"Nq\x05h\x04."), PickleError::Memo { index: 4, .. }));
    assert!(matches!(refusal(b"}(Nu."), PickleError::Operand { .. }));
}

#[test]
fn several_pickles_in_a_row_are_read_one_by_one_with_offsets_of_the_file() {
    let file = b"\x80\x02K\x01.\x80\x02K\x02.cos\nsystem\n.";
    let policy = Policy { globals: GLOBALS, limits: Limits::default() };
    let first = read(file, &policy).unwrap();
    let second = read_from(file, first.end(), &policy).unwrap();
    assert!(matches!((first.root(), second.root()), (Value::Int(1), Value::Int(2))));
    let third = read_from(file, second.end(), &policy).unwrap_err();
    assert!(matches!(third, PickleError::GlobalRefused { offset: 10, .. }), "{third}");
}

#[test]
fn every_seed_and_finding_of_the_fuzzer_is_read_or_refused() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/pickle");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 10, "{} files", files.len());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        match read(&bytes, &Policy { globals: GLOBALS, limits: Limits::default() }) {
            Ok(pickle) => assert!(pickle.end() <= bytes.len()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
