//! A handshake of HTTP/1.1 for a WebSocket that the server holds: the connection waits for the application's answer.

use std::sync::Arc;
use std::time::Duration;

use lockgate_http::websocket::Acceptance;
use lockgate_push::InstructionLimits;

use super::{Http1, Next, Phase};
use crate::connection::turn::Turn;
use crate::connection::{Driven, Protocol};
use crate::exchange::request::Request;
use crate::exchange::subscribed_channels::{Rules, SubscribedChannels};
use crate::exchange::subscriber::Subscriber;
use crate::exchange::websocket_session::answer::is_held_websocket;
use crate::exchange::websocket_session::{Session, SessionRules};
use crate::protocol::held_websocket::{
    Application, HeldWebSocket, Opening, OpeningOutcome, grip_of, outcome_of, switching_head,
};
use crate::protocol::tunnel::TunnelResponse;

/// The application's own deadline bounds the time; the timer's entry is renewed this often.
const LOOK_EVERY: Duration = Duration::from_secs(600);

impl Http1 {
    /// Whether the request opens a WebSocket that the server holds, and how it is accepted.
    #[cold]
    pub(super) fn opens_websocket(&self, request: &Request) -> Option<Acceptance> {
        let may_open =
            is_held_websocket(&request.head, &self.context.config.push.websocket_over_http)
                && !self.link.local.is_uwsgi
                && request.admitted.refusal.is_none();
        may_open
            .then(|| Acceptance::of(&request.head).ok())
            .flatten()
    }

    /// Asks the application whether it accepts a WebSocket.
    #[cold]
    pub(super) fn open_websocket(
        mut self: Box<Self>,
        mut request: Box<Request>,
        acceptance: Acceptance,
        turn: &mut Turn,
    ) -> Driven {
        let subscriber = Subscriber {
            token: self.link.slot.token(),
            stream: 0,
        };
        let mut application = Application::of(&request, subscriber);
        request.clear();
        turn.keep_request(request);
        let asked = application.ask(b"OPEN\r\n", std::iter::empty(), &self.context, turn);
        let answer = asked.is_err().then_some(None);
        self.opening = Some(Box::new(Opening {
            acceptance,
            application,
            answer,
        }));
        self.phase = Phase::Opening;
        self.drive(turn)
    }

    /// Waits for the application's answer, and follows it.
    pub(super) fn wait_for_acceptance(&mut self, turn: &mut Turn) -> Next {
        let Some(opening) = &mut self.opening else {
            return Next::Close;
        };
        let Some(answer) = opening.answer.take() else {
            self.link.deadline = turn.now + LOOK_EVERY;
            return Next::Wait;
        };
        match outcome_of(answer, self.context.config.push.message_limit) {
            OpeningOutcome::Accepted(response) => {
                opening.answer = Some(Some(response));
                return Next::SpeakWebSocket;
            }
            OpeningOutcome::Refused(response) => {
                self.queue_stored(&response);
                self.complete_response();
            }
            OpeningOutcome::Failed(answer, problem) => {
                if let Some(problem) = problem {
                    let target = opening.application.target();
                    self.context.report_bad_answer(&target, &problem, turn.now);
                }
                self.queue_answer(&answer, turn.now);
            }
        }
        self.opening = None;
        Next::Flush
    }

    /// The application has accepted.
    #[cold]
    pub(super) fn speak_websocket(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        let now = turn.now;
        let (Some(opening), Some(log)) = (self.opening.take(), self.context.broadcast) else {
            return Driven::Closed(self.link.slot.token());
        };
        let Opening {
            acceptance,
            application,
            answer,
        } = *opening;
        let response = answer.flatten().unwrap_or_default();
        let unread = self.reader.take_unread();
        let mut entry = self.response.entry.take();
        if let Some(entry) = &mut entry {
            entry.response.clone_from(&response.head);
        }
        let accepted = TunnelResponse::switched(entry, self.response.ready_at.take());
        let (mut link, context) = (self.link, self.context);
        link.out.append(&switching_head(&acceptance, &response));
        let rules = Rules {
            log,
            limits: InstructionLimits {
                channels: context.config.push.channels,
            },
        };
        let channels = SubscribedChannels::new(&[], None, None, rules);
        let rules = SessionRules {
            message_limit: context.config.push.message_limit,
            rate: context.body_rate(),
        };
        let session = Session::new(channels, grip_of(&response), rules, now);
        let mut websocket = Box::new(HeldWebSocket::new(
            link,
            Arc::clone(&context),
            session,
            application,
            accepted,
            now,
        ));
        websocket.take_response(Some(&response), now);
        websocket.take_input(&unread, now);
        websocket.drive(turn)
    }
}
