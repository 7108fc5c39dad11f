//! The few things that must be known of an address.

/// Scheme, host with port, and path with query. `None` where it is no http address.
pub(crate) fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let known = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    (known && !host.is_empty()).then_some((scheme, host, path))
}

/// Whether it is encrypted.
pub(crate) fn is_secure(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

/// Whether both are of one server.
pub(crate) fn is_same_server(a: &str, b: &str) -> bool {
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => a.0.eq_ignore_ascii_case(b.0) && a.1.eq_ignore_ascii_case(b.1),
        _ => false,
    }
}

/// Where `location`, an answer's header, leads from `url`. `None` where to no http address.
pub(crate) fn join(url: &str, location: &str) -> Option<String> {
    let (scheme, host, path) = parts(url)?;
    if let Some(rest) = location.strip_prefix("//") {
        return parts(&format!("{scheme}://{rest}")).map(|_| format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{host}{location}"));
    }
    let head = location.split(['/', '?', '#']).next().unwrap_or_default();
    if head.contains(':') {
        return parts(location).map(|_| location.to_owned());
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{host}{folder}/{location}"))
}

/// An address as messages show it: without name, password and query, which may be secret.
pub fn shown(url: &str) -> String {
    let Some((scheme, host, path)) = parts(url) else { return url.to_owned() };
    let host = host.rsplit('@').next().unwrap_or(host);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_lead_from_the_address_they_stand_at() {
        let from = "https://hub.example:8443/a/b/c?x=1";
        for (location, to) in [
            ("http://other.example/z", Some("http://other.example/z")),
            ("//other.example/z", Some("https://other.example/z")),
            ("/z?y=/2", Some("https://hub.example:8443/z?y=/2")),
            ("z", Some("https://hub.example:8443/a/b/z")),
            ("file:///etc/passwd", None),
            ("ftp://other.example/z", None),
        ] {
            assert_eq!(join(from, location).as_deref(), to, "{location}");
        }
        assert!(is_same_server("https://a.example/x", "HTTPS://A.example/y"));
        assert!(!is_same_server("https://a.example/x", "http://a.example/x"));
        assert!(!is_same_server("https://a.example/x", "https://a.example:444/x"));
        assert!(parts("models.example/x").is_none() && parts("https://").is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("https://me:secret@a.example/x?signature=secret"), "https://a.example/x");
    }
}
