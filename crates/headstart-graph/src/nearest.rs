//! "Did you mean": the names nearest to a mistyped one.

/// Up to three of `names` that are near `name`, nearest first (Damerau and Levenshtein's distance, at most a
/// third of the longer name, or one holding the other).
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&wanted, &lower);
            let longer = wanted.chars().count().max(lower.chars().count());
            let holds = wanted.len() >= 3 && (lower.contains(&wanted) || wanted.contains(&lower));
            (distance * 3 <= longer || holds).then_some((distance, candidate))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_mistakes_find_the_name_and_nonsense_finds_none() {
        let names = ["resnet18", "resnet34", "mobilenet_v2"];
        assert_eq!(nearest("resent18", names)[0], "resnet18");
        assert_eq!(nearest("ResNet18", names)[0], "resnet18");
        assert_eq!(nearest("mobilenet", names), ["mobilenet_v2"]);
        assert!(nearest("xyz", names).is_empty());
    }
}
