//! Feature extraction: every image through the frozen trunk once, from the cache where it was before.

use crate::{Backbone, CachePrecision, Error, FeatureCache, FeatureKey, Session};
use headstart_data::{ImageError, Item, Picture, Preprocess, RgbImage, Skipped, Strength, View};
use headstart_graph::Trunk;
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};
use sha2::{Digest, Sha256};
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

/// Which views of each image are computed, all drawn from `seed` and the image's content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Views {
    /// How many: the centre, and `each - 1` random ones.
    pub(crate) each: usize,
    /// What they are drawn from.
    pub(crate) seed: u64,
    /// How far random views go; `None` is crop and flip alone.
    pub(crate) strength: Option<Strength>,
}

/// The centre alone.
pub(crate) const CENTER: Views = Views { each: 1, seed: 0, strength: None };

impl Views {
    /// View `view` of the image whose content has that hash; 0 is its centre.
    pub(crate) fn view(&self, hash: &[u8; 32], view: usize) -> View {
        if view == 0 { View::Center } else { self.draw(hash, &format!("view {view}")) }
    }

    /// The random view of that name.
    pub(crate) fn draw(&self, hash: &[u8; 32], name: &str) -> View {
        let content: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        let seed = Rng::named(self.seed, &format!("{name} of {content}")).next_u64();
        match self.strength {
            None => View::Random { seed },
            Some(strength) => View::Augmented { seed, strength },
        }
    }
}

/// The key of a view of an image.
pub(crate) fn key(hash: &[u8; 32], view: View) -> FeatureKey {
    let mut hasher = Sha256::new();
    hasher.update(hash);
    match view {
        View::Center => {}
        View::Random { seed } => hasher.update(seed.to_le_bytes()),
        View::Augmented { seed, strength } => {
            hasher.update(seed.to_le_bytes());
            hasher.update(format!("{strength:?}"));
        }
    }
    hasher.finalize().into()
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
    let rows = through(trunk, preprocess, &pictures, CENTER, pool);
    let values = rows.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let mut out = Tensor::zeros([&[items.len()], trunk.output().dims()].concat());
    out.data_mut().copy_from_slice(&values);
    Ok(out)
}

/// What the trunk makes of the views of each picture, one after the other, without the cache: [`Trunk::group`] pictures at
/// once on every thread.
pub(crate) fn through(
    trunk: &Trunk,
    preprocess: &Preprocess,
    pictures: &[&Picture],
    views: Views,
    pool: &Pool,
) -> Vec<Result<Vec<f32>, ImageError>> {
    let (group, size, each) = (trunk.group(), preprocess.values(), views.each);
    let groups = pool.map(pictures.len().div_ceil(group), |g| {
        let part = &pictures[g * group..pictures.len().min((g + 1) * group)];
        let mut inputs = Vec::new();
        let mut read = |picture: &&Picture| {
            let bytes = picture.bytes()?;
            let image = preprocess.decode(picture, &bytes)?;
            let hash = if each > 1 { Sha256::digest(&bytes).into() } else { [0; 32] };
            for view in 0..each {
                let at = inputs.len();
                inputs.resize(at + size, 0.0);
                preprocess.apply(&image, views.view(&hash, view), &mut inputs[at..]);
            }
            Ok(())
        };
        let images: Vec<Result<(), ImageError>> = part.iter().map(&mut read).collect();
        let len = trunk.output().len();
        let mut outputs = vec![0.0; inputs.len() / size * len];
        trunk.run_many(&inputs, &mut outputs);
        let mut rows = outputs.chunks_exact(len * each);
        let row = |image: Result<(), ImageError>| image.map(|()| rows.next().unwrap_or_default().to_vec());
        images.into_iter().map(row).collect::<Vec<_>>()
    });
    groups.into_iter().flatten().collect()
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
    let sweep = Sweep { trunk: backbone.trunk(), preprocess: &backbone.preprocess, views };
    sweep.run(session, &mut cache, pictures, what, &mut |cache, i, row| {
        match row {
            Err(error) => {
                found.skipped.push(Skipped { path: pictures[i].path().to_owned(), reason: error.into() });
            }
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
    pub(crate) preprocess: &'a Preprocess,
    /// In which views.
    pub(crate) views: Views,
}

/// The cache between the threads that ask what is there and the one that fills it.
type Shared<'a> = RwLock<&'a mut FeatureCache>;

/// Told of every image in order: its position, and what became of it.
type Each<'a> = dyn FnMut(&mut FeatureCache, usize, Result<Swept, ImageError>) -> Result<(), Error> + 'a;

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
        let (group, threads) = (self.trunk.group(), session.pool.threads());
        let each_image = (self.views.each * self.trunk.output().len()).max(1);
        let ahead = AHEAD.min(AHEAD_VALUES / each_image).div_ceil(group);
        // As many groups for each thread, so that none waits for the others at the end.
        let groups = pictures.len().div_ceil(group).next_multiple_of(threads);
        let start = |g: usize| pictures.len() * g / groups;
        let shared = RwLock::new(cache);
        let rows = |g: usize| {
            let part = &pictures[start(g)..start(g + 1)];
            let rows = match session.interrupt.load(Ordering::Relaxed) {
                true => Vec::new(),
                false => self.rows_of(&shared, part),
            };
            session.progress.advance(part.len());
            rows
        };
        // After an interruption whole groups are missing: their images are taken up by the next run.
        let done = session.pool.stream(groups, ahead, rows, |g, rows| {
            let mut cache = shared.write().unwrap_or_else(PoisonError::into_inner);
            for (i, row) in rows.into_iter().enumerate() {
                let swept = match row {
                    Err(error) => Ok(Err(error)),
                    Ok(row) => row.keep(&mut cache).map(Ok),
                };
                if let Err(error) = swept.and_then(|swept| each(&mut cache, start(g) + i, swept)) {
                    return ControlFlow::Break(error);
                }
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

    /// The rows of some pictures. What is not in the cache goes through the trunk a group at a time.
    fn rows_of(&self, cache: &Shared, pictures: &[&Picture]) -> Vec<Result<Row, ImageError>> {
        let (trunk, dim, size) = (self.trunk, self.trunk.output().len(), self.preprocess.values());
        let mut rows: Vec<Result<Row, ImageError>> = Vec::with_capacity(pictures.len());
        let (mut inputs, mut places) = (Vec::new(), Vec::new());
        let run = |inputs: &mut Vec<f32>,
                   places: &mut Vec<(usize, usize)>,
                   rows: &mut Vec<Result<Row, ImageError>>| {
            let mut features = vec![0.0; places.len() * dim];
            trunk.run_many(inputs, &mut features);
            for (&(row, view), features) in places.iter().zip(features.chunks_exact(dim)) {
                if let Ok(row) = &mut rows[row] {
                    row.views[view].1 = Some(features.to_vec());
                }
            }
            inputs.clear();
            places.clear();
        };
        for (i, picture) in pictures.iter().enumerate() {
            let (row, fresh) = match self.views_of(cache, picture) {
                Ok(found) => found,
                Err(error) => {
                    rows.push(Err(error));
                    continue;
                }
            };
            rows.push(Ok(row));
            for (view, seen, image) in fresh {
                let at = inputs.len();
                inputs.resize(at + size, 0.0);
                self.preprocess.apply(&image, seen, &mut inputs[at..]);
                places.push((i, view));
                if places.len() == trunk.group() {
                    run(&mut inputs, &mut places, &mut rows);
                }
            }
        }
        run(&mut inputs, &mut places, &mut rows);
        rows
    }

    /// A picture's row without its fresh features, and what is to be computed for it.
    fn views_of(&self, cache: &Shared, picture: &Picture) -> Result<(Row, Fresh), ImageError> {
        let bytes = picture.bytes()?;
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let mut image: Option<Arc<RgbImage>> = None;
        let mut row = Row { hash, views: Vec::with_capacity(self.views.each) };
        let mut fresh = Vec::new();
        for i in 0..self.views.each {
            let view = self.views.view(&hash, i);
            let key = key(&hash, view);
            row.views.push((key, None));
            if cache.read().unwrap_or_else(PoisonError::into_inner).contains(&key) {
                continue;
            }
            let image = match &image {
                Some(image) => image,
                None => image.insert(Arc::new(self.preprocess.decode(picture, &bytes)?)),
            };
            fresh.push((i, view, Arc::clone(image)));
        }
        Ok((row, fresh))
    }
}

/// The views of an image that are to be computed: their number, what they show, and the picture.
type Fresh = Vec<(usize, View, Arc<RgbImage>)>;
