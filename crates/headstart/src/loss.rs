//! Softmax cross-entropy and its gradient.

use headstart_tensor::Tensor;

/// The weighted mean cross-entropy of `logits` `[n, c]` and its gradient `[n, c]`: with class weights `w` and
/// targets `y`, `sum_i w[y_i] (-log softmax(logits_i)[y_i]) / sum_i w[y_i]`, as PyTorch's mean. Computed in f64
/// with the largest logit taken out. No image gives a loss of 0.
///
/// # Panics
/// Where there are not as many targets as rows, or a target or the weights do not fit the columns.
pub fn cross_entropy(logits: &Tensor, targets: &[usize], class_weights: Option<&[f32]>) -> (f32, Tensor) {
    let classes = logits.row_len();
    assert_eq!(logits.dims()[0], targets.len(), "a target for every row");
    let weight = |y: usize| class_weights.map_or(1.0, |w| f64::from(w[y]));
    let total: f64 = targets.iter().map(|&y| weight(y)).sum();
    let mut gradient = Tensor::zeros(logits.shape().clone());
    if targets.is_empty() {
        return (0.0, gradient);
    }
    let mut loss = 0.0;
    for (i, (&y, out)) in targets.iter().zip(gradient.data_mut().chunks_exact_mut(classes)).enumerate() {
        let row = logits.row(i);
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&l| f64::from(l - most).exp()).sum();
        let share = weight(y) / total;
        loss += share * (sum.ln() - f64::from(row[y] - most));
        for (c, (o, &l)) in out.iter_mut().zip(row).enumerate() {
            let target = f64::from(u8::from(c == y));
            *o = (share * (f64::from(l - most).exp() / sum - target)) as f32;
        }
    }
    (loss as f32, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    #[test]
    fn the_gradient_agrees_with_finite_differences_and_large_logits_stay_finite() {
        let mut rng = Rng::new(1);
        let logits = Tensor::from_fn([3, 4], |_| rng.range(-2.0, 2.0) as f32);
        let (targets, weights) = ([1, 3, 0], [1.0, 2.0, 0.5, 3.0]);
        let (_, gradient) = cross_entropy(&logits, &targets, Some(&weights));
        for i in 0..12 {
            let moved = |by: f32| {
                let mut logits = logits.clone();
                logits.data_mut()[i] += by;
                f64::from(cross_entropy(&logits, &targets, Some(&weights)).0)
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((f64::from(gradient.data()[i]) - expected).abs() < 1e-3);
        }
        let huge = Tensor::new([1, 2], vec![1e30, 0.0]).unwrap();
        assert_eq!(cross_entropy(&huge, &[0], None).0, 0.0);
        assert!(cross_entropy(&huge, &[1], None).0 >= 1e30);
    }
}
