//! Names of hosts: how the names of certificates and those that clients ask for are compared (RFC 9525).

use std::borrow::Cow;
use std::net::IpAddr;

/// A host name in the form in which names are compared: lower case, no dot at the end, an IP address in its canonical
/// form and without brackets. `None` for what is neither a name in ASCII (IDN: A-labels) nor an address.
pub fn normalize_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_name = name.len() <= 253
        && labels
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_label_byte));
    is_name.then(|| name.to_ascii_lowercase())
}

/// Underscores are no letters of host names, but names in use have them.
fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// A name from a ClientHello, in lower case and without a dot at the end. The protocol has checked its characters.
pub(crate) fn in_lower_case(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The wildcard that matches a name: its first label, and only that, becomes `*`.
pub(crate) fn parent(name: &str) -> Option<&str> {
    let (first, parent) = name.split_once('.')?;
    (!first.is_empty() && !parent.is_empty()).then_some(parent)
}

/// Whether a certificate with the name `pattern` is valid for `name`; both are normalized.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => parent(name) == Some(suffix) || pattern == name,
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_or_refused() {
        for (name, wanted) in [
            ("Shop.Example.", Some("shop.example")),
            ("*.Example", Some("*.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("_dmarc.example", Some("_dmarc.example")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[2001:DB8::0:1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("localhost", Some("localhost")),
            ("bücher.example", None),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a.*.b", None),
            ("foo*.example", None),
            ("a b", None),
            ("a/b", None),
        ] {
            assert_eq!(normalize_name(name).as_deref(), wanted, "{name}");
        }
        assert_eq!(normalize_name(&"a".repeat(64)), None);
        assert_eq!(normalize_name(&"a.".repeat(200)), None);
    }

    #[test]
    fn a_wildcard_matches_one_label() {
        for (pattern, name, wanted) in [
            ("shop.example", "shop.example", true),
            ("*.example", "shop.example", true),
            ("*.example", "a.shop.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "*.example", true),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
