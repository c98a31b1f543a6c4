//! The shape of a path: segments that look like ids become `*`, so that requests of one view have one label.
//!
//! Invariant: a shape is printable ASCII, without the query.

/// Longer segments are ids, whatever is in them.
const LONGEST_WORD: usize = 64;
/// Hexadecimal digits with at least one decimal one among them: as long as a short Git hash with a spare letter.
const HEX_ID: usize = 8;
/// Hexadecimal letters alone make words, such as `facade`, but none of this length.
const HEX_LETTERS_ID: usize = 16;
/// Letters and digits that alternate: shorter ones are names, such as `oauth2` or `utf8mb4`.
const TOKEN_ID: usize = 10;
/// A name with a number, such as `page-12`, is a name; one with more digits is an id.
const NUMBER_IN_NAME: usize = 3;
/// The longest file extension that stays behind an id.
const EXTENSION: usize = 5;

/// The label of a request: its method and the shape of its path, such as `GET /users/*`. Of a target that was cut off
/// within its path, the last segment is not known.
pub fn request_label(method: &[u8], target: &[u8], is_cut: bool) -> String {
    let mut label = printable(method);
    label.push(' ');
    let path = path_of(target);
    // The rest of a target behind its path is only cut off when the path is whole.
    let whole = match is_cut && path.len() == target.len() {
        true => path.iter().rposition(|byte| *byte == b'/'),
        false => None,
    };
    match whole {
        Some(end) => {
            label.push_str(&path_shape(&path[..=end]));
            label.push('*');
        }
        None => label.push_str(&path_shape(path)),
    }
    label
}

/// The shape of the path of a request target: `/users/123?page=2` and `/users/456` both have `/users/*`.
///
/// Ids are numbers, UUIDs, long hexadecimal numbers, and tokens of letters and digits. The extension of a file stays,
/// as in `/static/*.js`, and the words of a name with a number do, as in `/order-*`.
pub fn path_shape(target: &[u8]) -> String {
    let segments = path_of(target).split(|byte| *byte == b'/');
    let shapes: Vec<String> = segments.map(segment_shape).collect();
    shapes.join("/")
}

/// The path of a target: without the query, and without the scheme and host of the absolute form (RFC 9112 §3.2.2).
fn path_of(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let target = &target[..end.unwrap_or(target.len())];
    let scheme = target.windows(3).position(|bytes| bytes == b"://");
    match scheme {
        Some(scheme) if !target.starts_with(b"/") => {
            let rest = &target[scheme + 3..];
            let path = rest.iter().position(|byte| *byte == b'/');
            path.map_or(b"/", |start| &rest[start..])
        }
        _ => target,
    }
}

fn segment_shape(segment: &[u8]) -> String {
    // Parameters of a segment (RFC 3986 §3.3), such as `;jsessionid=…`.
    let end = segment.iter().position(|byte| *byte == b';');
    let segment = &segment[..end.unwrap_or(segment.len())];
    // An e-mail address, and not a name such as `@ada`.
    if segment.iter().skip(1).any(|byte| *byte == b'@') {
        return String::from("*");
    }
    let (stem, extension) = split_extension(segment);
    if is_id(stem) {
        return format!("*{}", printable(extension));
    }
    name_shape(segment)
}

/// Splits off a file extension, with its dot.
fn split_extension(segment: &[u8]) -> (&[u8], &[u8]) {
    let Some(dot) = segment.iter().rposition(|byte| *byte == b'.') else {
        return (segment, b"");
    };
    let (stem, extension) = segment.split_at(dot);
    let is_one = (2..=EXTENSION + 1).contains(&extension.len())
        && extension[1].is_ascii_alphabetic()
        && extension[1..].iter().all(u8::is_ascii_alphanumeric);
    match is_one && dot > 0 {
        true => (stem, extension),
        false => (segment, b""),
    }
}

fn is_id(segment: &[u8]) -> bool {
    let has_digit = segment.iter().any(u8::is_ascii_digit);
    let has_letter = pieces(segment).any(|piece| piece.iter().any(u8::is_ascii_alphabetic));
    segment.len() > LONGEST_WORD
        || (has_digit && !has_letter && !segment.contains(&b'%'))
        || is_uuid(segment)
        || pieces(segment).any(is_token)
}

/// Eight, four, four, four and twelve hexadecimal digits (RFC 9562 §4).
fn is_uuid(segment: &[u8]) -> bool {
    let lengths = segment.split(|byte| *byte == b'-').map(<[u8]>::len);
    let digits = segment.iter().filter(|byte| **byte != b'-');
    lengths.eq([8, 4, 4, 4, 12]) && digits.into_iter().all(u8::is_ascii_hexdigit)
}

/// Whether letters and digits without anything between them look random.
fn is_token(piece: &[u8]) -> bool {
    let has_digit = piece.iter().any(u8::is_ascii_digit);
    if piece.iter().all(u8::is_ascii_hexdigit) {
        let letters = piece.iter().any(u8::is_ascii_alphabetic);
        return letters && piece.len() >= if has_digit { HEX_ID } else { HEX_LETTERS_ID };
    }
    // A number behind a name, such as `version20240101`, changes once.
    let changes = piece
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    has_digit && piece.len() >= TOKEN_ID && changes >= 2
}

/// The runs of letters and digits of a segment, without percent-encoded bytes.
fn pieces(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    Pieces { rest: segment }.filter_map(|(piece, is_piece)| is_piece.then_some(piece))
}

/// Parts of a segment: runs of letters and digits, and what is between them.
struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.first()?;
        let is_piece = first.is_ascii_alphanumeric();
        let length = match (is_piece, first) {
            (true, _) => {
                let end = self
                    .rest
                    .iter()
                    .position(|byte| !byte.is_ascii_alphanumeric());
                end.unwrap_or(self.rest.len())
            }
            (false, b'%') => self.rest.len().min(3),
            (false, _) => 1,
        };
        let (part, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some((part, is_piece))
    }
}

/// A name: its long numbers become `*`.
fn name_shape(segment: &[u8]) -> String {
    let parts = Pieces { rest: segment }.map(|(part, is_piece)| {
        let is_number =
            is_piece && part.len() >= NUMBER_IN_NAME && part.iter().all(u8::is_ascii_digit);
        match is_number {
            true => String::from("*"),
            false => printable(part),
        }
    });
    parts.collect()
}

/// Other bytes than printable ASCII are percent-encoded.
fn printable(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0x21..=0x7e => text.push(char::from(*byte)),
            // Writing to a String does not fail.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_look_like_ids_become_stars() {
        let table = [
            ("/", "/"),
            ("", ""),
            ("*", "*"),
            ("/users/", "/users/"),
            ("/users/1", "/users/*"),
            ("/users/123/orders/7/", "/users/*/orders/*/"),
            ("/users/123?page=2", "/users/*"),
            ("/users#top", "/users"),
            ("/users?next=/users/1", "/users"),
            ("//a//1", "//a//*"),
            ("http://shop.example:80/users/1", "/users/*"),
            ("http://shop.example", "/"),
            ("/go/http://shop.example/1", "/go/http://shop.example/*"),
            // Names with digits in them are names.
            ("/api/v1/items", "/api/v1/items"),
            ("/oauth2/authorize", "/oauth2/authorize"),
            ("/utf8mb4", "/utf8mb4"),
            ("/s3/sha256/md5sum", "/s3/sha256/md5sum"),
            ("/page-12", "/page-12"),
            ("/facade/deadbeef/decade", "/facade/deadbeef/decade"),
            ("/.well-known/acme-challenge", "/.well-known/acme-challenge"),
            ("/index.html", "/index.html"),
            ("/a.b/c..d", "/a.b/c..d"),
            ("/internationalization", "/internationalization"),
            // Numbers of all kinds.
            ("/2024-01-31/events", "/*/events"),
            ("/-12/+7/1.5/1,2,3", "/*/*/*/*"),
            ("/releases/3.12.4", "/releases/*"),
            ("/order-12345", "/order-*"),
            ("/blog/2024-in-review", "/blog/*-in-review"),
            ("/version20240101", "/version20240101"),
            // UUIDs, hexadecimal numbers and tokens.
            ("/f/6fa459ea-ee8a-3ca4-894e-db77e160355e", "/f/*"),
            ("/f/6FA459EAEE8A3CA4894EDB77E160355E", "/f/*"),
            ("/f/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "/f/*"),
            ("/commit/4e1978b3", "/commit/*"),
            ("/commit/abcdefabcdefabcd", "/commit/*"),
            ("/charges/ch_1NXWPnCo6bFb1KQto6C8OWvE", "/charges/*"),
            ("/v/dQw4w9WgXcQ", "/v/*"),
            ("/t/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/t/*"),
            ("/s/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "/s/*.abc"),
            // Files keep their extension.
            ("/users/1.json", "/users/*.json"),
            ("/static/main.3f2a9c1b.js", "/static/*.js"),
            ("/static/app-4f5e6d7c8b9a.min.css", "/static/*.css"),
            ("/archive/2024.tar.gz", "/archive/*.tar.gz"),
            // What identifies a person or a session.
            ("/reset/ada@example.com/now", "/reset/*/now"),
            ("/@ada/posts", "/@ada/posts"),
            ("/cart;jsessionid=1A530637289A03B07199A44E8D531427", "/cart"),
            // Other bytes.
            ("/caf%C3%A9/%D0%BF%D1%80", "/caf%C3%A9/%D0%BF%D1%80"),
            ("/a%203", "/a%203"),
            ("/a%2", "/a%2"),
            (
                "/caf\u{e9}\u{202e}\u{1b}[2J x",
                "/caf%C3%A9%E2%80%AE%1B[2J%20x",
            ),
        ];
        for (target, expected) in table {
            assert_eq!(path_shape(target.as_bytes()), expected, "{target}");
        }
        let long = format!("/{}/x", "w".repeat(65));
        assert_eq!(path_shape(long.as_bytes()), "/*/x");
        let word = format!("/{}/x", "w".repeat(64));
        assert_eq!(path_shape(word.as_bytes()), word);
    }

    #[test]
    fn a_label_has_the_method_and_no_segment_that_was_cut_off() {
        let table = [
            ("GET", "/users/1", false, "GET /users/*"),
            ("GET", "/users/abcdef", true, "GET /users/*"),
            ("GET", "/users/1/edi", true, "GET /users/*/*"),
            ("GET", "/users/", true, "GET /users/*"),
            ("POST", "/users/ada?a=b", true, "POST /users/ada"),
            ("OPTIONS", "*", false, "OPTIONS *"),
            ("GET", "", false, "GET "),
            ("\u{1b}", "/", false, "%1B /"),
        ];
        for (method, target, is_cut, expected) in table {
            let label = request_label(method.as_bytes(), target.as_bytes(), is_cut);
            assert_eq!(label, expected, "{target}");
        }
    }

    #[test]
    fn a_shape_is_printable_and_has_the_shape_of_itself() {
        for first in 0..=255_u8 {
            for second in [b'/', b'%', b'1', b'z', b'.', 0xff] {
                let shape = path_shape(&[b'/', first, second, b'9']);
                assert!(
                    shape.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
                    "{shape}"
                );
                assert_eq!(path_shape(shape.as_bytes()), shape, "{first} {second}");
            }
        }
    }
}
