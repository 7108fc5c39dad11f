//! A validation split that keeps every class's share, drawn from the seed alone.

use std::collections::{BTreeMap, BTreeSet};

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

/// As [`stratified`], with all images of a group on one side: image `i` is of group `groups[i]`.
///
/// Groups are taken in an order drawn from the seed; one is held out where that brings every class nearer to its share
/// (`sum |held out - share|` falls) and leaves each class an image for training.
///
/// # Errors
///
/// [`DataError::Fraction`] where `fraction` is not above 0 and below 1; [`DataError::NothingToHoldOut`] where no group can
/// be held out.
pub fn grouped(
    labels: &[usize],
    groups: &[usize],
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Fraction { found: fraction });
    }
    let mut members = counted(labels, groups);
    let classes = labels.iter().max().map_or(0, |&last| last + 1);
    let mut left = vec![0usize; classes];
    labels.iter().for_each(|&label| left[label] += 1);
    let mut missing: Vec<f64> = left.iter().map(|&n| n as f64 * fraction).collect();
    Rng::named(seed, "split by groups").shuffle(&mut members);
    let mut held = BTreeSet::new();
    for (group, counts) in members {
        let gain = |(&class, &n): (&usize, &usize)| missing[class].abs() - (missing[class] - n as f64).abs();
        if counts.iter().map(gain).sum::<f64>() > 0.0 && counts.iter().all(|(&class, &n)| left[class] > n) {
            for (class, n) in counts {
                left[class] -= n;
                missing[class] -= n as f64;
            }
            held.insert(group);
        }
    }
    if held.is_empty() {
        return Err(DataError::NothingToHoldOut { images: labels.len() });
    }
    Ok((0..labels.len()).partition(|&i| !held.contains(&groups[i])))
}

/// The fold, below `folds`, of each image: every class spread evenly, and all images of a group in one fold.
///
/// Groups are dealt in an order drawn from the seed, the largest first, each to the fold that has the fewest images of its
/// classes. With more folds than groups some are empty.
pub fn folds(labels: &[usize], groups: &[usize], folds: usize, seed: u64) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |&last| last + 1);
    let mut members = counted(labels, groups);
    Rng::named(seed, "folds of groups").shuffle(&mut members);
    members.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.values().sum::<usize>()));
    let mut dealt = vec![(vec![0usize; classes], 0usize); folds.max(1)];
    let mut fold_of = BTreeMap::new();
    for (group, counts) in members {
        // How much the sum of squares of the counts would grow: least where the classes are scarce.
        let cost = |fold: &(Vec<usize>, usize)| -> (usize, usize) {
            (counts.iter().map(|(&class, &n)| n * (2 * fold.0[class] + n)).sum(), fold.1)
        };
        let best =
            (1..dealt.len()).fold(0, |best, f| if cost(&dealt[f]) < cost(&dealt[best]) { f } else { best });
        for (class, n) in counts {
            dealt[best].0[class] += n;
            dealt[best].1 += n;
        }
        fold_of.insert(group, best);
    }
    groups.iter().map(|group| fold_of[group]).collect()
}

/// Each group with its images of each class, in the order of the groups.
fn counted(labels: &[usize], groups: &[usize]) -> Vec<(usize, BTreeMap<usize, usize>)> {
    let mut members: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
    for (&label, &group) in labels.iter().zip(groups) {
        *members.entry(group).or_default().entry(label).or_default() += 1;
    }
    members.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{folds, grouped, stratified};

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
    fn groups_stay_on_one_side_and_classes_near_their_share() {
        // Groups of one to five images, each of one class.
        let groups: Vec<usize> = (0..300).map(|i| i / 3 + i % 7 / 6).collect();
        let labels: Vec<usize> = groups.iter().map(|g| g % 3).collect();
        let (train, val) = grouped(&labels, &groups, 0.2, 5).unwrap();
        assert_eq!(train.len() + val.len(), 300);
        assert!(val.iter().all(|&v| train.iter().all(|&t| groups[t] != groups[v])));
        for class in 0..3 {
            let held = val.iter().filter(|&&i| labels[i] == class).count();
            assert!((17..=23).contains(&held), "{class}: {held}");
        }
        assert_eq!(grouped(&labels, &groups, 0.2, 5).unwrap(), (train, val));
        assert!(grouped(&[0, 0, 1, 1], &[0, 0, 1, 1], 0.5, 1).is_err(), "each class is one group");
    }

    #[test]
    fn folds_share_every_class_evenly_and_split_no_group() {
        let labels: Vec<usize> = (0..103).map(|i| usize::from(i % 4 == 0)).collect();
        let own: Vec<usize> = (0..103).collect();
        let found = folds(&labels, &own, 5, 1);
        for fold in 0..5 {
            let count = |class| (0..103).filter(|&i| found[i] == fold && labels[i] == class).count();
            assert!((15..=16).contains(&count(0)) && (5..=6).contains(&count(1)), "{fold}");
        }
        let groups: Vec<usize> = (0..103).map(|i| i / 8).collect();
        let found = folds(&labels, &groups, 4, 1);
        assert!((1..103).all(|i| groups[i] != groups[i - 1] || found[i] == found[i - 1]));
        assert!((0..4).all(|fold| (16..=33).contains(&found.iter().filter(|&&f| f == fold).count())));
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
