//! What a request gets of a file, as a response for a writer.

use std::sync::Arc;

use lockgate_files::{Body, Content, Delivery, Part};

use super::prepared::{Prepared, PreparedBody};
use crate::transport::outbox::SharedBytes;

/// The same response. Nothing is copied.
pub fn prepared(delivery: Delivery) -> Prepared {
    Prepared {
        body: prepared_body(delivery.body),
        head: delivery.head,
        // One with a sidecar has a Content-Encoding.
        is_negotiated: false,
    }
}

/// The same body.
pub fn prepared_body(body: Body) -> PreparedBody {
    match body {
        Body::Empty => PreparedBody::Empty,
        Body::Omitted(length) => PreparedBody::Omitted {
            length: Some(length),
        },
        Body::Part(part) => of_part(part),
        Body::Parts(parts, end) => {
            let mut all = Vec::with_capacity(2 * parts.len() + 1);
            for (head, part) in parts {
                all.push(PreparedBody::Bytes(head));
                all.push(of_part(part));
            }
            all.push(PreparedBody::Bytes(end));
            PreparedBody::Parts(all)
        }
    }
}

fn of_part(part: Part) -> PreparedBody {
    let Part {
        content,
        offset,
        length,
    } = part;
    match content {
        _ if length == 0 => PreparedBody::Empty,
        Content::File(file, _) => PreparedBody::File {
            file,
            offset,
            length,
        },
        Content::Memory(bytes) => {
            // A part lies within the content, which is in memory.
            let start = usize::try_from(offset).unwrap_or(bytes.len());
            let end = start.saturating_add(usize::try_from(length).unwrap_or(bytes.len()));
            PreparedBody::Shared(Box::new(Slice { bytes, start, end }))
        }
    }
}

/// A part of a file in memory.
struct Slice {
    bytes: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl SharedBytes for Slice {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}
