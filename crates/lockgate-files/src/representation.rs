//! One form of a resource, such as its gzip coding, and what a request gets of it: the whole, parts, or a condition.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use lockgate_http::conditional::{Condition, Validators, evaluate, if_range_holds};
use lockgate_http::range::{self, ByteRange, Ranges, multipart};
use lockgate_http::{RequestHead, ResponseHead, http_date, reason_phrase};

use crate::shared_file::SharedFile;

/// Where the bytes of a representation are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory.
    Memory(Arc<[u8]>),
    /// In a file, from this offset on.
    File(Arc<SharedFile>, u64),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Representation {
    content: Content,
    length: u64,
    /// The head of the whole response, without Content-Length.
    head: Arc<ResponseHead>,
    etag: Option<Vec<u8>>,
    last_modified: Option<u64>,
    /// The head of a 304; made when it is needed first.
    not_modified: OnceLock<Arc<ResponseHead>>,
}

/// A complete response.
#[derive(Debug)]
pub struct Delivery {
    /// Without Content-Length, which follows from the body.
    pub head: Arc<ResponseHead>,
    /// Its body.
    pub body: Body,
}

/// The body of a [`Delivery`].
#[derive(Debug)]
pub enum Body {
    /// No bytes.
    Empty,
    /// The answer to HEAD: the body of GET has this many bytes.
    Omitted(u64),
    /// One part of the content.
    Part(Part),
    /// Parts with the text before each of them, and after the last (multipart/byteranges).
    Parts(Vec<(Vec<u8>, Part)>, Vec<u8>),
}

/// A part of a content.
#[derive(Debug)]
pub struct Part {
    /// The whole.
    pub content: Content,
    /// The first byte of the part; for a file, from the beginning of the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The fields of a request that select a representation or a part of it. One pass finds them.
#[derive(Debug, Default)]
pub struct Selection<'a> {
    /// All values of Accept-Encoding.
    pub(crate) accept_encoding: Option<Cow<'a, [u8]>>,
    /// Of GET, if there is one.
    range: Option<&'a [u8]>,
    has_two_ranges: bool,
    has_conditions: bool,
}

impl<'a> Selection<'a> {
    /// Reads the fields of a request.
    pub fn of(request: &'a RequestHead) -> Self {
        let mut selection = Self::default();
        for (name, value) in request.headers() {
            match (name.len(), name.first().map_or(0, |byte| byte | 0x20)) {
                (5, b'r') if name.eq_ignore_ascii_case(b"range") => {
                    selection.has_two_ranges |= selection.range.is_some();
                    selection.range = Some(value);
                }
                (15, b'a') if name.eq_ignore_ascii_case(b"accept-encoding") => {
                    selection.accept_encoding = Some(match selection.accept_encoding.take() {
                        None => Cow::Borrowed(value),
                        Some(before) => Cow::Owned([&before, &b", "[..], value].concat()),
                    });
                }
                (8.., b'i') if name[1] | 0x20 == b'f' && name[2] == b'-' => {
                    selection.has_conditions = true;
                }
                _ => {}
            }
        }
        let is_get = request.method() == b"GET";
        selection.range = selection
            .range
            .filter(|_| is_get && !selection.has_two_ranges);
        selection
    }

    /// Whether the request may get anything else than the whole.
    pub fn is_selective(&self) -> bool {
        self.range.is_some() || self.has_conditions
    }
}

impl Representation {
    /// `head` is the head of a 200 that has its validators; Content-Length is left out of it.
    pub fn new(mut head: ResponseHead, content: Content, length: u64) -> Self {
        head.remove(b"Content-Length");
        let has_ranges = head.header("accept-ranges").is_some();
        if !has_ranges {
            // A name and a value without forbidden bytes.
            let _valid = head.push(b"Accept-Ranges", b"bytes");
        }
        let last_modified = head.header("last-modified").and_then(http_date::parse);
        Self {
            content,
            length,
            etag: head.header("etag").map(<[u8]>::to_vec),
            last_modified,
            head: Arc::new(head),
            not_modified: OnceLock::new(),
        }
    }

    /// Bytes of the whole.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The head of the whole response, without Content-Length.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Where its bytes are.
    pub fn content(&self) -> &Content {
        &self.content
    }

    fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.etag.as_deref(),
            last_modified: self.last_modified,
        }
    }

    /// What a GET or HEAD gets. `now` is the time since 1970 in seconds.
    #[inline]
    pub fn deliver(&self, request: &RequestHead, selection: &Selection<'_>, now: u64) -> Delivery {
        if selection.is_selective()
            && let Some(delivery) = self.deliver_selected(request, selection, now)
        {
            return delivery;
        }
        let body = match request.method() {
            b"HEAD" => Body::Omitted(self.length),
            _ => Body::Part(self.part(0, self.length)),
        };
        Delivery {
            head: Arc::clone(&self.head),
            body,
        }
    }

    /// `None`: the whole.
    fn deliver_selected(
        &self,
        request: &RequestHead,
        selection: &Selection<'_>,
        now: u64,
    ) -> Option<Delivery> {
        if selection.has_conditions {
            match evaluate(request.method(), request, &self.validators(), now) {
                Condition::Proceed => {}
                Condition::NotModified => {
                    let head = self
                        .not_modified
                        .get_or_init(|| Arc::new(not_modified(&self.head)));
                    return Some(Delivery {
                        head: Arc::clone(head),
                        body: Body::Empty,
                    });
                }
                Condition::PreconditionFailed => {
                    return Some(Delivery {
                        head: Arc::new(failed(&self.head, 412)),
                        body: Body::Empty,
                    });
                }
            }
        }
        let field = selection.range?;
        if selection.has_conditions && !if_range_holds(request, &self.validators(), now) {
            return None;
        }
        // The application or another server before this one does without ranges (RFC 9110 §14.3).
        if self
            .head
            .header("accept-ranges")
            .is_some_and(|unit| !unit.eq_ignore_ascii_case(b"bytes"))
        {
            return None;
        }
        match range::parse(field, self.length) {
            Ranges::None => None,
            Ranges::Unsatisfiable => Some(self.unsatisfiable()),
            Ranges::Satisfiable(ranges) => Some(self.parts(&ranges)),
        }
    }

    fn part(&self, first: u64, length: u64) -> Part {
        let base = match self.content {
            Content::Memory(_) => 0,
            Content::File(_, offset) => offset,
        };
        Part {
            content: self.content.clone(),
            offset: base + first,
            length,
        }
    }

    fn unsatisfiable(&self) -> Delivery {
        let mut head = failed(&self.head, 416);
        set(&mut head, "Content-Range", &range::unsatisfied(self.length));
        Delivery {
            head: Arc::new(head),
            body: Body::Empty,
        }
    }

    fn parts(&self, ranges: &[ByteRange]) -> Delivery {
        let mut head = ResponseHead::clone(&self.head);
        set_status(&mut head, 206);
        let body = match ranges {
            [only] => {
                set(&mut head, "Content-Range", &only.content_range(self.length));
                Body::Part(self.part(only.first, only.len()))
            }
            _ => {
                let seed = RandomState::new().hash_one(self.length);
                let content_type = self.head.header("content-type");
                let parts = multipart::encode(ranges, self.length, content_type, seed);
                set(&mut head, "Content-Type", &parts.content_type);
                let ranges = ranges.iter().map(|one| self.part(one.first, one.len()));
                Body::Parts(
                    parts.part_heads.into_iter().zip(ranges).collect(),
                    parts.end,
                )
            }
        };
        Delivery {
            head: Arc::new(head),
            body,
        }
    }
}

fn set_status(head: &mut ResponseHead, status: u16) {
    // A final status, and a standard reason.
    let _valid = head.set_status(status, reason_phrase(status).as_bytes());
}

fn set(head: &mut ResponseHead, name: &str, value: &str) {
    // Names and values here have no forbidden bytes.
    let _valid = head.set(name.as_bytes(), value.as_bytes());
}

/// The head of a 304: what guides caches, and nothing that describes a content (RFC 9110 §15.4.5).
fn not_modified(head: &ResponseHead) -> ResponseHead {
    let mut head = head.clone();
    set_status(&mut head, 304);
    for name in [
        "Content-Type",
        "Content-Encoding",
        "Content-Language",
        "Accept-Ranges",
    ] {
        head.remove(name.as_bytes());
    }
    if head.header("etag").is_some() {
        head.remove(b"Last-Modified");
    }
    head
}

/// The head of an error instead of the representation, as in Go: nothing that describes the content, or lets caches keep
/// it.
fn failed(head: &ResponseHead, status: u16) -> ResponseHead {
    let mut head = head.clone();
    set_status(&mut head, status);
    for name in [
        "Content-Type",
        "Content-Encoding",
        "Content-Language",
        "Content-Disposition",
        "Cache-Control",
        "Expires",
        "ETag",
        "Last-Modified",
        "Accept-Ranges",
    ] {
        head.remove(name.as_bytes());
    }
    head
}

#[cfg(test)]
mod tests;
