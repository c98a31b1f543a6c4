//! The writer of a response that may contain an instruction.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{BodyLength, LocalResponse, ResponseHead, ShortBody};
use lockgate_push::{ContentFilter, Filters, HoldMode, Instruction, builds_ids, is_grip_field};
use lockgate_shm::Cursor;

use super::Shared;
use super::collected::Collected;
use crate::exchange::answer::Answer;
use crate::exchange::origin::Origin;
use crate::exchange::prepared::Prepared;
use crate::exchange::stored_response::{StoredResponse, is_media_type};
use crate::exchange::subscription::{Request, Subscription};
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, NotTaken, ResponseWriter, Sent,
};
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

/// The media type of a body that is an instruction.
const INSTRUCT: &[u8] = b"application/grip-instruct";

/// See the module.
pub(super) struct GripWriter {
    inner: Box<dyn ResponseWriter>,
    shared: Arc<Shared>,
    /// The client's request.
    origin: Box<Origin>,
    response: Response,
}

/// What becomes of the response.
enum Response {
    /// It has no instruction.
    Plain,
    /// It has begun, and stays open after what the application sends.
    Stream {
        instruction: Box<Instruction>,
        is_event_stream: bool,
        /// The body is content with the filter `build-id`.
        filter: Option<ContentFilter>,
        /// The end of the log before the client got a part of the response.
        since: Cursor,
    },
    /// It is sent later, or its body is the instruction.
    Collected(Box<Collected>),
    /// The server cannot follow its instruction and has answered instead.
    Replaced,
}

impl GripWriter {
    pub(super) fn new(inner: Box<dyn ResponseWriter>, shared: Arc<Shared>, origin: Origin) -> Self {
        Self {
            inner,
            shared,
            origin: Box::new(origin),
            response: Response::Plain,
        }
    }

    /// Answers with an error instead.
    fn replace(&mut self, problem: &dyn std::fmt::Display) {
        let target = String::from_utf8_lossy(self.origin.head().target());
        self.shared.report(&target, problem, Instant::now());
        let answer = LocalResponse::text(500, "");
        let mut head = ResponseHead::default();
        answer.write_head(&mut head);
        (self.inner).start(&head, BodyLength::Known(answer.body.len() as u64));
        // A client that has gone needs no answer.
        let _sent = self.inner.send_copy(&answer.body);
        self.response = Response::Replaced;
    }

    fn begin(&mut self, head: &ResponseHead, length: BodyLength) {
        let fields = head.headers().filter(|(name, _)| is_grip_field(name));
        let instruction = match Instruction::from_fields(fields, &self.shared.rules.limits) {
            Ok(instruction) => instruction,
            Err(problem) => return self.replace(&problem),
        };
        let is_filtered = builds_ids(head.headers());
        let mut head = head.clone();
        remove_grip_fields(&mut head);
        let is_instruct = is_media_type(head.header("content-type"), INSTRUCT);
        match instruction {
            _ if self.origin.head().method() == b"HEAD" => self.inner.start(&head, length),
            _ if is_instruct => {
                self.response = Response::Collected(Box::new(Collected::instruction(head)));
            }
            None => self.inner.start(&head, length),
            Some(instruction) => self.hold(head, instruction, is_filtered),
        }
    }

    /// Begins a response with an instruction, which `head` no longer has.
    fn hold(&mut self, mut head: ResponseHead, instruction: Instruction, is_filtered: bool) {
        if let Some(status) = instruction.status {
            // The standard reason phrase of the status.
            let reason = LocalResponse::new(status).reason;
            if let Err(problem) = head.set_status(status, reason.as_bytes()) {
                return self.replace(&problem);
            }
        }
        match instruction.mode {
            HoldMode::Stream => {
                head.remove(b"Content-Length");
                self.inner.control().forbid_encoding();
                let since = self.shared.rules.log.head();
                self.inner.start(&head, BodyLength::Unknown);
                self.response = Response::Stream {
                    is_event_stream: is_media_type(
                        head.header("content-type"),
                        b"text/event-stream",
                    ),
                    instruction: Box::new(instruction),
                    filter: is_filtered.then(ContentFilter::default),
                    since,
                };
            }
            HoldMode::Response => {
                let collected = Collected::response(head, instruction);
                self.response = Response::Collected(Box::new(collected));
            }
        }
    }

    fn subscribe(self, instruction: Instruction, request: Request<'_>) {
        let id = self
            .origin
            .head()
            .header("last-event-id")
            .map(<[u8]>::to_vec);
        let id = id.and_then(|id| String::from_utf8(id).ok());
        let request = Request {
            origin: instruction.next.is_some().then_some(self.origin),
            last_event_id: id.as_deref(),
            ..request
        };
        let now = Instant::now();
        let subscription = Subscription::new(instruction, request, self.shared.rules, now);
        self.inner.subscribe(Box::new(subscription));
    }

    /// The application has sent all of a response that was collected.
    fn finish_collected(mut self, collected: Collected) -> Result<(), ShortBody> {
        match collected.finish(&self.shared.rules.limits) {
            Err(problem) => {
                self.replace(&problem);
                self.inner.finish()
            }
            Ok((instruction, response)) if instruction.mode == HoldMode::Response => {
                let request = Request {
                    otherwise: Some(response),
                    ..Request::default()
                };
                self.subscribe(instruction, request);
                Ok(())
            }
            Ok((instruction, response)) => {
                let StoredResponse { head, body } = response;
                let channels = &instruction.channels;
                let is_filtered = channels
                    .iter()
                    .any(|one| one.filters.contains(Filters::BUILD_ID));
                self.hold(head, instruction, is_filtered);
                let _sent = self.send_copy(&body);
                self.finish_stream()
            }
        }
    }

    /// Sends a part of a file in another form.
    fn send_filtered(&mut self, file: &File, offset: u64, length: u64) -> Result<Sent, ClientGone> {
        let mut piece = vec![0; 64 << 10];
        let (mut at, end) = (offset, offset + length);
        let mut sent = Sent::default();
        while at < end {
            let wanted = (end - at).min(piece.len() as u64) as usize;
            match file.read_at(&mut piece[..wanted], at) {
                Ok(count @ 1..) => {
                    at += count as u64;
                    sent = self.send_copy(&piece[..count])?;
                }
                // As with a file that is shorter than it was.
                Ok(0) | Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn finish_stream(mut self) -> Result<(), ShortBody> {
        match std::mem::replace(&mut self.response, Response::Plain) {
            Response::Stream {
                instruction,
                is_event_stream,
                filter,
                since,
            } if self.inner.allows_body() => {
                if let Some(mut filter) = filter {
                    let _sent = self.inner.send_copy(filter.finish());
                }
                let request = Request {
                    is_event_stream,
                    since: Some(since),
                    ..Request::default()
                };
                self.subscribe(*instruction, request);
                Ok(())
            }
            // Of a 204 or 304 nothing can follow.
            _ => self.inner.finish(),
        }
    }

    /// Keeps a piece of a response that is collected, or sends it in another form. `None`: it is sent as it is.
    fn collect(&mut self, bytes: &[u8]) -> Option<Result<Sent, ClientGone>> {
        let limit = self.shared.response_limit;
        match &mut self.response {
            Response::Stream {
                filter: Some(filter),
                ..
            } => {
                let filtered = filter.filter(bytes);
                Some(self.inner.send_copy(&filtered))
            }
            Response::Plain | Response::Stream { .. } => None,
            Response::Replaced => Some(Ok(Sent::default())),
            Response::Collected(collected) => {
                if let Err(problem) = collected.push(bytes, limit) {
                    self.replace(&problem);
                }
                Some(Ok(Sent::default()))
            }
        }
    }
}

fn remove_grip_fields(head: &mut ResponseHead) {
    loop {
        let mut fields = head.headers();
        let Some((name, _)) = fields.find(|(name, _)| is_grip_field(name)) else {
            return;
        };
        let name = name.to_vec();
        drop(fields);
        head.remove(&name);
    }
}

impl ResponseWriter for GripWriter {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        let is_plain = !head.headers().any(|(name, _)| is_grip_field(name));
        self.response = Response::Plain;
        if is_plain && !is_media_type(head.header("content-type"), INSTRUCT) {
            self.inner.start(head, length);
        } else {
            self.begin(head, length);
        }
    }

    fn allows_body(&self) -> bool {
        match self.response {
            Response::Plain | Response::Stream { .. } => self.inner.allows_body(),
            Response::Collected(_) | Response::Replaced => true,
        }
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        match self.collect(bytes) {
            Some(outcome) => outcome,
            None => self.inner.send_copy(bytes),
        }
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        match self.collect(bytes.bytes()) {
            Some(outcome) => outcome,
            None => self.inner.send_shared(bytes),
        }
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        match self.response {
            Response::Stream {
                filter: Some(_), ..
            } => self.send_filtered(&file, offset, length),
            Response::Plain | Response::Stream { .. } => self.inner.send_file(file, offset, length),
            Response::Replaced => Ok(Sent::default()),
            Response::Collected(_) => {
                self.replace(&"its body is a file, which only a stream can have");
                Ok(Sent::default())
            }
        }
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        match self.response {
            Response::Collected(_) => Ok(()),
            _ => self.inner.flush(),
        }
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
            Response::Plain | Response::Replaced => self.inner.finish(),
            Response::Collected(collected) => self.finish_collected(*collected),
            stream @ Response::Stream { .. } => {
                self.response = stream;
                self.finish_stream()
            }
        }
    }

    fn abort(self: Box<Self>) {
        self.inner.abort();
    }

    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.inner.answer(answer, now);
    }

    fn respond(self: Box<Self>, response: Prepared, now: Instant) {
        self.inner.respond(response, now);
    }

    fn drop_request(self: Box<Self>, why: DropReason, now: Instant) {
        self.inner.drop_request(why, now);
    }

    fn take_over(self: Box<Self>) -> Result<OwnedFd, NotTaken> {
        self.inner.take_over()
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self.inner.client()
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self.inner.control()
    }
}
