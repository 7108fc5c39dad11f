//! Several pickles in a row; what is read must be walked within the limits.

#![no_main]

use headstart_pickle::{Limits, Policy, Value, read_from};
use libfuzzer_sys::fuzz_target;

const POLICY: Policy<'static> = Policy {
    globals: &[
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("torch", "FloatStorage"),
        ("torch._utils", "_rebuild_tensor_v2"),
    ],
    // Lower than the defaults, so that the fuzzer can reach them with short inputs.
    limits: Limits {
        bytes: 1 << 16,
        steps: 1 << 14,
        values: 1 << 12,
        memo: 1 << 10,
        stack: 1 << 10,
        depth: 16,
        walk: 1 << 14,
    },
};

fuzz_target!(|data: &[u8]| {
    let mut at = 0;
    while let Ok(pickle) = read_from(data, at, &POLICY) {
        assert!(pickle.end() > at && pickle.end() <= data.len());
        at = pickle.end();
        let visited = walk(pickle.root(), 1);
        assert!(visited <= POLICY.limits.walk, "{visited} values");
        pickle.persistent_ids().for_each(|id| {
            walk(id, 1);
        });
    }
});

/// The values visited in a full walk.
fn walk(value: Value<'_>, depth: usize) -> u64 {
    assert!(depth <= POLICY.limits.depth);
    let walk = |value| walk(value, depth + 1);
    1 + match value {
        Value::List(items) | Value::Tuple(items) => items.iter().map(walk).sum(),
        Value::Dict(pairs) => pairs.iter().map(|(key, value)| walk(key) + walk(value)).sum(),
        Value::Call(call) => {
            let global = call.global();
            assert!(POLICY.globals.contains(&(global.module, global.name)));
            let pairs: u64 = call.pairs().iter().map(|(key, value)| walk(key) + walk(value)).sum();
            let items: u64 = call.args().iter().chain(call.appended().iter()).map(walk).sum();
            pairs + items + call.state().map_or(0, walk)
        }
        Value::Persistent(persistent) => walk(persistent.id()),
        _ => 0,
    }
}
