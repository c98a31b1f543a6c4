//! A response that is collected while the client gets it.

use lockgate_cache::Freshness;
use lockgate_http::ResponseHead;

/// See the module documentation.
pub struct Collecting {
    pub head: ResponseHead,
    pub freshness: Freshness,
    pub body: Vec<u8>,
    expected: Option<u64>,
    /// The client gets it, too.
    pub(super) is_forwarded: bool,
    /// The client has gone.
    pub(super) is_client_gone: bool,
}

impl Collecting {
    /// `expected` is the length of the body, if it is known.
    pub(super) fn new(head: ResponseHead, freshness: Freshness, expected: Option<u64>) -> Self {
        let room = expected.and_then(|length| usize::try_from(length).ok());
        Self {
            head,
            freshness,
            body: Vec::with_capacity(room.unwrap_or(0)),
            expected,
            is_forwarded: true,
            is_client_gone: false,
        }
    }

    /// Keeps a piece; what exceeds the announced length is cut, as for the client.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let left = (self.expected).map(|expected| expected.saturating_sub(self.body.len() as u64));
        let count = left.map_or(bytes.len(), |left| bytes.len().min(left as usize));
        self.body.extend_from_slice(&bytes[..count]);
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.expected
            .is_none_or(|expected| expected == self.body.len() as u64)
    }

    /// Whether it ends for sure.
    pub(super) fn has_known_length(&self) -> bool {
        self.expected.is_some()
    }

    /// Whether it needs no more.
    pub(super) fn is_full(&self) -> bool {
        self.expected == Some(self.body.len() as u64)
    }
}
