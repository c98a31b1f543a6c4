//! Redirects and rewrites: from a host and path to another URL or path.

use lockgate_config::{HostPattern, PathPattern, RedirectConfig, RewriteConfig, Target};

use crate::host::{HostName, matches_host};
use crate::path::PathKey;

/// What is compared with a request.
#[derive(Debug, Clone, PartialEq)]
struct Pattern {
    host: HostPattern,
    /// `None`: every path.
    path: Option<PathPattern>,
}

impl Pattern {
    /// The rest of the path that `*` stands for; `None`: it does not match.
    fn rest<'k>(&self, host: &HostName, key: &'k [u8]) -> Option<&'k [u8]> {
        let rest = match &self.path {
            None => key.strip_prefix(b"/")?,
            Some(PathPattern::Exact(path)) if path.as_bytes() == key => b"",
            Some(PathPattern::Below(path)) => key.strip_prefix(path.as_bytes())?,
            Some(PathPattern::Exact(_)) => return None,
        };
        matches_host(&self.host, host).then_some(rest)
    }
}

/// The redirects, in order.
#[derive(Debug, Default)]
pub struct Redirects(Vec<(Pattern, Target, u16)>);

impl Redirects {
    /// Of the settings.
    pub fn new(config: &[RedirectConfig]) -> Self {
        let redirects = config.iter().map(|one| {
            let (host, path) = (one.host.clone(), one.path.clone());
            (Pattern { host, path }, one.to.clone(), one.status)
        });
        Self(redirects.collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the first redirect that matches leads: its status, and the value of Location. The query of the request is
    /// passed on unless the target has one.
    pub fn find(&self, host: &HostName, path: &PathKey<'_>, query: &[u8]) -> Option<(u16, String)> {
        self.0.iter().find_map(|(pattern, to, status)| {
            let rest = pattern.rest(host, &path.key)?;
            let mut location = to.start.clone();
            match &to.end {
                Some(end) => {
                    push_encoded(&mut location, rest);
                    location.push_str(end);
                }
                // An origin alone: the whole path follows it.
                None if pattern.path.is_none() && is_origin(&to.start) => {
                    location.push('/');
                    push_encoded(&mut location, rest);
                }
                None => {}
            }
            push_query(&mut location, query, HasQuery::Keeps);
            Some((*status, location))
        })
    }
}

/// What a request is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The path as in a URL.
    pub path: String,
    /// The query; `None`: that of the request.
    pub query: Option<String>,
}

/// The rewrites, in order.
#[derive(Debug, Default)]
pub struct Rewrites(Vec<(Pattern, Target)>);

impl Rewrites {
    /// Of the settings.
    pub fn new(config: &[RewriteConfig]) -> Self {
        let rewrites = config.iter().map(|one| {
            let (host, path) = (one.host.clone(), Some(one.path.clone()));
            (Pattern { host, path }, one.to.clone())
        });
        Self(rewrites.collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first rewrite that matches. The query of the request follows that of the target (as in nginx).
    pub fn find(&self, host: &HostName, path: &PathKey<'_>, query: &[u8]) -> Option<Rewrite> {
        self.0.iter().find_map(|(pattern, to)| {
            let rest = pattern.rest(host, &path.key)?;
            let mut target = to.start.clone();
            if let Some(end) = &to.end {
                push_encoded(&mut target, rest);
                target.push_str(end);
            }
            Some(match target.split_once('?') {
                None => Rewrite {
                    path: target,
                    query: None,
                },
                Some((path, own)) => {
                    let mut whole = format!("?{own}");
                    push_query(&mut whole, query, HasQuery::Adds);
                    Rewrite {
                        path: path.to_owned(),
                        query: Some(whole.split_off(1)),
                    }
                }
            })
        })
    }
}

/// What happens to the query of the request if the target has one.
#[derive(PartialEq)]
enum HasQuery {
    Keeps,
    Adds,
}

fn push_query(target: &mut String, query: &[u8], when: HasQuery) {
    let has_query = target.contains('?');
    if query.is_empty() || (has_query && when == HasQuery::Keeps) {
        return;
    }
    if !has_query {
        target.push('?');
    } else if !target.ends_with('?') {
        target.push('&');
    }
    // The bytes of a query have been checked when the request was parsed: they are ASCII.
    target.push_str(&String::from_utf8_lossy(query));
}

/// `https://shop.example`, without a path.
fn is_origin(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(_, rest)| !rest.contains(['/', '?', '#']))
}

/// Appends a decoded path as it is written in a URL: in its path (RFC 3986 §3.3: `pchar` and slashes), or as a value in
/// its query, where it must not begin another parameter.
fn push_encoded(url: &mut String, path: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let plain: &[u8] = match url.contains('?') {
        true => b"-._~!$'()*,:@/",
        false => b"-._~!$&'()*+,;=:@/",
    };
    for &byte in path {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(char::from(DIGITS[usize::from(byte >> 4)]));
            url.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        match text.split_once('*') {
            Some((start, end)) => Target {
                start: start.to_owned(),
                end: Some(end.to_owned()),
            },
            None => Target {
                start: text.to_owned(),
                end: None,
            },
        }
    }

    fn pattern(text: &str) -> PathPattern {
        match text.strip_suffix('*') {
            Some(start) => PathPattern::Below(start.to_owned()),
            None => PathPattern::Exact(text.to_owned()),
        }
    }

    fn redirect(host: &str, path: Option<&str>, to: &str) -> RedirectConfig {
        RedirectConfig {
            host: match host {
                "" => HostPattern::Any,
                _ => HostPattern::Exact(host.to_owned()),
            },
            path: path.map(pattern),
            to: target(to),
            status: 308,
        }
    }

    #[test]
    fn the_first_redirect_that_matches_counts() {
        let redirects = Redirects::new(&[
            redirect("www.shop.example", None, "https://shop.example"),
            redirect("", Some("/old"), "/new"),
            redirect("", Some("/old/*"), "/new/*"),
            redirect("", Some("/q"), "/new?a=1"),
            redirect("", Some("/out/*"), "https://other.example/x/*/y"),
            redirect("other.shop.example", None, "https://shop.example/moved"),
        ]);
        for (host, path, query, expected) in [
            ("shop.example", "/", "", None),
            ("www.shop.example", "/", "", Some("https://shop.example/")),
            (
                "WWW.shop.example:80",
                "/a%20b/c%2F?".trim_end_matches('?'),
                "d=e",
                Some("https://shop.example/a%20b/c/?d=e"),
            ),
            (
                "www.shop.example",
                "//evil.example/..",
                "",
                Some("https://shop.example/"),
            ),
            (
                "www.shop.example",
                "//evil.example",
                "",
                Some("https://shop.example/evil.example"),
            ),
            ("h", "/old", "", Some("/new")),
            ("h", "/old", "a", Some("/new?a")),
            ("h", "//old", "", Some("/new")),
            ("h", "/Old", "", None),
            ("h", "/older", "", None),
            ("h", "/old/", "", Some("/new/")),
            ("h", "/old/a", "", Some("/new/a")),
            ("h", "/old//evil.example", "", Some("/new/evil.example")),
            ("h", "/old/%0d%0aX: y", "", Some("/new/%0D%0AX:%20y")),
            ("h", "/old/%3Fa%23", "", Some("/new/%3Fa%23")),
            ("h", "/q", "b=2", Some("/new?a=1")),
            ("h", "/out/1", "b", Some("https://other.example/x/1/y?b")),
            (
                "other.shop.example",
                "/x",
                "",
                Some("https://shop.example/moved"),
            ),
        ] {
            let host = HostName::of(Some(host.as_bytes()));
            let found = redirects.find(&host, &PathKey::of(path.as_bytes()), query.as_bytes());
            let location = found.map(|(_, location)| location);
            assert_eq!(location.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_rewrite_keeps_the_query_of_the_request() {
        let rewrite = |from: &str, to: &str| RewriteConfig {
            host: HostPattern::Any,
            path: pattern(from),
            to: target(to),
        };
        let rewrites = Rewrites::new(&[
            rewrite("/item/*", "/items?id=*"),
            rewrite("/a", "/b"),
            rewrite("/c/*", "/d/*?x=1"),
        ]);
        for (path, query, expected) in [
            ("/a", "q", Some(("/b", None))),
            ("/a/", "", None),
            ("/item/7", "", Some(("/items", Some("id=7")))),
            ("/item/7", "v=1", Some(("/items", Some("id=7&v=1")))),
            (
                "/item/a%26b=+%23",
                "",
                Some(("/items", Some("id=a%26b%3D%2B%23"))),
            ),
            ("/c/x%20y", "z", Some(("/d/x%20y", Some("x=1&z")))),
        ] {
            let found = rewrites.find(
                &HostName::of(None),
                &PathKey::of(path.as_bytes()),
                query.as_bytes(),
            );
            let found = found.as_ref();
            let found = found.map(|one| (one.path.as_str(), one.query.as_deref()));
            assert_eq!(found, expected, "{path}?{query}");
        }
    }
}
