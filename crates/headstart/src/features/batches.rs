//! Which items a thread takes at once.

/// Texts of a batch that cost nothing.
const FREE: usize = 32;
/// A batch is at most so small a part of what a thread has to do.
const SHARES: usize = 4;

/// Whole groups of `n` items in their order, as many for each thread, so that none waits for the others at the end.
pub(super) fn even(n: usize, group: usize, threads: usize) -> Vec<Vec<usize>> {
    let groups = n.div_ceil(group).next_multiple_of(threads);
    (0..groups).map(|g| (n * g / groups..n * (g + 1) / groups).collect()).collect()
}

/// How many items of a length to take at once where `group` would be best: few enough that no thread waits for the others at the end of
/// `all` that there is to do, tokens of all items together.
pub(crate) fn most(group: usize, length: usize, all: usize, threads: usize) -> usize {
    group.min(all / (SHARES * threads) / length.max(1)).max(1)
}

/// Items of one length together, the longest first: of `lengths`, where 0 costs nothing; at most `group_of` it.
pub(super) fn by_length(
    lengths: &[usize],
    threads: usize,
    group_of: impl Fn(usize) -> usize,
) -> Vec<Vec<usize>> {
    let all = lengths.iter().sum();
    let most = |length: usize| if length == 0 { FREE } else { most(group_of(length), length, all, threads) };
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let same = order.chunk_by(|&a, &b| lengths[a] == lengths[b]);
    same.flat_map(|same| same.chunks(most(lengths[same[0]])).map(<[usize]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_batch() {
        for n in [0, 1, 7, 8, 65] {
            let all: Vec<usize> = even(n, 8, 3).concat();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
        let lengths: Vec<usize> = (0..500).map(|i| i * 7919 % 97).collect();
        let batches = by_length(&lengths, 3, |length| 100 / length);
        let mut all = batches.concat();
        assert!(all.windows(2).all(|pair| lengths[pair[0]] >= lengths[pair[1]]));
        for batch in &batches {
            assert!(batch.iter().all(|&i| lengths[i] == lengths[batch[0]]));
            assert!(batch.len() <= 100usize.checked_div(lengths[batch[0]]).unwrap_or(FREE).max(1));
        }
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
        // Twelve tokens in all are too few for groups; forty are ten for each of four shares.
        let sizes = |lengths: &[usize]| -> Vec<usize> {
            by_length(lengths, 1, |length| 15 / length).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[5000, 3, 0, 3, 3, 0]), [1, 3, 2]);
        assert_eq!((sizes(&[3; 4]), sizes(&[5; 8])), (vec![1; 4], vec![2; 4]));
    }
}
