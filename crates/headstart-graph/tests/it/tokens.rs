//! Sequences: a small text encoder with padding, compiled and trained, and its gradients against finite differences.

use headstart_graph::{
    AddRows, BnStats, Calibration, Embedding, Freeze, Graph, GraphBuilder, Linears, Op, Params, Pooled,
    Precision, Smooth, TokenPool, Trainer, Trunk,
};
use headstart_kernels::{Isa, Pool};
use headstart_tensor::{Rng, Tensor};
use headstart_testing::{relative_l2, seeded};

const TOKENS: usize = 7;

/// One block of BERT over 11 words, and the mean of what is no padding.
fn encoder() -> Graph {
    let mut b = GraphBuilder::new([TOKENS]);
    let ids = b.input();
    let mask = b.add("mask", Op::PadMask { pad: 0 }, &[ids]).unwrap();
    let x = b.add("words", Op::Embedding(Embedding { entries: 11, features: 8 }), &[ids]).unwrap();
    let rows = |step| Op::AddRows(AddRows { entries: 9, features: 8, first: 0, step, whole: false });
    let x = b.add("positions", rows(1), &[x]).unwrap();
    let x = b.add("segment", rows(0), &[x]).unwrap();
    let x = b.layer_norm("norm", x, 1e-12).unwrap();
    let parts = ["query", "key", "value"].map(String::from).to_vec();
    let qkv = b.add("self", Op::Linears(Linears { in_features: 8, out_features: 8, parts }), &[x]).unwrap();
    let y = b.attention("attention", qkv, 2, Some(mask)).unwrap();
    let y = b.linear("output", y, 8).unwrap();
    let x = b.add("add", Op::Add, &[y, x]).unwrap();
    let x = b.layer_norm("norm1", x, 1e-12).unwrap();
    let y = b.linear("up", x, 16).unwrap();
    let y = b.smooth("gelu", y, Smooth::Gelu).unwrap();
    let y = b.linear("down", y, 8).unwrap();
    let x = b.add("add1", Op::Add, &[y, x]).unwrap();
    let x = b.layer_norm("norm2", x, 1e-12).unwrap();
    b.add("pool", Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: true }), &[x, mask]).unwrap();
    b.finish()
}

fn params(graph: &Graph) -> Params {
    let values = |p: headstart_graph::ParamSpec| (p.name.clone(), seeded(&p.name, p.shape.dims(), 4, 1.0));
    graph.params().into_iter().map(values).collect()
}

/// Sentences of 1 to 7 words, filled with padding.
fn sentences(n: usize) -> Tensor {
    let mut rng = Rng::new(3);
    Tensor::from_fn([n, TOKENS], |i| {
        let word = 1.0 + (10.0 * rng.uniform()).floor() as f32;
        if i % TOKENS <= i / TOKENS % TOKENS { word } else { 0.0 }
    })
}

#[test]
fn the_compiled_encoder_equals_the_plain_one_at_every_node() {
    let graph = encoder();
    let (params, x) = (params(&graph), sentences(9));
    for (i, node) in graph.nodes().iter().enumerate() {
        let prefix = graph.prefix(graph.node(&graph.nodes()[i].name).unwrap().0).unwrap();
        let mut trainer = Trainer::new(prefix.clone(), Freeze::everything(), BnStats::Running);
        let expected = trainer.forward(&params, &x, &Pool::new(1)).unwrap();
        let trunk = Trunk::compile(&prefix, &params).unwrap();
        let found = trunk.run(&Pool::new(1), &x).unwrap();
        assert_eq!(found.shape(), expected.shape());
        let apart = relative_l2(found.data(), expected.data());
        assert!(apart < 1e-6, "{}: {apart}", node.name);
        for threads in [2, 20] {
            let again = trunk.run(&Pool::new(threads), &x).unwrap();
            assert_eq!(found, again, "{}: the same bytes with {threads} threads", node.name);
        }
    }
}

#[test]
fn lower_precisions_stay_close_and_rows_go_on_in_bf16_where_only_products_read_them() {
    let graph = encoder();
    let (params, x, none) = (params(&graph), sentences(9), Calibration::default());
    let expected = Trunk::compile(&graph, &params).unwrap().run(&Pool::new(1), &x).unwrap();
    for (precision, most) in [(Precision::Bf16, 1e-2), (Precision::Int8, 2e-2)] {
        let trunk = Trunk::compile_in(precision, &graph, &params, &none).unwrap();
        assert_eq!(trunk.products(), [precision]);
        let found = trunk.run(&Pool::new(1), &x).unwrap();
        let apart = relative_l2(found.data(), expected.data());
        assert!(apart > 1e-4 && apart < most, "{precision}: {apart}");
        assert_eq!(found, trunk.run(&Pool::new(20), &x).unwrap(), "{precision}: the same bytes");
        let layers = trunk.layers();
        let of =
            |node: &str| layers.iter().find(|l| l.nodes.split('+').any(|n| n == node)).map(|l| &l.kernel[..]);
        let product = if precision == Precision::Int8 { "linear int8 (rows)" } else { "linear bf16" };
        for linear in ["self", "output", "up", "down"] {
            assert_eq!(of(linear), Some(product));
        }
        // The first two norms are added to what a linear layer makes of them, the last one is pooled.
        for norm in ["norm", "norm1", "norm2"] {
            assert_eq!(of(norm), Some("layer norm f32"));
        }
        assert_eq!(of("gelu"), Some("GELU bf16"));
        let native = Precision::Bf16.is_native(Isa::current());
        assert_eq!(of("attention"), Some(if native { "attention bf16" } else { "attention f32" }));
    }
}

#[test]
fn padding_changes_nothing_and_an_unknown_word_is_seen() {
    let graph = encoder();
    let params = params(&graph);
    let run = |graph: &Graph, ids: &[f32]| {
        let x = Tensor::new([1, ids.len()], ids.to_vec()).unwrap();
        Trunk::compile(graph, &params).unwrap().run(&Pool::new(1), &x).unwrap()
    };
    let padded = run(&graph, &[3.0, 9.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let short = run(&graph.with_input([3]).unwrap(), &[3.0, 9.0, 1.0]);
    assert!(relative_l2(padded.data(), short.data()) < 1e-6);
    for id in [11.0, -1.0, 0.5, f32::NAN] {
        assert!(run(&graph, &[3.0, id, 1.0, 0.0, 0.0, 0.0, 0.0]).data().iter().all(|v| v.is_nan()), "{id}");
    }
}

#[test]
fn gradients_with_padding_agree_with_finite_differences() {
    let graph = encoder();
    let (params, x) = (params(&graph), sentences(5));
    let weights = {
        let mut rng = Rng::new(5);
        Tensor::from_fn([5, 8], |_| rng.range(-1.0, 1.0) as f32)
    };
    let loss = |params: &Params| -> f64 {
        let mut trainer = Trainer::new(graph.clone(), Freeze::everything(), BnStats::Running);
        let out = trainer.forward(params, &x, &Pool::new(1)).unwrap();
        out.data().iter().zip(weights.data()).map(|(&o, &w)| f64::from(o) * f64::from(w)).sum()
    };
    let names = graph.stages().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let freeze = names.iter().try_fold(Freeze::everything(), |f, name| f.unfreeze(&graph, name)).unwrap();
    let found = |pool: &Pool| {
        let mut trainer = Trainer::new(graph.clone(), freeze.clone(), BnStats::Running);
        trainer.forward(&params, &x, pool).unwrap();
        trainer.backward(&params, &weights, pool).unwrap().clone()
    };
    let gradients = found(&Pool::new(1));
    assert_eq!(gradients, found(&Pool::new(3)), "the same bytes with three threads");
    assert_eq!(gradients.len(), graph.params().len());
    for (name, gradient) in &gradients {
        let scale = gradient.data().iter().fold(0.1f64, |m, &g| m.max(f64::from(g.abs())));
        for i in 0..gradient.len() {
            let moved = |by: f32| {
                let mut params = params.clone();
                params.get_mut(name).unwrap().data_mut()[i] += by;
                loss(&params)
            };
            let expected = (moved(4e-3) - moved(-4e-3)) / 8e-3;
            let found = f64::from(gradient.data()[i]);
            assert!((found - expected).abs() < 5e-3 * scale, "{name}[{i}]: {found} {expected}");
        }
    }
}

#[test]
fn wrong_sequences_are_refused_by_name() {
    let mut b = GraphBuilder::new([14, 14, 8]);
    let input = b.input();
    let error = b.attention("attention", input, 2, None).unwrap_err().to_string();
    assert!(error.contains("attention") && error.contains("3 * width"), "{error}");
    let whole = Op::AddRows(AddRows { entries: 9, features: 8, first: 0, step: 1, whole: true });
    let mut b = GraphBuilder::new([7, 8]);
    let error = b.add("pos_embed", whole, &[b.input()]).unwrap_err().to_string();
    assert!(error.contains("exactly 9 tokens"), "{error}");
    let short = Op::AddRows(AddRows { entries: 8, features: 8, first: 2, step: 1, whole: false });
    let error = b.add("positions", short, &[b.input()]).unwrap_err().to_string();
    assert!(error.contains("at most 6 tokens"), "{error}");
}
