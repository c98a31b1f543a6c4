//! Request paths as names of files: how they are decoded, and which are refused.
//!
//! Invariant: a path that passes is relative, has no empty and no dot segment, and names the same file in every
//! coding that a client may choose.

use std::borrow::Cow;
use std::fmt;

/// Why no file has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRefusal {
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%2F`: a slash that is not a separator.
    EncodedSlash,
    /// A control byte, NUL among them.
    ControlByte,
    /// A separator on other systems.
    Backslash,
    /// Names are UTF-8; overlong forms are no UTF-8.
    NotUtf8,
    /// It does not begin with a slash.
    Relative,
    /// Two slashes in sequence.
    EmptySegment,
    /// `.` or `..`.
    DotSegment,
    /// A name that begins with a dot, such as `.git`.
    Hidden,
    /// A name of more than 255 bytes, or a path of more than 4,095.
    TooLong,
}

impl fmt::Display for PathRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BadEscape => "it has a malformed percent escape",
            Self::EncodedSlash => "it has an encoded slash",
            Self::ControlByte => "it has a control byte",
            Self::Backslash => "it has a backslash",
            Self::NotUtf8 => "it is not UTF-8",
            Self::Relative => "it does not begin with a slash",
            Self::EmptySegment => "it has two slashes in sequence",
            Self::DotSegment => "it has a dot segment",
            Self::Hidden => "it has a name that begins with a dot",
            Self::TooLong => "it is too long",
        })
    }
}

impl std::error::Error for PathRefusal {}

/// NAME_MAX and PATH_MAX of Linux.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4095;

/// The one hidden name that is served, at the root (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// Decodes the escapes of a path (RFC 3986 §2.1), once.
///
/// # Errors
/// An escape that is malformed, or stands for a slash.
pub fn decode(raw: &[u8]) -> Result<Cow<'_, [u8]>, PathRefusal> {
    let Some(first) = raw.iter().position(|byte| *byte == b'%') else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut decoded = Vec::with_capacity(raw.len());
    decoded.extend_from_slice(&raw[..first]);
    let mut rest = &raw[first..];
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = rest else {
            return Err(PathRefusal::BadEscape);
        };
        rest = after;
        match (digit(*high), digit(*low)) {
            (Some(2), Some(15)) => return Err(PathRefusal::EncodedSlash),
            (Some(high), Some(low)) => decoded.push(high << 4 | low),
            _ => return Err(PathRefusal::BadEscape),
        }
    }
    Ok(Cow::Owned(decoded))
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The name of a file or directory below a directory that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativePath {
    /// Without a slash at the beginning and at the end; empty: the directory itself.
    name: String,
    /// The path ends with a slash.
    is_directory: bool,
}

impl RelativePath {
    /// Checks what follows the path of a mount: empty, or with a slash at the beginning. `is_at_root`: the mount is at
    /// the root, where `/.well-known/` is served.
    ///
    /// # Errors
    /// [`PathRefusal`]
    pub fn new(rest: &[u8], is_at_root: bool) -> Result<Self, PathRefusal> {
        if rest.len() > LONGEST_PATH {
            return Err(PathRefusal::TooLong);
        }
        if rest.iter().any(|byte| byte.is_ascii_control()) {
            return Err(PathRefusal::ControlByte);
        }
        if rest.contains(&b'\\') {
            return Err(PathRefusal::Backslash);
        }
        let text = std::str::from_utf8(rest).map_err(|_| PathRefusal::NotUtf8)?;
        let text = match text.strip_prefix('/') {
            Some(text) => text,
            None if text.is_empty() => {
                return Ok(Self {
                    name: String::new(),
                    is_directory: false,
                });
            }
            None => return Err(PathRefusal::Relative),
        };
        let name = text.strip_suffix('/').unwrap_or(text);
        if name.is_empty() && !text.is_empty() {
            return Err(PathRefusal::EmptySegment);
        }
        for (index, segment) in name.split('/').enumerate() {
            let is_well_known = index == 0 && is_at_root && segment.as_bytes() == WELL_KNOWN;
            match segment {
                "" if !name.is_empty() => return Err(PathRefusal::EmptySegment),
                "." | ".." => return Err(PathRefusal::DotSegment),
                _ if segment.starts_with('.') && !is_well_known => return Err(PathRefusal::Hidden),
                _ if segment.len() > LONGEST_NAME => return Err(PathRefusal::TooLong),
                _ => {}
            }
        }
        Ok(Self {
            name: name.to_owned(),
            is_directory: text.is_empty() || text.len() > name.len(),
        })
    }

    /// The name below the directory; empty: the directory itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends with a slash, and so names a directory.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// The name of a file in this directory.
    pub(crate) fn join(&self, file: &str) -> String {
        match self.name.as_str() {
            "" => file.to_owned(),
            name => format!("{name}/{file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathRefusal::*;

    fn check(raw: &[u8]) -> Result<(String, bool), PathRefusal> {
        let decoded = decode(raw)?;
        let path = RelativePath::new(&decoded, true)?;
        Ok((path.name, path.is_directory))
    }

    #[test]
    fn a_path_names_a_file_or_a_directory() {
        for (raw, name, is_directory) in [
            ("", "", false),
            ("/", "", true),
            ("/a.css", "a.css", false),
            ("/a/b.css", "a/b.css", false),
            ("/a/b/", "a/b", true),
            ("/a%20b", "a b", false),
            ("/a+b", "a+b", false),
            ("/a;b=c", "a;b=c", false),
            ("/%61", "a", false),
            ("/%C3%BC", "ü", false),
            ("/ü", "ü", false),
            ("/a%25b", "a%b", false),
            ("/%252e%252e", "%2e%2e", false),
            ("/a..b/c.", "a..b/c.", false),
            ("/.well-known/x", ".well-known/x", false),
            ("/.well-known/", ".well-known", true),
            ("/%2ewell-known/x", ".well-known/x", false),
            ("/C:", "C:", false),
            ("/a~", "a~", false),
        ] {
            assert_eq!(
                check(raw.as_bytes()),
                Ok((name.to_owned(), is_directory)),
                "{raw}"
            );
        }
    }

    #[test]
    fn paths_that_name_no_file_are_refused_in_every_coding() {
        let long = format!("/{}", "a".repeat(256));
        let deep = "/a".repeat(2048);
        let cases: &[(&[u8], PathRefusal)] = &[
            (b"/..", DotSegment),
            (b"/../a", DotSegment),
            (b"/a/../b", DotSegment),
            (b"/a/..", DotSegment),
            (b"/a/../", DotSegment),
            (b"/.", DotSegment),
            (b"/a/./b", DotSegment),
            (b"/%2e%2e/a", DotSegment),
            (b"/%2E%2E/a", DotSegment),
            (b"/.%2e/a", DotSegment),
            (b"/%2e./a", DotSegment),
            (b"/%2e/a", DotSegment),
            (b"/..%2fa", EncodedSlash),
            (b"/..%2Fa", EncodedSlash),
            (b"/%2e%2e%2fa", EncodedSlash),
            (b"/a%2fb", EncodedSlash),
            (b"/..%5ca", Backslash),
            (b"/..\\a", Backslash),
            (b"/a%5Cb", Backslash),
            (b"/a%00.css", ControlByte),
            (b"/a\x00b", ControlByte),
            (b"/a%0ab", ControlByte),
            (b"/a%0d%0ab", ControlByte),
            (b"/a%7f", ControlByte),
            (b"/%1b", ControlByte),
            (b"/%c0%ae%c0%ae/a", NotUtf8),
            (b"/%c0%af", NotUtf8),
            (b"/%e0%80%ae", NotUtf8),
            (b"/%f0%80%80%ae", NotUtf8),
            (b"/%ff", NotUtf8),
            (b"/\xff", NotUtf8),
            (b"/%ed%a0%80", NotUtf8),
            (b"/%", BadEscape),
            (b"/%2", BadEscape),
            (b"/%2g", BadEscape),
            (b"/%zz", BadEscape),
            (b"/%u002e", BadEscape),
            (b"/%%32%65", BadEscape),
            (b"//", EmptySegment),
            (b"//a", EmptySegment),
            (b"///a", EmptySegment),
            (b"/a//b", EmptySegment),
            (b"/a//", EmptySegment),
            (b"//evil.example/..", EmptySegment),
            (b"/.env", Hidden),
            (b"/.git/config", Hidden),
            (b"/a/.htaccess", Hidden),
            (b"/%2egit/config", Hidden),
            (b"/...", Hidden),
            (b"/..a", Hidden),
            (b"/a/.well-known/b", Hidden),
            (b"/.well-knowna", Hidden),
            (b"a", Relative),
            (b"*", Relative),
            (b"..", Relative),
            (long.as_bytes(), TooLong),
            (deep.as_bytes(), TooLong),
        ];
        for (raw, refusal) in cases {
            assert_eq!(check(raw), Err(*refusal), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn well_known_is_served_only_at_the_root() {
        assert!(RelativePath::new(b"/.well-known/a", true).is_ok());
        assert_eq!(RelativePath::new(b"/.well-known/a", false), Err(Hidden));
    }
}
