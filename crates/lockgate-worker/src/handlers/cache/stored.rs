//! A stored response, as a request gets it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use lockgate_cache::{Answer, AnswerBody, CacheStatus, Meta, answer};
use lockgate_compress::{Coding, add_vary, apply_head};
use lockgate_http::{RequestHead, ResponseHead};
use lockgate_shm::responses::EntryId;

use crate::exchange::prepared::{Prepared, PreparedBody};
use crate::transport::outbox::SharedBytes;

/// See the module documentation.
#[derive(Clone)]
pub(super) struct Stored {
    /// Of its entry.
    pub(super) key: Vec<u8>,
    pub(super) id: EntryId,
    pub(super) meta: Meta<'static>,
    pub(super) body: Arc<[u8]>,
}

impl Stored {
    /// The response to this request.
    /// With a coding, the body is encoded. `is_encoded`: clients that accept one get it so.
    pub(super) fn prepare(
        &self,
        request: &RequestHead,
        (coding, is_encoded): (Option<Coding>, bool),
        status: CacheStatus,
        now: u64,
    ) -> Prepared {
        let length = self.body.len() as u64;
        let seed = RandomState::new().hash_one(now);
        let Answer { mut head, body } = answer(request, &self.meta, length, now, seed);
        if let Some(coding) = coding.filter(|_| head.status() == self.meta.status) {
            apply_head(&mut head, coding);
        } else if is_encoded {
            add_vary(&mut head);
        }
        set_cache_status(&mut head, status);
        Prepared {
            head: Arc::new(head),
            body: self.prepare_body(body),
            is_negotiated: false,
        }
    }

    fn prepare_body(&self, body: AnswerBody) -> PreparedBody {
        let length = self.body.len();
        match body {
            AnswerBody::Empty => PreparedBody::Empty,
            AnswerBody::Omitted => PreparedBody::Omitted {
                length: Some(length as u64),
            },
            AnswerBody::Whole => whole(&self.body),
            AnswerBody::Range(range) => self.part(indices(range.first, range.last)),
            AnswerBody::Ranges(ranges, multipart) => {
                let parts = ranges.iter().zip(multipart.part_heads);
                let mut all: Vec<PreparedBody> = parts
                    .flat_map(|(range, head)| {
                        let part = self.part(indices(range.first, range.last));
                        [PreparedBody::Bytes(head), part]
                    })
                    .collect();
                all.push(PreparedBody::Bytes(multipart.end));
                PreparedBody::Parts(all)
            }
        }
    }

    fn part(&self, range: Range<usize>) -> PreparedBody {
        let bytes = Arc::clone(&self.body);
        PreparedBody::Shared(Box::new(Part { bytes, range }))
    }
}

/// A range inside of a body in memory, whose indices are `usize`.
fn indices(first: u64, last: u64) -> Range<usize> {
    first as usize..last as usize + 1
}

/// Adds the member of this cache to Cache-Status (RFC 9211 §2).
pub(super) fn set_cache_status(head: &mut ResponseHead, status: CacheStatus) {
    // It has no forbidden byte.
    let _valid = head.push(b"Cache-Status", status.to_string().as_bytes());
}

/// A whole body.
pub(super) fn whole(body: &Arc<[u8]>) -> PreparedBody {
    let range = 0..body.len();
    let bytes = Arc::clone(body);
    PreparedBody::Shared(Box::new(Part { bytes, range }))
}

struct Part {
    bytes: Arc<[u8]>,
    range: Range<usize>,
}

impl SharedBytes for Part {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}
