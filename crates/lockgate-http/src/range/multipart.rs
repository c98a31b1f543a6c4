//! The media type `multipart/byteranges` (RFC 9110 §14.6): several ranges in one response.

use super::ByteRange;

/// Everything of the body that is not content, and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    /// The value of the response's Content-Type.
    pub content_type: String,
    /// What comes before the bytes of each range, in their order.
    pub part_heads: Vec<Vec<u8>>,
    /// What comes after the last range.
    pub end: Vec<u8>,
    /// The length of the whole body, for Content-Length.
    pub length: u64,
}

/// The parts of a body with `ranges` of a representation of `length` bytes.
///
/// `content_type` is that of the representation, which each part repeats. `seed` makes the boundary; it must be random
/// or at least differ between responses, so that no content has it.
pub fn encode(
    ranges: &[ByteRange],
    length: u64,
    content_type: Option<&[u8]>,
    seed: u64,
) -> Multipart {
    let boundary = format!("{seed:020}");
    let part_heads: Vec<Vec<u8>> = ranges
        .iter()
        .enumerate()
        .map(|(index, range)| {
            let mut head = Vec::with_capacity(128);
            if index > 0 {
                head.extend_from_slice(b"\r\n");
            }
            head.extend_from_slice(b"--");
            head.extend_from_slice(boundary.as_bytes());
            if let Some(content_type) = content_type {
                head.extend_from_slice(b"\r\nContent-Type: ");
                head.extend_from_slice(content_type);
            }
            head.extend_from_slice(b"\r\nContent-Range: ");
            head.extend_from_slice(range.content_range(length).as_bytes());
            head.extend_from_slice(b"\r\n\r\n");
            head
        })
        .collect();
    let end = format!("\r\n--{boundary}--\r\n").into_bytes();
    let heads: usize = part_heads.iter().map(Vec::len).sum();
    let content: u64 = ranges.iter().map(|range| range.len()).sum();
    Multipart {
        content_type: format!("multipart/byteranges; boundary={boundary}"),
        length: content + (heads + end.len()) as u64,
        part_heads,
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_each_range_between_boundaries() {
        let content = b"0123456789\n";
        let ranges = [
            ByteRange { first: 0, last: 1 },
            ByteRange { first: 5, last: 10 },
        ];
        for (content_type, line) in [
            (Some(&b"text/plain"[..]), "\r\nContent-Type: text/plain"),
            (None, ""),
        ] {
            let parts = encode(&ranges, 11, content_type, 7);
            let mut body = Vec::new();
            for (head, range) in parts.part_heads.iter().zip(ranges) {
                body.extend_from_slice(head);
                body.extend_from_slice(&content[range.first as usize..=range.last as usize]);
            }
            body.extend_from_slice(&parts.end);
            let expected = format!(
                "--00000000000000000007{line}\r\nContent-Range: bytes 0-1/11\r\n\r\n01\r\n\
                 --00000000000000000007{line}\r\nContent-Range: bytes 5-10/11\r\n\r\n56789\n\r\n\
                 --00000000000000000007--\r\n"
            );
            assert_eq!(String::from_utf8(body).unwrap(), expected);
            assert_eq!(parts.length, expected.len() as u64);
            assert_eq!(
                parts.content_type,
                "multipart/byteranges; boundary=00000000000000000007"
            );
        }
    }
}
