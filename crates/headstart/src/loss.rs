//! Softmax cross-entropy of logits `[n, classes]`, and its gradient.

use headstart_tensor::Tensor;

use crate::head::HeadError;

/// Mean cross-entropy of `softmax(logits)` against `targets`, and its gradient by the logits `[n, classes]`.
///
/// With class weights `v` the mean is PyTorch's: `sum_i v[y_i] loss_i / sum_i v[y_i]`. Sums are f64, results f32;
/// logits of any finite size give a finite loss.
///
/// # Errors
/// Where shapes, labels or weights do not fit, or a logit is NaN or infinite.
pub fn cross_entropy(
    logits: &Tensor,
    targets: &[usize],
    class_weights: Option<&[f32]>,
) -> Result<(f32, Tensor), HeadError> {
    let soft: Vec<SoftTarget> = targets.iter().map(|&target| SoftTarget::from(target)).collect();
    soft_cross_entropy(logits, &soft, 0.0, class_weights)
}

/// What an image is: `share` of one class and the rest of another (mixup, Zhang et al. 2018), or one class alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftTarget {
    /// The class that counts `share`.
    pub class: usize,
    /// The class that counts the rest.
    pub other: usize,
    /// 0 to 1.
    pub share: f64,
}

impl From<usize> for SoftTarget {
    fn from(class: usize) -> Self {
        SoftTarget { class, other: class, share: 1.0 }
    }
}

/// As [`cross_entropy`], against targets of which `smoothing` (0 to below 1) is spread evenly over all classes
/// (Szegedy et al. 2016): PyTorch's `label_smoothing`. An image counts what its unsmoothed target weighs.
///
/// # Errors
/// As [`cross_entropy`], or where `smoothing` or a share is out of its range.
pub fn soft_cross_entropy(
    logits: &Tensor,
    targets: &[SoftTarget],
    smoothing: f64,
    class_weights: Option<&[f32]>,
) -> Result<(f32, Tensor), HeadError> {
    let hard: Vec<usize> = targets.iter().map(|t| t.class.max(t.other)).collect();
    let classes = check(logits, &hard)?;
    let range = |name, found: f64, ok: bool, expected| match ok {
        true => Ok(()),
        false => Err(HeadError::Setting { name, found, expected }),
    };
    range("label_smoothing", smoothing, (0.0..1.0).contains(&smoothing), "0 to below 1")?;
    for target in targets {
        range("share", target.share, (0.0..=1.0).contains(&target.share), "0 to 1")?;
    }
    if let Some(weights) = class_weights {
        if weights.len() != classes {
            return Err(HeadError::ClassWeightCount { found: weights.len(), classes });
        }
        if let Some(class) = weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
            return Err(HeadError::ClassWeight { class, found: f64::from(weights[class]) });
        }
    }
    let weight = |class: usize| class_weights.map_or(1.0, |weights| f64::from(weights[class]));
    let counts = |t: &SoftTarget| t.share * weight(t.class) + (1.0 - t.share) * weight(t.other);
    let total: f64 = targets.iter().map(counts).sum();
    let everywhere: f64 = (0..classes).map(weight).sum::<f64>() / classes as f64;
    let mut loss = 0.0;
    let mut gradient = logits.clone();
    for (row, target) in gradient.data_mut().chunks_exact_mut(classes).zip(targets) {
        let norm = log_sum_exp(row);
        // What the weighted target of this image adds up to, and the share of it that each class has.
        let sum = (1.0 - smoothing) * counts(target) + smoothing * everywhere;
        let part = |class: usize| {
            let own = if class == target.class { target.share } else { 0.0 };
            let own = own + if class == target.other { 1.0 - target.share } else { 0.0 };
            weight(class) * ((1.0 - smoothing) * own + smoothing / classes as f64) / sum
        };
        let factor = sum / total;
        for (class, value) in row.iter_mut().enumerate() {
            let part = part(class);
            if part > 0.0 {
                loss += factor * part * (norm - f64::from(*value));
            }
            let probability = (f64::from(*value) - norm).exp();
            *value = (factor * (probability - part)) as f32;
        }
    }
    Ok((loss as f32, gradient))
}

/// `log sum exp` of a row of finite logits, without overflow.
pub fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + row.iter().map(|&z| (f64::from(z) - largest).exp()).sum::<f64>().ln()
}

/// The number of classes of logits `[n, classes]` whose rows have one of `targets` each, all finite.
///
/// # Errors
/// Where that is not so.
pub(crate) fn check(logits: &Tensor, targets: &[usize]) -> Result<usize, HeadError> {
    let &[n, classes] = logits.dims() else {
        return Err(HeadError::Logits { found: logits.shape().clone() });
    };
    if n == 0 || classes == 0 {
        return Err(HeadError::Logits { found: logits.shape().clone() });
    }
    if targets.len() != n {
        return Err(HeadError::TargetCount { rows: n, targets: targets.len() });
    }
    if let Some(row) = targets.iter().position(|&target| target >= classes) {
        return Err(HeadError::Target { row, target: targets[row], classes });
    }
    match logits.data().iter().position(|z| !z.is_finite()) {
        None => Ok(classes),
        Some(i) => {
            Err(HeadError::NotFiniteLogit { row: i / classes, class: i % classes, value: logits.data()[i] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    const TARGETS: [usize; 4] = [0, 2, 1, 2];

    fn logits() -> Tensor {
        let mut rng = Rng::new(3);
        Tensor::from_fn([4, 3], |_| rng.range(-3.0, 3.0) as f32)
    }

    /// The definition, in f64.
    fn plain(z: &[f64], weights: [f64; 3]) -> f64 {
        let losses = z
            .chunks(3)
            .zip(TARGETS)
            .map(|(row, t)| weights[t] * (row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[t]));
        losses.sum::<f64>() / TARGETS.iter().map(|&t| weights[t]).sum::<f64>()
    }

    #[test]
    fn value_and_gradient_are_those_of_the_definition() {
        let logits = logits();
        let z: Vec<f64> = logits.data().iter().map(|&z| f64::from(z)).collect();
        for weights in [None, Some([0.5f32, 1.0, 3.0])] {
            let (loss, gradient) =
                cross_entropy(&logits, &TARGETS, weights.as_ref().map(|w| &w[..])).unwrap();
            let weights = weights.map_or([1.0; 3], |w| w.map(f64::from));
            assert!((f64::from(loss) - plain(&z, weights)).abs() < 1e-6);
            for i in 0..z.len() {
                let at = |h: f64| {
                    let mut z = z.clone();
                    z[i] += h;
                    plain(&z, weights)
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((f64::from(gradient.data()[i]) - slope).abs() < 1e-7, "{i}");
            }
        }
    }

    #[test]
    fn the_weighted_mean_is_pytorchs() {
        // F.cross_entropy(torch.tensor([[1., 2., 3.], [0., -1., 4.]]), torch.tensor([0, 2]), torch.tensor([2., 1., .5]))
        let z = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 0.0, -1.0, 4.0]).unwrap();
        let (loss, gradient) = cross_entropy(&z, &[0, 2], Some(&[2.0, 1.0, 0.5])).unwrap();
        assert!((loss - 1.9310337).abs() < 1e-6, "{loss}");
        assert!(
            headstart_testing::relative_l2(
                gradient.data(),
                &[-0.72797555, 0.1957828, 0.5321928, 0.003573596, 0.001314653, -0.00488826]
            ) < 1e-6
        );
    }

    #[test]
    fn smoothing_with_weights_is_pytorchs_and_mixing_is_the_mean_of_two() {
        // F.cross_entropy(torch.tensor([[1., 2., 3.], [0., -1., 4.]]), torch.tensor([0, 2]), torch.tensor([2., 1., .5]),
        // label_smoothing=0.1)
        let z = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 0.0, -1.0, 4.0]).unwrap();
        let targets = [SoftTarget::from(0), SoftTarget::from(2)];
        let (loss, gradient) = soft_cross_entropy(&z, &targets, 0.1, Some(&[2.0, 1.0, 0.5])).unwrap();
        assert!((loss - 1.998_106_7).abs() < 1e-6, "{loss}");
        let expected = [-0.677_643_2, 0.174_291_82, 0.503_351_4, -0.022_616_59, -0.011_843_395, 0.034_459_98];
        let apart = headstart_testing::relative_l2(gradient.data(), &expected);
        assert!(apart < 1e-6, "{gradient:?}");

        let one = |class| cross_entropy(&z, &[class, class], None).unwrap();
        let mixed = [SoftTarget { class: 0, other: 2, share: 0.25 }; 2];
        let (loss, gradient) = soft_cross_entropy(&z, &mixed, 0.0, None).unwrap();
        let ((a, da), (b, db)) = (one(0), one(2));
        assert!((loss - (0.25 * a + 0.75 * b)).abs() < 1e-6);
        for ((g, a), b) in gradient.data().iter().zip(da.data()).zip(db.data()) {
            assert!((g - (0.25 * a + 0.75 * b)).abs() < 1e-7);
        }
        let bad = |share, smoothing| {
            let targets = [SoftTarget { class: 0, other: 1, share }; 2];
            soft_cross_entropy(&z, &targets, smoothing, None).unwrap_err().to_string()
        };
        assert!(
            bad(1.5, 0.0).starts_with("share is 1.5") && bad(0.5, 1.0).starts_with("label_smoothing is 1")
        );
    }

    #[test]
    fn huge_logits_neither_overflow_nor_vanish() {
        let z = Tensor::new([1, 2], vec![3e38, -3e38]).unwrap();
        assert_eq!(cross_entropy(&z, &[0], None).unwrap().0, 0.0);
        let z = Tensor::new([1, 2], vec![1e4, -1e4]).unwrap();
        let (loss, gradient) = cross_entropy(&z, &[1], None).unwrap();
        assert_eq!((loss, gradient.data()), (2e4, &[1.0, -1.0][..]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let z = Tensor::zeros([2, 3]);
        assert_eq!(cross_entropy(&z, &[0], None), Err(HeadError::TargetCount { rows: 2, targets: 1 }));
        assert_eq!(
            cross_entropy(&z, &[0, 3], None),
            Err(HeadError::Target { row: 1, target: 3, classes: 3 })
        );
        assert_eq!(
            cross_entropy(&z, &[0, 1], Some(&[1.0])),
            Err(HeadError::ClassWeightCount { found: 1, classes: 3 })
        );
        assert_eq!(
            cross_entropy(&z, &[0, 1], Some(&[1.0, 0.0, 1.0])),
            Err(HeadError::ClassWeight { class: 1, found: 0.0 })
        );
        assert!(matches!(cross_entropy(&Tensor::zeros([0, 3]), &[], None), Err(HeadError::Logits { .. })));
        let nan = Tensor::new([1, 2], vec![0.0, f32::NAN]).unwrap();
        assert!(matches!(
            cross_entropy(&nan, &[0], None),
            Err(HeadError::NotFiniteLogit { row: 0, class: 1, .. })
        ));
    }
}
