//! Which buffer each step writes, and which steps run image by image.
//!
//! Early steps have large outputs: they run image by image, so that these stay in cache. From the first step that
//! is faster with several images at once, all steps run over a group. Values that live across that border are kept
//! for each image of the group.

use crate::compile::{Source, Step};

/// The buffer of a step's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Room for one image.
    Single(usize),
    /// Room for each image of a group.
    Group(usize),
}

/// The buffers of a trunk.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where each step writes.
    pub(crate) slots: Vec<Slot>,
    /// Words of the single buffers.
    pub(crate) singles: Vec<usize>,
    /// Words an image of the group buffers.
    pub(crate) groups: Vec<usize>,
    /// The first step that runs over a group.
    pub(crate) grouped_from: usize,
}

impl Plan {
    /// Gives every step a buffer that no value still needed lies in.
    pub(crate) fn of(steps: &[Step], result: Source, grouped_from: usize) -> Plan {
        let mut last_use: Vec<usize> = (0..steps.len()).collect();
        if let Source::Step(s) = result {
            last_use[s] = steps.len();
        }
        for (i, step) in steps.iter().enumerate() {
            for source in [Some(step.input), step.residual].into_iter().flatten() {
                if let Source::Step(s) = source {
                    last_use[s] = last_use[s].max(i);
                }
            }
        }
        let (mut singles, mut groups) = (Buffers::default(), Buffers::default());
        let slots = steps.iter().enumerate().map(|(i, step)| {
            // A value is free again only for the step after its last reader: no kernel works in place.
            let until = last_use[i] + 1;
            match until > grouped_from {
                true => Slot::Group(groups.take(i, until, step.words())),
                false => Slot::Single(singles.take(i, until, step.words())),
            }
        });
        let slots = slots.collect();
        Plan { slots, singles: singles.sizes, groups: groups.sizes, grouped_from }
    }
}

#[derive(Default)]
struct Buffers {
    sizes: Vec<usize>,
    free_from: Vec<usize>,
}

impl Buffers {
    /// A buffer for `len` words from step `now` to before step `until`: of the free ones that which has to grow
    /// least, else that which is cut least.
    fn take(&mut self, now: usize, until: usize, len: usize) -> usize {
        let fits = |s: &usize| (len.saturating_sub(self.sizes[*s]), self.sizes[*s]);
        let free = (0..self.sizes.len()).filter(|&s| self.free_from[s] <= now).min_by_key(fits);
        let slot = free.unwrap_or_else(|| {
            self.sizes.push(0);
            self.free_from.push(0);
            self.sizes.len() - 1
        });
        self.sizes[slot] = self.sizes[slot].max(len);
        self.free_from[slot] = until;
        slot
    }
}
