//! Conditional requests (RFC 9110 §13): whether a request applies to the current version of a representation.

use crate::etag::{EntityTag, parse_list};
use crate::http_date;
use crate::request::RequestHead;
use crate::rules::grammar::trim_whitespace;

/// The validators of the current representation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The value of its ETag field, quotes included.
    pub etag: Option<&'a [u8]>,
    /// When it was last modified, in seconds since 1970.
    pub last_modified: Option<u64>,
}

/// What a conditional request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The request is performed: its conditions hold, or it has none.
    Proceed,
    /// 304: the client has the current representation.
    NotModified,
    /// 412: the client wants to act on another version.
    PreconditionFailed,
}

/// The fields of a request that are conditions about the whole representation; each as often as it was sent.
#[derive(Default)]
struct Preconditions<'a> {
    if_match: Option<TagList<'a>>,
    if_none_match: Option<TagList<'a>>,
    if_modified_since: Option<Since<'a>>,
    if_unmodified_since: Option<Since<'a>>,
}

/// A list of entity tags, which may come in several lines.
struct TagList<'a> {
    head: &'a RequestHead,
    name: &'static [u8],
}

/// A date, which is ignored if it came more than once.
struct Since<'a> {
    value: &'a [u8],
    is_repeated: bool,
}

/// Evaluates the conditions of a request in the order of RFC 9110 §13.2.2, for a representation that exists.
///
/// `method` is the method to evaluate for, which is that of `head` unless the caller answers HEAD as GET. `now` is in
/// seconds since 1970: a later If-Modified-Since comes from a wrong clock, and is ignored.
pub fn evaluate(
    method: &[u8],
    head: &RequestHead,
    validators: &Validators<'_>,
    now: u64,
) -> Condition {
    let conditions = Preconditions::of(head);
    let is_read = matches!(method, b"GET" | b"HEAD");
    if let Some(list) = &conditions.if_match {
        if !list.is_met(validators.etag, |one, other| one.strong_eq(other)) {
            return Condition::PreconditionFailed;
        }
    } else if let Some(since) = &conditions.if_unmodified_since
        && let (Some(since), Some(modified)) = (since.date(), validators.last_modified)
        && modified > since
    {
        return Condition::PreconditionFailed;
    }
    if let Some(list) = &conditions.if_none_match {
        let is_met = list.is_met(validators.etag, |one, other| one.weak_eq(other));
        return match (is_met, is_read) {
            (false, _) => Condition::Proceed,
            (true, true) => Condition::NotModified,
            (true, false) => Condition::PreconditionFailed,
        };
    }
    if is_read
        && let Some(since) = &conditions.if_modified_since
        && let (Some(since), Some(modified)) = (since.date(), validators.last_modified)
        && since <= now
        && modified <= since
    {
        return Condition::NotModified;
    }
    Condition::Proceed
}

/// Whether If-Range allows a part of the representation to be sent (RFC 9110 §13.1.5); without that field it does.
///
/// A date counts only if the representation was not modified in the current second: it could change again within that
/// second (§8.8.2.2).
pub fn if_range_holds(head: &RequestHead, validators: &Validators<'_>, now: u64) -> bool {
    let mut values = values_of(head, b"if-range");
    let Some(value) = values.next() else {
        return true;
    };
    if values.next().is_some() {
        return false;
    }
    let value = trim_whitespace(value);
    if let Some(tag) = EntityTag::parse(value) {
        let etag = validators.etag.and_then(EntityTag::parse);
        return etag.is_some_and(|etag| etag.strong_eq(&tag));
    }
    let date = http_date::parse(value);
    date.is_some() && date == validators.last_modified && date.is_some_and(|date| date < now)
}

impl<'a> Preconditions<'a> {
    /// One pass over the fields, since most requests have no condition.
    fn of(head: &'a RequestHead) -> Self {
        let mut found = Self::default();
        for (name, value) in head.headers() {
            let [b'i' | b'I', b'f' | b'F', b'-', ..] = name else {
                continue;
            };
            if name.eq_ignore_ascii_case(IF_NONE_MATCH) {
                found.if_none_match = Some(TagList {
                    head,
                    name: IF_NONE_MATCH,
                });
            } else if name.eq_ignore_ascii_case(IF_MATCH) {
                found.if_match = Some(TagList {
                    head,
                    name: IF_MATCH,
                });
            } else if name.eq_ignore_ascii_case(b"if-modified-since") {
                Since::add(&mut found.if_modified_since, value);
            } else if name.eq_ignore_ascii_case(b"if-unmodified-since") {
                Since::add(&mut found.if_unmodified_since, value);
            }
        }
        found
    }
}

const IF_MATCH: &[u8] = b"if-match";
const IF_NONE_MATCH: &[u8] = b"if-none-match";

impl TagList<'_> {
    /// Whether it is `*`, or has a tag that equals `etag`, the value of an ETag field.
    fn is_met(
        &self,
        etag: Option<&[u8]>,
        equals: impl Fn(&EntityTag<'_>, &EntityTag<'_>) -> bool,
    ) -> bool {
        let tag = etag.and_then(EntityTag::parse);
        let mut values = values_of(self.head, self.name).map(trim_whitespace);
        values.any(|value| {
            let is_listed = |tag| parse_list(value).any(|other| equals(&tag, &other));
            match tag {
                _ if value == b"*" => true,
                Some(tag) => is_listed(tag),
                // Some applications write tags without quotes, and clients send them back as they are.
                None => etag.is_some_and(|etag| trim_whitespace(etag) == value),
            }
        })
    }
}

impl<'a> Since<'a> {
    fn add(field: &mut Option<Self>, value: &'a [u8]) {
        let is_repeated = field.is_some();
        *field = Some(Self { value, is_repeated });
    }

    /// The date, if it is valid and the only one (RFC 9110 §13.1.3).
    fn date(&self) -> Option<u64> {
        http_date::parse(trim_whitespace(self.value)).filter(|_| !self.is_repeated)
    }
}

fn values_of<'a>(head: &'a RequestHead, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    head.headers()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
