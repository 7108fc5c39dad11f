//! Feature extraction: every image through the frozen trunk once, from the cache where it was before.

use crate::{Backbone, Error, FeatureCache, Session};
use headstart_data::{ImageError, Item, Picture, Preprocess, RgbImage, Skipped, View};
use headstart_graph::Trunk;
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Images handed to the workers in one go.
const CHUNK: usize = 64;

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

/// The views of an image: its centre, then `views - 1` that are drawn from `seed` and the image's content.
fn views(hash: &[u8; 32], views: usize, seed: u64) -> Vec<View> {
    let name: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    let random = (1..views)
        .map(|v| View::Random { seed: Rng::named(seed, &format!("view {v} of {name}")).next_u64() });
    std::iter::once(View::Center).chain(random).collect()
}

struct Row {
    hash: [u8; 32],
    /// For every view its key and, where it was not in the cache, its features.
    views: Vec<([u8; 32], Option<Vec<f32>>)>,
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
    let values =
        center(trunk, preprocess, &pictures, pool).into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    let mut out = Tensor::zeros([&[items.len()], trunk.output().dims()].concat());
    out.data_mut().copy_from_slice(&values);
    Ok(out)
}

/// What the trunk makes of the centre view of each picture, [`Trunk::group`] of them at once on every thread.
pub(crate) fn center(
    trunk: &Trunk,
    preprocess: &Preprocess,
    pictures: &[&Picture],
    pool: &Pool,
) -> Vec<Result<Vec<f32>, ImageError>> {
    let (group, size) = (trunk.group(), preprocess.values());
    let groups = pool.map(pictures.len().div_ceil(group), |g| {
        let part = &pictures[g * group..pictures.len().min((g + 1) * group)];
        let decoded = |picture: &&Picture| preprocess.decode(picture, &picture.bytes()?);
        let images: Vec<_> = part.iter().map(decoded).collect();
        let mut inputs = Vec::new();
        for image in images.iter().flatten() {
            let at = inputs.len();
            inputs.resize(at + size, 0.0);
            preprocess.apply(image, View::Center, &mut inputs[at..]);
        }
        let len = trunk.output().len();
        let mut outputs = vec![0.0; inputs.len() / size * len];
        trunk.run_many(&inputs, &mut outputs);
        let mut rows = outputs.chunks_exact(len);
        let row =
            |image: Result<RgbImage, ImageError>| image.map(|_| rows.next().unwrap_or_default().to_vec());
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
    let mut cache = FeatureCache::open(session.home, &backbone.space(), dim, session.progress)?;
    let mut found = Features {
        values: Tensor::default(),
        kept: Vec::new(),
        hashes: Vec::new(),
        skipped: Vec::new(),
        computed: 0,
        cached: 0,
        seconds: 0.0,
    };
    let mut values = Vec::new();
    let wanted = pictures.len().saturating_mul(views_each).saturating_mul(dim);
    if values.try_reserve_exact(wanted).is_err() {
        return Err(Error::TooManyFeatures { rows: pictures.len().saturating_mul(views_each), dim });
    }
    session.progress.start(what, pictures.len());
    let mut all = || -> Result<(), Error> {
        for (chunk, some) in pictures.chunks(CHUNK).enumerate() {
            let group = backbone.trunk().group();
            let rows = session.pool.map(some.len().div_ceil(group), |g| {
                let part = &some[g * group..some.len().min((g + 1) * group)];
                let rows = match session.interrupt.load(Ordering::Relaxed) {
                    true => Vec::new(),
                    false => rows_of(backbone, &cache, part, views_each, seed),
                };
                session.progress.advance(part.len());
                rows
            });
            // After an interruption whole groups are missing: their images are taken up by the next run.
            for (g, rows) in rows.into_iter().enumerate() {
                for (i, row) in rows.into_iter().enumerate().map(|(i, row)| (g * group + i, row)) {
                    let row = match row {
                        Ok(row) => row,
                        Err(error) => {
                            found
                                .skipped
                                .push(Skipped { path: some[i].path().to_owned(), reason: error.into() });
                            continue;
                        }
                    };
                    found.kept.push(chunk * CHUNK + i);
                    found.hashes.push(row.hash);
                    for (key, fresh) in row.views {
                        found.computed += usize::from(fresh.is_some());
                        found.cached += usize::from(fresh.is_none());
                        if let Some(features) = fresh {
                            cache.insert(key, features)?;
                        }
                        cache.read(&key, &mut values)?;
                    }
                }
            }
            if session.check().is_err() {
                break;
            }
        }
        cache.flush()
    };
    let done = all();
    session.progress.finish();
    done?;
    session.check()?;
    found.values = Tensor::new([found.kept.len() * views_each, dim], values)?;
    found.seconds = started.elapsed().as_secs_f64();
    Ok(found)
}

/// The rows of some pictures. What is not in the cache goes through the trunk a group at a time.
fn rows_of(
    backbone: &Backbone,
    cache: &FeatureCache,
    pictures: &[&Picture],
    views_each: usize,
    seed: u64,
) -> Vec<Result<Row, ImageError>> {
    let (trunk, dim, size) = (backbone.trunk(), backbone.dim(), backbone.preprocess.values());
    let mut rows: Vec<Result<Row, ImageError>> = Vec::with_capacity(pictures.len());
    let (mut inputs, mut places) = (Vec::new(), Vec::new());
    let run =
        |inputs: &mut Vec<f32>, places: &mut Vec<(usize, usize)>, rows: &mut Vec<Result<Row, ImageError>>| {
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
        let (row, fresh) = match views_of(cache, &backbone.preprocess, picture, views_each, seed) {
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
            backbone.preprocess.apply(&image, seen, &mut inputs[at..]);
            places.push((i, view));
            if places.len() == trunk.group() {
                run(&mut inputs, &mut places, &mut rows);
            }
        }
    }
    run(&mut inputs, &mut places, &mut rows);
    rows
}

/// The views of an image that are to be computed: their number, what they show, and the picture.
type Fresh = Vec<(usize, View, Arc<RgbImage>)>;

/// A picture's row without its fresh features, and what is to be computed for it.
fn views_of(
    cache: &FeatureCache,
    preprocess: &Preprocess,
    picture: &Picture,
    views_each: usize,
    seed: u64,
) -> Result<(Row, Fresh), ImageError> {
    let bytes = picture.bytes()?;
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    let mut image: Option<Arc<RgbImage>> = None;
    let mut row = Row { hash, views: Vec::with_capacity(views_each) };
    let mut fresh = Vec::new();
    for (i, view) in views(&hash, views_each, seed).into_iter().enumerate() {
        let mut hasher = Sha256::new();
        hasher.update(hash);
        if let View::Random { seed } = view {
            hasher.update(seed.to_le_bytes());
        }
        let key: [u8; 32] = hasher.finalize().into();
        row.views.push((key, None));
        if cache.contains(&key) {
            continue;
        }
        let image = match &image {
            Some(image) => image,
            None => image.insert(Arc::new(preprocess.decode(picture, &bytes)?)),
        };
        fresh.push((i, view, Arc::clone(image)));
    }
    Ok((row, fresh))
}
