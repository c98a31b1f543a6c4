//! Hosts of requests, as routes compare them.

use lockgate_config::HostPattern;

/// The longest host name (RFC 1035 §2.3.4); no pattern is longer.
const LONGEST: usize = 253;

/// The host of a request: without port and final dot, in lower case.
#[derive(Debug, Clone, Copy)]
pub struct HostName {
    bytes: [u8; LONGEST],
    length: usize,
}

impl HostName {
    /// Of a request whose host does not matter, or that has none.
    pub const NONE: &Self = &Self {
        bytes: [0; LONGEST],
        length: 0,
    };

    /// From a valid authority, which may have a port. Empty without one, or if no pattern can match it.
    pub fn of(authority: Option<&[u8]>) -> Self {
        let mut name = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        let host = without_port(authority.unwrap_or_default());
        let host = host.strip_suffix(b".").unwrap_or(host);
        if let Some(bytes) = name.bytes.get_mut(..host.len()) {
            bytes.copy_from_slice(host);
            bytes.make_ascii_lowercase();
            name.length = host.len();
        }
        name
    }

    /// In lower case.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Whether a pattern matches a host. `*.shop.example` matches the names below `shop.example` and not that name.
pub fn matches_host(pattern: &HostPattern, host: &HostName) -> bool {
    let host = host.as_bytes();
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => host == name.as_bytes(),
        HostPattern::Below(domain) => is_below(host, domain),
    }
}

/// Whether every host that `inner` matches is matched by `outer`, too.
pub(crate) fn covers_pattern(outer: &HostPattern, inner: &HostPattern) -> bool {
    match (outer, inner) {
        (HostPattern::Any, _) => true,
        (_, HostPattern::Any) => false,
        (HostPattern::Below(domain), HostPattern::Exact(name)) => is_below(name.as_bytes(), domain),
        (HostPattern::Below(domain), HostPattern::Below(other)) => {
            domain == other || is_below(other.as_bytes(), domain)
        }
        (HostPattern::Exact(name), HostPattern::Exact(other)) => name == other,
        (HostPattern::Exact(_), HostPattern::Below(_)) => false,
    }
}

/// How exact a pattern is: later ones count more.
pub(crate) fn exactness(pattern: &HostPattern) -> (u8, usize) {
    match pattern {
        HostPattern::Any => (0, 0),
        HostPattern::Below(domain) => (1, domain.len()),
        HostPattern::Exact(_) => (2, 0),
    }
}

fn is_below(host: &[u8], domain: &str) -> bool {
    let label = host.strip_suffix(domain.as_bytes());
    label.is_some_and(|label| label.len() > 1 && label.ends_with(b"."))
}

/// An IPv6 address keeps its brackets.
fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_port_case_and_final_dot() {
        let long = "a".repeat(254);
        for (authority, expected) in [
            ("shop.example", "shop.example"),
            ("Shop.EXAMPLE:8443", "shop.example"),
            ("shop.example.", "shop.example"),
            ("shop.example.:80", "shop.example"),
            ("[::1]:80", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("", ""),
            (&long, ""),
        ] {
            let name = HostName::of(Some(authority.as_bytes()));
            assert_eq!(name.as_bytes(), expected.as_bytes(), "{authority}");
        }
        assert_eq!(HostName::of(None).as_bytes(), b"");
    }

    #[test]
    fn patterns_match_hosts() {
        let below = || HostPattern::Below("shop.example".to_owned());
        let exact = || HostPattern::Exact("shop.example".to_owned());
        for (pattern, host, expected) in [
            (HostPattern::Any, "x", true),
            (HostPattern::Any, "", true),
            (exact(), "SHOP.example:1", true),
            (exact(), "www.shop.example", false),
            (exact(), "", false),
            (below(), "www.shop.example", true),
            (below(), "a.b.shop.example.", true),
            (below(), "shop.example", false),
            (below(), ".shop.example", false),
            (below(), "myshop.example", false),
            (below(), "www.shop.example.evil", false),
        ] {
            let matches = matches_host(&pattern, &HostName::of(Some(host.as_bytes())));
            assert_eq!(matches, expected, "{pattern:?} {host}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches() {
        let below = |domain: &str| HostPattern::Below(domain.to_owned());
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        for (outer, inner, expected) in [
            (HostPattern::Any, below("a"), true),
            (below("a"), HostPattern::Any, false),
            (below("a"), below("a"), true),
            (below("a"), below("b.a"), true),
            (below("b.a"), below("a"), false),
            (below("a"), exact("b.a"), true),
            (below("a"), exact("a"), false),
            (exact("b.a"), below("a"), false),
            (exact("a"), exact("a"), true),
        ] {
            let covers = covers_pattern(&outer, &inner);
            assert_eq!(covers, expected, "{outer:?} {inner:?}");
        }
    }
}
