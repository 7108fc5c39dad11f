//! Work spread over threads so that the result never depends on how many there are.
//!
//! Tasks are cut by the data (a row chunk, an image), never by the thread count, and results come back in
//! the order of the tasks: a sum over them is the same sum with one thread and with sixty.

use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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

    /// `f(i)` for `i` in `0..tasks` on the workers and, on the caller's thread and in order, `each(i, result)` beside them.
    /// No task is begun that is `ahead` (at least one for each thread) or more beyond the next that `each` waits for, so that
    /// no more results than that are ever kept. Where `each` breaks, no further task is begun.
    pub fn stream<R: Send, B>(
        &self,
        tasks: usize,
        ahead: usize,
        f: impl Fn(usize) -> R + Sync,
        mut each: impl FnMut(usize, R) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(pool) = &self.inner else {
            return (0..tasks).try_for_each(|i| each(i, f(i)));
        };
        let queue = Queue::new(tasks, ahead.max(self.threads));
        pool.in_place_scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|_| {
                    let _stop = StopOnPanic(&queue);
                    while let Some(i) = queue.begin() {
                        queue.put(i, f(i));
                    }
                });
            }
            let _stop = StopOnPanic(&queue);
            while let Some((i, result)) = queue.take() {
                if let ControlFlow::Break(end) = each(i, result) {
                    queue.stop();
                    return ControlFlow::Break(end);
                }
            }
            ControlFlow::Continue(())
        })
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
    pub(crate) fn zip_chunks_mut<A: Send, B: Send>(
        &self,
        (a, size_a): (&mut [A], usize),
        (b, size_b): (&mut [B], usize),
        f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
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

/// Results on their way from the workers to one reader that takes them in order.
struct Queue<R> {
    state: Mutex<Waiting<R>>,
    changed: Condvar,
    tasks: usize,
    ahead: usize,
}

struct Waiting<R> {
    /// The first task that nobody has begun.
    begin: usize,
    /// The task whose result is taken next.
    take: usize,
    ready: BTreeMap<usize, R>,
    stopped: bool,
}

impl<R> Queue<R> {
    fn new(tasks: usize, ahead: usize) -> Queue<R> {
        let waiting = Waiting { begin: 0, take: 0, ready: BTreeMap::new(), stopped: false };
        Queue { state: Mutex::new(waiting), changed: Condvar::new(), tasks, ahead }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<R>> {
        // No code of others runs under the lock, so a panic leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Waiting<R>>) -> MutexGuard<'a, Waiting<R>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task, as soon as it may begin; `None` where there is none left.
    fn begin(&self) -> Option<usize> {
        let mut state = self.lock();
        while state.begin < self.tasks && !state.stopped {
            if state.begin < state.take + self.ahead {
                state.begin += 1;
                return Some(state.begin - 1);
            }
            state = self.wait(state);
        }
        None
    }

    fn put(&self, task: usize, result: R) {
        self.lock().ready.insert(task, result);
        self.changed.notify_all();
    }

    /// The next result, as soon as it is there; `None` after the last.
    fn take(&self) -> Option<(usize, R)> {
        let mut state = self.lock();
        while state.take < self.tasks && !state.stopped {
            let task = state.take;
            if let Some(result) = state.ready.remove(&task) {
                state.take += 1;
                self.changed.notify_all();
                return Some((task, result));
            }
            state = self.wait(state);
        }
        None
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// Keeps the others from waiting for a thread that panicked.
struct StopOnPanic<'a, R>(&'a Queue<R>);

impl<R> Drop for StopOnPanic<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_stream_comes_in_order_and_never_runs_further_ahead_than_told() {
        for threads in [1, 2, 5] {
            let (pool, taken) = (Pool::new(threads), AtomicUsize::new(0));
            let furthest = AtomicUsize::new(0);
            let task = |i| {
                furthest.fetch_max(i - taken.load(Ordering::SeqCst), Ordering::SeqCst);
                i * i
            };
            let mut results = Vec::new();
            let all: ControlFlow<()> = pool.stream(200, 6, task, |i, square| {
                assert_eq!(i, results.len());
                results.push(square);
                taken.store(results.len(), Ordering::SeqCst);
                ControlFlow::Continue(())
            });
            assert!(all.is_continue());
            assert_eq!(results, (0..200).map(|i| i * i).collect::<Vec<_>>());
            // A task may begin between the queue giving a result away and the reader counting it.
            assert!(furthest.load(Ordering::SeqCst) <= 6);
        }
    }

    #[test]
    fn a_stream_that_breaks_begins_no_further_task() {
        for threads in [1, 3] {
            let (pool, begun) = (Pool::new(threads), AtomicUsize::new(0));
            let task = |i: usize| {
                begun.fetch_add(1, Ordering::SeqCst);
                i
            };
            let end = pool.stream(10_000, 4, task, |i, _| {
                if i == 7 { ControlFlow::Break(i) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(end, ControlFlow::Break(7));
            assert!(begun.load(Ordering::SeqCst) <= 8 + 4 + threads);
        }
    }

    #[test]
    fn a_panic_in_a_stream_reaches_the_caller() {
        let pool = Pool::new(2);
        let run = || pool.stream(100, 4, |i| assert_ne!(i, 20), |_, ()| ControlFlow::<()>::Continue(()));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    }

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
