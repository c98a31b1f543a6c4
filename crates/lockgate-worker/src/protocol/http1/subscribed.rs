//! A response of HTTP/1 that waits for messages: the connection stays with the event loop, and no thread with it.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::BodyLength;

use super::{Http1, Next, Phase};
use crate::connection::inbox::{Returned, StopMode};
use crate::connection::turn::Turn;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscriber::Subscriber;
use crate::exchange::subscription::{Reaction, Subscription};
use crate::exchange::writer::ResponseWriter;
use crate::protocol::next_page::{Performed, ask_for_page, read_page};

impl Http1 {
    /// The application has finished with the response, which stays open. Called by the thread that runs the request.
    pub(super) fn begin_subscription(mut self: Box<Self>, subscription: Box<Subscription>) {
        if let Some(ending) = self.release_call_slot() {
            return self.close_after_deadline(ending);
        }
        self.end_body_stream();
        self.end_corked();
        self.phase = Phase::Subscribed;
        self.subscription = Some(subscription);
        if self.response.body.is_some() {
            // Its duration is that of the call; how long it stays open is in the access log.
            self.count_response_among_others(Instant::now());
            self.response.is_counted = true;
        }
        // The time that a client waits for a message is not the duration of a request.
        self.response.ready_at = None;
        let (subscriber, inbox) = (self.subscriber(), Arc::clone(&self.context.inbox));
        inbox.push(Returned::Connection(self), false);
        inbox.push(Returned::Subscribed(subscriber), true);
    }

    fn subscriber(&self) -> Subscriber {
        Subscriber {
            token: self.link.slot.token(),
            stream: 0,
        }
    }

    /// Nothing is queued: what is due now, and when to look again.
    pub(super) fn wait_for_messages(&mut self, turn: &mut Turn) -> Next {
        // A client that has closed its sending side has closed its socket, as a rule: TCP signals both in the same way
        // until something is sent, which may be hours from now (docs/decisions/0010).
        if self.link.is_over() || self.link.read_closing {
            return self.lose(turn.now);
        }
        let now = turn.now;
        if let Some(mut subscription) = self.subscription.take() {
            let reaction = subscription.on_time(now);
            let is_due = !matches!(reaction, Reaction::Nothing | Reaction::AskForPage);
            let performed = self.react(reaction, turn);
            self.keep_subscription(subscription, performed, turn);
            if is_due {
                return Next::Flush;
            }
        }
        let subscriber = self.subscriber();
        if let Some(subscription) = &mut self.subscription {
            if subscription.asks_for_records() {
                turn.behind.push(subscriber);
            }
            self.link.deadline = subscription.next_time(now);
        }
        Next::Wait
    }

    /// Takes a message.
    pub(super) fn take_publication(
        &mut self,
        publication: &Publication,
        turn: &mut Turn,
    ) -> Delivery {
        let Some(mut subscription) = self.subscription.take() else {
            return Delivery::Nothing;
        };
        let reaction = subscription.on_message(publication, turn.now);
        let delivery = reaction.delivery();
        let performed = self.react(reaction, turn);
        self.keep_subscription(subscription, performed, turn);
        delivery
    }

    /// Takes the next page.
    pub(super) fn take_page(
        &mut self,
        number: u64,
        page: Option<&StoredResponse>,
        turn: &mut Turn,
    ) {
        let Some(mut subscription) = self.subscription.take() else {
            return;
        };
        let reaction = read_page(&mut subscription, number, page, &self.context, turn);
        let performed = self.react(reaction, turn);
        self.keep_subscription(subscription, performed, turn);
    }

    fn keep_subscription(
        &mut self,
        mut subscription: Box<Subscription>,
        performed: Performed,
        turn: &mut Turn,
    ) {
        match performed {
            Performed::End => return turn.unsubscribed.push(self.subscriber()),
            Performed::AskForPage => {
                ask_for_page(&mut subscription, self.subscriber(), &self.context, turn);
            }
            Performed::Other => {}
        }
        self.subscription = Some(subscription);
    }

    /// Performs a reaction as far as it concerns the response.
    fn react(&mut self, reaction: Reaction<'_>, turn: &mut Turn) -> Performed {
        match reaction {
            Reaction::Nothing => return Performed::Other,
            Reaction::AskForPage => return Performed::AskForPage,
            Reaction::Send(bytes) => {
                if let Some(output) = turn.spare_output() {
                    self.link.out.give_spare(output);
                }
                // A client that has gone is noticed when this is sent.
                let _sent = self.send_copy(&bytes);
                return Performed::Other;
            }
            Reaction::End => {}
            Reaction::Respond(response) => self.queue_stored(&response),
        }
        self.complete_response();
        Performed::End
    }

    pub(super) fn queue_stored(&mut self, response: &StoredResponse) {
        self.start(
            &response.head,
            BodyLength::Known(response.body.len() as u64),
        );
        if self.allows_body() {
            let _sent = self.send_copy(&response.body);
        }
    }

    pub(super) fn complete_response(&mut self) {
        self.phase = Phase::Writing;
        if self.context.inbox.stop_mode() != StopMode::Serve {
            self.response.closes = true;
        }
        if let Some(body) = &mut self.response.body
            && let Ok(last) = body.finish()
        {
            self.response.closes |= !body.keep_alive();
            self.link.out.append(last);
        }
    }

    /// The worker ends.
    pub(super) fn end_subscription_by(&mut self, by: Instant) {
        let (subscriber, now) = (self.subscriber(), Instant::now());
        if let Some(subscription) = &mut self.subscription {
            subscription.end_by(subscriber, by, now);
            self.link.deadline = self.link.deadline.min(subscription.next_time(now));
        }
    }
}
