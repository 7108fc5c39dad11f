//! Images unlike all others: far from their neighbours in the space of features (Sun et al. 2022).

use super::report::Outlier;
use super::rows::Rows;
use super::units::{BLOCK, Units, products};
use crate::{Error, Session};
use headstart_tensor::Rng;

/// Which neighbour's distance counts: a handful of strange images that resemble one another are still far.
const NEIGHBOUR: usize = 10;
/// Images that neighbours are looked for among, at most: a sample this large has some near every image that is not alone.
const AMONG: usize = 4096;
/// Fewer images say nothing about what is usual.
const LEAST: usize = 50;
/// Outliers lie this many interquartile ranges above the third quartile (Tukey's far out).
const RANGES: f32 = 3.0;

/// The outliers, the farthest first.
pub(super) fn outliers(session: &Session, rows: &Rows) -> Result<Vec<Outlier>, Error> {
    let units = Units::of(rows.values, session.pool);
    if units.len() < LEAST {
        return Ok(Vec::new());
    }
    let mut among: Vec<usize> = (0..units.len()).collect();
    Rng::named(0, "neighbours").shuffle(&mut among);
    among.truncate(AMONG);
    let d = rows.values.row_len();
    let others = units.some(among.iter().copied());
    let blocks = units.len().div_ceil(BLOCK);
    session.progress.start("outliers", blocks);
    let distances = session.pool.map(blocks, |block| {
        let own = block * BLOCK..units.len().min((block + 1) * BLOCK);
        if session.check().is_err() {
            return Vec::new();
        }
        let cosines = products(&units.some(own.clone()), &others, d);
        session.progress.advance(1);
        let nearest = own.zip(cosines.chunks_exact(among.len())).map(|(row, cosines)| {
            let with_others = among.iter().zip(cosines).filter(|(other, _)| **other != row);
            let mut best: Vec<f32> = with_others.map(|(_, &cosine)| cosine).collect();
            let (_, nth, _) = best.select_nth_unstable_by(NEIGHBOUR - 1, |a, b| b.total_cmp(a));
            1.0 - *nth
        });
        nearest.collect::<Vec<f32>>()
    });
    session.progress.finish();
    session.check()?;
    let distances = distances.concat();
    let mut sorted = distances.clone();
    sorted.sort_by(f32::total_cmp);
    let quartile = |part: usize| sorted[(sorted.len() - 1) * part / 4];
    let fence = quartile(3) + RANGES * (quartile(3) - quartile(1));
    let mut far: Vec<(usize, f32)> = distances.into_iter().enumerate().filter(|(_, d)| *d > fence).collect();
    far.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(far.into_iter().map(|(row, distance)| Outlier { path: rows.path(row).to_owned(), distance }).collect())
}
