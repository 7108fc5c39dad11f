//! The names nearest to one that was not found.

use std::fs;
use std::path::Path;

/// At most three of `names` that `wanted` is probably a misspelling of, best first.
pub(crate) fn names<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    const ALIKE: f64 = 0.8;
    let wanted = wanted.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Existing paths that the missing `path` is probably a misspelling of: the first of its parts that is missing
/// is compared with what lies beside it.
pub(crate) fn paths(path: &Path) -> Vec<String> {
    let missing = path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).last();
    let Some((missing, wanted)) = missing.and_then(|m| Some((m, m.file_name()?.to_string_lossy()))) else {
        return Vec::new();
    };
    let parent = missing.parent().unwrap_or(Path::new(""));
    let folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let beside: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    let found = names(&wanted, beside.iter().map(String::as_str));
    found.into_iter().map(|name| parent.join(name).to_string_lossy().into_owned()).collect()
}
