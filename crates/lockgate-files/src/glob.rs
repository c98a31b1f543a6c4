//! Patterns of file names: `*`, `?`, classes such as `[0-9a-f]` and `[!a-z]`, as in shells.

/// A pattern that is compared with the last component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Every text is a pattern: a class without its end is an ordinary `[`.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the whole name matches. Takes at most the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.as_str(), name);
        // The last star, and where its part of the name ends so far.
        let mut star: Option<(&str, &str)> = None;
        loop {
            if let Some(after) = pattern.strip_prefix('*') {
                pattern = after;
                star = Some((after, rest));
                continue;
            }
            let next = rest.chars().next();
            match (next, pattern.is_empty()) {
                (None, true) => return true,
                (Some(character), false) => {
                    if let Some(after) = match_one(pattern, character) {
                        pattern = after;
                        rest = &rest[character.len_utf8()..];
                        continue;
                    }
                }
                _ => {}
            }
            // The star takes one character more.
            let Some((after, from)) = star else {
                return false;
            };
            let Some(character) = from.chars().next() else {
                return false;
            };
            rest = &from[character.len_utf8()..];
            pattern = after;
            star = Some((after, rest));
        }
    }
}

/// The rest of the pattern, if its first element matches the character.
fn match_one(pattern: &str, character: char) -> Option<&str> {
    let mut elements = pattern.chars();
    let first = elements.next()?;
    let rest = elements.as_str();
    match first {
        '?' => Some(rest),
        '[' => match class(rest) {
            Some((content, after)) => is_in(content, character).then_some(after),
            None => (character == '[').then_some(rest),
        },
        _ => (first == character).then_some(rest),
    }
}

/// The content of a class and what follows it. A `]` at its beginning belongs to it.
fn class(text: &str) -> Option<(&str, &str)> {
    let negation = usize::from(text.starts_with(['!', '^']));
    let first = negation + usize::from(text[negation..].starts_with(']'));
    let end = first + text[first..].find(']')?;
    Some((&text[..end], &text[end + 1..]))
}

fn is_in(class: &str, character: char) -> bool {
    let (is_negated, mut rest) = match class.strip_prefix(['!', '^']) {
        Some(rest) => (true, rest),
        None => (false, class),
    };
    let mut is_found = false;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        let mut range = rest.chars();
        let last = match (range.next(), range.next()) {
            (Some('-'), Some(last)) => {
                rest = range.as_str();
                last
            }
            _ => first,
        };
        is_found |= (first..=last).contains(&character);
    }
    is_found != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, matching, others) in [
            (
                "*.????????.*",
                &["app.1a2b3c4d.css", "a.b.12345678.min.js"][..],
                &["app.css", "app.1234567.css", "app.12345678"][..],
            ),
            ("*", &["", "a", "a.b"], &[]),
            ("", &[""], &["a"]),
            ("a*b*c", &["abc", "a-b-c", "abbcc"], &["ab", "abcd"]),
            ("*.js", &["a.js", ".js", "a.js.js"], &["a.jsx", "js"]),
            ("?", &["a", "ü"], &["", "ab"]),
            ("[0-9a-f]", &["0", "c", "f"], &["g", "A", ""]),
            ("[!a-c]x", &["dx"], &["ax", "x"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[a", &["[a"], &["a"]),
            (
                "*-[0-9a-f][0-9a-f]*.*",
                &["a-1f2.css"],
                &["a-1.css", "a-xy.css"],
            ),
        ] {
            let glob = Glob::new(pattern);
            for name in matching {
                assert!(glob.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!glob.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let glob = Glob::new(&"a*".repeat(60));
        assert!(!glob.matches(&format!("{}b", "a".repeat(59))));
        assert!(!glob.matches(&"b".repeat(4000)));
    }
}
