//! Tags: names that a response gives itself, by which it can be purged later.

use lockgate_http::ResponseHead;

/// The fields and what separates their tags: Cloudflare's and Fastly's.
const FIELDS: [(&str, u8); 2] = [("cache-tag", b','), ("surrogate-key", b' ')];

/// The tags of a response in their order, each once.
///
/// ```
/// use lockgate_cache::tags;
/// use lockgate_http::ResponseHead;
///
/// let mut head = ResponseHead::default();
/// head.push(b"Cache-Tag", b"news, front page")?;
/// head.push(b"Surrogate-Key", b"news user-7")?;
/// assert_eq!(tags::of(&head), [&b"news"[..], b"front page", b"user-7"]);
/// tags::remove(&mut head);
/// assert_eq!(head.headers().count(), 0);
/// # Ok::<(), lockgate_http::BadResponse>(())
/// ```
pub fn of(response: &ResponseHead) -> Vec<&[u8]> {
    let mut tags = Vec::new();
    for (name, value) in response.headers() {
        let Some(separator) = separator(name) else {
            continue;
        };
        for tag in value.split(|&byte| byte == separator) {
            let tag = tag.trim_ascii();
            if !tag.is_empty() && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    tags
}

/// Removes the fields, which no client needs to see.
pub fn remove(response: &mut ResponseHead) {
    for (name, _) in FIELDS {
        response.remove(name.as_bytes());
    }
}

/// What separates the tags in this field; `None` if it has none.
pub(crate) fn separator(name: &[u8]) -> Option<u8> {
    FIELDS
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()))
        .map(|(_, separator)| *separator)
}
