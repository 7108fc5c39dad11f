//! Stratified folds for cross-validation.

use std::ops::Range;

use headstart_tensor::Rng;

/// Rows in an order that puts each fold's members side by side, so that a fold is a range and all other rows
/// are two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Folds {
    /// The rows in that order.
    pub(crate) order: Vec<usize>,
    /// The positions in `order` of each fold. The rows after the last are never held out.
    pub(crate) held_out: Vec<Range<usize>>,
}

impl Folds {
    /// [`Folds::stratified`] where every image gave `views` rows, one after the other: all rows of an image are in
    /// one fold, so that no view of a held-out image is learned from.
    pub(crate) fn of_views(
        targets: &[usize],
        classes: usize,
        views: usize,
        folds: usize,
        seed: u64,
    ) -> Folds {
        let images: Vec<usize> = targets.iter().copied().step_by(views).collect();
        let mut counts = vec![0; classes];
        images.iter().for_each(|&target| counts[target] += 1);
        let images = Folds::stratified(&images, &counts, folds, seed);
        Folds {
            order: images.order.iter().flat_map(|&image| image * views..(image + 1) * views).collect(),
            held_out: images.held_out.iter().map(|fold| fold.start * views..fold.end * views).collect(),
        }
    }

    /// At most `folds` folds of `targets`, each with its share of every class.
    ///
    /// A class with one member is never held out, so whatever is held out, every class has an image to learn
    /// from. A class with fewer members than folds is missing in some. There are no folds where fewer than two
    /// rows can be held out, and no more folds than such rows.
    pub(crate) fn stratified(targets: &[usize], counts: &[usize], folds: usize, seed: u64) -> Folds {
        let candidates: usize = counts.iter().filter(|&&count| count > 1).sum();
        let folds = if candidates < 2 { 0 } else { folds.min(candidates) };
        let mut members: Vec<Vec<usize>> = counts.iter().map(|&count| Vec::with_capacity(count)).collect();
        targets.iter().enumerate().for_each(|(row, &target)| members[target].push(row));
        let mut rng = Rng::named(seed, "folds");
        let mut dealt: Vec<Vec<usize>> = vec![Vec::new(); folds];
        let mut rest = Vec::new();
        // Each class goes on dealing where the last one stopped, so that small classes do not pile up.
        let mut next = 0;
        for mut class in members {
            if folds == 0 || class.len() < 2 {
                rest.extend(class);
                continue;
            }
            rng.shuffle(&mut class);
            for row in class {
                dealt[next].push(row);
                next = (next + 1) % folds;
            }
        }
        let mut order = Vec::with_capacity(targets.len());
        let mut held_out = Vec::with_capacity(folds);
        for fold in dealt {
            let start = order.len();
            order.extend(fold);
            held_out.push(start..order.len());
        }
        order.extend(rest);
        Folds { order, held_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folds(targets: &[usize], folds: usize) -> Folds {
        let mut counts = vec![0; targets.iter().max().unwrap() + 1];
        targets.iter().for_each(|&t| counts[t] += 1);
        Folds::stratified(targets, &counts, folds, 1)
    }

    #[test]
    fn the_views_of_an_image_stay_in_one_fold() {
        let targets: Vec<usize> = (0..60).map(|row| row / 3 % 2).collect();
        let f = Folds::of_views(&targets, 2, 3, 5, 1);
        assert_eq!(f.held_out.len(), 5);
        for fold in &f.held_out {
            let images: std::collections::BTreeSet<usize> =
                f.order[fold.clone()].iter().map(|r| r / 3).collect();
            assert_eq!(images.len() * 3, fold.len());
        }
        let mut rows = f.order.clone();
        rows.sort_unstable();
        assert_eq!(rows, (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn every_fold_has_its_share_of_every_class_and_every_row_is_in_one() {
        let targets: Vec<usize> = (0..103).map(|i| usize::from(i % 4 == 0)).collect();
        let f = folds(&targets, 5);
        let mut rows = f.order.clone();
        rows.sort_unstable();
        assert_eq!(rows, (0..103).collect::<Vec<_>>());
        assert_eq!(f.held_out.len(), 5);
        for fold in &f.held_out {
            assert!((20..=21).contains(&fold.len()));
            let ones: usize = f.order[fold.clone()].iter().map(|&i| targets[i]).sum();
            assert!((5..=6).contains(&ones), "{ones}");
        }
        assert_eq!(f.held_out[4].end, 103);
    }

    #[test]
    fn a_class_is_never_held_out_whole() {
        // One member of class 1, two of class 2.
        let mut targets = vec![0; 20];
        targets.extend([1, 2, 2]);
        let f = folds(&targets, 5);
        for fold in &f.held_out {
            let training: Vec<usize> =
                (0..23).filter(|i| !fold.contains(i)).map(|i| targets[f.order[i]]).collect();
            assert!((0..3).all(|class| training.contains(&class)));
        }
        assert_eq!(f.order[f.held_out[4].end..], [20]);
    }

    #[test]
    fn the_number_of_folds_shrinks_with_the_data() {
        assert!(folds(&[0, 1, 2], 5).held_out.is_empty());
        assert_eq!(folds(&[0, 0, 1], 5).held_out, [0..1, 1..2]);
        assert_eq!(folds(&[0, 0, 1, 1], 5).held_out.len(), 4);
    }
}
