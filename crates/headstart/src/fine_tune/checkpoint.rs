//! The state of a fit on disk, whole or not at all: what is needed to go on to the same bytes.
//!
//! `checkpoint.safetensors` holds the trained parameters now and at their best, the optimiser's memories, and in its
//! metadata the rest as JSON with a SHA-256 over everything.

use super::{Best, TuneEpoch, TuneRecipe};
use crate::Error;
use crate::optim::{Memory, Optimizer};
use headstart_graph::Params;
use headstart_models::sha256_hex;
use headstart_tensor::Tensor;
use headstart_weights::{StateDict, StoredTensor, write_safetensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const STATE: &str = "headstart.run";
const SUM: &str = "headstart.sha256";

/// What a run depends on: where one of these is another, it cannot go on to the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The program's version and that of its kernels.
    pub(crate) version: String,
    /// The instruction set.
    pub(crate) isa: String,
    /// The recipe as it was asked for, in TOML, with what else decides the fit.
    pub(crate) recipe: String,
    /// SHA-256 of the weights it started from.
    pub(crate) start: String,
    /// SHA-256 over contents and labels of the images.
    pub(crate) data: String,
}

impl Identity {
    /// Whether `now` is the same.
    pub(crate) fn check(&self, now: &Identity, folder: &Path) -> Result<(), Error> {
        let parts = [
            ("version of headstart", &self.version, &now.version),
            ("instruction set", &self.isa, &now.isa),
            ("recipe", &self.recipe, &now.recipe),
            ("starting model", &self.start, &now.start),
            ("data", &self.data, &now.data),
        ];
        match parts.into_iter().find(|(_, before, now)| before != now) {
            None => Ok(()),
            Some((what, before, now)) => {
                let (expected, found) = difference(before, now);
                Err(Error::ResumeChanged { folder: folder.to_owned(), what, expected, found })
            }
        }
    }
}

/// Of two texts the first lines that differ.
fn difference(before: &str, now: &str) -> (String, String) {
    let differing = before.lines().zip(now.lines()).find(|(a, b)| a != b);
    let (a, b) = differing.unwrap_or((before, now));
    let short = |text: &str| text.chars().take(80).collect::<String>();
    (format!("`{}`", short(a)), format!("`{}`", short(b)))
}

/// Where a fit is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    /// The recipe with the rate and the number of epochs that were found for it.
    pub(crate) recipe: TuneRecipe,
    /// Steps taken.
    pub(crate) step: usize,
    /// Of the epoch in hand: the sum of the images' losses, those that were right, and all.
    pub(crate) sums: (f64, usize, usize),
    /// The epochs that are done.
    pub(crate) epochs: Vec<TuneEpoch>,
    /// The result before the first step.
    pub(crate) start: Best,
    /// The best result so far.
    pub(crate) best: Best,
}

/// A state with its tensors.
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) now: BTreeMap<String, Tensor>,
    pub(crate) best: BTreeMap<String, Tensor>,
    pub(crate) memory: BTreeMap<String, Memory>,
}

/// The checkpoint's file in the folder of a run.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

/// Writes a state; the one before stays until this one is whole.
pub(crate) fn save(
    folder: &Path,
    state: &State,
    params: &Params,
    best: &BTreeMap<String, Tensor>,
    optimizer: &Optimizer,
) -> Result<(), Error> {
    let path = file(folder);
    let mut tensors: Vec<(String, StoredTensor)> = Vec::new();
    for (name, value) in best {
        tensors.push((format!("best.{name}"), StoredTensor::from_tensor(value)));
        if let Some(value) = params.get(name) {
            tensors.push((format!("now.{name}"), StoredTensor::from_tensor(value)));
        }
        if let Some(memory) = optimizer.state.get(name) {
            for (part, values) in [("first", &memory.first), ("second", &memory.second)] {
                let values = Tensor::new([values.len()], values.clone())?;
                tensors.push((format!("{part}.{name}"), StoredTensor::from_tensor(&values)));
            }
        }
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let steps: BTreeMap<&str, u64> = optimizer.state.iter().map(|(n, m)| (n.as_str(), m.steps)).collect();
    let damaged = |e: serde_json::Error| Error::NoRun { path: path.clone(), detail: e.to_string() };
    let text = serde_json::to_string(&(state, steps)).map_err(damaged)?;
    let sum = checksum(&text, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)));
    let metadata = BTreeMap::from([(STATE.to_owned(), text), (SUM.to_owned(), sum)]);
    let tensors: Vec<(&str, &StoredTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    Ok(write_safetensors(&path, &tensors, &metadata)?)
}

/// The state that is in `folder`; `None` where no step was saved yet.
///
/// # Errors
/// Where the file is damaged.
pub(crate) fn load(folder: &Path) -> Result<Option<Checkpoint>, Error> {
    let path = file(folder);
    if !path.exists() {
        return Ok(None);
    }
    let bad = |detail: String| Error::NoRun { path: path.clone(), detail };
    let dict = StateDict::open(&path)?;
    let text = dict.metadata().get(STATE).ok_or_else(|| bad("it is no checkpoint".into()))?;
    let mut all: Vec<(&str, &StoredTensor)> = dict.iter().collect();
    all.sort_by_key(|(name, _)| *name);
    if dict.metadata().get(SUM) != Some(&checksum(text, all.iter().copied())) {
        return Err(bad("it is not what was saved; start the run anew".into()));
    }
    let (state, steps): (State, BTreeMap<String, u64>) =
        serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let mut found =
        Checkpoint { state, now: BTreeMap::new(), best: BTreeMap::new(), memory: BTreeMap::new() };
    for (name, tensor) in all {
        let Some((part, name)) = name.split_once('.') else { continue };
        let tensor = tensor.to_tensor()?;
        let steps = steps.get(name).copied().unwrap_or(0);
        let memory =
            |memory: &mut BTreeMap<String, Memory>| memory.entry(name.to_owned()).or_default().steps = steps;
        match part {
            "now" => drop(found.now.insert(name.to_owned(), tensor)),
            "best" => drop(found.best.insert(name.to_owned(), tensor)),
            "first" => {
                memory(&mut found.memory);
                found.memory.entry(name.to_owned()).or_default().first = tensor.into_data();
            }
            _ => found.memory.entry(name.to_owned()).or_default().second = tensor.into_data(),
        }
    }
    Ok(Some(found))
}

fn checksum<'a>(text: &str, tensors: impl Iterator<Item = (&'a str, &'a StoredTensor)>) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(text);
    for (name, tensor) in tensors {
        hasher.update(name);
        hasher.update(tensor.bytes());
    }
    sha256_hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::Rule;

    fn state() -> State {
        let identity = Identity {
            version: "1".into(),
            isa: "generic".into(),
            recipe: "a = 1\nlr = 0.5".into(),
            start: "s".into(),
            data: "d".into(),
        };
        let best = Best { epoch: 0, accuracy: 1.0 / 3.0, loss: 0.1 + 0.2 };
        let recipe = TuneRecipe { lr: 1.0 / 3.0 * 1e-3, ..TuneRecipe::default() };
        State { identity, recipe, step: 7, sums: (0.1 + 0.7, 3, 9), epochs: Vec::new(), start: best, best }
    }

    #[test]
    fn a_checkpoint_comes_back_to_the_last_bit_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap().is_none());
        let mut params: Params =
            [("a.b".to_owned(), Tensor::new([2], vec![0.1, -0.0]).unwrap())].into_iter().collect();
        let best: BTreeMap<String, Tensor> = params.iter().map(|(n, t)| (n.to_owned(), t.clone())).collect();
        let mut optimizer = Optimizer::new(Rule::adamw()).unwrap();
        optimizer.step("a.b", params.get_mut("a.b").unwrap().data_mut(), &[0.3, 0.1], 0.1).unwrap();
        save(folder.path(), &state(), &params, &best, &optimizer).unwrap();
        let found = load(folder.path()).unwrap().unwrap();
        assert_eq!(found.state, state());
        assert_eq!((&found.now["a.b"], &found.best["a.b"]), (params.get("a.b").unwrap(), &best["a.b"]));
        assert_eq!(found.memory, optimizer.state);
        let path = file(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        for i in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert!(load(folder.path()).is_err(), "byte {i} of {}", bytes.len());
        }
    }

    #[test]
    fn what_has_changed_is_named() {
        let (before, folder) = (state().identity, Path::new("m.run"));
        before.check(&before, folder).unwrap();
        let message = |now: Identity| before.check(&now, folder).unwrap_err().to_string();
        let recipe = message(Identity { recipe: "a = 1\nlr = 0.1".into(), ..before.clone() });
        assert!(recipe.contains("its recipe was `lr = 0.5` and is `lr = 0.1` now"), "{recipe}");
        for (now, what) in [
            (Identity { data: "e".into(), ..before.clone() }, "its data was"),
            (
                Identity { version: "2".into(), ..before.clone() },
                "its version of headstart was `1` and is `2`",
            ),
            (Identity { start: "t".into(), ..before.clone() }, "its starting model was"),
            (Identity { isa: "avx2".into(), ..before.clone() }, "its instruction set was"),
        ] {
            assert!(message(now.clone()).contains(what), "{}", message(now));
        }
    }
}
