//! How far two results are apart.

/// `|found - expected| / |expected|` in the Euclidean norm, summed in f64.
///
/// Infinite where the lengths differ, where a value is not a number, or where only `expected` is all zero.
pub fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let square = |v: f64| v * v;
    let difference: f64 =
        found.iter().zip(expected).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let norm: f64 = expected.iter().map(|&b| square(f64::from(b))).sum();
    if difference == 0.0 {
        0.0
    } else if norm > 0.0 && difference.is_finite() {
        (difference / norm).sqrt()
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::relative_l2;

    #[test]
    fn a_wrong_length_and_a_nan_are_infinitely_far() {
        assert_eq!(relative_l2(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert_eq!(relative_l2(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(relative_l2(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((relative_l2(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }
}
