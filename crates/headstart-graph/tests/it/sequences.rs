//! Sequences of any length through one compiled network: the same bytes alone and in company, and those of a network that
//! was compiled for exactly that length.

use headstart_graph::{
    AddRows, BnStats, Calibration, ClassToken, Embedding, Freeze, Graph, GraphBuilder, Linears, Op, Params,
    Pooled, Precision, Smooth, TokenPool, Trainer, Trunk,
};
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};
use headstart_testing::{relative_l2, seeded};

/// One block over 40 words, its mean of length 1. The width is the number of tokens: an extent says nothing of itself.
fn encoder(tokens: usize) -> Graph {
    const WIDTH: usize = 12;
    let mut b = GraphBuilder::new([tokens]);
    let ids = b.input();
    let mask = b.add("mask", Op::PadMask { pad: 0 }, &[ids]).unwrap();
    let x = b.add("words", Op::Embedding(Embedding { entries: 40, features: WIDTH }), &[ids]).unwrap();
    let rows = |step| Op::AddRows(AddRows { entries: 16, features: WIDTH, first: 0, step, whole: false });
    let x = b.add("positions", rows(1), &[x]).unwrap();
    let x = b.add("segment", rows(0), &[x]).unwrap();
    let x = b.layer_norm("norm", x, 1e-12).unwrap();
    let parts = ["query", "key", "value"].map(String::from).to_vec();
    let joint = Linears { in_features: WIDTH, out_features: WIDTH, parts };
    let qkv = b.add("self", Op::Linears(joint), &[x]).unwrap();
    let y = b.attention("attention", qkv, 3, Some(mask)).unwrap();
    let y = b.linear("output", y, WIDTH).unwrap();
    let x = b.add("add", Op::Add, &[y, x]).unwrap();
    // An odd width: stored in halves, a token's row ends inside a word.
    let y = b.linear("up", x, 17).unwrap();
    let y = b.smooth("gelu", y, Smooth::Gelu).unwrap();
    let y = b.linear("down", y, WIDTH).unwrap();
    let x = b.add("add1", Op::Add, &[y, x]).unwrap();
    let x = b.layer_norm("norm2", x, 1e-12).unwrap();
    let x = b.add("pool", Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: true }), &[x, mask]).unwrap();
    let x = b.linear("pooler", x, 5).unwrap();
    b.add("normalize", Op::Normalize, &[x]).unwrap();
    b.finish()
}

fn params(graph: &Graph) -> Params {
    let values = |p: headstart_graph::ParamSpec| (p.name.clone(), seeded(&p.name, p.shape.dims(), 4, 1.0));
    graph.params().into_iter().map(values).collect()
}

#[test]
fn a_sequence_gives_the_same_bytes_at_every_length_alone_and_in_company() {
    let graph = encoder(12);
    let params = params(&graph);
    let mut rng = Rng::new(8);
    for precision in Precision::ALL {
        let compile =
            |graph: &Graph| Trunk::compile_in(precision, graph, &params, &Calibration::default()).unwrap();
        let trunk = compile(&graph);
        assert!(trunk.takes_sequences());
        for tokens in 1..=12 {
            let n = 45;
            let ids: Vec<f32> =
                (0..n * tokens).map(|_| (1.0 + 39.0 * rng.uniform()).floor() as f32).collect();
            let mut together = vec![f32::NAN; 5 * n];
            trunk.run_sequences(tokens, &ids, &mut together);
            assert!(together.iter().all(|v| v.is_finite()), "{precision} {tokens}");
            for (ids, expected) in ids.chunks(tokens).zip(together.chunks(5)) {
                let mut alone = vec![f32::NAN; 5];
                trunk.run_sequences(tokens, ids, &mut alone);
                assert_eq!(alone, expected, "{precision}, {tokens} tokens");
            }
            let exact = compile(&graph.with_input([tokens]).unwrap());
            for threads in [1, 3] {
                let x = Tensor::new([n, tokens], ids.clone()).unwrap();
                let found = exact.run(&Pool::new(threads), &x).unwrap();
                assert_eq!(found.data(), together, "{precision}, {tokens} tokens, {threads} threads");
            }
        }
    }
}

#[test]
fn rows_that_do_not_grow_with_the_sequence_have_room_for_as_many_sequences_as_fit() {
    let mut b = GraphBuilder::new([16]);
    let x = b.add("words", Op::Embedding(Embedding { entries: 40, features: 8 }), &[b.input()]).unwrap();
    let mean = || Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: false });
    let x = b.add("pool", mean(), &[x]).unwrap();
    let x = b.add("class", Op::ClassToken(ClassToken { features: 8, count: 3 }), &[x]).unwrap();
    let x = b.linear("up", x, 9).unwrap();
    b.add("pool2", mean(), &[x]).unwrap();
    let graph = b.finish();
    let params = params(&graph);
    let none = Calibration::default();
    let trunk = Trunk::compile_in(Precision::Int8, &graph, &params, &none).unwrap();
    assert!(trunk.takes_sequences());
    let n = trunk.group_of(1);
    let ids: Vec<f32> = (0..n).map(|i| (1 + i % 39) as f32).collect();
    let mut together = vec![f32::NAN; 9 * n];
    trunk.run_sequences(1, &ids, &mut together);
    let mut alone = vec![f32::NAN; 9];
    trunk.run_sequences(1, &ids[n - 1..], &mut alone);
    assert_eq!(alone, together[9 * (n - 1)..]);
}

#[test]
fn without_masks_a_network_is_cut_inside_and_its_tail_runs_at_every_length() {
    let graph = encoder(12);
    let params = params(&graph);
    let whole = Trunk::compile(&graph, &params).unwrap();
    let learn = ["self", "output", "up", "down", "norm2", "pooler"];
    let freeze = |graph: &Graph| {
        learn.iter().fold(Freeze::everything(), |freeze, name| freeze.unfreeze(graph, name).unwrap())
    };
    assert_eq!(graph.split(&freeze(&graph)).unwrap().cut, "input", "the mask is read to the end");
    let open = graph.without_masks().unwrap();
    let split = open.split(&freeze(&open)).unwrap();
    assert_eq!(split.cut, "norm");
    let trunk = Trunk::compile(&split.trunk, &params).unwrap();
    let mut tail = Trainer::new(split.tail, freeze(&open), BnStats::Running);
    for tokens in [12, 1, 7, 12] {
        let ids: Vec<f32> = (0..3 * tokens).map(|i| (1 + i * 7 % 39) as f32).collect();
        let mut expected = vec![f32::NAN; 3 * 5];
        whole.run_sequences(tokens, &ids, &mut expected);
        let shape = trunk.output_of(tokens);
        assert_eq!((shape.dims(), whole.output_of(tokens).dims()), (&[tokens, 12][..], &[5][..]));
        let mut rows = vec![f32::NAN; 3 * shape.len()];
        trunk.run_sequences(tokens, &ids, &mut rows);
        let rows = Tensor::new([3, tokens, 12], rows).unwrap();
        tail.set_input(&shape).unwrap();
        let found = tail.forward(&params, &rows, &Pool::single()).unwrap();
        assert!(relative_l2(found.data(), &expected) < 1e-6, "{tokens}");
        let slope = Tensor::full([3, 5], 1.0);
        let gradients = tail.backward(&params, &slope, &Pool::single()).unwrap();
        assert!(gradients.len() == 16 && gradients.values().all(|g| g.data().iter().all(|v| v.is_finite())));
    }
}

#[test]
fn images_and_features_are_no_sequences() {
    let mut b = GraphBuilder::new([5]);
    b.linear("fc", b.input(), 3).unwrap();
    let graph = b.finish();
    assert!(!Trunk::compile(&graph, &params(&graph)).unwrap().takes_sequences());
}
