//! The fitted head: against scikit-learn, on awkward data, and byte for byte over threads.

use std::sync::atomic::AtomicBool;

use headstart::head::{ClassWeights, HeadError, HeadFit, L2, LogisticRegression};
use headstart::metrics;
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};
use headstart_testing::relative_l2;

static GO: AtomicBool = AtomicBool::new(false);

/// Features `[n, d]` around one centre a class, `spread` apart; row `i` is of class `i % classes`.
fn clusters(n: usize, d: usize, classes: usize, spread: f64) -> (Tensor, Vec<usize>) {
    let mut rng = Rng::named(1, "clusters");
    let centres: Vec<f64> = (0..classes * d).map(|_| spread * rng.normal()).collect();
    let x = Tensor::from_fn([n, d], |i| {
        let (row, column) = (i / d, i % d);
        (centres[row % classes * d + column] + rng.normal()) as f32
    });
    (x, (0..n).map(|row| row % classes).collect())
}

fn fit(settings: &LogisticRegression, x: &Tensor, y: &[usize], classes: usize) -> Result<HeadFit, HeadError> {
    settings.fit(x, y, classes, &Pool::new(2), &GO)
}

fn fixed(l2: f64) -> LogisticRegression {
    LogisticRegression { l2: L2::Fixed(l2), ..LogisticRegression::default() }
}

fn floats(value: &serde_json::Value) -> Vec<f64> {
    match value {
        serde_json::Value::Array(values) => values.iter().flat_map(floats).collect(),
        value => value.as_f64().into_iter().collect(),
    }
}

#[test]
fn the_fit_is_scikit_learns() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/head.json");
    let cases: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let narrow = |key: &str| floats(&case[key]).iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let y: Vec<usize> = floats(&case["targets"]).iter().map(|&v| v as usize).collect();
        let x = narrow("features");
        let x = Tensor::new([y.len(), x.len() / y.len()], x).unwrap();
        let settings = LogisticRegression {
            class_weights: match &case["class_weights"] {
                serde_json::Value::String(_) => ClassWeights::Balanced,
                weights => ClassWeights::PerClass(floats(weights)),
            },
            tolerance: 1e-6,
            ..fixed(case["l2"].as_f64().unwrap())
        };
        let found = fit(&settings, &x, &y, case["classes"].as_u64().unwrap() as usize).unwrap();
        let name = &case["name"];
        assert!(found.converged, "{name}: {found:?}");
        let loss = case["loss"].as_f64().unwrap();
        assert!((found.loss / loss - 1.0).abs() < 1e-6, "{name}: {} {loss}", found.loss);
        // Column by column: the scales of the features, and so of the weights, are far apart.
        let weight = narrow("weight");
        for j in 0..x.row_len() {
            let column = |w: &[f32]| w.iter().skip(j).step_by(x.row_len()).copied().collect::<Vec<f32>>();
            let error = relative_l2(&column(found.head.weight.data()), &column(&weight));
            assert!(error < 1e-3, "{name}, feature {j}: {error}");
        }
        let error = relative_l2(found.head.bias.data(), &narrow("bias"));
        assert!(error < 1e-3, "{name}, bias: {error}");
    }
}

#[test]
fn the_bytes_are_the_same_for_any_number_of_threads() {
    // More rows than a chunk, a fold boundary inside one, and enough values for several tasks.
    let (x, y) = clusters(1500, 40, 5, 0.3);
    let settings = LogisticRegression::default();
    let one = settings.fit(&x, &y, 5, &Pool::new(1), &GO).unwrap();
    assert!(one.converged && one.cross_validation.len() > 2, "{:?}", one.cross_validation);
    for threads in [2, 5] {
        assert_eq!(settings.fit(&x, &y, 5, &Pool::new(threads), &GO).unwrap(), one, "{threads} threads");
    }
}

#[test]
fn a_chosen_strength_is_the_best_of_the_path_and_gives_the_head_of_that_strength() {
    let (x, y) = clusters(300, 60, 3, 0.25);
    let auto = fit(&LogisticRegression::default(), &x, &y, 3).unwrap();
    let best = auto.cross_validation.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap();
    assert_eq!(auto.l2, best.l2);
    assert!(auto.cross_validation.windows(2).all(|pair| pair[0].l2 > pair[1].l2));
    assert!((1e-3..10.0).contains(&auto.l2), "noisy clusters want a middling strength: {}", auto.l2);
    let same = fit(&fixed(auto.l2), &x, &y, 3).unwrap();
    // Not the same bytes: folds put the rows, and so the sums, into another order.
    assert!(relative_l2(same.head.weight.data(), auto.head.weight.data()) < 1e-4);
    assert!(same.cross_validation.is_empty());
}

#[test]
fn separable_data_converges_and_is_learned_by_heart() {
    let (x, y) = clusters(200, 10, 4, 6.0);
    for l2 in [L2::Auto { folds: 5 }, L2::Fixed(1e-4), L2::Fixed(0.0)] {
        let found = fit(&LogisticRegression { l2, ..LogisticRegression::default() }, &x, &y, 4).unwrap();
        assert!(found.converged, "{l2:?}");
        let logits = found.head.logits(&Pool::new(1), &x).unwrap();
        assert_eq!(metrics::correct(&logits, &y), 200, "{l2:?}");
        assert!(found.loss < 0.05, "{l2:?}: {}", found.loss);
    }
}

#[test]
fn balanced_weights_lift_the_rare_class() {
    let (x, mut y) = clusters(600, 4, 2, 0.5);
    let rare: Vec<usize> = (0..600).filter(|&i| y[i] == 0 || i % 20 == 1).collect();
    let x = Tensor::new([rare.len(), 4], rare.iter().flat_map(|&i| x.row(i).to_vec()).collect()).unwrap();
    y = rare.iter().map(|&i| y[i]).collect();
    let recall = |class_weights| {
        let found = fit(&LogisticRegression { class_weights, ..fixed(0.01) }, &x, &y, 2).unwrap();
        let logits = found.head.logits(&Pool::new(1), &x).unwrap();
        metrics::Evaluation::new(&logits, &y, &["a".into(), "b".into()]).unwrap().per_class[1].recall.unwrap()
    };
    assert!(recall(ClassWeights::Balanced) > recall(ClassWeights::None) + 0.1);
}

#[test]
fn small_classes_do_not_break_cross_validation() {
    let (x, mut y) = clusters(43, 6, 2, 2.0);
    // One image of class 2, two of class 3 (missing in three of five folds).
    y[40] = 2;
    y[41] = 3;
    y[42] = 3;
    let found = fit(&LogisticRegression::default(), &x, &y, 4).unwrap();
    assert!(found.converged && !found.cross_validation.is_empty());
    assert!(found.cross_validation.iter().all(|point| point.loss.is_finite()));
    // An image a class: nothing can be held out.
    let (x, y) = clusters(3, 6, 3, 2.0);
    let found = fit(&LogisticRegression::default(), &x, &y, 3).unwrap();
    assert_eq!((found.l2, found.cross_validation.len()), (L2::FALLBACK, 0));
    assert_eq!(metrics::correct(&found.head.logits(&Pool::new(1), &x).unwrap(), &y), 3);
}

#[test]
fn a_constant_feature_gets_no_weight() {
    let (mut x, y) = clusters(60, 3, 2, 1.0);
    x.data_mut().iter_mut().skip(1).step_by(3).for_each(|v| *v = 7.7);
    let found = fit(&fixed(0.01), &x, &y, 2).unwrap();
    assert_eq!([found.head.weight.row(0)[1], found.head.weight.row(1)[1]], [0.0, 0.0]);
    assert!(found.head.weight.row(0)[0] != 0.0);
}

#[test]
fn features_that_say_nothing_leave_the_shares_of_the_classes() {
    let y: Vec<usize> = (0..30).map(|i| usize::from(i % 3 == 0)).collect();
    let found = fit(&LogisticRegression::default(), &Tensor::full([30, 4], 2.5), &y, 2).unwrap();
    assert!(found.converged);
    let odds = f64::from(found.head.bias.data()[0] - found.head.bias.data()[1]);
    assert!((odds - 2f64.ln()).abs() < 1e-3, "{odds}");
    let even: Vec<usize> = (0..30).map(|i| i % 3).collect();
    assert!(fit(&LogisticRegression::default(), &Tensor::full([30, 4], 2.5), &even, 3).unwrap().converged);
}

#[test]
fn too_few_steps_are_reported() {
    let (x, y) = clusters(200, 20, 3, 0.3);
    let found = fit(&LogisticRegression { max_iterations: 2, ..fixed(1e-3) }, &x, &y, 3).unwrap();
    assert_eq!((found.converged, found.iterations), (false, 2));
}

#[test]
fn bad_input_is_named() {
    let (x, y) = clusters(20, 3, 2, 1.0);
    let refused =
        |x: &Tensor, y: &[usize], classes| fit(&LogisticRegression::default(), x, y, classes).unwrap_err();
    let mut damaged = x.clone();
    damaged.data_mut()[3 * 7 + 2] = f32::NAN;
    assert!(matches!(refused(&damaged, &y, 2), HeadError::NotFinite { row: 7, column: 2, .. }));
    assert_eq!(refused(&x, &y, 3), HeadError::EmptyClass { class: 2 });
    assert_eq!(refused(&x, &[0; 20], 1), HeadError::TooFewClasses { classes: 1 });
    assert_eq!(refused(&x, &y[..19], 2), HeadError::TargetCount { rows: 20, targets: 19 });
    assert_eq!(
        refused(&x, &[[0; 19].as_slice(), &[5]].concat(), 2),
        HeadError::Target { row: 19, target: 5, classes: 2 }
    );
    assert!(matches!(refused(&Tensor::zeros([0, 3]), &[], 2), HeadError::Features { .. }));
    assert!(matches!(refused(&Tensor::zeros([20, 0]), &y, 2), HeadError::Features { .. }));
    for (settings, name) in [
        (fixed(-1.0), "l2"),
        (fixed(f64::NAN), "l2"),
        (LogisticRegression { l2: L2::Auto { folds: 1 }, ..fixed(0.0) }, "folds"),
        (LogisticRegression { max_iterations: 0, ..fixed(0.0) }, "max_iterations"),
        (LogisticRegression { tolerance: 0.0, ..fixed(0.0) }, "tolerance"),
    ] {
        let error = fit(&settings, &x, &y, 2).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} is ")), "{error}");
    }
}

#[test]
fn an_interrupt_ends_the_fit() {
    let (x, y) = clusters(20, 3, 2, 1.0);
    let stopped = LogisticRegression::default().fit(&x, &y, 2, &Pool::new(1), &AtomicBool::new(true));
    assert_eq!(stopped, Err(HeadError::Interrupted));
}
