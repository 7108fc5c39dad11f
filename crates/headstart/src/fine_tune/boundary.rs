//! What the tail is fed: the trunk's activations at the cut, `[n, ..cut]`, from the cache or computed every time.
//!
//! The bytes are the same either way.

use super::CacheUse;
use crate::backbone::space;
use crate::features::{Sweep, Views, key};
use crate::input::Input;
use crate::{CachePrecision, Error, FeatureCache, Session};
use headstart_data::{Kind, Picture, View};
use headstart_graph::{Calibration, Graph, Params, Trunk};
use headstart_models::{Home, fingerprint};
use headstart_tensor::Tensor;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Instant;

/// Images that can be read, with their labels and the hashes of their content.
#[derive(Debug, Default)]
pub(crate) struct Photos {
    pub(crate) pictures: Vec<Picture>,
    pub(crate) hashes: Vec<[u8; 32]>,
    pub(crate) labels: Vec<usize>,
}

/// How a boundary is made.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// What images go through before the trunk.
    pub(crate) input: &'a Input,
    /// The training images.
    pub(crate) train: &'a Photos,
    /// The validation images, of which the centre is seen.
    pub(crate) val: &'a Photos,
    /// The views of the training images; none where each epoch draws its own.
    pub(crate) views: Views,
    /// Whether activations may be kept.
    pub(crate) cache: CacheUse,
    /// How they are kept.
    pub(crate) precision: CachePrecision,
}

/// The trunk up to the cut, and what is known of its output.
pub(crate) struct Boundary {
    pub(super) trunk: Trunk,
    pub(super) input: Input,
    pub(super) precision: CachePrecision,
    cache: Option<FeatureCache>,
    /// Of texts, by their number of tokens.
    pub(super) texts: BTreeMap<usize, FeatureCache>,
    /// Views that went through the trunk when it was opened, those that were in the cache, and the seconds it took.
    pub(crate) computed: usize,
    pub(crate) cached: usize,
    pub(crate) seconds: f64,
}

impl Boundary {
    /// Compiles the trunk and fills the cache, where there is one: its size is said beforehand, and a disk that cannot
    /// hold it means that activations are computed in every epoch, said aloud.
    pub(crate) fn open(
        session: &Session,
        trunk: &Graph,
        params: &Params,
        setting: &Setting,
    ) -> Result<Boundary, Error> {
        let started = Instant::now();
        let mut boundary = Boundary {
            trunk: Trunk::compile(trunk, params)?,
            input: setting.input.clone(),
            precision: setting.precision,
            cache: None,
            texts: BTreeMap::new(),
            computed: 0,
            cached: 0,
            seconds: 0.0,
        };
        let cut = trunk.nodes().last().map_or("", |n| n.name.as_str());
        if trunk.nodes().len() == 1 {
            session.progress.note(&format!(
                "the first layer learns: nothing can be cached, {} are read in every epoch",
                setting.input.kind().many()
            ));
            return Ok(boundary);
        }
        if setting.cache == CacheUse::Never {
            session
                .progress
                .note(&format!("without the cache: all up to `{cut}` is computed in every epoch"));
            return Ok(boundary);
        }
        if boundary.reads_texts() {
            boundary.keep_texts(session, (trunk, params), setting, cut)?;
            boundary.seconds = started.elapsed().as_secs_f64();
            return Ok(boundary);
        }
        let weights = fingerprint(trunk, params);
        let computed = (boundary.trunk.precision(), &Calibration::default());
        let name = space(trunk, &weights, setting.input, computed, setting.precision);
        let dim = boundary.trunk.output().len();
        let mut cache = FeatureCache::open(session.home, &name, dim, setting.precision, session.progress)?;
        let parts = [(setting.train, setting.views), (setting.val, Views { each: 1, ..setting.views })];
        let mut missing = 0;
        for (photos, views) in parts {
            for hash in &photos.hashes {
                missing +=
                    (0..views.each).filter(|&v| !cache.contains(&key(hash, views.view(hash, v)))).count();
            }
        }
        let needed = missing as u64 * (32 + dim * setting.precision.size()) as u64;
        if !room_for(session, needed, cut, missing) {
            return Ok(boundary);
        }
        for ((photos, views), what) in
            parts.into_iter().zip(["training activations", "validation activations"])
        {
            if views.each == 0 {
                let note = format!("a fresh view in every epoch: all up to `{cut}` is computed each time");
                session.progress.note(&note);
                continue;
            }
            let pictures: Vec<&Picture> = photos.pictures.iter().collect();
            let sweep = Sweep { trunk: &boundary.trunk, input: setting.input, views };
            let (computed, cached) = (&mut boundary.computed, &mut boundary.cached);
            let swept = sweep.run(session, &mut cache, &pictures, what, &mut |_, i, row| {
                let row = row.map_err(|e| lost(pictures[i], e.to_string()))?;
                same(pictures[i], &photos.hashes[i], &row.hash)?;
                let fresh = row.views.iter().filter(|(_, fresh)| *fresh).count();
                *computed += fresh;
                *cached += row.views.len() - fresh;
                Ok(())
            });
            swept.map_err(full)?;
        }
        boundary.cache = Some(cache);
        boundary.seconds = started.elapsed().as_secs_f64();
        Ok(boundary)
    }

    /// Whether it is fed with texts.
    pub(super) fn reads_texts(&self) -> bool {
        self.input.kind() == Kind::Texts
    }

    /// The activations of some views of images, `[wanted, ..cut]`, in their order.
    ///
    /// # Errors
    /// Where an image cannot be read any more or has changed.
    pub(crate) fn rows(
        &mut self,
        session: &Session,
        photos: &Photos,
        wanted: &[(usize, View)],
    ) -> Result<Tensor, Error> {
        let dim = self.trunk.output().len();
        let mut values = Vec::with_capacity(wanted.len() * dim);
        let mut absent = Vec::new();
        for &(image, view) in wanted {
            let key = key(&photos.hashes[image], view);
            // What was removed meanwhile is computed again, to the same bytes.
            let cached = match &mut self.cache {
                Some(cache) => cache.read(&key, &mut values),
                None => Err(Error::CacheLost { path: session.home.features() }),
            };
            match cached {
                Ok(()) => {}
                Err(Error::CacheLost { .. }) => {
                    absent.push((image, view, values.len()));
                    values.resize(values.len() + dim, 0.0);
                }
                Err(error) => return Err(error),
            }
        }
        let group = self.trunk.group().min(absent.len().div_ceil(session.pool.threads()).max(1));
        let computed = session.pool.map(absent.len().div_ceil(group), |g| {
            self.compute(photos, &absent[g * group..absent.len().min((g + 1) * group)])
        });
        for (rows, places) in computed.into_iter().zip(absent.chunks(group)) {
            for (row, &(_, _, at)) in rows?.chunks_exact(dim).zip(places) {
                values[at..at + dim].copy_from_slice(row);
            }
        }
        Ok(Tensor::new([&[wanted.len()], self.trunk.output().dims()].concat(), values)?)
    }

    fn compute(&self, photos: &Photos, some: &[(usize, View, usize)]) -> Result<Vec<f32>, Error> {
        let mut inputs = Vec::new();
        for &(image, view, _) in some {
            let picture = &photos.pictures[image];
            let bytes = picture.bytes().map_err(|e| lost(picture, e.to_string()))?;
            same(picture, &photos.hashes[image], &Sha256::digest(&bytes).into())?;
            let read = self.input.read(picture, &bytes).map_err(|e| lost(picture, e.to_string()))?;
            self.input.append(&read, view, &mut inputs);
        }
        let mut rows = vec![0.0; some.len() * self.trunk.output().len()];
        self.trunk.run_many(&inputs, &mut rows);
        self.precision.round(&mut rows)?;
        Ok(rows)
    }
}

/// Whether activations of `views` views are to be kept: whether the disk has room for `needed` more bytes.
pub(super) fn room_for(session: &Session, needed: u64, cut: &str, views: usize) -> bool {
    let place = session.home.features();
    room(session, needed, free(session.home), cut, views, &place.display().to_string())
}

/// Whether the disk has room for `needed` more bytes, said either way; a tenth of what is free stays so.
fn room(session: &Session, needed: u64, free: Option<u64>, cut: &str, views: usize, place: &str) -> bool {
    if needed == 0 {
        return true;
    }
    let size = |bytes: u64| match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    let free_text = free.map_or_else(String::new, |free| format!(" ({} are free)", size(free)));
    let what = format!("the activations at `{cut}` of {views} views");
    let fits = free.is_none_or(|free| needed <= free / 10 * 9);
    session.progress.note(&match fits {
        true => format!("{what} take {} in {place}{free_text}", size(needed)),
        false => format!(
            "{what} would take {} in {place}, too much{free_text}: they are computed in every epoch instead",
            size(needed)
        ),
    });
    fits
}

/// Bytes that are free where features are kept; unknown where the system does not say.
fn free(home: &Home) -> Option<u64> {
    fs4::available_space(home.features()).ok()
}

pub(super) fn lost(picture: &Picture, detail: String) -> Error {
    Error::ImageLost { path: picture.path().to_owned(), detail }
}

pub(super) fn same(picture: &Picture, expected: &[u8; 32], found: &[u8; 32]) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(lost(picture, "its content has changed".into())) }
}

/// What failed while activations were written, as what it means here.
pub(super) fn full(error: Error) -> Error {
    match error {
        Error::Io { action: "write", path, source } => Error::CacheFull { path, source },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Progress;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn start(&self, _: &str, _: usize) {}
        fn advance(&self, _: usize) {}
        fn finish(&self) {}
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn a_disk_without_room_is_not_filled_and_both_sizes_are_said() {
        let (home, pool, stop, heard) = (Home::at("x"), crate::Pool::new(1), false.into(), Heard::default());
        let session = Session { home: &home, pool: &pool, progress: &heard, interrupt: &stop };
        let room = |needed, free| room(&session, needed, free, "layer3.1.relu2", 5000, "home");
        assert!(room(0, Some(0)));
        assert!(room(900, Some(1000)) && room(u64::MAX, None));
        assert!(!room(901, Some(1000)) && !room(2_500_000_000, Some(1_200_000_000)));
        let said = heard.0.into_inner().unwrap();
        assert_eq!(said.len(), 4, "nothing is said of nothing");
        assert_eq!(
            said[3],
            "the activations at `layer3.1.relu2` of 5000 views would take 2.5 GB in home, too much (1.2 GB are free): they are computed in every epoch instead"
        );
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let text = full(Error::Io { action: "write", path: "a.segment".into(), source }).to_string();
        assert!(text.starts_with("cannot keep the activations in a.segment") && text.contains("--no-cache"));
    }
}
