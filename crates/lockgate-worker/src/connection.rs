//! Connections as the event loop and the thread pool see them: the seam between event loop and protocol, what every
//! connection has, and where it is kept while it waits.
//!
//! Invariant: a connection has one owner at a time: the event loop, or the thread that runs its request. A protocol
//! that runs several requests of one connection at a time keeps the connection with the event loop and hands out one
//! [`ResponseWriter`](crate::exchange::writer::ResponseWriter) a stream.

pub mod hand_back;
pub mod hold;
pub mod inbox;
pub mod link;
pub mod slot;
pub mod turn;

use std::time::Instant;

use self::link::Link;
use self::turn::Turn;
use crate::exchange::publication::{Delivery, Publication};
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscribed_channels::SubscribedChannels;

/// A connection and the protocol that it speaks. The event loop calls it with what has become possible; complete
/// requests leave it as exchanges ([`Turn::dispatch`]).
pub trait Protocol: Send {
    /// What every connection has.
    fn link(&self) -> &Link;

    /// As [`Protocol::link`].
    fn link_mut(&mut self) -> &mut Link;

    /// Continues with what the link can do now: sends, reads, parses and dispatches, for a bounded time.
    fn drive(self: Box<Self>, turn: &mut Turn) -> Driven;

    /// The deadline of the link has passed.
    fn expire(self: Box<Self>, turn: &mut Turn) -> Driven;

    /// The application has finished with the request that kept the next one back ([`hold`]).
    fn resume(self: Box<Self>, turn: &mut Turn) -> Driven {
        self.drive(turn)
    }

    /// The channels of a subscriber of this connection; `stream` is 0 in protocols without streams.
    fn channels(&mut self, _stream: u32) -> Option<&mut SubscribedChannels> {
        None
    }

    /// Takes the response to the request of this number, which the server has made for a subscriber; `None`: there is
    /// none.
    fn take_answer(
        &mut self,
        _stream: u32,
        _number: u64,
        _answer: Option<StoredResponse>,
        _turn: &mut Turn,
    ) {
    }

    /// Whether the client of a subscription has taken what it was sent.
    fn takes_messages(&self, _stream: u32) -> bool {
        !self.link().has_output()
    }

    /// Queues what a message is to this subscriber. The connection is driven next.
    fn publish(&mut self, _stream: u32, _publication: &Publication, _turn: &mut Turn) -> Delivery {
        Delivery::Nothing
    }

    /// What the connection is doing.
    fn activity(&self) -> Activity;

    /// Whether its input is neither a request nor the beginning of one, so that other connections may come first.
    fn is_bulk(&self) -> bool {
        matches!(
            self.activity(),
            Activity::ReceivingBody | Activity::Lingering
        )
    }

    /// The server stops: a connection that waits for a request or for the client's close waits until `by` at most.
    fn shorten_waiting(&mut self, by: Instant);
}

/// What a connection that the event loop owns is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It has served a request and waits for the next one.
    KeepAlive,
    /// Its input may be a request.
    Receiving,
    /// Its input is a part of a body, so that other connections may come first.
    ReceivingBody,
    /// It sends a response.
    Sending,
    /// Its responses wait for messages.
    Subscribed,
    /// The response has been sent and only the client's close is awaited.
    Lingering,
}

/// The result of driving a connection.
pub enum Driven {
    /// An event or the deadline continues it.
    Wait(Box<dyn Protocol>),
    /// There is more to do, but other connections come first.
    Again(Box<dyn Protocol>),
    /// It belongs to the thread that runs its request.
    Lent,
    /// It is closed; this is the token of its slot.
    Closed(u64),
}
