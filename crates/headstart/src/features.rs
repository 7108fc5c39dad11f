//! Feature extraction: every image through the frozen trunk once, from the cache where it was before.

pub(crate) mod batches;
mod company;
mod views;

use self::company::Company;
pub(crate) use self::views::{CENTER, Views, key};
use crate::input::{Input, Read};
use crate::{Backbone, CachePrecision, Error, FeatureCache, FeatureKey, Session};
use headstart_data::{ImageError, Item, Picture, Preprocess, SkipReason, Skipped, View};
use headstart_graph::Trunk;
use headstart_kernels::Pool;
use headstart_tensor::Tensor;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// Images whose results may wait for the cache, at most.
const AHEAD: usize = 64;
/// Values that may wait, where an image has many.
const AHEAD_VALUES: usize = 16 << 20;

/// Features of many images.
#[derive(Debug)]
pub struct Features {
    /// `[rows, dim]`: `views` rows for every image that could be read, one after the other.
    pub values: Tensor,
    /// The images that could be read, as positions in what was given.
    pub kept: Vec<usize>,
    /// SHA-256 of the content of each image that could be read.
    pub hashes: Vec<[u8; 32]>,
    /// The others, with the reason.
    pub skipped: Vec<Skipped>,
    /// Rows that went through the network now.
    pub computed: usize,
    /// Rows that were in the cache.
    pub cached: usize,
    /// Wall-clock seconds.
    pub seconds: f64,
}

struct Row {
    hash: [u8; 32],
    /// For every view its key and, where it was not in the cache, its features.
    views: Vec<([u8; 32], Option<Vec<f32>>)>,
}

impl Row {
    /// Puts what is new into the cache. Of images with the same content the first is the one that was computed, whatever
    /// the threads did.
    fn keep(self, cache: &mut FeatureCache) -> Result<Swept, Error> {
        let mut views = Vec::with_capacity(self.views.len());
        for (key, features) in self.views {
            let fresh = features.filter(|_| !cache.contains(&key));
            views.push((key, fresh.is_some()));
            if let Some(features) = fresh {
                cache.insert(key, features)?;
            }
        }
        Ok(Swept { hash: self.hash, views })
    }
}

/// The trunk's activations of the centre view of `items`, `[n, ..]`, without the cache: for loops of your own.
///
/// # Errors
/// The first image that cannot be read.
///
/// # Panics
/// Where the preprocessing gives images of another size than the trunk takes.
pub fn activations(
    trunk: &Trunk,
    preprocess: &Preprocess,
    items: &[Item],
    pool: &Pool,
) -> Result<Tensor, ImageError> {
    let pictures: Vec<&Picture> = items.iter().map(|item| &item.picture).collect();
    let rows = through(trunk, &Input::Image(preprocess.clone()), &pictures, CENTER, pool);
    let unread = |reason| match reason {
        SkipReason::Image(error) => error,
        other => ImageError::Io { detail: other.to_string() },
    };
    let values = rows.into_iter().collect::<Result<Vec<_>, _>>().map_err(unread)?.concat();
    let mut out = Tensor::zeros([&[items.len()], trunk.output().dims()].concat());
    out.data_mut().copy_from_slice(&values);
    Ok(out)
}

/// What the trunk makes of the views of each item, one after the other, without the cache.
pub(crate) fn through(
    trunk: &Trunk,
    input: &Input,
    items: &[&Picture],
    views: Views,
    pool: &Pool,
) -> Vec<Result<Vec<f32>, SkipReason>> {
    let group = trunk.group();
    let batches = match input {
        Input::Image(_) => (0..items.len().div_ceil(group))
            .map(|g| (g * group..items.len().min((g + 1) * group)).collect())
            .collect(),
        Input::Text(_) => {
            let tokens = |i: usize| input.tokens(&items[i].bytes().ok()?).ok()?;
            let lengths = pool.map(items.len(), |i| tokens(i).unwrap_or(0));
            batches::by_length(&lengths, pool.threads(), |length| trunk.group_of(length))
        }
    };
    let done = pool.map(batches.len(), |b| {
        let batch: &Vec<usize> = &batches[b];
        let mut rows: Vec<Result<Vec<f32>, SkipReason>> = Vec::with_capacity(batch.len());
        let mut company = Company::new(trunk);
        for (at, &i) in batch.iter().enumerate() {
            let bytes = match items[i].bytes() {
                Ok(bytes) => bytes,
                Err(error) => {
                    rows.push(Err(error.into()));
                    continue;
                }
            };
            let read = match input.read(items[i], &bytes) {
                Ok(read) => read,
                Err(reason) => {
                    rows.push(Err(reason));
                    continue;
                }
            };
            rows.push(Ok(Vec::new()));
            let hash = if views.each > 1 { Sha256::digest(&bytes).into() } else { [0; 32] };
            for view in 0..views.each {
                company.push(
                    at,
                    |out| input.append(&read, views.view(&hash, view), out),
                    &mut |at: usize, features: &[f32]| {
                        if let Ok(row) = &mut rows[at] {
                            row.extend_from_slice(features);
                        }
                    },
                );
            }
        }
        company.run(&mut |at, features| {
            if let Ok(row) = &mut rows[at] {
                row.extend_from_slice(features);
            }
        });
        rows
    });
    let mut found: Vec<Option<Result<Vec<f32>, SkipReason>>> = (0..items.len()).map(|_| None).collect();
    for (batch, rows) in batches.iter().zip(done) {
        for (&i, row) in batch.iter().zip(rows) {
            found[i] = Some(row);
        }
    }
    found.into_iter().flatten().collect()
}

/// Computes, or takes from the cache, the features of `pictures` in `views_each` views.
///
/// # Errors
/// Where the cache cannot be used or the run was interrupted: then everything computed is in the cache.
pub fn extract(
    session: &Session,
    backbone: &Backbone,
    pictures: &[&Picture],
    views_each: usize,
    seed: u64,
    what: &str,
) -> Result<Features, Error> {
    let started = Instant::now();
    let dim = backbone.dim();
    let precision = CachePrecision::F32;
    let mut cache = FeatureCache::open(session.home, &backbone.space(), dim, precision, session.progress)?;
    let mut values = Vec::new();
    let wanted = pictures.len().saturating_mul(views_each).saturating_mul(dim);
    if values.try_reserve_exact(wanted).is_err() {
        return Err(Error::TooManyFeatures { rows: pictures.len().saturating_mul(views_each), dim });
    }
    let mut found = Features {
        values: Tensor::default(),
        kept: Vec::new(),
        hashes: Vec::new(),
        skipped: Vec::new(),
        computed: 0,
        cached: 0,
        seconds: 0.0,
    };
    let views = Views { each: views_each, seed, strength: None };
    let sweep = Sweep { trunk: backbone.trunk(), input: &backbone.input, views };
    sweep.run(session, &mut cache, pictures, what, &mut |cache, i, row| {
        match row {
            Err(reason) => found.skipped.push(Skipped { path: pictures[i].path().to_owned(), reason }),
            Ok(row) => {
                found.kept.push(i);
                found.hashes.push(row.hash);
                for (key, fresh) in row.views {
                    found.computed += usize::from(fresh);
                    found.cached += usize::from(!fresh);
                    cache.read(&key, &mut values)?;
                }
            }
        }
        Ok(())
    })?;
    found.values = Tensor::new([found.kept.len() * views_each, dim], values)?;
    found.seconds = started.elapsed().as_secs_f64();
    Ok(found)
}

/// An image after a sweep.
pub(crate) struct Swept {
    /// SHA-256 of its content.
    pub(crate) hash: [u8; 32],
    /// The key of each view, and whether it was computed now.
    pub(crate) views: Vec<(FeatureKey, bool)>,
}

/// Images through a trunk into its cache, those that are not there yet.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a> {
    /// What they go through.
    pub(crate) trunk: &'a Trunk,
    /// What makes its input.
    pub(crate) input: &'a Input,
    /// In which views.
    pub(crate) views: Views,
}

/// The cache between the threads that ask what is there and the one that fills it.
type Shared<'a> = RwLock<&'a mut FeatureCache>;

/// Told of every image in order: its position, and what became of it.
type Each<'a> = dyn FnMut(&mut FeatureCache, usize, Result<Swept, SkipReason>) -> Result<(), Error> + 'a;

impl Sweep<'_> {
    /// Runs over `pictures`; when it returns, `cache` holds every view of those that can be read.
    ///
    /// # Errors
    /// Where the cache cannot be used or the run was interrupted: then everything computed is in the cache.
    pub(crate) fn run(
        &self,
        session: &Session,
        cache: &mut FeatureCache,
        pictures: &[&Picture],
        what: &str,
        each: &mut Each,
    ) -> Result<(), Error> {
        session.progress.start(what, pictures.len());
        let each_item = (self.views.each * self.trunk.output().len()).max(1);
        let ahead = AHEAD.min(AHEAD_VALUES / each_item).div_ceil(self.trunk.group());
        let shared = RwLock::new(cache);
        let batches = self.batches(session, &shared, pictures);
        let rows = |b: usize| {
            let batch = &batches[b];
            let rows = match session.interrupt.load(Ordering::Relaxed) {
                true => Vec::new(),
                false => self.rows_of(&shared, pictures, batch),
            };
            session.progress.advance(batch.len());
            rows
        };
        // Items that are done before one that comes first.
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        // After an interruption whole batches are missing: their items are taken up by the next run.
        let done = session.pool.stream(batches.len(), ahead, rows, |b, rows| {
            let mut cache = shared.write().unwrap_or_else(PoisonError::into_inner);
            for (&i, row) in batches[b].iter().zip(rows) {
                let swept = match row {
                    Err(reason) => Err(reason),
                    Ok(row) => match row.keep(&mut cache) {
                        Err(error) => return ControlFlow::Break(error),
                        Ok(swept) => Ok(swept),
                    },
                };
                waiting.insert(i, swept);
            }
            while let Some(swept) = waiting.remove(&next) {
                if let Err(error) = each(&mut cache, next, swept) {
                    return ControlFlow::Break(error);
                }
                next += 1;
            }
            ControlFlow::Continue(())
        });
        let flushed = shared.into_inner().unwrap_or_else(PoisonError::into_inner).flush();
        session.progress.finish();
        if let ControlFlow::Break(error) = done {
            return Err(error);
        }
        flushed?;
        session.check()
    }

    /// The positions of the items that are run together.
    fn batches(&self, session: &Session, cache: &Shared, items: &[&Picture]) -> Vec<Vec<usize>> {
        match self.input {
            Input::Image(_) => batches::even(items.len(), self.trunk.group(), session.pool.threads()),
            // Those that are in the cache already, or cannot be read, cost nothing.
            Input::Text(_) => {
                let lengths = session.pool.map(items.len(), |i| {
                    let Ok(bytes) = items[i].bytes() else { return 0 };
                    let key = key(&Sha256::digest(&bytes).into(), View::Center);
                    match cache.read().unwrap_or_else(PoisonError::into_inner).contains(&key) {
                        true => 0,
                        false => self.input.tokens(&bytes).ok().flatten().unwrap_or(0),
                    }
                });
                let threads = session.pool.threads();
                batches::by_length(&lengths, threads, |length| self.trunk.group_of(length))
            }
        }
    }

    /// The rows of the items of a batch. What is not in the cache goes through the trunk a group at a time.
    fn rows_of(&self, cache: &Shared, items: &[&Picture], batch: &[usize]) -> Vec<Result<Row, SkipReason>> {
        let mut rows: Vec<Result<Row, SkipReason>> = Vec::with_capacity(batch.len());
        let mut company = Company::new(self.trunk);
        fn keep(rows: &mut [Result<Row, SkipReason>], (row, view): (usize, usize), features: &[f32]) {
            if let Ok(row) = &mut rows[row] {
                row.views[view].1 = Some(features.to_vec());
            }
        }
        for (at, &i) in batch.iter().enumerate() {
            let (row, fresh) = match self.views_of(cache, items[i]) {
                Ok(found) => found,
                Err(reason) => {
                    rows.push(Err(reason));
                    continue;
                }
            };
            rows.push(Ok(row));
            for (view, seen, read) in fresh {
                let append = |out: &mut Vec<f32>| self.input.append(&read, seen, out);
                company.push((at, view), append, &mut |place, features: &[f32]| {
                    keep(&mut rows, place, features);
                });
            }
        }
        company.run(&mut |place, features| keep(&mut rows, place, features));
        rows
    }

    /// A picture's row without its fresh features, and what is to be computed for it.
    fn views_of(&self, cache: &Shared, picture: &Picture) -> Result<(Row, Fresh), SkipReason> {
        let bytes = picture.bytes()?;
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let mut read: Option<Arc<Read>> = None;
        let mut row = Row { hash, views: Vec::with_capacity(self.views.each) };
        let mut fresh = Vec::new();
        for i in 0..self.views.each {
            let view = self.views.view(&hash, i);
            let key = key(&hash, view);
            row.views.push((key, None));
            if cache.read().unwrap_or_else(PoisonError::into_inner).contains(&key) {
                continue;
            }
            let read = match &read {
                Some(read) => read,
                None => read.insert(Arc::new(self.input.read(picture, &bytes)?)),
            };
            fresh.push((i, view, Arc::clone(read)));
        }
        Ok((row, fresh))
    }
}

/// The views of an item that are to be computed: their number, what they show, and the item.
type Fresh = Vec<(usize, View, Arc<Read>)>;
