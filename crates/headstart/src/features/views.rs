//! Which views of an item are computed, and the key that each has in the cache.

use crate::FeatureKey;
use headstart_data::{Strength, View};
use headstart_tensor::Rng;
use sha2::{Digest, Sha256};

/// Which views of each image are computed, all drawn from `seed` and the image's content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Views {
    /// How many: the centre, and `each - 1` random ones.
    pub(crate) each: usize,
    /// What they are drawn from.
    pub(crate) seed: u64,
    /// How far random views go; `None` is crop and flip alone.
    pub(crate) strength: Option<Strength>,
}

/// The centre alone.
pub(crate) const CENTER: Views = Views { each: 1, seed: 0, strength: None };

impl Views {
    /// View `view` of the image whose content has that hash; 0 is its centre.
    pub(crate) fn view(&self, hash: &[u8; 32], view: usize) -> View {
        if view == 0 { View::Center } else { self.draw(hash, &format!("view {view}")) }
    }

    /// The random view of that name.
    pub(crate) fn draw(&self, hash: &[u8; 32], name: &str) -> View {
        let content: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        let seed = Rng::named(self.seed, &format!("{name} of {content}")).next_u64();
        match self.strength {
            None => View::Random { seed },
            Some(strength) => View::Augmented { seed, strength },
        }
    }
}

/// The key of a view of an image.
pub(crate) fn key(hash: &[u8; 32], view: View) -> FeatureKey {
    let mut hasher = Sha256::new();
    hasher.update(hash);
    match view {
        View::Center => {}
        View::Random { seed } => hasher.update(seed.to_le_bytes()),
        View::Augmented { seed, strength } => {
            hasher.update(seed.to_le_bytes());
            hasher.update(format!("{strength:?}"));
        }
    }
    hasher.finalize().into()
}
