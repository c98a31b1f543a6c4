//! Rules: which responses are encoded.

use lockgate_config::CompressConfig;
use lockgate_http::{RequestHead, ResponseHead};

use crate::coding::Coding;

/// Which responses are encoded, by the settings.
#[derive(Debug)]
pub struct CompressRules {
    /// Patterns of media types, in lower case.
    types: Vec<Box<[u8]>>,
    min_size: u64,
}

impl CompressRules {
    /// The rules that the settings describe.
    pub fn new(config: &CompressConfig) -> Self {
        let pattern = |media_type: &String| media_type.to_ascii_lowercase().into_bytes().into();
        Self {
            types: config.types.iter().map(pattern).collect(),
            min_size: config.min_size as u64,
        }
    }

    /// The coding in which the client gets this response, if any. `length` is that of the body, where it is known.
    pub fn choose(
        &self,
        request: &RequestHead,
        response: &ResponseHead,
        length: Option<u64>,
    ) -> Option<Coding> {
        let coding = Coding::accepted(request)?;
        self.encodes(response, length).then_some(coding)
    }

    /// Whether a client that accepts a coding gets this response encoded.
    pub fn encodes(&self, response: &ResponseHead, length: Option<u64>) -> bool {
        // The application's own length comes first, as in the framing.
        let length = response.content_length().or(length);
        // A part of a representation, or no body at all.
        let has_whole_body = !matches!(response.status(), 204 | 205 | 206 | 304);
        has_whole_body
            && length.is_none_or(|length| length >= self.min_size)
            && self.may_encode(response) == Some(true)
    }

    /// Whether the response says that it depends on what the client accepts: if it may be encoded, whatever its length
    /// is and whether this client accepts it, and if it stands for such a response or a part of it.
    pub fn adds_vary(&self, response: &ResponseHead) -> bool {
        match (response.status(), self.may_encode(response)) {
            (204 | 205, _) => false,
            // Most leave out Content-Type (RFC 9110 §15.4.5).
            (304, may_encode) => may_encode.unwrap_or(true),
            (206, may_encode) => may_encode == Some(true) || self.is_part_of_text(response),
            (_, may_encode) => may_encode == Some(true),
        }
    }

    /// Whether type and fields allow it; `None` without a type.
    fn may_encode(&self, response: &ResponseHead) -> Option<bool> {
        let mut has_type = None;
        for (name, value) in response.headers() {
            let is = |candidate: &[u8]| name.eq_ignore_ascii_case(candidate);
            let forbids = match name.len() {
                12 if is(b"content-type") => {
                    has_type = Some(self.has_type(value));
                    false
                }
                13 if is(b"cache-control") => has_no_transform(value),
                // It is encoded already, or only a part.
                16 => is(b"content-encoding"),
                13 => is(b"content-range"),
                // Digests of the bytes that are sent (RFC 9530).
                14 => is(b"content-digest"),
                11 => is(b"repr-digest") || is(b"content-md5"),
                6 => is(b"digest"),
                _ => false,
            };
            if forbids {
                return Some(false);
            }
        }
        has_type
    }

    fn is_part_of_text(&self, response: &ResponseHead) -> bool {
        let is_encoded = response.header("content-encoding").is_some();
        let media_type = response.header("content-type");
        !is_encoded && media_type.is_some_and(|media_type| self.has_type(media_type))
    }

    /// Whether the media type of a Content-Type is one of those that are encoded.
    fn has_type(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|&byte| byte == b';');
        let essence = content_type[..end.unwrap_or(content_type.len())].trim_ascii();
        self.types.iter().any(|pattern| matches(pattern, essence))
    }
}

/// Whether `text` is what a pattern describes, in which `*` stands for any number of characters.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|&byte| byte == b'*') else {
        return pattern.eq_ignore_ascii_case(text);
    };
    let (before, rest) = (&pattern[..star], &pattern[star + 1..]);
    let begins = text.len() >= star && before.eq_ignore_ascii_case(&text[..star]);
    begins && (star..=text.len()).any(|at| matches(rest, &text[at..]))
}

fn has_no_transform(cache_control: &[u8]) -> bool {
    (cache_control.split(|&byte| byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> CompressRules {
        CompressRules::new(&CompressConfig {
            is_enabled: true,
            types: [
                "text/*",
                "application/json",
                "application/*+json",
                "a*b*c/d",
            ]
            .map(str::to_owned)
            .to_vec(),
            min_size: 1024,
            jitter: true,
        })
    }

    fn head(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.set_status(status, b"").unwrap();
        for (name, value) in fields {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn media_types_are_compared_without_case_and_parameters() {
        for (media_type, is_encoded) in [
            ("text/html", true),
            ("Text/HTML; charset=utf-8", true),
            (" text/plain ;a=b", true),
            ("text/event-stream", true),
            ("application/json", true),
            ("application/problem+json;charset=utf-8", true),
            ("application/jsonp", false),
            ("application/+json", true),
            ("axbxbc/d", true),
            ("abc/d", true),
            ("acb/d", false),
            ("image/png", false),
            ("text", false),
            ("", false),
        ] {
            let head = head(200, &[("Content-Type", media_type)]);
            assert_eq!(rules().encodes(&head, None), is_encoded, "{media_type}");
        }
    }

    /// Status, fields, length; whether it is encoded, and whether it gets a Vary.
    type Case<'a> = (u16, &'a [(&'a str, &'a str)], Option<u64>, bool, bool);

    #[test]
    fn what_is_encoded() {
        let text = ("Content-Type", "text/html");
        let cases: [Case<'_>; 27] = [
            (200, &[text], None, true, true),
            (200, &[text], Some(1024), true, true),
            (200, &[text], Some(1023), false, true),
            (200, &[text, ("Content-Length", "1024")], None, true, true),
            (
                200,
                &[text, ("Content-Length", "9")],
                Some(2000),
                false,
                true,
            ),
            (200, &[], None, false, false),
            (200, &[("Content-Type", "image/png")], None, false, false),
            (
                200,
                &[text, ("Content-Encoding", "gzip")],
                None,
                false,
                false,
            ),
            (
                200,
                &[text, ("Content-Encoding", "identity")],
                None,
                false,
                false,
            ),
            (
                200,
                &[text, ("Cache-Control", "public, No-Transform")],
                None,
                false,
                false,
            ),
            (
                200,
                &[text, ("Cache-Control", "no-transformer")],
                None,
                true,
                true,
            ),
            (
                200,
                &[text, ("Content-Digest", "sha-256=:x:")],
                None,
                false,
                false,
            ),
            (
                200,
                &[text, ("Repr-Digest", "sha-256=:x:")],
                None,
                false,
                false,
            ),
            (200, &[text, ("Digest", "sha-256=x")], None, false, false),
            (200, &[text, ("Content-MD5", "x")], None, false, false),
            (201, &[text], None, true, true),
            (404, &[text], None, true, true),
            (500, &[text], None, true, true),
            (204, &[text], None, false, false),
            (205, &[text], None, false, false),
            (
                206,
                &[text, ("Content-Range", "bytes 0-1/2")],
                None,
                false,
                true,
            ),
            (206, &[("Content-Type", "image/png")], None, false, false),
            (304, &[text], None, false, true),
            (304, &[], None, false, true),
            (304, &[("Content-Type", "image/png")], None, false, false),
            (304, &[("Content-Encoding", "br")], None, false, false),
            (
                416,
                &[text, ("Content-Range", "bytes */2")],
                None,
                false,
                false,
            ),
        ];
        for (status, fields, length, is_encoded, has_vary) in cases {
            let head = head(status, fields);
            assert_eq!(
                rules().encodes(&head, length),
                is_encoded,
                "{status} {fields:?}"
            );
            assert_eq!(rules().adds_vary(&head), has_vary, "{status} {fields:?}");
        }
    }
}
