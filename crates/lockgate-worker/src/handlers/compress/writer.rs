//! The writer that encodes a response.
//!
//! A response of the application that ends before its first flush has a Content-Length; otherwise each flush sends all
//! that can be decoded so far.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_compress::{EncoderError, add_vary, apply_head, match_tag, weaken_tag};
use lockgate_http::{BodyLength, ResponseHead, ShortBody};

use super::body::EncodedBody;
use super::{Shared, Wanted, jitter};
use crate::exchange::answer::Answer;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::exchange::prepared::{Prepared, PreparedBody, send_part};
use crate::exchange::subscription::Subscription;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, HeldConnection, NotTaken, ResponseWriter,
    Sent,
};
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

/// Encoded bytes of a file that are sent together.
const FILE_BATCH: usize = 64 << 10;

/// See the module.
pub(super) struct CompressWriter {
    pub(super) inner: Box<dyn ResponseWriter>,
    pub(super) shared: Arc<Shared>,
    pub(super) wanted: Wanted,
    response: Response,
}

/// What becomes of the response.
enum Response {
    /// It is passed on as it is, or has not begun.
    Plain,
    Encoded(Box<EncodedBody>),
    /// The encoder has failed, or the file has become shorter: the response must not look complete.
    Broken,
}

impl CompressWriter {
    pub(super) fn new(inner: Box<dyn ResponseWriter>, shared: Arc<Shared>, wanted: Wanted) -> Self {
        Self {
            inner,
            shared,
            wanted,
            response: Response::Plain,
        }
    }

    /// The head of a response that is not encoded, if it differs from the application's.
    pub(super) fn plain_head(&self, head: &ResponseHead) -> Option<ResponseHead> {
        let has_vary = self.shared.rules.adds_vary(head);
        let is_of_encoded = head.status() == 304 && self.is_of_encoded(head);
        if !has_vary && !is_of_encoded {
            return None;
        }
        let mut head = head.clone();
        if has_vary {
            add_vary(&mut head);
        }
        if is_of_encoded {
            weaken_tag(&mut head);
        }
        Some(head)
    }

    /// The client has the encoded form of this version: it sends the tag that has been weakened for it. Applications
    /// that compare tags as text do not recognise theirs in it.
    pub(super) fn is_of_encoded(&self, head: &ResponseHead) -> bool {
        let sent = self.wanted.if_none_match.as_deref();
        sent.and_then(|tags| match_tag(tags, head))
            .is_some_and(|tag| tag.is_weak)
    }

    fn start_plain(&mut self, head: &ResponseHead, length: BodyLength) {
        match self.plain_head(head) {
            Some(head) => self.inner.start(&head, length),
            None => self.inner.start(head, length),
        }
    }

    /// Passes on a head that has waited, and what is encoded. `length` is that of the whole body, if it is known.
    fn pass_on(
        inner: &mut dyn ResponseWriter,
        body: &mut EncodedBody,
        length: BodyLength,
    ) -> Result<(), ClientGone> {
        if let Some(head) = body.head.take() {
            inner.start(&head, length);
        }
        if body.out.is_empty() {
            return Ok(());
        }
        let out = PreparedBody::Bytes(std::mem::take(&mut body.out));
        send_part(inner, out).map(drop)
    }

    fn on_pushed(&mut self, pushed: Result<Sent, EncoderError>) -> Result<Sent, ClientGone> {
        // The application need not continue: the response is aborted.
        pushed.map_err(|_| {
            self.response = Response::Broken;
            ClientGone
        })
    }

    /// Encodes a range of a file, and sends it as the client takes it.
    fn encode_file(&mut self, file: &File, offset: u64, length: u64) -> Result<Sent, ClientGone> {
        let Response::Encoded(body) = &mut self.response else {
            return Err(ClientGone);
        };
        let (length, sent) = body.count_file(length);
        let (mut at, end) = (offset, offset + length);
        while at < end {
            match body.push_file(file, at, end - at, &self.shared) {
                Ok(count @ 1..) => at += count,
                Ok(0) | Err(_) => {
                    self.response = Response::Broken;
                    return Err(ClientGone);
                }
            }
            if body.out.len() >= FILE_BATCH {
                Self::pass_on(&mut *self.inner, body, BodyLength::Unknown)?;
                self.inner.flush()?;
            }
        }
        Ok(sent)
    }
}

impl ResponseWriter for CompressWriter {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        self.response = Response::Plain;
        let known = match length {
            BodyLength::Known(length) => Some(length),
            BodyLength::Unknown => None,
        };
        let is_encoded = self.shared.rules.encodes(head, known);
        let Some(coding) = self.wanted.coding.filter(|_| is_encoded) else {
            return self.start_plain(head, length);
        };
        let announced = head.content_length().or(known);
        let is_unchanged = head.status() == 200 && self.is_of_encoded(head);
        let mut head = head.clone();
        apply_head(&mut head, coding);
        if is_unchanged {
            // Of a 304 only what describes the response itself is left (RFC 9110 §15.4.5).
            head.remove(b"Content-Encoding");
            head.remove(b"Content-Type");
            // The status and its reason are valid.
            let _set = head.set_status(304, b"Not Modified");
            self.inner.start(&head, BodyLength::Unknown);
        } else if self.wanted.is_head {
            // The length that GET would get is known only after encoding (RFC 9110 §9.3.2).
            self.inner.start(&head, BodyLength::Unknown);
        } else {
            let padding = if self.wanted.needs_jitter {
                jitter::padding()
            } else {
                0
            };
            let body = EncodedBody::new(head, coding, announced, padding);
            self.response = Response::Encoded(Box::new(body));
        }
    }

    fn allows_body(&self) -> bool {
        match self.response {
            Response::Plain => self.inner.allows_body(),
            Response::Encoded(_) | Response::Broken => true,
        }
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        match &mut self.response {
            Response::Plain => self.inner.send_copy(bytes),
            Response::Encoded(body) => {
                let pushed = body.push(bytes, &self.shared);
                self.on_pushed(pushed)
            }
            Response::Broken => Err(ClientGone),
        }
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        match &mut self.response {
            Response::Plain => self.inner.send_shared(bytes),
            Response::Encoded(body) => {
                let pushed = body.push_shared(bytes, &self.shared);
                self.on_pushed(pushed)
            }
            Response::Broken => Err(ClientGone),
        }
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        match &self.response {
            Response::Plain => self.inner.send_file(file, offset, length),
            Response::Encoded(_) => self.encode_file(&file, offset, length),
            Response::Broken => Err(ClientGone),
        }
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        match &mut self.response {
            Response::Plain => {}
            Response::Encoded(body) => {
                if body.flush(&self.shared).is_err() {
                    self.response = Response::Broken;
                    return Err(ClientGone);
                }
                Self::pass_on(&mut *self.inner, body, BodyLength::Unknown)?;
            }
            Response::Broken => return Err(ClientGone),
        }
        self.inner.flush()
    }

    fn is_committed(&self) -> bool {
        self.inner.is_committed()
    }

    fn discard_response(&mut self) {
        self.response = Response::Plain;
        self.inner.discard_response();
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        match std::mem::replace(&mut self.response, Response::Plain) {
            Response::Plain => self.inner.finish(),
            Response::Broken => {
                self.inner.abort();
                Ok(())
            }
            Response::Encoded(body) if body.missing() > 0 => {
                let missing = body.missing();
                self.response = Response::Encoded(body);
                self.abort();
                Err(ShortBody { missing })
            }
            Response::Encoded(mut body) => {
                if body.finish(&self.shared).is_err() {
                    self.inner.abort();
                    return Ok(());
                }
                let length = BodyLength::Known(body.out.len() as u64);
                // The end of the response finds that a client has gone.
                let _sent = Self::pass_on(&mut *self.inner, &mut body, length);
                self.inner.finish()
            }
        }
    }

    fn abort(mut self: Box<Self>) {
        // What was produced so far may still be useful. Without the end of its coding it is not complete either.
        if let Response::Encoded(body) = &mut self.response
            && body.flush(&self.shared).is_ok()
        {
            let _sent = Self::pass_on(&mut *self.inner, body, BodyLength::Unknown);
        }
        self.inner.abort();
    }

    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.inner.answer(answer, now);
    }

    fn respond(self: Box<Self>, response: Prepared, now: Instant) {
        self.respond_encoded(response, now);
    }

    fn drop_request(self: Box<Self>, why: DropReason, now: Instant) {
        self.inner.drop_request(why, now);
    }

    fn subscribe(self: Box<Self>, subscription: Box<Subscription>) {
        self.inner.subscribe(subscription);
    }

    fn take_over(self: Box<Self>) -> Result<OwnedFd, NotTaken> {
        self.inner.take_over()
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self.inner.client()
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ExchangeControl for CompressWriter {
    fn forbid_encoding(&mut self) {
        self.wanted.coding = None;
    }

    fn watch_deadline(&mut self, call_slot: &Arc<CallSlot>) {
        self.inner.control().watch_deadline(call_slot);
    }

    fn hold(&mut self) -> Option<HeldConnection> {
        self.inner.control().hold()
    }

    fn record_queue_time(&mut self, queued: Duration) {
        self.inner.control().record_queue_time(queued);
    }

    fn record_environ(&mut self, values: Vec<(String, String)>) {
        self.inner.control().record_environ(values);
    }

    fn record_user(&mut self, user: &str) {
        self.inner.control().record_user(user);
    }

    fn skip_access_log(&mut self) {
        self.inner.control().skip_access_log();
    }
}
