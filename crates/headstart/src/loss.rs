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
    let classes = check(logits, targets)?;
    if let Some(weights) = class_weights {
        if weights.len() != classes {
            return Err(HeadError::ClassWeightCount { found: weights.len(), classes });
        }
        if let Some(class) = weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
            return Err(HeadError::ClassWeight { class, found: f64::from(weights[class]) });
        }
    }
    let weight = |target: usize| class_weights.map_or(1.0, |weights| f64::from(weights[target]));
    let total: f64 = targets.iter().map(|&target| weight(target)).sum();
    let mut loss = 0.0;
    let mut gradient = logits.clone();
    for (row, &target) in gradient.data_mut().chunks_exact_mut(classes).zip(targets) {
        let norm = log_sum_exp(row);
        let factor = weight(target) / total;
        loss += factor * (norm - f64::from(row[target]));
        for (class, value) in row.iter_mut().enumerate() {
            let probability = (f64::from(*value) - norm).exp();
            *value = (factor * (probability - f64::from(u8::from(class == target)))) as f32;
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
