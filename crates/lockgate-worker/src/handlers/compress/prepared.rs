//! Responses of the server itself, such as static files, that are encoded.
//!
//! They have no secrets, so their length needs no jitter.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockgate_compress::{Coding, apply_head, encode};
use lockgate_http::ResponseHead;

use super::INLINE_AT_MOST;
use super::writer::CompressWriter;
use crate::exchange::prepared::{Prepared, PreparedBody};

/// Larger files are sent as they are: `lockgate precompress` compresses them better, and once.
const LARGEST: u64 = 8 << 20;

impl CompressWriter {
    pub(super) fn respond_encoded(self, response: Prepared, now: Instant) {
        if response.is_negotiated {
            return self.inner.respond(response, now);
        }
        let length = response.body.length();
        let is_encoded = self.shared.rules.encodes(&response.head, Some(length))
            && length <= LARGEST
            && is_one_piece(&response.body);
        match self.wanted.coding.filter(|_| is_encoded) {
            None => self.respond_plain(response, now),
            Some(coding) => self.respond_in(coding, response, now),
        }
    }

    fn respond_plain(self, mut response: Prepared, now: Instant) {
        if let Some(head) = self.plain_head(&response.head) {
            response.head = Arc::new(head);
        }
        self.inner.respond(response, now);
    }

    fn respond_in(self, coding: Coding, response: Prepared, now: Instant) {
        match &response.body {
            PreparedBody::Omitted { .. } => {
                // It is known only after encoding (RFC 9110 §9.3.2).
                let head = encoded_head(&response.head, coding);
                let body = PreparedBody::Omitted { length: None };
                self.inner.respond(negotiated(head, body), now);
            }
            PreparedBody::File { .. } => self.respond_later(coding, response, now),
            body if body.length() > INLINE_AT_MOST as u64 => {
                self.respond_later(coding, response, now);
            }
            _ => self.encode_and_respond(coding, response, now),
        }
    }

    /// Reads and encodes on another thread.
    fn respond_later(self, coding: Coding, response: Prepared, now: Instant) {
        let blocking = self.shared.blocking.clone();
        let work = Arc::new(Mutex::new(Some((self, response))));
        let take =
            |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let job = {
            let work = Arc::clone(&work);
            move || {
                if let Some((writer, response)) = take(&work) {
                    writer.encode_and_respond(coding, response, Instant::now());
                }
            }
        };
        // Without a thread it is sent as it is.
        if blocking.spawn(job).is_err()
            && let Some((writer, response)) = take(&work)
        {
            writer.respond_plain(response, now);
        }
    }

    fn encode_and_respond(self, coding: Coding, response: Prepared, now: Instant) {
        let encoded = match &response.body {
            PreparedBody::Bytes(bytes) => encode(coding, bytes).ok(),
            PreparedBody::Shared(bytes) => encode(coding, bytes.bytes()).ok(),
            PreparedBody::File {
                file,
                offset,
                length,
            } => {
                let mut content = vec![0; usize::try_from(*length).unwrap_or(0)];
                let is_read = file.read_exact_at(&mut content, *offset).is_ok();
                is_read.then(|| encode(coding, &content).ok()).flatten()
            }
            _ => None,
        };
        match encoded {
            Some(encoded) => {
                let head = encoded_head(&response.head, coding);
                let body = PreparedBody::Bytes(encoded);
                self.inner.respond(negotiated(head, body), now);
            }
            // A file that has become shorter breaks off there.
            None => self.respond_plain(response, now),
        }
    }
}

/// Ranges have several.
fn is_one_piece(body: &PreparedBody) -> bool {
    !matches!(body, PreparedBody::Empty | PreparedBody::Parts(_))
}

fn negotiated(head: Arc<ResponseHead>, body: PreparedBody) -> Prepared {
    Prepared {
        head,
        body,
        is_negotiated: true,
    }
}

fn encoded_head(head: &ResponseHead, coding: Coding) -> Arc<ResponseHead> {
    let mut head = head.clone();
    apply_head(&mut head, coding);
    Arc::new(head)
}
