//! The request reader of a connection: what has been received and is not with the application. It collects the bodies
//! that are not streamed.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use lockgate_http::http2::{ErrorCode, StreamId};
use lockgate_http::{Framing, Refusal, RequestHead};
use lockgate_observe::{Loss, Outcome};

use super::body_source::BodyReceiver;
use super::record::{Ended, count_loss, log, logged};
use super::shared::Shared;
use super::state::State;
use super::writer::StreamWriter;
use crate::client::Local;
use crate::exchange::Exchange;
use crate::exchange::body::spool::{NotStored, Spool};
use crate::exchange::body::stream::{BodyError, BodyStream, SharedBody};
use crate::exchange::client_identity::ClientIdentity;
use crate::exchange::request::{Body, Request};
use crate::log::access_log::Entry;
use crate::protocol::intake::{
    Rejection, admit, entry_of, identify, read_request_start, streams_body_of, warn_of_refusal,
};

/// Smaller parts of a body on disk are written together with what follows them in the same read.
const WRITTEN_AT_ONCE: usize = 4096;

/// The heads of the requests whose bodies are being received may be as long as this many of the longest. A field of the
/// dynamic table costs a client a byte, so that the heads of all streams could take a thousand times what it sends.
const LONGEST_HEADS: usize = 8;

/// What has been received and is not with the application.
pub(super) struct RequestReader {
    /// The beginning of a frame, or what was left when the output was full.
    pub(super) unread: Vec<u8>,
    /// The output was full before all frames were taken.
    pub(super) is_paused: bool,
    pub(super) receiving: Vec<Receiving>,
    identity: ClientIdentity,
    /// Number of requests so far.
    pub(super) served: u64,
    /// When the head began that is being received.
    pub(super) head_began: Option<Instant>,
}

/// A request whose body is being collected.
pub(super) struct Receiving {
    pub(super) stream: StreamId,
    pub(super) request: Box<Request>,
    spool: Spool,
    /// Received, and not written to the spool's file.
    small: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) entry: Option<Box<Entry>>,
}

/// What a connection tells its requests.
pub(super) struct Surroundings<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) local: &'a Arc<Local>,
    pub(super) is_encrypted: bool,
    pub(super) arrived_at: Instant,
    pub(super) ready_nanos: u64,
    pub(super) now: Instant,
}

impl RequestReader {
    pub(super) fn new(identity: ClientIdentity, unread: Vec<u8>) -> Self {
        Self {
            is_paused: !unread.is_empty(),
            unread,
            receiving: Vec::new(),
            identity,
            served: 0,
            head_began: None,
        }
    }

    /// Whether the beginning of a frame was received.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes the request of a head. It is complete, or its body is read by the application, or its body follows.
    pub(super) fn take_request(
        &mut self,
        mut request: Box<Request>,
        stream: StreamId,
        is_last: bool,
        here: &Surroundings<'_>,
        state: &mut State,
    ) -> Option<Exchange> {
        self.served += 1;
        let context = &here.shared.context;
        request.has_body = !matches!(request.head.framing(), Framing::None);
        request.is_https = here.is_encrypted;
        request.tls.clone_from(&here.shared.tls);
        let peer = &here.shared.peer;
        if request.head.may_have_forwarding_headers() || context.proxies.examines_all_heads() {
            if let Err(refusal) = identify(&mut self.identity, &mut request, peer, context) {
                self.refuse(
                    stream,
                    refusal.into(),
                    &request,
                    None,
                    Outcome::Refused,
                    here,
                    state,
                );
                return None;
            }
            read_request_start(&mut self.identity, &mut request, peer, context);
        } else {
            request.set_client(peer);
        }
        if !Arc::ptr_eq(&request.local, here.local) {
            request.local = Arc::clone(here.local);
        }
        admit(&mut self.identity, &mut request, peer, context, here.now);
        let rejection =
            Rejection::take(&mut request).or_else(|| state.limit_body(stream, &request, context));
        if let Some(rejection) = rejection {
            let entry = entry_of(&request, context, here.now);
            let outcome = rejection.outcome();
            self.refuse(stream, rejection, &request, entry, outcome, here, state);
            return None;
        }
        let is_streamed = !is_last && streams_body_of(&request.head, &context.config);
        if !is_last && !is_streamed && !self.has_room_for(&request, context.limits.head) {
            // The client may send it again.
            state.reset(stream, ErrorCode::REFUSED_STREAM);
            context.report_refusal(peer, "the heads of too many requests wait for their bodies");
            return None;
        }
        let entry = entry_of(&request, context, here.now);
        if is_last {
            return Some(exchange(request, stream, entry, here, state));
        }
        let expects_continue = request.head.expects_continue();
        if is_streamed {
            let receiver =
                BodyReceiver::new(Arc::clone(here.shared), stream, expects_continue, here.now);
            let body = Arc::new(SharedBody::new(receiver));
            let length = request.head.framing().length();
            request.body = Body::Stream(BodyStream::new(Arc::clone(&body), length));
            state.add_incoming(stream);
            return Some(exchange_with(
                request,
                stream,
                entry,
                Some(body),
                here,
                state,
            ));
        }
        if expects_continue {
            let State {
                connection, output, ..
            } = state;
            // 100 without fields is valid.
            let _sent = connection.send_interim(stream, 100, [], output);
        }
        let spool = match request.head.framing() {
            Framing::Length(length) => Spool::with_length(&context.bodies, length),
            _ => Spool::Empty,
        };
        self.receiving.push(Receiving {
            stream,
            request,
            spool,
            small: Vec::new(),
            deadline: context.body_rate().begin(here.now),
            entry,
        });
        None
    }

    /// Whether the head may wait for its body.
    fn has_room_for(&self, request: &Request, longest: usize) -> bool {
        let waiting = self
            .receiving
            .iter()
            .map(|one| one.request.head.head_bytes().len());
        let length = waiting.sum::<usize>() + request.head.head_bytes().len();
        length <= longest.saturating_mul(LONGEST_HEADS)
    }

    /// Answers a request that does not go to the application.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is needed once, in a cold path"
    )]
    #[cold]
    pub(super) fn refuse(
        &mut self,
        stream: StreamId,
        rejection: Rejection,
        request: &Request,
        entry: Option<Box<Entry>>,
        outcome: Outcome,
        here: &Surroundings<'_>,
        state: &mut State,
    ) {
        let context = &here.shared.context;
        let head = &request.head;
        let (status, detail) = (rejection.status(), rejection.detail());
        self.report(&rejection, &detail, head, here);
        let mut response = rejection.response();
        if !matches!(rejection, Rejection::ByRule(_))
            && let Some(rules) = request
                .admitted
                .response_rules
                .clone()
                .or_else(|| context.server_rules())
        {
            response = rules.applied(&response.into());
        }
        let admitted_id = request.admitted.request_id.clone();
        let request_id = admitted_id.or_else(|| context.new_request_id());
        if let Some(id) = &request_id {
            response = id.added_to(response);
        }
        let is_head_request = head.method() == b"HEAD";
        let ended = (context.metrics.counted().is_some()).then_some(Ended {
            entry: None,
            status,
            ready_at: None,
            body_bytes: 0,
            is_counted: false,
        });
        let sent = state.respond(stream, &response, is_head_request, context, ended);
        state.end_request_body(stream);
        let mut entry = logged(entry, &rejection, head, context, here.now);
        if let Some(entry) = &mut entry {
            entry.request_id = request_id;
        }
        log(
            entry,
            sent.unwrap_or(0),
            outcome,
            &here.shared.peer,
            context,
            here.now,
        );
    }

    fn report(
        &mut self,
        rejection: &Rejection,
        detail: &str,
        head: &RequestHead,
        here: &Surroundings<'_>,
    ) {
        let context = &here.shared.context;
        let peer = &here.shared.peer;
        if let Rejection::OfPeer(refusal) = rejection {
            warn_of_refusal(*refusal, head, &mut self.identity, peer, context, here.now);
        }
        if rejection.is_of_peer() {
            context.report_refusal(peer, detail);
        }
    }

    /// Takes the request with this stream out of those whose bodies are being received.
    pub(super) fn take_receiving(&mut self, stream: StreamId) -> Option<Receiving> {
        let index = self.position(stream)?;
        Some(self.receiving.swap_remove(index))
    }

    fn position(&self, stream: StreamId) -> Option<usize> {
        self.receiving.iter().position(|one| one.stream == stream)
    }
}

fn exchange(
    request: Box<Request>,
    stream: StreamId,
    entry: Option<Box<Entry>>,
    here: &Surroundings<'_>,
    state: &mut State,
) -> Exchange {
    exchange_with(request, stream, entry, None, here, state)
}

fn exchange_with(
    mut request: Box<Request>,
    stream: StreamId,
    entry: Option<Box<Entry>>,
    body: Option<Arc<SharedBody<BodyReceiver>>>,
    here: &Surroundings<'_>,
    state: &mut State,
) -> Exchange {
    state.running += 1;
    let is_head_request = request.head.method() == b"HEAD";
    let shared = Arc::clone(here.shared);
    let mut writer = StreamWriter::new(shared, stream, is_head_request, entry, here.ready_nanos);
    if let Some(body) = body {
        writer.set_request_body(body);
    }
    writer.set_admitted(&mut request.admitted);
    Exchange::new(request, Box::new(writer), here.arrived_at, here.ready_nanos)
}

impl RequestReader {
    /// Stores a part of a body. Writing to a file takes time, so the lock is released meanwhile.
    #[expect(clippy::too_many_arguments, reason = "the parts of one event")]
    pub(super) fn take_data<'s>(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        flow: u32,
        is_last: bool,
        here: &Surroundings<'s>,
        mut state: MutexGuard<'s, State>,
        batch: &mut Vec<Exchange>,
    ) -> MutexGuard<'s, State> {
        let flow = flow as usize;
        let Some(index) = self.position(stream) else {
            let is_kept = state.receive_for_application(stream, bytes, is_last);
            // What is kept is given back when the application reads it.
            state.release(stream, if is_kept { flow - bytes.len() } else { flow });
            here.shared.wake(&state);
            return state;
        };
        drop(state);
        let bodies = &here.shared.context.bodies;
        let one = &mut self.receiving[index];
        one.deadline =
            (here.shared.context.body_rate()).extend(one.deadline, flow as u64, here.now);
        let mut stored = Ok(());
        if one.spool.is_on_disk() && one.small.len() + bytes.len() < WRITTEN_AT_ONCE {
            one.small.extend_from_slice(bytes);
        } else {
            stored = (one.write_small(here)).and_then(|()| one.spool.append(bytes, bodies));
        }
        let complete = match (stored, is_last) {
            (Ok(()), false) => None,
            (Ok(()), true) => {
                let mut one = self.receiving.swap_remove(index);
                let stored = one.write_small(here);
                let spool = std::mem::take(&mut one.spool);
                Some((one, stored.and_then(|()| spool.finish())))
            }
            (Err(reason), _) => Some((self.receiving.swap_remove(index), Err(reason))),
        };
        let mut state = here.shared.lock();
        state.release(stream, flow);
        match complete {
            None => {}
            Some((one, Ok(spool))) => {
                let mut request = one.request;
                request.body = Body::from(spool);
                batch.push(exchange(request, stream, one.entry, here, &mut state));
            }
            Some((one, Err(reason))) => {
                here.shared.context.report_spool_failure(&reason, here.now);
                let rejection = Rejection::of_body(&reason);
                self.refuse(
                    stream,
                    rejection,
                    &one.request,
                    one.entry,
                    Outcome::Refused,
                    here,
                    &mut state,
                );
            }
        }
        state
    }

    /// Writes the small parts of bodies on disk. Returns whether one of them could not be stored.
    pub(super) fn write_small(&mut self, here: &Surroundings<'_>) -> bool {
        let mut has_failed = false;
        let mut index = 0;
        while index < self.receiving.len() {
            match self.receiving[index].write_small(here) {
                Ok(()) => index += 1,
                Err(reason) => {
                    let one = self.receiving.swap_remove(index);
                    here.shared.context.report_spool_failure(&reason, here.now);
                    let rejection = Rejection::of_body(&reason);
                    let mut state = here.shared.lock();
                    self.refuse(
                        one.stream,
                        rejection,
                        &one.request,
                        one.entry,
                        Outcome::Refused,
                        here,
                        &mut state,
                    );
                    has_failed = true;
                }
            }
        }
        has_failed
    }

    /// The engine has reset a stream because of a malformed message.
    #[cold]
    pub(super) fn take_malformed(
        &mut self,
        stream: StreamId,
        refusal: Refusal,
        head: &RequestHead,
        here: &Surroundings<'_>,
        state: &mut State,
    ) {
        let rejection = Rejection::OfPeer(refusal);
        let one = self.take_receiving(stream);
        let context = &here.shared.context;
        let head = one.as_ref().map_or(head, |one| &one.request.head);
        self.report(&rejection, &rejection.detail(), head, here);
        if one.is_some() {
            count_loss(Some(0), Loss::ClientGone, context);
            state.connection.abandoned_request_ended();
        } else if state.has_incoming(stream) || state.has_outgoing(stream) {
            return end_on_writer(stream, BodyError::Refused(refusal), here, state);
        }
        let head = head.clone();
        let entry = one.and_then(|one| one.entry);
        let entry = logged(entry, &rejection, &head, context, here.now);
        log(
            entry,
            0,
            Outcome::Refused,
            &here.shared.peer,
            context,
            here.now,
        );
    }

    /// The client, or the engine, has reset a stream.
    #[cold]
    pub(super) fn take_reset(
        &mut self,
        stream: StreamId,
        here: &Surroundings<'_>,
        state: &mut State,
    ) {
        let context = &here.shared.context;
        let peer = &here.shared.peer;
        if let Some(one) = self.take_receiving(stream) {
            count_loss(Some(0), Loss::ClientGone, context);
            log(one.entry, 0, Outcome::ClientGone, peer, context, here.now);
            state.connection.abandoned_request_ended();
            return;
        }
        end_on_writer(stream, BodyError::Truncated, here, state);
    }
}

/// A stream is over whose request has been passed on, or answered. `error`: why no more of its body comes.
#[cold]
fn end_on_writer(stream: StreamId, error: BodyError, here: &Surroundings<'_>, state: &mut State) {
    if let Some((is_complete, ended)) = state.remove_outgoing(stream) {
        let (peer, context) = (&here.shared.peer, &here.shared.context);
        let (outcome, loss) = (Outcome::ClientGone, Loss::ClientGone);
        if let Some(ended) = ended {
            ended.record_lost(outcome, loss, peer, context, here.now);
        }
        if is_complete {
            state.connection.abandoned_request_ended();
            return;
        }
    }
    state.abandoned.push(stream);
    state.fail_incoming(stream, error);
    here.shared.wake(state);
    here.shared.report_abandoned();
}

impl Receiving {
    fn write_small(&mut self, here: &Surroundings<'_>) -> Result<(), NotStored> {
        if self.small.is_empty() {
            return Ok(());
        }
        let small = std::mem::take(&mut self.small);
        self.spool.append(&small, &here.shared.context.bodies)
    }
}
