//! Work spread over threads so that the result never depends on how many there are.
//!
//! Tasks are cut by the data (a row chunk, an image), never by the thread count, and results come back in
//! the order of the tasks: a sum over them is the same sum with one thread and with sixty.

use rayon::prelude::*;

/// A fixed number of worker threads.
pub struct Pool {
    inner: Option<rayon::ThreadPool>,
    threads: usize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish()
    }
}

impl Pool {
    /// A pool of `threads` workers; 0 stands for all cores of the machine. With one, or where the system
    /// refuses to start threads, the caller's own thread does the work.
    pub fn new(threads: usize) -> Pool {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let inner = match threads {
            1 => None,
            n => rayon::ThreadPoolBuilder::new().num_threads(n).build().ok(),
        };
        Pool { threads: if inner.is_some() { threads } else { 1 }, inner }
    }

    /// The caller's own thread, and no other.
    pub const fn single() -> Pool {
        Pool { inner: None, threads: 1 }
    }

    /// How many threads work at once.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// `f(i)` for `i` in `0..tasks`, the results in order.
    pub fn map<R: Send>(&self, tasks: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
        match &self.inner {
            Some(pool) if tasks > 1 => {
                pool.install(|| (0..tasks).into_par_iter().with_max_len(1).map(&f).collect())
            }
            _ => (0..tasks).map(f).collect(),
        }
    }

    /// `f(i, chunk)` for every chunk of `size` elements of `data` (the last may be shorter).
    pub fn chunks_mut<T: Send>(&self, data: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        let size = size.max(1);
        match &self.inner {
            Some(pool) if data.len() > size => pool.install(|| {
                data.par_chunks_mut(size).with_max_len(1).enumerate().for_each(|(i, chunk)| f(i, chunk));
            }),
            _ => data.chunks_mut(size).enumerate().for_each(|(i, chunk)| f(i, chunk)),
        }
    }

    /// `f(i, a chunk, b chunk)` for every chunk of `size_a` elements of `a` and of `size_b` of `b`, as many as the one
    /// that has fewer.
    pub(crate) fn zip_chunks_mut<T: Send>(
        &self,
        (a, size_a): (&mut [T], usize),
        (b, size_b): (&mut [T], usize),
        f: impl Fn(usize, &mut [T], &mut [T]) + Sync,
    ) {
        let (size_a, size_b) = (size_a.max(1), size_b.max(1));
        match &self.inner {
            Some(pool) if a.len() > size_a => pool.install(|| {
                let both = a.par_chunks_mut(size_a).zip(b.par_chunks_mut(size_b));
                both.with_max_len(1).enumerate().for_each(|(i, (a, b))| f(i, a, b));
            }),
            _ => {
                let both = a.chunks_mut(size_a).zip(b.chunks_mut(size_b));
                both.enumerate().for_each(|(i, (a, b))| f(i, a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            assert_eq!(pool.map(100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
            let mut data = vec![0; 10];
            pool.chunks_mut(&mut data, 3, |i, chunk| chunk.fill(i));
            assert_eq!(data, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
        }
        assert!(Pool::new(0).threads() >= 1);
    }
}
