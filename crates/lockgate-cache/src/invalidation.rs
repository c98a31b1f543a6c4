//! Invalidation (RFC 9111 §4.4): what a request that may have changed something removes.

use lockgate_http::ResponseHead;

use crate::key;

/// Whether a response with this status to this method means that stored responses may be wrong: the method is unsafe
/// (RFC 9110 §9.2.1), and the response is no error.
pub fn invalidates(method: &[u8], status: u16) -> bool {
    // CONNECT is not about a resource (RFC 9110 §9.3.6).
    let is_safe = matches!(
        method,
        b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"CONNECT"
    );
    !is_safe && (200..400).contains(&status)
}

/// The primary keys of what such a response invalidates: the target of the request, and the URIs in Location and
/// Content-Location if they have the same origin. The parameters are those of [`key::primary`].
pub fn invalidated_keys(
    scheme: &[u8],
    host: &[u8],
    path_and_query: &[u8],
    response: &ResponseHead,
    ignore_query: &[String],
) -> Vec<Vec<u8>> {
    let mut keys = vec![key::primary(scheme, host, path_and_query, ignore_query)];
    for (name, reference) in response.headers() {
        let is_uri = name.eq_ignore_ascii_case(b"location")
            || name.eq_ignore_ascii_case(b"content-location");
        if !is_uri {
            continue;
        }
        if let Some(target) = resolve(scheme, host, path_and_query, reference) {
            let key = key::primary(scheme, host, &target, ignore_query);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

/// The path and query of a URI reference (RFC 3986 §5.2); `None` if it has another origin.
fn resolve(scheme: &[u8], host: &[u8], base: &[u8], reference: &[u8]) -> Option<Vec<u8>> {
    let end = reference.iter().position(|&byte| byte == b'#');
    let mut reference = reference[..end.unwrap_or(reference.len())].trim_ascii();
    if let Some(length) = scheme_length(reference) {
        let (own, rest) = reference.split_at(length);
        if !own.eq_ignore_ascii_case(scheme) || !rest.starts_with(b"://") {
            return None;
        }
        reference = &rest[1..];
    }
    if let Some(authority) = reference.strip_prefix(b"//") {
        let end = authority
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'));
        let (authority, rest) = authority.split_at(end.unwrap_or(authority.len()));
        // Two keys with an empty path differ in the origin only.
        let origin = |host| key::primary(scheme, host, b"", &[]);
        return (origin(authority) == origin(host)).then(|| normalised(b"", rest));
    }
    let question = base
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(base.len());
    Some(match reference {
        [] => base.to_vec(),
        [b'/', ..] => normalised(b"", reference),
        [b'?', ..] => normalised(&base[..question], reference),
        _ => {
            let slash = base[..question].iter().rposition(|&byte| byte == b'/');
            normalised(&base[..slash.map_or(0, |at| at + 1)], reference)
        }
    })
}

/// The length of the scheme at the start of a reference, if it has one.
fn scheme_length(reference: &[u8]) -> Option<usize> {
    let end = reference
        .iter()
        .position(|byte| matches!(byte, b':' | b'/' | b'?'))?;
    (end > 0 && reference[end] == b':').then_some(end)
}

/// `directory` and `rest`, which may have a query, without dot segments (RFC 3986 §5.2.4).
fn normalised(directory: &[u8], rest: &[u8]) -> Vec<u8> {
    let question = rest
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(rest.len());
    let (path, query) = rest.split_at(question);
    let path = [directory, path].concat();
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = path
        .strip_prefix(b"/")
        .unwrap_or(&path)
        .split(|&byte| byte == b'/')
        .peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            b"." | b".." => {
                if part == b".." {
                    segments.pop();
                }
                if is_last {
                    segments.push(b"");
                }
            }
            _ => segments.push(part),
        }
    }
    let mut target = vec![b'/'];
    target.extend(segments.join(&b'/'));
    target.extend_from_slice(query);
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::response;

    #[test]
    fn unsafe_methods_without_an_error_invalidate() {
        for (method, status, expected) in [
            ("POST", 200, true),
            ("PUT", 204, true),
            ("DELETE", 303, true),
            ("PATCH", 201, true),
            ("M-SEARCH", 200, true),
            ("POST", 400, false),
            ("POST", 500, false),
            ("GET", 200, false),
            ("HEAD", 200, false),
            ("OPTIONS", 200, false),
            ("TRACE", 200, false),
        ] {
            assert_eq!(
                invalidates(method.as_bytes(), status),
                expected,
                "{method} {status}"
            );
        }
    }

    #[test]
    fn references_are_resolved_within_the_origin() {
        for (reference, expected) in [
            ("/x?y", Some("/x?y")),
            ("x", Some("/a/x")),
            ("x/y", Some("/a/x/y")),
            ("./x", Some("/a/x")),
            ("../x", Some("/x")),
            ("../../x", Some("/x")),
            (".", Some("/a/")),
            ("..", Some("/")),
            ("/a/./b/../../c/", Some("/c/")),
            ("?z", Some("/a/b?z")),
            ("", Some("/a/b?c=d")),
            ("#f", Some("/a/b?c=d")),
            ("/x#f", Some("/x")),
            ("x:y/z", None),
            ("x?a:b", Some("/a/x?a:b")),
            ("https://Shop.Example/x", Some("/x")),
            ("HTTPS://shop.example:443/x?../y", Some("/x?../y")),
            ("https://shop.example", Some("/")),
            ("https://shop.example?q", Some("/?q")),
            ("//shop.example/x", Some("/x")),
            ("http://shop.example/x", None),
            ("https://other.example/x", None),
            ("https://shop.example:8443/x", None),
            ("//other.example/x", None),
            ("mailto:a@b", None),
        ] {
            let base = b"/a/b?c=d";
            let found = resolve(b"https", b"shop.example", base, reference.as_bytes());
            let found = found.map(|target| String::from_utf8(target).unwrap());
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn the_target_and_its_locations_are_invalidated() {
        let head = response(
            201,
            &[
                ("Location", "/new?utm_x=1"),
                ("Content-Location", "/a"),
                ("content-location", "http://other.example/"),
            ],
        );
        let ignored = ["utm_*".to_owned()];
        let keys = invalidated_keys(b"http", b"h", b"/a?utm_y=2", &head, &ignored);
        assert_eq!(keys, [&b"http://h/a"[..], b"http://h/new"]);
    }
}
