//! Keys: what makes two requests ask for the same stored response.

use lockgate_http::RequestHead;

use crate::vary::{Variants, write_selecting_field};

/// The key of a request by its URI (RFC 9111 §2): `https://shop.example/a?b=c`.
///
/// The host is in lower case and has no default port. Parameters are left out whose names match a pattern of
/// `ignore_query` (`*` and `?`), such as `utm_*`. The path is compared as it was sent, since the application may do the
/// same.
pub fn primary(
    scheme: &[u8],
    host: &[u8],
    path_and_query: &[u8],
    ignore_query: &[String],
) -> Vec<u8> {
    let mut key = Vec::with_capacity(scheme.len() + host.len() + path_and_query.len() + 4);
    key.extend(scheme.iter().map(u8::to_ascii_lowercase));
    key.extend_from_slice(b"://");
    let host = without_default_port(&key, host);
    key.extend(host.iter().map(u8::to_ascii_lowercase));
    let question = path_and_query.iter().position(|&byte| byte == b'?');
    let (path, query) = path_and_query.split_at(question.unwrap_or(path_and_query.len()));
    key.extend_from_slice(if path.is_empty() { b"/" } else { path });
    if ignore_query.is_empty() {
        key.extend_from_slice(query);
    } else {
        write_query(&mut key, query, ignore_query);
    }
    key
}

/// The key of one variant of the response at `primary`: the values of the fields that it varies on (RFC 9111 §4.1).
///
/// They are normalised as far as RFC 9110 lets no recipient see a difference: white space in lists, several lines, and
/// case and order where they have no meaning.
pub fn secondary(primary: &[u8], variants: &Variants, request: &RequestHead) -> Vec<u8> {
    let mut key = Vec::with_capacity(primary.len() + 64);
    key.extend_from_slice(primary);
    // No URI and no field value has these bytes, so that the parts of a key cannot be mistaken for each other.
    key.push(0);
    key.extend_from_slice(&variants.id.to_le_bytes());
    for name in variants.vary.names() {
        key.extend_from_slice(name);
        write_selecting_field(&mut key, name, request);
        key.push(0);
    }
    key
}

fn without_default_port<'h>(scheme: &[u8], host: &'h [u8]) -> &'h [u8] {
    let port: &[u8] = if scheme == b"https://" {
        b":443"
    } else {
        b":80"
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    host.strip_suffix(b":").unwrap_or(host)
}

/// The query with its `?`, without the ignored parameters; nothing if none is left.
fn write_query(key: &mut Vec<u8>, query: &[u8], ignore_query: &[String]) {
    let Some((question, parameters)) = query.split_first() else {
        return;
    };
    let mut mark = *question;
    let mut has_ignored = false;
    let start = key.len();
    for parameter in parameters.split(|&byte| byte == b'&') {
        if is_ignored(parameter, ignore_query) {
            has_ignored = true;
            continue;
        }
        key.push(mark);
        key.extend_from_slice(parameter);
        mark = b'&';
    }
    if has_ignored && key.len() == start + 1 {
        key.truncate(start);
    }
}

/// An application may split parameters at `;`, too. One with a `;` could therefore have others in it, and counts.
fn is_ignored(parameter: &[u8], ignore_query: &[String]) -> bool {
    let end = parameter.iter().position(|&byte| byte == b'=');
    let name = &parameter[..end.unwrap_or(parameter.len())];
    !parameter.contains(&b';')
        && ignore_query
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), name))
}

/// Whether `name` matches a pattern with `*` (any bytes) and `?` (one byte). Takes time in proportion to both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of_pattern) = (0, 0);
    // After the last star: where it is in the pattern, and how much of the name it covers.
    let mut star = None;
    while at < name.len() {
        match pattern.get(of_pattern) {
            Some(b'*') => {
                star = Some((of_pattern, at));
                of_pattern += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[at] => {
                of_pattern += 1;
                at += 1;
            }
            _ => {
                let Some((of_star, covered)) = star else {
                    return false;
                };
                star = Some((of_star, covered + 1));
                of_pattern = of_star + 1;
                at = covered + 1;
            }
        }
    }
    pattern[of_pattern..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_uris_have_one_key() {
        for (scheme, host, target, key) in [
            ("http", "h", "/", "http://h/"),
            ("HTTP", "H.Example", "/A?B", "http://h.example/A?B"),
            ("http", "h:80", "/", "http://h/"),
            ("https", "h:443", "/", "https://h/"),
            ("https", "h:80", "/", "https://h:80/"),
            ("http", "h:8080", "/", "http://h:8080/"),
            ("http", "h:", "/", "http://h/"),
            ("http", "[::1]:80", "/", "http://[::1]/"),
            ("http", "h", "", "http://h/"),
            ("http", "h", "?a", "http://h/?a"),
            ("http", "h", "/?", "http://h/?"),
            ("http", "h", "/%7e//b/../c", "http://h/%7e//b/../c"),
        ] {
            let found = primary(scheme.as_bytes(), host.as_bytes(), target.as_bytes(), &[]);
            assert_eq!(String::from_utf8(found).unwrap(), key);
        }
    }

    #[test]
    fn ignored_parameters_are_left_out() {
        let patterns = ["utm_*".to_owned(), "fbclid".to_owned(), "p?".to_owned()];
        for (target, key) in [
            ("/?utm_source=x", "/"),
            ("/?utm_source=x&utm_medium=y", "/"),
            ("/?a=1&utm_source=x&b=2", "/?a=1&b=2"),
            ("/?utm_source&a", "/?a"),
            ("/?fbclid=1&fbclid2=3", "/?fbclid2=3"),
            ("/?p1&p&p12", "/?p&p12"),
            ("/?a=utm_source", "/?a=utm_source"),
            ("/?", "/?"),
            ("/?&", "/?&"),
            ("/?&fbclid", "/"),
            ("/?UTM_source=x", "/?UTM_source=x"),
            // An application that splits at `;` reads `b=2`.
            ("/?utm_source=x;b=2", "/?utm_source=x;b=2"),
        ] {
            let found = primary(b"http", b"h", target.as_bytes(), &patterns);
            assert_eq!(String::from_utf8(found).unwrap(), format!("http://h{key}"));
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, is_match) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("**", "abc", true),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, is_match, "{pattern} {name}");
        }
        // Backtracking would take 2,000 to the power of 40 steps.
        let slow = "*a".repeat(40) + "b";
        assert!(!matches(slow.as_bytes(), "a".repeat(2_000).as_bytes()));
    }
}
