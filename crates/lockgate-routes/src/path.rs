//! Paths of requests, as routes compare them: decoded, and in their simplest form.
//!
//! Invariant: two paths that an application may take for the same one have the same key. PEP 3333 gives it the decoded
//! path; frameworks merge slashes (Werkzeug), and some resolve dot segments (RFC 3986 §5.2.4).

use std::borrow::Cow;

use lockgate_http::decode_path;

/// The path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathKey<'p> {
    /// Decoded, without empty segments and dot segments; begins with a slash.
    pub key: Cow<'p, [u8]>,
    /// How else applications may read it, if it can be read in several ways: decoded, as they get it; with empty segments
    /// and without them (Werkzeug merges slashes and leaves dot segments); with dot segments and without them.
    pub others: Vec<Vec<u8>>,
}

impl<'p> PathKey<'p> {
    /// Of a path as it was received.
    #[inline]
    pub fn of(path: &'p [u8]) -> Self {
        match is_simple(path) {
            true => Self {
                key: Cow::Borrowed(path),
                others: Vec::new(),
            },
            false => Self::of_unusual(path),
        }
    }

    /// Of what follows the prefix at which the server's application is mounted; it may be missing, since a proxy removes
    /// it or leaves it there (decision 0027). Both are as they were received.
    #[cold]
    pub fn below(path: &[u8], prefix: &[u8]) -> Self {
        let [mut literal, mut decoded] = [Vec::new(), Vec::new()];
        decode_path(path, &mut literal);
        decode_path(prefix, &mut decoded);
        // As SCRIPT_NAME and PATH_INFO are separated: by the decoded path.
        if covers(&decoded, &literal) {
            literal.drain(..decoded.len());
        }
        Self::of_literal(literal)
    }

    #[cold]
    fn of_unusual(path: &[u8]) -> Self {
        let mut literal = Vec::new();
        decode_path(path, &mut literal);
        Self::of_literal(literal)
    }

    fn of_literal(literal: Vec<u8>) -> Self {
        let key = rewritten(&literal, true, true);
        let mut others = vec![
            rewritten(&literal, true, false),
            rewritten(&literal, false, true),
            literal,
        ];
        others.retain(|other| *other != key);
        Self {
            others,
            key: Cow::Owned(key),
        }
    }
}

/// Whether a path is its own key: no escape, no empty segment, no segment that begins with a dot.
#[inline]
fn is_simple(path: &[u8]) -> bool {
    // Neither is rare enough for a search library to pay.
    let mut follows_slash = false;
    for &byte in path {
        if byte == b'%' || (follows_slash && matches!(byte, b'/' | b'.')) {
            return false;
        }
        follows_slash = byte == b'/';
    }
    path.first() == Some(&b'/')
}

/// Without empty segments (`merges`), and without dot segments (`resolves`). What leads above the root stays at the root
/// (RFC 3986 §5.2.4).
fn rewritten(path: &[u8], merges: bool, resolves: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len() + 1);
    let mut is_directory = true;
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        is_directory = segment.is_empty() || (resolves && matches!(segment, b"." | b".."));
        match segment {
            // An empty one at the end is the final slash.
            b"" if merges || segments.peek().is_none() => {}
            b"." if resolves => {}
            b".." if resolves => {
                let end = key.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                key.truncate(end);
            }
            _ => {
                key.push(b'/');
                key.extend_from_slice(segment);
            }
        }
    }
    if is_directory || key.is_empty() {
        key.push(b'/');
    }
    key
}

/// Whether the path of a route covers a key: it is the same path, or the key is below it.
#[inline]
pub fn covers(route: &[u8], key: &[u8]) -> bool {
    key.strip_prefix(route)
        .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// As [`covers`], without regard to the case of ASCII letters.
pub fn covers_ignoring_case(route: &[u8], key: &[u8]) -> bool {
    key.split_at_checked(route.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(route) && matches!(rest, [] | [b'/', ..])
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_decoded_and_simplified() {
        for (path, key) in [
            ("/", "/"),
            ("", "/"),
            ("/admin", "/admin"),
            ("/admin/", "/admin/"),
            ("/a.b/c..d", "/a.b/c..d"),
            ("//admin", "/admin"),
            ("/admin//x", "/admin/x"),
            ("/%61dmin", "/admin"),
            ("/%2Fadmin", "/admin"),
            ("/x%2f..%2fadmin", "/admin"),
            ("/./admin/./", "/admin/"),
            ("/x/../admin", "/admin"),
            ("/admin/..", "/"),
            ("/admin/../", "/"),
            ("/admin/%2e%2E/x", "/x"),
            ("/../../x", "/x"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/%252e%252e/x", "/%2e%2e/x"),
            ("/%zz", "/%zz"),
            ("/a/.", "/a/"),
        ] {
            let found = PathKey::of(path.as_bytes());
            assert_eq!(found.key, key.as_bytes(), "{path}");
            let mut literal = Vec::new();
            decode_path(path.as_bytes(), &mut literal);
            let is_reading = *found.key == literal || found.others.contains(&literal);
            assert!(is_reading || path.is_empty(), "{path}");
        }
    }

    #[test]
    fn a_path_has_readings_with_and_without_its_empty_and_dot_segments() {
        for (path, expected) in [
            ("/a/b", &[][..]),
            ("/%61", &[]),
            ("//admin/../x", &["/admin/../x", "//x", "//admin/../x"]),
            ("/a//../admin", &["/a/../admin", "/a/admin", "/a//../admin"]),
            ("/a//b/", &["/a//b/"]),
            ("/a/./b", &["/a/./b"]),
        ] {
            let mut found = PathKey::of(path.as_bytes()).others;
            let mut expected: Vec<_> = expected.iter().map(|one| one.as_bytes().to_vec()).collect();
            let key = PathKey::of(path.as_bytes()).key.into_owned();
            expected.retain(|one| *one != key);
            found.sort();
            found.dedup();
            expected.sort();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_prefix_is_removed_as_it_is_from_path_info() {
        for (path, prefix, key) in [
            ("/app/admin", "/app", "/admin"),
            ("/app", "/app", "/"),
            ("/application", "/app", "/application"),
            ("/admin", "/app", "/admin"),
            ("/%61pp/admin", "/app", "/admin"),
            ("/app/../admin", "/app", "/admin"),
            ("//app/admin", "/app", "/app/admin"),
            ("/a%20b/x", "/a%20b", "/x"),
            ("/x", "", "/x"),
        ] {
            let found = PathKey::below(path.as_bytes(), prefix.as_bytes());
            assert_eq!(found.key, key.as_bytes(), "{path}");
        }
    }

    #[test]
    fn a_route_covers_itself_and_what_is_below_it() {
        for (route, key, expected) in [
            ("/admin", "/admin", true),
            ("/admin", "/admin/", true),
            ("/admin", "/admin/x", true),
            ("/admin", "/administrator", false),
            ("/admin", "/Admin", false),
            ("/admin", "/", false),
            ("", "/", true),
            ("", "/x", true),
        ] {
            let (route, key) = (route.as_bytes(), key.as_bytes());
            assert_eq!(covers(route, key), expected, "{route:?} {key:?}");
        }
        assert!(covers_ignoring_case(b"/admin", b"/ADMIN/x"));
        assert!(!covers_ignoring_case(b"/admin", b"/ADMINS"));
        assert!(!covers_ignoring_case(b"/admin", b"/ad"));
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(path in "(/|%2[fF]|\\.|%2e|[a-c]|%25)*") {
            let path = format!("/{path}");
            let key = PathKey::of(path.as_bytes()).key.into_owned();
            prop_assert!(key.starts_with(b"/"));
            prop_assert_eq!(rewritten(&key, true, true), key);
        }
    }
}
