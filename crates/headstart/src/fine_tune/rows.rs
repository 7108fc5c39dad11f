//! Batches at the cut.

use super::boundary::{Boundary, Photos};
use crate::{Error, Session};
use headstart_data::View;
use headstart_tensor::{Shape, Tensor};

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
            true => Ok(self.text_groups(session, photos, wanted)?.0),
            false => {
                let rows = self.rows(session, photos, wanted)?;
                Ok(vec![Group { members: (0..wanted.len()).collect(), rows }])
            }
        }
    }
}
