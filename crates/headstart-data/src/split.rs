//! A validation split that keeps every class's share, drawn from the seed alone.

use headstart_tensor::Rng;

use crate::DataError;

/// Splits the images with these `labels` into positions for training and positions for validation, both ascending.
///
/// Of a class with `n` images `round(n * fraction)` are drawn for validation, at least one where the class
/// has two or more, and never its last. A class with one image stays in training. Every class draws from a
/// stream of its own, so adding images to one class moves no image of another.
///
/// # Errors
///
/// [`DataError::Fraction`] where `fraction` is not above 0 and below 1; [`DataError::NothingToHoldOut`] where
/// no class has two images.
pub fn stratified(labels: &[usize], fraction: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Fraction { found: fraction });
    }
    let classes = labels.iter().max().map_or(0, |&last| last + 1);
    let mut members = vec![Vec::new(); classes];
    for (position, &label) in labels.iter().enumerate() {
        members[label].push(position);
    }
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for (label, mut positions) in members.into_iter().enumerate() {
        let held_out = match positions.len() {
            0 | 1 => 0,
            n => ((n as f64 * fraction).round() as usize).clamp(1, n - 1),
        };
        Rng::named(seed, &format!("split/{label}")).shuffle(&mut positions);
        train.extend_from_slice(&positions[held_out..]);
        val.extend_from_slice(&positions[..held_out]);
    }
    if val.is_empty() {
        return Err(DataError::NothingToHoldOut { images: labels.len() });
    }
    train.sort_unstable();
    val.sort_unstable();
    Ok((train, val))
}

#[cfg(test)]
mod tests {
    use super::stratified;

    fn labels() -> Vec<usize> {
        [vec![0; 50], vec![1; 20], vec![2; 1], vec![3; 2]].concat()
    }

    #[test]
    fn every_class_keeps_its_share_and_at_least_one_image_in_training() {
        let labels = labels();
        let (train, val) = stratified(&labels, 0.2, 7).unwrap();
        let count = |part: &[usize], class| part.iter().filter(|&&i| labels[i] == class).count();
        assert_eq!([0, 1, 2, 3].map(|c| count(&val, c)), [10, 4, 0, 1]);
        assert_eq!([0, 1, 2, 3].map(|c| count(&train, c)), [40, 16, 1, 1]);
        let mut all = [train, val].concat();
        all.sort_unstable();
        assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_large_fraction_leaves_one_image_of_each_class_in_training() {
        let (train, _) = stratified(&[0, 0, 1, 1, 1], 0.99, 1).unwrap();
        assert_eq!(train.len(), 2);
    }

    #[test]
    fn the_seed_decides_and_another_class_does_not_matter() {
        let labels = labels();
        assert_eq!(stratified(&labels, 0.2, 7).unwrap(), stratified(&labels, 0.2, 7).unwrap());
        assert_ne!(stratified(&labels, 0.2, 7).unwrap(), stratified(&labels, 0.2, 8).unwrap());
        let fewer = &labels[..70];
        let first = |v: Vec<usize>| v.into_iter().filter(|&i| i < 70).collect::<Vec<_>>();
        assert_eq!(first(stratified(&labels, 0.2, 7).unwrap().1), stratified(fewer, 0.2, 7).unwrap().1);
    }

    #[test]
    fn a_fraction_outside_zero_and_one_is_refused_in_words() {
        for fraction in [0.0, 1.0, -0.5, 20.0, f64::NAN] {
            let message = stratified(&labels(), fraction, 1).unwrap_err().to_string();
            assert!(message.contains("between 0 and 1"), "{message}");
        }
        let message = stratified(&[0, 1, 2], 0.2, 1).unwrap_err().to_string();
        assert!(message.contains("two or more images"), "{message}");
    }
}
