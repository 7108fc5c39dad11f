//! Answers spread along neighbours: `F <- a W F + (1 - a) F0` (Zhou et al. 2004, "Learning with Local and Global
//! Consistency", NIPS), with `W` the mean over the nearest neighbours in every feature space.

use super::domains::{centred, unit};
use super::score::nearest;
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// What neighbours say against what a row began with.
const SPREAD: f32 = 0.8;
/// Rounds: what a row began with has then gone as far as it will.
const ROUNDS: usize = 30;
/// Rows of a task.
const TASK: usize = 256;

/// Rows of the target in every feature space, and who is near to whom.
#[derive(Debug)]
pub(super) struct Neighbours {
    /// In every space `[n, d]`, centred and at length 1.
    pub(super) spaces: Vec<Tensor>,
    /// The nearest of each row, over all spaces.
    near: Vec<Vec<usize>>,
}

impl Neighbours {
    /// Those among features of the same images in several spaces.
    ///
    /// # Errors
    /// Where a feature is not finite or the run was interrupted.
    pub(super) fn of(session: &Session, spaces: &[Tensor]) -> Result<Neighbours, Error> {
        let mut near: Vec<Vec<usize>> = vec![Vec::new(); spaces.first().map_or(0, |s| s.dims()[0])];
        let mut found = Vec::with_capacity(spaces.len());
        for space in spaces {
            let rows = unit(session.pool, &centred(session.pool, space, false)?.0);
            near.iter_mut().zip(nearest(session, &rows)?).for_each(|(near, more)| near.extend(more));
            found.push(rows);
        }
        Ok(Neighbours { spaces: found, near })
    }

    /// What rows have come to that begin as `start` `[n, classes]`; `known` ones, row and class, stay.
    ///
    /// # Errors
    /// Where the run was interrupted.
    pub(super) fn spread(
        &self,
        session: &Session,
        start: &Tensor,
        known: &[(usize, usize)],
    ) -> Result<Tensor, Error> {
        let classes = start.row_len().max(1);
        let mut now = start.clone();
        for _ in 0..ROUNDS {
            session.check()?;
            clamp(&mut now, known);
            let mut next = start.clone();
            session.pool.chunks_mut(next.data_mut(), TASK * classes, |task, block| {
                for (i, row) in block.chunks_exact_mut(classes).enumerate() {
                    let near = &self.near[task * TASK + i];
                    let each = SPREAD / near.len().max(1) as f32;
                    row.iter_mut().for_each(|v| *v *= 1.0 - SPREAD);
                    for &j in near {
                        row.iter_mut().zip(now.row(j)).for_each(|(r, v)| *r += each * v);
                    }
                }
            });
            now = next;
        }
        clamp(&mut now, known);
        Ok(now)
    }
}

fn clamp(rows: &mut Tensor, known: &[(usize, usize)]) {
    let classes = rows.row_len();
    for &(row, class) in known {
        let row = &mut rows.data_mut()[row * classes..(row + 1) * classes];
        row.fill(0.0);
        row[class] = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::domains::hard;
    use crate::adapt::testing::{cluster, quiet};

    #[test]
    fn one_known_row_of_each_cluster_names_it() {
        quiet(|session| {
            let (rows, labels) = cluster(240, 3, 5);
            let neighbours = Neighbours::of(session, &[rows]).unwrap();
            let known: Vec<(usize, usize)> = (0..12).map(|i| (i, labels[i])).collect();
            let found = neighbours.spread(session, &Tensor::zeros([240, 3]), &known).unwrap();
            let right = hard(&found).iter().zip(&labels).filter(|(a, l)| a == l).count();
            assert!(right > 235, "{right}");
        });
    }

    #[test]
    fn what_is_the_same_everywhere_stays() {
        quiet(|session| {
            let (rows, _) = cluster(60, 3, 5);
            let neighbours = Neighbours::of(session, &[rows.clone(), rows]).unwrap();
            let start = Tensor::from_fn([60, 2], |i| [0.25, 0.75][i % 2]);
            let found = neighbours.spread(session, &start, &[]).unwrap();
            assert!(found.data().iter().zip(start.data()).all(|(a, b)| (a - b).abs() < 1e-5));
        });
    }
}
