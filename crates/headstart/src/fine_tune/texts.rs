//! Texts at the cut: they differ in length, so those of one length go together, each at its own, without padding. What is kept of them
//! is in a cache for each length.

use super::boundary::{Boundary, Photos, Setting, full, lost, room_for, same};
use super::rows::Group;
use crate::backbone::space;
use crate::features::{batches, key};
use crate::input::Read;
use crate::{Error, FeatureCache, Session};
use headstart_data::View;
use headstart_graph::{Calibration, Graph, Params};
use headstart_models::fingerprint;
use headstart_tensor::Tensor;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Texts whose activations are computed before a look at whether to stop.
const BLOCK: usize = 256;

/// Activations of texts of one length that are about to be made: values of those that were kept, and who is missing.
struct Length {
    tokens: usize,
    /// Positions in the batch.
    members: Vec<usize>,
    values: Vec<f32>,
    /// Places among the members.
    absent: Vec<usize>,
}

impl Boundary {
    /// Fills the caches of every length, where the disk has room.
    ///
    /// # Errors
    /// Where a text cannot be read, the cache cannot be used or the run was interrupted.
    pub(super) fn keep_texts(
        &mut self,
        session: &Session,
        (trunk, params): (&Graph, &Params),
        setting: &Setting,
        cut: &str,
    ) -> Result<(), Error> {
        let weights = fingerprint(trunk, params);
        let computed = (self.trunk.precision(), &Calibration::default());
        let space = space(trunk, &weights, setting.input, computed, setting.precision);
        let parts = [(setting.train, "training activations"), (setting.val, "validation activations")];
        let (mut missing, mut needed) = (0, 0);
        let mut orders = Vec::new();
        for (photos, _) in parts {
            let lengths = self.lengths(session, photos)?;
            for (hash, &tokens) in photos.hashes.iter().zip(&lengths) {
                let dim = self.trunk.output_of(tokens).len();
                let cache = match self.texts.entry(tokens) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(place) => {
                        let name = format!("{space} of {tokens} tokens");
                        let (home, progress) = (session.home, session.progress);
                        place.insert(FeatureCache::open(home, &name, dim, setting.precision, progress)?)
                    }
                };
                if !cache.contains(&key(hash, View::Center)) {
                    missing += 1;
                    needed += (32 + dim * setting.precision.size()) as u64;
                }
            }
            let mut order: Vec<usize> = (0..lengths.len()).collect();
            order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
            orders.push(order);
        }
        if !room_for(session, needed, cut, missing) {
            self.texts.clear();
            return Ok(());
        }
        for ((photos, what), order) in parts.into_iter().zip(orders) {
            session.progress.start(what, order.len());
            let filled = order.chunks(BLOCK).try_for_each(|some| {
                let wanted: Vec<(usize, View)> = some.iter().map(|&i| (i, View::Center)).collect();
                let computed = self.text_groups(session, photos, &wanted)?.1;
                self.computed += computed;
                self.cached += some.len() - computed;
                session.progress.advance(some.len());
                session.check()
            });
            session.progress.finish();
            self.texts.values_mut().try_for_each(FeatureCache::flush).map_err(full)?;
            filled.map_err(full)?;
        }
        Ok(())
    }

    /// The activations of some texts, a group for each length, the shortest first; and how many of them were not kept.
    ///
    /// # Errors
    /// Where a text cannot be read any more or has changed, or the cache cannot be written.
    pub(super) fn text_groups(
        &mut self,
        session: &Session,
        photos: &Photos,
        wanted: &[(usize, View)],
    ) -> Result<(Vec<Group>, usize), Error> {
        let ids = session.pool.map(wanted.len(), |i| self.ids(photos, wanted[i].0));
        let ids = ids.into_iter().collect::<Result<Vec<Vec<f32>>, Error>>()?;
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        ids.iter().enumerate().for_each(|(i, ids)| by_length.entry(ids.len()).or_default().push(i));
        let of = |members: &[usize]| -> Vec<f32> {
            members.iter().flat_map(|&i| ids[i].iter().copied()).collect()
        };
        // Nothing is frozen where the first layer learns: then the tail reads the ids.
        if !self.trunk.takes_sequences() {
            let group = |(tokens, members): (usize, Vec<usize>)| {
                let rows = Tensor::new([members.len(), tokens], of(&members))?;
                Ok(Group { members, rows })
            };
            return Ok((by_length.into_iter().map(group).collect::<Result<Vec<Group>, Error>>()?, 0));
        }
        let keys: Vec<_> = wanted.iter().map(|&(text, view)| key(&photos.hashes[text], view)).collect();
        let mut lengths = Vec::new();
        for (tokens, members) in by_length {
            let dim = self.trunk.output_of(tokens).len();
            let mut length = Length { tokens, members, values: Vec::new(), absent: Vec::new() };
            for (place, &member) in length.members.iter().enumerate() {
                let kept =
                    self.texts.get_mut(&tokens).map(|cache| cache.read(&keys[member], &mut length.values));
                match kept {
                    Some(Ok(())) => {}
                    // What was removed meanwhile is computed again, to the same bytes.
                    None | Some(Err(Error::CacheLost { .. })) => {
                        length.absent.push(place);
                        length.values.resize((place + 1) * dim, 0.0);
                    }
                    Some(Err(error)) => return Err(error),
                }
            }
            lengths.push(length);
        }
        let (all, threads) =
            (lengths.iter().map(|l| l.tokens * l.absent.len()).sum(), session.pool.threads());
        let calls: Vec<(usize, &[usize])> = lengths
            .iter()
            .enumerate()
            .flat_map(|(l, length)| {
                let most = batches::most(self.trunk.group_of(length.tokens), length.tokens, all, threads);
                length.absent.chunks(most).map(move |c| (l, c))
            })
            .collect();
        let done = session.pool.map(calls.len(), |call| {
            let (l, places) = calls[call];
            let Length { tokens, members, .. } = &lengths[l];
            let some: Vec<usize> = places.iter().map(|&place| members[place]).collect();
            let mut rows = vec![0.0; some.len() * self.trunk.output_of(*tokens).len()];
            self.trunk.run_sequences(*tokens, &of(&some), &mut rows);
            self.precision.round(&mut rows)?;
            Ok::<_, Error>(rows)
        });
        let done = done.into_iter().collect::<Result<Vec<Vec<f32>>, Error>>()?.concat();
        let (mut done, mut computed) = (&done[..], 0);
        let mut groups = Vec::with_capacity(lengths.len());
        for Length { tokens, members, mut values, absent } in lengths {
            let one = self.trunk.output_of(tokens);
            for place in &absent {
                let (row, rest) = done.split_at(one.len());
                done = rest;
                values[place * one.len()..(place + 1) * one.len()].copy_from_slice(row);
                if let Some(cache) = self.texts.get_mut(&tokens) {
                    cache.insert(keys[members[*place]], row.to_vec())?;
                }
            }
            computed += absent.len();
            let rows = Tensor::new([&[members.len()], one.dims()].concat(), values)?;
            groups.push(Group { members, rows });
        }
        Ok((groups, computed))
    }

    /// The number of values at the cut of all of `photos`.
    ///
    /// # Errors
    /// Where a text cannot be read any more or has changed.
    pub(super) fn values(&self, session: &Session, photos: &Photos) -> Result<usize, Error> {
        match self.reads_texts() && self.trunk.takes_sequences() {
            true => Ok(self.lengths(session, photos)?.iter().map(|&n| self.trunk.output_of(n).len()).sum()),
            false => Ok(photos.labels.len() * self.trunk.output().len()),
        }
    }

    /// The number of tokens of every text.
    fn lengths(&self, session: &Session, photos: &Photos) -> Result<Vec<usize>, Error> {
        let lengths = session.pool.map(photos.pictures.len(), |i| Ok(self.ids(photos, i)?.len()));
        lengths.into_iter().collect()
    }

    /// The word ids of a text.
    fn ids(&self, photos: &Photos, text: usize) -> Result<Vec<f32>, Error> {
        let picture = &photos.pictures[text];
        let bytes = picture.bytes().map_err(|e| lost(picture, e.to_string()))?;
        same(picture, &photos.hashes[text], &Sha256::digest(&bytes).into())?;
        match self.input.read(picture, &bytes).map_err(|e| lost(picture, e.to_string()))? {
            Read::Text(ids) => Ok(ids),
            Read::Image(_) => Ok(Vec::new()),
        }
    }
}
