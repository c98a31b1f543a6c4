//! The head of a request, and the PROXY header before it: whose it is, what was decided about it, and how its body is
//! received.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{CONTINUE, Framing, Refusal, RequestParser};
use lockgate_observe::Outcome;

use super::body_source::BodyReceiver;
use super::{Http1, Next};
use crate::exchange::body::spool::Spool;
use crate::exchange::body::stream::{BodyStream, SharedBody};
use crate::exchange::client_identity::ProxyHeaderRead;
use crate::exchange::request::{Body, Request};
use crate::protocol::intake::{admit, entry_of, identify, read_request_start, streams_body_of};
use crate::protocol::uwsgi;

impl Http1 {
    /// Identifies the client, decides about the request, and prepares what receives its body.
    pub(super) fn take_head(
        &mut self,
        request: &mut Request,
        is_input_used: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        request.set_transport(&*self.link.transport, self.context.uses_tls_info);
        let head = &request.head;
        self.response.is_head_request = head.method() == b"HEAD";
        self.response.is_http10 = head.version() == lockgate_http::Version::Http10;
        self.response.client_keeps_alive = head.keep_alive();
        self.response.closes = false;
        self.reader.has_begun_head = false;
        request.has_body = !matches!(head.framing(), Framing::None);
        if head.may_have_forwarding_headers() || self.context.proxies.examines_all_heads() {
            self.identify_client(request)?;
            let (identity, peer) = (&mut self.reader.identity, &self.link.client);
            read_request_start(identity, request, peer, &self.context);
        } else {
            request.set_client(&self.link.client);
        }
        if !Arc::ptr_eq(&request.local, &self.link.local) {
            request.local = Arc::clone(&self.link.local);
        }
        if self.context.admission.is_some() || self.context.bulkheads.is_some() {
            self.admit(request, now)?;
        }
        let head = &request.head;
        if let Some(entry) = entry_of(request, &self.context, now) {
            self.response.entry = Some(entry);
        }
        if streams_body_of(&request.head, &self.context.config) {
            return Ok(());
        }
        if let Framing::Length(length) = head.framing() {
            self.reader.spool = Spool::with_length(&self.context.bodies, length);
        }
        if request.has_body {
            self.link.deadline = self.context.body_rate().begin(now);
            // The head is within the limits and the body is about to be buffered: request it, unless it has arrived.
            let is_refused = request.admitted.refusal.is_some();
            if head.expects_continue() && is_input_used && !is_refused {
                self.link.out.append(CONTINUE);
            }
        }
        Ok(())
    }

    /// Decides what follows from the head, and takes over what concerns the response.
    #[inline(never)]
    fn admit(&mut self, request: &mut Request, now: Instant) -> Result<(), Refusal> {
        let (identity, peer) = (&mut self.reader.identity, &self.link.client);
        admit(identity, request, peer, &self.context, now);
        self.response.rules = request.admitted.response_rules.take();
        (self.response.request_id).clone_from(&request.admitted.request_id);
        if request.admitted.refusal.is_none()
            && let Some(limits) = self.context.route_limits()
        {
            let limit = limits.of_request(request).max_body;
            self.reader.parser.limit_body(limit)?;
        }
        Ok(())
    }

    #[cold]
    fn identify_client(&mut self, request: &mut Request) -> Result<(), Refusal> {
        if let Some(packet) = self.reader.parser.take_packet() {
            self.response.begin_uwsgi();
            let (identity, context) = (&mut self.reader.identity, &self.context);
            return uwsgi::take_packet(packet, request, &mut self.link, identity, context);
        }
        identify(
            &mut self.reader.identity,
            request,
            &self.link.client,
            &self.context,
        )
    }

    /// Hands the receiving half of the connection to the application; `rest` is the input after the head.
    pub(super) fn stream_body(&mut self, request: &mut Request, rest: &[u8], now: Instant) {
        let context = &self.context;
        let parser = RequestParser::new(Arc::clone(&context.limits));
        let mut receiver = BodyReceiver::new(
            std::mem::replace(&mut self.reader.parser, parser),
            rest.to_vec(),
            self.link.transport.share(),
            Arc::clone(&context.pool),
            context.body_rate(),
            now,
        );
        if request.head.expects_continue() {
            receiver.expect_continue();
        }
        let length = request.head.framing().length();
        let body = Arc::new(SharedBody::new(receiver));
        request.body = Body::Stream(BodyStream::new(Arc::clone(&body), length));
        self.reader.stream = Some(body);
    }

    /// Takes the PROXY header from the first bytes of the connection. Returns the input after it, or what to do when
    /// the header is incomplete or invalid.
    #[cold]
    pub(super) fn take_proxy_header<'i>(
        &mut self,
        input: &'i [u8],
        now: Instant,
    ) -> Result<&'i [u8], Option<Next>> {
        let identity = &mut self.reader.identity;
        match identity.read_proxy_header(input, &mut self.link.client, &self.context.proxies) {
            ProxyHeaderRead::Complete(rest) => Ok(rest),
            ProxyHeaderRead::Incomplete => Err(None),
            ProxyHeaderRead::Refused {
                refusal,
                reason,
                is_readable,
            } => {
                let client = &self.link.client;
                (self.context).report_refused_connection(refusal, &reason, client, now);
                if is_readable {
                    Err(Some(self.refuse(refusal.into(), Outcome::Refused, now)))
                } else {
                    Err(Some(Next::Close))
                }
            }
        }
    }
}
