//! Batches at the cut, and what becomes of texts: they differ in length, so those of one length go together, each at its own, without
//! padding.

use super::boundary::{Boundary, Photos, lost, same};
use crate::input::Read;
use crate::{Error, Session};
use headstart_data::View;
use headstart_tensor::{Shape, Tensor};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Members of a batch that have one shape.
pub(crate) struct Group {
    /// Their positions in the batch.
    pub(crate) members: Vec<usize>,
    /// Their activations, `[members, ..cut]`.
    pub(crate) rows: Tensor,
}

impl Group {
    /// The shape of one member.
    pub(crate) fn shape(&self) -> Shape {
        Shape::from(&self.rows.dims()[1..])
    }
}

impl Boundary {
    /// The activations of some views of `photos`: images are one group, texts one for each length, the shortest first.
    ///
    /// # Errors
    /// Where an item cannot be read any more or has changed.
    pub(crate) fn batch(
        &mut self,
        session: &Session,
        photos: &Photos,
        wanted: &[(usize, View)],
    ) -> Result<Vec<Group>, Error> {
        match self.reads_texts() {
            true => self.texts(session, photos, wanted),
            false => {
                let rows = self.rows(session, photos, wanted)?;
                Ok(vec![Group { members: (0..wanted.len()).collect(), rows }])
            }
        }
    }

    fn texts(
        &self,
        session: &Session,
        photos: &Photos,
        wanted: &[(usize, View)],
    ) -> Result<Vec<Group>, Error> {
        let ids = session.pool.map(wanted.len(), |i| self.ids(photos, wanted[i].0));
        let ids = ids.into_iter().collect::<Result<Vec<Vec<f32>>, Error>>()?;
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        ids.iter().enumerate().for_each(|(i, ids)| by_length.entry(ids.len()).or_default().push(i));
        // Nothing is frozen where the first layer learns: then the tail reads the ids.
        let frozen = self.trunk.takes_sequences();
        let some = |tokens: usize| if frozen { self.trunk.group_of(tokens) } else { usize::MAX };
        let calls: Vec<(usize, &[usize])> =
            by_length.iter().flat_map(|(&n, all)| all.chunks(some(n)).map(move |some| (n, some))).collect();
        let done = session.pool.map(calls.len(), |call| {
            let (tokens, members) = calls[call];
            let ids: Vec<f32> = members.iter().flat_map(|&i| ids[i].iter().copied()).collect();
            if !frozen {
                return Ok(ids);
            }
            let mut rows = vec![0.0; members.len() * self.trunk.output_of(tokens).len()];
            self.trunk.run_sequences(tokens, &ids, &mut rows);
            self.precision.round(&mut rows)?;
            Ok::<_, Error>(rows)
        });
        let mut rows: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for (&(tokens, _), some) in calls.iter().zip(done) {
            rows.entry(tokens).or_default().extend(some?);
        }
        let group = |((tokens, rows), members): ((usize, Vec<f32>), Vec<usize>)| {
            let one = if frozen { self.trunk.output_of(tokens) } else { Shape::from([tokens]) };
            let rows = Tensor::new([&[members.len()], one.dims()].concat(), rows)?;
            Ok(Group { members, rows })
        };
        rows.into_iter().zip(by_length.into_values()).map(group).collect()
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
