//! Which part of a pickle is the state dict.
//!
//! The top level where all its values are tensors; otherwise the one value of it that is a dict of tensors. Where
//! more than one could be meant, nothing is guessed.

use std::path::Path;

use headstart_pickle::{Pairs, Value};

use super::Contents;
use super::rebuild::{Rebuilder, is_tensor};
use crate::WeightsError;

/// The usual keys of a state dict in a whole checkpoint: with one of these, tensors beside it (a best accuracy, a
/// loss) are known to be no parameters.
const USUAL: [&str; 5] = ["state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema"];

/// Builds the tensors of the state dict in `root`: under `key`, or where there is only one.
pub(crate) fn take(
    root: Value<'_>,
    key: Option<&str>,
    rebuilder: &mut Rebuilder,
    file: &Path,
) -> Result<Contents, WeightsError> {
    let none = |found: String| WeightsError::NoStateDict { file: file.to_owned(), found };
    let Some(entries) = entries(root) else { return Err(none(format!("{} at the top", describe(root)))) };
    let tensors = entries.iter().filter(|(_, value)| is_tensor(*value)).count();
    let (taken, chosen) = match key {
        Some(key) => {
            let found = entries.iter().find(|(name, _)| name.text() == Some(key));
            match found.and_then(|(_, value)| self::entries(*value)) {
                Some(chosen) => (Some(key), chosen),
                None => {
                    return Err(none(format!("no dict under {key:?}, only {}", keys(&entries).join(", "))));
                }
            }
        }
        None if tensors == entries.len() && tensors > 0 => (None, entries.clone()),
        None => {
            let nested: Vec<_> = entries
                .iter()
                .filter_map(|(name, value)| Some((name.text()?, self::entries(*value)?)))
                .filter(|(_, inner)| inner.iter().any(|(_, value)| is_tensor(*value)))
                .collect();
            match <[_; 1]>::try_from(nested) {
                Ok([(name, chosen)]) if tensors == 0 || USUAL.contains(&name) => (Some(name), chosen),
                Ok([(name, _)]) => {
                    let found = vec!["the top level".to_owned(), format!("{name:?}")];
                    return Err(WeightsError::Ambiguous { file: file.to_owned(), found });
                }
                Err(nested) if !nested.is_empty() => {
                    let found = nested.iter().map(|(name, _)| format!("{name:?}")).collect();
                    return Err(WeightsError::Ambiguous { file: file.to_owned(), found });
                }
                Err(_) if tensors > 0 => (None, entries.clone()),
                Err(_) if entries.is_empty() => return Err(none("an empty dict".to_owned())),
                Err(_) => return Err(none(format!("a dict of {}", keys(&entries).join(", ")))),
            }
        }
    };
    let ignored = match taken {
        Some(taken) => keys(entries.iter().filter(|(name, _)| name.text() != Some(taken))),
        None => Vec::new(),
    };
    let tensors = chosen.into_iter().map(|(name, value)| {
        let name = name.text().ok_or_else(|| WeightsError::NotATensor {
            file: file.to_owned(),
            tensor: describe(name),
            found: "under a key that is no text".to_owned(),
        })?;
        Ok((name.to_owned(), rebuilder.tensor(name, value)?))
    });
    Ok(Contents { tensors: tensors.collect::<Result<_, _>>()?, taken: taken.map(str::to_owned), ignored })
}

/// The pairs of a dict or an `OrderedDict`, whose attributes (the versions of modules) do not matter.
fn entries(value: Value<'_>) -> Option<Vec<(Value<'_>, Value<'_>)>> {
    match value {
        Value::Dict(pairs) => Some(pairs.iter().collect()),
        Value::Call(call) if call.global().name == "OrderedDict" => {
            let given = match call.args().get(0) {
                None => Vec::new(),
                // What Python 2 wrote: OrderedDict([[key, value], ..]).
                Some(Value::List(list)) => list.iter().map(pair).collect::<Option<_>>()?,
                Some(_) => return None,
            };
            Some(given.into_iter().chain(Pairs::iter(&call.pairs())).collect())
        }
        _ => None,
    }
}

fn pair(value: Value<'_>) -> Option<(Value<'_>, Value<'_>)> {
    match value {
        Value::List(items) | Value::Tuple(items) if items.len() == 2 => Some((items.get(0)?, items.get(1)?)),
        _ => None,
    }
}

/// The keys as a message shows them, the first twenty.
fn keys<'a, 'p: 'a>(entries: impl IntoIterator<Item = &'a (Value<'p>, Value<'p>)>) -> Vec<String> {
    entries
        .into_iter()
        .take(20)
        .map(|(name, _)| name.text().map_or_else(|| describe(*name), str::to_owned))
        .collect()
}

fn describe(value: Value<'_>) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        Value::Call(call) => format!("a call of {}.{}", call.global().module, call.global().name),
        other => other.kind().to_owned(),
    }
}
