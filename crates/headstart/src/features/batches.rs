//! Which items a thread takes at once.

/// Tokens of a batch of texts.
const TOKENS: usize = 256;
/// Texts of a batch that cost nothing.
const FREE: usize = 32;

/// Whole groups of `n` items in their order, as many for each thread, so that none waits for the others at the end.
pub(super) fn even(n: usize, group: usize, threads: usize) -> Vec<Vec<usize>> {
    let groups = n.div_ceil(group).next_multiple_of(threads);
    (0..groups).map(|g| (n * g / groups..n * (g + 1) / groups).collect()).collect()
}

/// Items of one length together, the longest first: of `lengths`, where 0 costs nothing.
pub(super) fn by_length(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = TOKENS;
    for i in order {
        let cost = lengths[i].max(TOKENS / FREE);
        if tokens + cost > TOKENS {
            batches.push(Vec::new());
            tokens = 0;
        }
        tokens += cost;
        if let Some(batch) = batches.last_mut() {
            batch.push(i);
        }
    }
    batches
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
        let batches = by_length(&lengths);
        let mut all = batches.concat();
        assert!(all.windows(2).all(|pair| lengths[pair[0]] >= lengths[pair[1]]));
        assert!(batches.iter().all(|b| b.iter().map(|&i| lengths[i]).sum::<usize>() <= TOKENS));
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
        assert_eq!(by_length(&[5000, 3]), [[0], [1]]);
    }
}
