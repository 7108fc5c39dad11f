//! The check of the finished value: no cycle, bounded depth, a bounded walk.
//!
//! A pickle of a few hundred bytes can stand for 2^64 values (each list holds the one before it twice), or
//! for a list inside itself. One pass over the arena finds both before a consumer meets them.

use crate::arena::{Id, Node};
use crate::{Limits, PickleError};

/// What is known of a value.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Unseen,
    /// On the path from the root to where the pass stands.
    Open,
    /// Its own depth, and the values a walk of it visits.
    Done {
        depth: usize,
        walk: u64,
    },
}

struct Frame {
    id: Id,
    next: usize,
    depth: usize,
    walk: u64,
}

impl Frame {
    fn open(id: Id, marks: &mut [Mark]) -> Self {
        marks[id as usize] = Mark::Open;
        Frame { id, next: 0, depth: 1, walk: 1 }
    }
}

/// Checks the value at `root`; `offset` is where its pickle ends.
pub(crate) fn check(nodes: &[Node<'_>], root: Id, limits: &Limits, offset: usize) -> Result<(), PickleError> {
    let mut marks = vec![Mark::Unseen; nodes.len()];
    let mut path = vec![Frame::open(root, &mut marks)];
    while let Some(top) = path.last_mut() {
        match nodes[top.id as usize].part(top.next) {
            Some(part) => match marks[part as usize] {
                Mark::Open => return Err(PickleError::Cycle { offset }),
                Mark::Done { depth, walk } => {
                    top.next += 1;
                    top.depth = top.depth.max(depth + 1);
                    top.walk = top.walk.saturating_add(walk);
                    if top.walk > limits.walk {
                        let what = "values in a full walk of the result";
                        return Err(PickleError::Limit { what, limit: limits.walk, offset });
                    }
                    if top.depth > limits.depth {
                        return Err(too_deep(limits, offset));
                    }
                }
                Mark::Unseen => {
                    if path.len() >= limits.depth {
                        return Err(too_deep(limits, offset));
                    }
                    path.push(Frame::open(part, &mut marks));
                }
            },
            None => {
                marks[top.id as usize] = Mark::Done { depth: top.depth, walk: top.walk };
                path.pop();
            }
        }
    }
    Ok(())
}

fn too_deep(limits: &Limits, offset: usize) -> PickleError {
    PickleError::Limit { what: "levels of nesting", limit: limits.depth as u64, offset }
}
