//! `reload_extra_files`: patterns of paths, and which directories can have matches.
//!
//! `*` and `?` match within a name and not a leading dot, as in a shell; `[a-z]` and `[!a-z]` one character; `**` any
//! number of directories that are not hidden.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Directories that no pattern with wildcards descends into, besides hidden ones.
const LEFT_OUT: [&str; 2] = ["__pycache__", "node_modules"];

/// An absolute pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A name, as it is.
    Name(Vec<u8>),
    /// A name with wildcards.
    Wild(Vec<u8>),
    /// `**`
    Directories,
}

impl Pattern {
    /// The pattern of an absolute path. A path that `is_directory` means everything below it.
    pub(crate) fn new(path: &Path, is_directory: impl Fn(&Path) -> bool) -> Self {
        let mut parts: Vec<Part> = names(path).map(|name| Part::of(name.as_bytes())).collect();
        let is_literal = parts.iter().all(|part| matches!(part, Part::Name(_)));
        let ends_with_directories = parts.last() == Some(&Part::Directories);
        if (is_literal && is_directory(path)) || ends_with_directories {
            if !ends_with_directories {
                parts.push(Part::Directories);
            }
            parts.push(Part::Wild(b"*".to_vec()));
        }
        Self { parts }
    }

    /// The directory above all matches.
    pub(crate) fn base(&self) -> PathBuf {
        let above = self.parts.split_last().map_or(&[][..], |(_, above)| above);
        let mut base = PathBuf::from("/");
        for part in above {
            let Part::Name(name) = part else {
                break;
            };
            base.push(OsStr::from_bytes(name));
        }
        base
    }

    /// Whether this file matches.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        let names: Vec<&[u8]> = names(path).map(OsStr::as_bytes).collect();
        let is_literal = matches!(self.parts.last(), Some(Part::Name(_)));
        let is_ignored = |name: &[u8]| !is_literal && is_temporary(name);
        !names.last().is_none_or(|name| is_ignored(name)) && matches(&self.parts, &names, false)
    }

    /// Whether something below this directory may match.
    pub(crate) fn may_contain(&self, directory: &Path) -> bool {
        let names: Vec<&[u8]> = names(directory).map(OsStr::as_bytes).collect();
        matches(&self.parts, &names, true)
    }
}

impl Part {
    fn of(name: &[u8]) -> Self {
        match name {
            b"**" => Self::Directories,
            name if name.iter().any(|byte| b"*?[".contains(byte)) => Self::Wild(name.to_vec()),
            name => Self::Name(name.to_vec()),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

/// Whether the names match the pattern, or with `is_prefix` its beginning, without all of it.
fn matches(parts: &[Part], names: &[&[u8]], is_prefix: bool) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => !is_prefix,
        (Some(_), None) => is_prefix,
        (None, Some(_)) => false,
        (Some((Part::Directories, rest)), Some((name, below))) => {
            matches(rest, names, is_prefix)
                || (!is_left_out(name) && matches(parts, below, is_prefix))
        }
        (Some((Part::Name(expected), rest)), Some((name, below))) => {
            expected.as_slice() == *name && matches(rest, below, is_prefix)
        }
        (Some((Part::Wild(wild), rest)), Some((name, below))) => {
            let is_directory = is_prefix || !rest.is_empty();
            let is_hidden = name.starts_with(b".") && !wild.starts_with(b".");
            let is_out = is_hidden || (is_directory && is_left_out(name));
            !is_out && matches_name(wild, name) && matches(rest, below, is_prefix)
        }
    }
}

fn is_left_out(name: &[u8]) -> bool {
    name.starts_with(b".") || LEFT_OUT.iter().any(|left_out| left_out.as_bytes() == name)
}

/// Files that editors and Python leave beside the real ones: vim's and Emacs' backups, swap files and probes, PyCharm's
/// and GNOME's intermediate files, compiled modules.
fn is_temporary(name: &[u8]) -> bool {
    const ENDS: [&[u8]; 10] = [
        b"~",
        b".swp",
        b".swo",
        b".swx",
        b".pyc",
        b".pyo",
        b".bak",
        b".tmp",
        b"___jb_tmp___",
        b"___jb_old___",
    ];
    const STARTS: [&[u8]; 3] = [b".#", b"#", b".goutputstream-"];
    ENDS.iter().any(|end| name.ends_with(end))
        || STARTS.iter().any(|start| name.starts_with(start))
        || name == b"4913"
}

/// Whether a name matches a pattern with `*`, `?` and `[…]`, by backtracking to the last `*` only.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (pattern.split_first(), name.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                retry = Some((rest, name));
                Some((rest, name))
            }
            (Some((b'?', rest)), Some((_, below))) => Some((rest, after_character(name, below))),
            (Some((b'[', rest)), Some((&byte, below))) => match class(rest) {
                Some((is_in, rest)) => is_in(byte).then_some((rest, below)),
                // An unclosed bracket is itself, as in fnmatch(3).
                None => (byte == b'[').then_some((rest, below)),
            },
            (Some((expected, rest)), Some((byte, below))) => {
                (expected == byte).then_some((rest, below))
            }
            (Some(_), None) | (None, Some(_)) => None,
        };
        (pattern, name) = match (step, retry) {
            (Some(step), _) => step,
            (None, Some((rest, from))) => {
                let Some((_, below)) = from.split_first() else {
                    return false;
                };
                retry = Some((rest, below));
                (rest, below)
            }
            (None, None) => return false,
        };
    }
}

/// The rest of a name behind its first character, which may have several bytes (UTF-8).
fn after_character<'a>(name: &'a [u8], below: &'a [u8]) -> &'a [u8] {
    let is_ascii = name.first().is_some_and(u8::is_ascii);
    let more = below.iter().take_while(|byte| **byte & 0xC0 == 0x80);
    let count = if is_ascii { 0 } else { more.count() };
    below.get(count..).unwrap_or_default()
}

/// A class behind its opening bracket: what is in it, and what follows it.
fn class(pattern: &[u8]) -> Option<(impl Fn(u8) -> bool, &[u8])> {
    let (is_negated, body) = match pattern.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, pattern),
    };
    // A bracket that comes first is in the class.
    let end = 1 + body.get(1..)?.iter().position(|&byte| byte == b']')?;
    let (members, rest) = (body.get(..end)?.to_vec(), body.get(end + 1..)?);
    let is_in = move |byte: u8| {
        let mut left = members.as_slice();
        while let Some((&low, more)) = left.split_first() {
            if let [b'-', high, after @ ..] = more {
                if (low..=*high).contains(&byte) {
                    return !is_negated;
                }
                left = after;
            } else if low == byte {
                return !is_negated;
            } else {
                left = more;
            }
        }
        is_negated
    };
    Some((is_in, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(Path::new(text), |path| path.ends_with("directory"))
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (
                "/a/b.html",
                &["/a/b.html"],
                &["/a/b.htm", "/a", "/a/b.html/c", "/b.html"],
            ),
            (
                "/a/*.html",
                &["/a/b.html", "/a/ä.html"],
                &["/a/b/c.html", "/a/.b.html", "/a/b.html~", "/a/html"],
            ),
            (
                "/a/**/*.html",
                &["/a/b.html", "/a/b/c/d.html"],
                &["/a/.git/b.html", "/a/node_modules/b.html", "/b.html"],
            ),
            (
                "/a/**",
                &["/a/b", "/a/b/c"],
                &[
                    "/a/__pycache__/b",
                    "/a/b.pyc",
                    "/a/.b.swp",
                    "/a/4913",
                    "/a/#b#",
                ],
            ),
            (
                "/directory",
                &["/directory/a", "/directory/a/b"],
                &["/directory", "/a"],
            ),
            ("/a/?.py", &["/a/b.py", "/a/ä.py"], &["/a/bc.py", "/a/.py"]),
            (
                "/a/[b-dx].py",
                &["/a/c.py", "/a/x.py"],
                &["/a/e.py", "/a/-.py"],
            ),
            ("/a/[!b].py", &["/a/c.py"], &["/a/b.py"]),
            ("/a/[]x].py", &["/a/].py", "/a/x.py"], &["/a/y.py"]),
            ("/a/[b", &["/a/[b"], &["/a/b"]),
            ("/a/*b*c", &["/a/bc", "/a/xbxbxc"], &["/a/cb", "/a/b"]),
            ("/a/.env", &["/a/.env"], &["/a/x.env"]),
            ("/a/.*", &["/a/.env"], &["/a/env", "/a/.env.swp"]),
            (
                "/a/*/b.txt",
                &["/a/x/b.txt"],
                &["/a/b.txt", "/a/x/y/b.txt", "/a/.x/b.txt"],
            ),
            ("/a/b~", &["/a/b~"], &["/a/b"]),
        ];
        for (text, matching, others) in cases {
            let pattern = pattern(text);
            for path in *matching {
                assert!(pattern.matches(Path::new(path)), "{text} {path}");
                let parent = Path::new(path).parent().unwrap();
                assert!(pattern.may_contain(parent), "{text} {parent:?}");
                assert!(parent.starts_with(pattern.base()), "{text} {path}");
            }
            for path in *others {
                assert!(!pattern.matches(Path::new(path)), "{text} {path}");
            }
        }
    }

    #[test]
    fn a_directory_may_contain_matches_above_the_base_and_below_wildcards() {
        for (text, directory, expected) in [
            ("/a/b/*.html", "/", true),
            ("/a/b/*.html", "/a", true),
            ("/a/b/*.html", "/a/b", true),
            ("/a/b/*.html", "/a/c", false),
            ("/a/b/*.html", "/a/b/c", false),
            ("/a/**/x", "/a/b/c", true),
            ("/a/**/x", "/a/.git", false),
            ("/a/*/x", "/a/node_modules", false),
            ("/a/*/x", "/a/b", true),
            ("/directory", "/directory/a/b", true),
        ] {
            let found = pattern(text).may_contain(Path::new(directory));
            assert_eq!(found, expected, "{text} {directory}");
        }
        for (text, base) in [
            ("/a/b/*.html", "/a/b"),
            ("/a/b.ini", "/a"),
            ("/*", "/"),
            ("/directory", "/directory"),
        ] {
            assert_eq!(pattern(text).base(), Path::new(base), "{text}");
        }
    }
}
