//! Responses of HTTP/2 that wait for messages: the event loop keeps what is left of their writers.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::http2::StreamId;
use lockgate_http::{BodyLength, ResponseBody};
use lockgate_observe::Outcome;

use super::Http2;
use super::open_response::{OpenResponse, SubscribedStream};
use super::record::{Ended, log};
use super::shared::Shared;
use super::state::{State, encode_head};
use crate::connection::turn::Turn;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::request_id::RequestId;
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscriber::Subscriber;
use crate::exchange::subscription::{Reaction, Subscription};
use crate::protocol::next_page::{Performed, ask_for_page, read_page};

impl Shared {
    pub(super) fn subscriber(&self, stream: StreamId) -> Subscriber {
        Subscriber {
            token: self.token(),
            stream: stream.get(),
        }
    }
}

impl OpenResponse {
    /// Performs a reaction as far as it concerns the response.
    fn react(&mut self, reaction: Reaction<'_>, shared: &Shared) -> Performed {
        match reaction {
            Reaction::Nothing => return Performed::Other,
            Reaction::AskForPage => return Performed::AskForPage,
            Reaction::Send(bytes) => {
                if let Some(body) = &mut self.body {
                    let count = body.frame(bytes.len()).take;
                    (shared.lock()).send_body(self.stream, &bytes[..count], false, None);
                }
                return Performed::Other;
            }
            Reaction::End => {}
            Reaction::Respond(response) => {
                self.respond(&response, shared);
                return Performed::End;
            }
        }
        let ended = self.ended();
        shared.lock().send_body(self.stream, b"", true, Some(ended));
        Performed::End
    }

    fn respond(&mut self, response: &StoredResponse, shared: &Shared) {
        let mut block = Vec::new();
        let length = BodyLength::Known(response.body.len() as u64);
        let mut body = encode_head(
            &mut block,
            &response.head,
            length,
            self.is_head_request,
            shared.is_https,
            self.request_id.as_ref().map(RequestId::as_bytes),
            &shared.context,
        );
        let content = match body.allows_body() {
            true => &response.body[..body.frame(response.body.len()).take],
            false => b"",
        };
        self.body = Some(body);
        self.status = response.head.status();
        if let Some(entry) = &mut self.entry {
            entry.status = self.status;
            entry.response.clone_from(&response.head);
        }
        let ended = self.ended();
        let mut state = shared.lock();
        let State {
            connection, output, ..
        } = &mut *state;
        if !connection.send_head_block(self.stream, &block, content.is_empty(), output) {
            return;
        }
        match content.is_empty() {
            true => state.ended.push(ended),
            false => state.send_body(self.stream, content, true, Some(ended)),
        }
    }

    fn ended(&mut self) -> Ended {
        Ended {
            entry: self.entry.take(),
            status: self.status,
            is_counted: self.is_counted,
            ready_at: None,
            body_bytes: self.body.as_ref().map_or(0, ResponseBody::sent),
        }
    }
}

impl Http2 {
    /// The subscription of a stream, also if the thread that has begun it has just returned it.
    pub(super) fn find_subscription(&mut self, stream: u32) -> Option<&mut Subscription> {
        let mut streams = self.subscribed.iter();
        if !streams.any(|one| one.response.stream.get() == stream) {
            self.subscribed.append(&mut self.shared.lock().subscribed);
        }
        let mut streams = self.subscribed.iter_mut();
        let found = streams.find(|one| one.response.stream.get() == stream)?;
        Some(&mut found.subscription)
    }

    /// Whether the client has taken what this stream was sent.
    pub(super) fn has_room(&self, stream: u32) -> bool {
        let mut streams = self.subscribed.iter();
        let Some(one) = streams.find(|one| one.response.stream.get() == stream) else {
            return false;
        };
        let state = self.shared.lock();
        !state.is_socket_full && state.queued(one.response.stream) == 0
    }

    /// Takes a message for a stream.
    pub(super) fn take_publication(
        &mut self,
        stream: u32,
        publication: &Publication,
        turn: &mut Turn,
    ) -> Delivery {
        let shared = Arc::clone(&self.shared);
        let mut delivery = Delivery::Nothing;
        self.change(stream, turn, |one, turn| {
            let reaction = one.subscription.on_message(publication, turn.now);
            delivery = reaction.delivery();
            one.response.react(reaction, &shared)
        });
        delivery
    }

    /// Takes the next page of a stream.
    pub(super) fn take_page(
        &mut self,
        stream: u32,
        number: u64,
        page: Option<&StoredResponse>,
        turn: &mut Turn,
    ) {
        let shared = Arc::clone(&self.shared);
        self.change(stream, turn, |one, turn| {
            let reaction = read_page(&mut one.subscription, number, page, &shared.context, turn);
            one.response.react(reaction, &shared)
        });
    }

    /// Changes the response of a stream, and does what follows.
    fn change(
        &mut self,
        stream: u32,
        turn: &mut Turn,
        change: impl FnOnce(&mut SubscribedStream, &mut Turn) -> Performed,
    ) {
        let mut streams = self.subscribed.iter();
        let Some(index) = streams.position(|one| one.response.stream.get() == stream) else {
            return;
        };
        let one = &mut self.subscribed[index];
        let performed = change(one, turn);
        let subscriber = self.shared.subscriber(one.response.stream);
        match performed {
            Performed::Other => {}
            Performed::AskForPage => {
                ask_for_page(
                    &mut one.subscription,
                    subscriber,
                    &self.shared.context,
                    turn,
                );
            }
            Performed::End => {
                self.subscribed.swap_remove(index);
                turn.unsubscribed.push(subscriber);
            }
        }
    }

    /// Does what is due now.
    pub(super) fn serve_subscriptions(&mut self, turn: &mut Turn) {
        let streams = self.subscribed.iter();
        let streams: Vec<_> = streams.map(|one| one.response.stream.get()).collect();
        let shared = Arc::clone(&self.shared);
        for stream in streams {
            self.change(stream, turn, |one, turn| {
                let reaction = one.subscription.on_time(turn.now);
                one.response.react(reaction, &shared)
            });
        }
    }

    /// Everything was sent that can be: forgets the streams that have ended, and asks for the records that others wait
    /// for.
    pub(super) fn look_after_subscriptions(&mut self, turn: &mut Turn) {
        let mut index = 0;
        while let Some(one) = self.subscribed.get_mut(index) {
            let stream = one.response.stream;
            let state = self.shared.lock();
            let has_room = !state.is_socket_full && state.queued(stream) == 0;
            let is_open = state.is_open(stream);
            drop(state);
            let subscriber = self.shared.subscriber(stream);
            if is_open {
                if has_room && one.subscription.asks_for_records() {
                    turn.behind.push(subscriber);
                }
                index += 1;
            } else {
                let mut one = self.subscribed.swap_remove(index);
                self.log_lost(&mut one.response, Outcome::ClientGone, turn.now);
                turn.unsubscribed.push(subscriber);
            }
        }
    }

    fn log_lost(&self, response: &mut OpenResponse, outcome: Outcome, now: Instant) {
        let unsent = self.shared.lock().take_unsent(response.stream);
        let body_bytes = response.body.as_ref().map_or(0, ResponseBody::sent);
        log(
            response.entry.take(),
            body_bytes.saturating_sub(unsent),
            outcome,
            &self.shared.peer,
            &self.shared.context,
            now,
        );
    }

    /// The connection ends. The event loop forgets the subscribers of a connection that it closes.
    pub(super) fn lose_subscriptions(&mut self, outcome: Outcome, now: Instant) {
        self.subscribed.append(&mut self.shared.lock().subscribed);
        for mut one in std::mem::take(&mut self.subscribed) {
            self.log_lost(&mut one.response, outcome, now);
        }
    }

    /// When the first subscription has to be looked at.
    pub(super) fn next_of_subscriptions(&self, now: Instant) -> Option<Instant> {
        let subscribed = self.subscribed.iter();
        subscribed.map(|one| one.subscription.next_time(now)).min()
    }

    /// The worker ends.
    pub(super) fn end_subscriptions_by(&mut self, by: Instant) {
        let now = Instant::now();
        for one in &mut self.subscribed {
            let subscriber = self.shared.subscriber(one.response.stream);
            one.subscription.end_by(subscriber, by, now);
            self.link.deadline = self.link.deadline.min(one.subscription.next_time(now));
        }
    }
}
