//! Images or texts that stand in the data more than once: groups, contradicting labels, and leaks between splits.

use super::images::Images;
use super::near::Pair;
use super::report::NearDuplicates;
use std::collections::{BTreeMap, BTreeSet};

/// Groups of two or more equal images, each in the order of its paths.
pub(super) struct Equal(pub(super) Vec<Vec<usize>>);

/// An image of an earlier split, and the held-out image that repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leak {
    pub(super) first: usize,
    pub(super) held_out: usize,
    /// Pixel for pixel or word for word, not nearly.
    pub(super) equal: bool,
}

impl Equal {
    /// The groups of images with the same hash of what they show.
    pub(super) fn of(images: &Images, hashes: impl Iterator<Item = (usize, [u8; 32])>) -> Equal {
        let mut groups: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
        hashes.for_each(|(image, hash)| groups.entry(hash).or_default().push(image));
        let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
        groups.iter_mut().for_each(|group| group.sort_by_key(|&i| images.order(i)));
        groups.sort_by_key(|group| images.order(group[0]));
        Equal(groups)
    }

    /// Those of `pairs` that join the first images of groups, or images of none.
    pub(super) fn others(&self, mut pairs: Vec<Pair>) -> Vec<Pair> {
        let repeats: BTreeSet<usize> = self.0.iter().flat_map(|group| group[1..].iter().copied()).collect();
        pairs.retain(|pair| !repeats.contains(&pair.a) && !repeats.contains(&pair.b));
        pairs
    }
}

/// Held-out images that stand in an earlier split too: each once, with an equal image where there is one, else with the
/// most similar.
pub(super) fn leaks(images: &Images, equal: &Equal, near: &[Pair]) -> Vec<Leak> {
    let mut leaks: BTreeMap<usize, Leak> = BTreeMap::new();
    for group in &equal.0 {
        for &held_out in group {
            let first = group.iter().copied().find(|&first| images.is_before(first, held_out));
            if let Some(first) = first {
                leaks.insert(held_out, Leak { first, held_out, equal: true });
            }
        }
    }
    let members: BTreeMap<usize, &Vec<usize>> = equal.0.iter().map(|group| (group[0], group)).collect();
    let mut near: Vec<&Pair> = near.iter().collect();
    near.sort_by(|x, y| y.similarity.total_cmp(&x.similarity).then((x.a, x.b).cmp(&(y.a, y.b))));
    for pair in near {
        let group = |image: usize| members.get(&image).map_or(vec![image], |group| (*group).clone());
        let both = [(pair.a, pair.b), (pair.b, pair.a)];
        for (a, b) in both {
            for held_out in group(b) {
                let first = group(a).into_iter().find(|&first| images.is_before(first, held_out));
                if let Some(first) = first {
                    leaks.entry(held_out).or_insert(Leak { first, held_out, equal: false });
                }
            }
        }
    }
    let mut leaks: Vec<Leak> = leaks.into_values().collect();
    leaks.sort_by_key(|leak| (!leak.equal, images.order(leak.held_out)));
    leaks
}

/// The groups that `pairs` of images join.
pub(super) fn near_groups(images: &Images, pairs: &[Pair]) -> Vec<NearDuplicates> {
    let mut parent: BTreeMap<usize, usize> = pairs.iter().flat_map(|p| [(p.a, p.a), (p.b, p.b)]).collect();
    for pair in pairs {
        let (a, b) = (root(&mut parent, pair.a), root(&mut parent, pair.b));
        parent.insert(a.max(b), a.min(b));
    }
    let members: Vec<usize> = parent.keys().copied().collect();
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for image in members {
        groups.entry(root(&mut parent, image)).or_default().push(image);
    }
    // The strongest tie of each image, and of these the weakest.
    let mut ties: BTreeMap<usize, f32> = BTreeMap::new();
    for pair in pairs {
        for image in [pair.a, pair.b] {
            let tie = ties.entry(image).or_insert(0.0);
            *tie = tie.max(pair.similarity);
        }
    }
    let mut groups: Vec<NearDuplicates> = groups
        .into_values()
        .map(|mut group| {
            group.sort_by_key(|&i| images.order(i));
            let similarity = group.iter().map(|i| ties[i]).fold(1.0, f32::min);
            NearDuplicates {
                contradiction: images.contradict(&group),
                paths: images.paths(&group),
                similarity,
            }
        })
        .collect();
    groups.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.paths.cmp(&b.paths)));
    groups
}

fn root(parent: &mut BTreeMap<usize, usize>, image: usize) -> usize {
    let mut at = image;
    while let Some(&up) = parent.get(&at).filter(|&&up| up != at) {
        at = up;
    }
    // So that chains stay short.
    parent.insert(image, at);
    at
}
