//! A connection whose transport has not finished its handshake (TLS). It becomes a connection of the protocol that the
//! handshake agrees on.

use std::time::Instant;

use crate::connection::link::Link;
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::transport::Handshake;

/// Makes the connection for the protocol that the handshake has agreed on.
pub type Speak = Box<dyn Fn(Option<&[u8]>, Link) -> Box<dyn Protocol> + Send>;

/// See the module documentation.
pub struct Handshaking {
    link: Link,
    speak: Speak,
}

impl Handshaking {
    pub fn new(link: Link, speak: Speak) -> Self {
        Self { link, speak }
    }
}

impl Protocol for Handshaking {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn drive(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        if self.link.hung_up {
            return Driven::Closed(self.link.slot.token());
        }
        match self.link.transport.handshake() {
            Ok(Handshake::Done { alpn }) => {
                // What follows the handshake may have arrived with it, and no edge reports it again.
                self.link.readable = true;
                let Self { link, speak } = *self;
                speak(alpn.as_deref(), link).drive(turn)
            }
            Ok(Handshake::WantRead | Handshake::WantWrite) => Driven::Wait(self),
            Err(_) => Driven::Closed(self.link.slot.token()),
        }
    }

    /// The time for the handshake and the first request head is over.
    fn expire(self: Box<Self>, _turn: &mut Turn) -> Driven {
        Driven::Closed(self.link.slot.token())
    }

    fn activity(&self) -> Activity {
        Activity::Receiving
    }

    fn shorten_waiting(&mut self, by: Instant) {
        self.link.deadline = self.link.deadline.min(by);
    }
}
