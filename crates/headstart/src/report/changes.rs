//! What an adaptation changed: the ways in which answers changed, and the images whose new answer is surest.

use super::adaptation::{AdaptPage, table};
use super::html::Html;
use super::shown::{Shown, gallery};
use super::{percent, plural};
use crate::Session;
use headstart_data::{Kind, Picture};
use std::collections::BTreeMap;

/// Images that are answered differently, shown.
const CHANGED: usize = 24;
/// Ways in which answers changed, named.
const WAYS: usize = 12;

impl AdaptPage<'_> {
    pub(super) fn changed(&self, h: &mut Html, session: &Session) {
        let taken = &self.report.taken;
        let changed: Vec<usize> = (0..taken.len()).filter(|&i| taken[i].before != taken[i].after).collect();
        h.section("changed", "What changed", |h| {
            if changed.is_empty() {
                h.note("Every image of the target is answered as before.");
                return;
            }
            let share = percent(changed.len() as f64 / taken.len() as f64);
            let of = plural(taken.len(), "image");
            h.note(format_args!(
                "{} of {of} of the target are answered differently: {share}.",
                changed.len()
            ));
            let mut ways: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
            changed.iter().for_each(|&i| ways.entry((taken[i].before, taken[i].after)).or_default().push(i));
            let mut ways: Vec<((usize, usize), Vec<usize>)> = ways.into_iter().collect();
            ways.sort_by_key(|(way, images)| (std::cmp::Reverse(images.len()), *way));
            h.tag("div", &[("class", &"wide")], |h| {
                table(h, "ways", "before", &["after", "images"], |h| {
                    for ((before, after), images) in ways.iter().take(WAYS) {
                        h.tag("tr", &[], |h| {
                            h.leaf("th", &[("scope", &"row")], &self.report.classes[*before]);
                            h.leaf("td", &[("class", &"number")], &self.report.classes[*after]);
                            h.leaf("td", &[("class", &"number")], images.len());
                        });
                    }
                });
            });
            // Of every way the surest, of the ways with most images first.
            let surest = ways.into_iter().map(|(_, mut images)| {
                images
                    .sort_by(|&a, &b| taken[b].probability.total_cmp(&taken[a].probability).then(a.cmp(&b)));
                images
            });
            let mut shown: Vec<(usize, usize, usize)> = surest
                .enumerate()
                .flat_map(|(way, images)| images.into_iter().enumerate().map(move |(rank, i)| (rank, way, i)))
                .collect();
            shown.sort_unstable();
            let shown: Vec<usize> = shown.into_iter().take(CHANGED).map(|(.., i)| i).collect();
            let pictures = shown.iter().map(|&i| self.report.pictures[i].clone()).collect::<Vec<_>>();
            self.pictures(h, session, &pictures, |at| {
                let one = taken[shown[at]];
                let (before, after) = (&self.report.classes[one.before], &self.report.classes[one.after]);
                (format!("now {after} {}", percent(f64::from(one.probability))), format!("before {before}"))
            });
        });
    }

    /// Pictures with two lines below each: a verdict, and what is said besides.
    pub(super) fn pictures(
        &self,
        h: &mut Html,
        session: &Session,
        pictures: &[Picture],
        said: impl Fn(usize) -> (String, String),
    ) {
        let shown = session.pool.map(pictures.len(), |i| Shown::of(Kind::Images, &pictures[i]));
        h.tag("div", &[("class", &gallery(Kind::Images))], |h| {
            for (i, image) in shown.into_iter().enumerate() {
                h.tag("figure", &[("class", &"picture")], |h| {
                    let (verdict, besides) = said(i);
                    let path = pictures[i].path();
                    let path = path.strip_prefix(&self.folder).unwrap_or(path);
                    match image {
                        Ok(shown) => shown.write(h, path.rsplit('/').next().unwrap_or_default()),
                        Err(why) => {
                            h.leaf("p", &[("class", &"lost")], format_args!("not shown: {why}"));
                        }
                    }
                    h.tag("figcaption", &[], |h| {
                        if !verdict.is_empty() {
                            h.leaf("span", &[("class", &"verdict")], verdict);
                            h.leaf("span", &[("class", &"truth")], besides);
                        }
                        h.leaf("span", &[("class", &"path"), ("title", &path)], path);
                    });
                });
            }
        });
    }
}
