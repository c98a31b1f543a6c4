//! Responses of the server itself, such as static files, that are encoded.
//!
//! They have no secrets, so their length needs no jitter.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lockgate_compress::{Coding, apply_head, encode};
use lockgate_http::ResponseHead;

use super::INLINE_AT_MOST;
use super::copies::Form;
use super::writer::CompressWriter;
use crate::exchange::prepared::{Prepared, PreparedBody};
use crate::transport::outbox::SharedBytes;

/// Larger files are sent as they are: `lockgate precompress` compresses them better, and once.
const LARGEST: u64 = 2 << 20;

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
        if let Some(form) = self.shared.copies.find(&response.head, None) {
            response.head = form.head;
        } else if let Some(head) = self.plain_head(&response.head) {
            let head = Arc::new(head);
            // That of a 304 depends on the request.
            if head.status() != 304 {
                let head = Arc::clone(&head);
                let form = Form { head, body: None };
                self.shared.copies.keep(&response.head, None, form);
            }
            response.head = head;
        }
        self.inner.respond(response, now);
    }

    fn respond_in(self, coding: Coding, response: Prepared, now: Instant) {
        let form = self.shared.copies.find(&response.head, Some(coding));
        match (form, &response.body) {
            (Some(Form { head, body }), PreparedBody::Omitted { .. }) => {
                let length = body.map(|body| body.len() as u64);
                let body = PreparedBody::Omitted { length };
                self.inner.respond(negotiated(head, body), now);
            }
            (None, PreparedBody::Omitted { .. }) => {
                // The length is known only after encoding (RFC 9110 §9.3.2).
                let head = encoded_head(&response.head, coding);
                let body = PreparedBody::Omitted { length: None };
                self.inner.respond(negotiated(head, body), now);
            }
            (Some(form), _) => self.respond_with(form, now),
            (None, PreparedBody::File { .. }) => self.respond_later(coding, response, now),
            (None, body) if body.length() > INLINE_AT_MOST as u64 => {
                self.respond_later(coding, response, now);
            }
            (None, _) => self.encode_and_respond(coding, response, now),
        }
    }

    fn respond_with(self, form: Form, now: Instant) {
        let Form { head, body } = form;
        let body = match body {
            Some(body) => PreparedBody::Shared(Box::new(Copied(body))),
            None => PreparedBody::Empty,
        };
        self.inner.respond(negotiated(head, body), now);
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
        // Another request may have had it encoded meanwhile.
        if let Some(form) = self.shared.copies.find(&response.head, Some(coding)) {
            return self.respond_with(form, now);
        }
        let body = match &response.body {
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
        let Some(body) = body else {
            // A file that has become shorter breaks off there.
            return self.respond_plain(response, now);
        };
        let form = Form {
            head: encoded_head(&response.head, coding),
            body: Some(body.into()),
        };
        let copies = &self.shared.copies;
        copies.keep(&response.head, Some(coding), form.clone());
        self.respond_with(form, now);
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

struct Copied(Arc<[u8]>);

impl SharedBytes for Copied {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}
