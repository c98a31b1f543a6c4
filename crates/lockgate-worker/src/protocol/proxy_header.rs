//! A connection with TLS whose PROXY header has not arrived. The header comes before the handshake, so it is read from
//! the socket itself.

use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::connection::link::Link;
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::event_loop::context::Context;
use crate::exchange::client_identity::{ClientIdentity, ProxyHeaderRead};

/// Makes the connection that continues behind the header.
pub type Continue = Box<dyn FnOnce(Link) -> Box<dyn Protocol> + Send>;

/// See the module documentation.
pub struct AwaitingProxyHeader {
    link: Link,
    context: Arc<Context>,
    go_on: Continue,
}

impl AwaitingProxyHeader {
    pub fn new(link: Link, context: Arc<Context>, go_on: Continue) -> Self {
        Self {
            link,
            context,
            go_on,
        }
    }

    /// Takes the header, and nothing behind it, from the socket. `None`: it is not complete. The error says that the
    /// connection is over.
    fn take(&mut self, turn: &mut Turn) -> Result<Option<()>, Over> {
        let buffer = &mut turn.buffer[..];
        let socket = self.link.transport.descriptor();
        let count = match recv(socket, &mut *buffer, RecvFlags::PEEK) {
            Ok((0, _)) => return Err(Over),
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(_) => return Err(Over),
        };
        let proxies = &self.context.proxies;
        let mut client = Arc::clone(&self.link.client);
        let mut identity = ClientIdentity::new(proxies, false);
        let read = identity.read_proxy_header(&buffer[..count], &mut client, proxies);
        let length = match read {
            ProxyHeaderRead::Complete(rest) => count - rest.len(),
            ProxyHeaderRead::Incomplete if count < buffer.len() => return Ok(None),
            ProxyHeaderRead::Incomplete => return Err(Over),
            ProxyHeaderRead::Refused {
                refusal, reason, ..
            } => {
                (self.context).report_refused_connection(refusal, &reason, &client, turn.now);
                return Err(Over);
            }
        };
        match recv(socket, &mut buffer[..length], RecvFlags::empty()) {
            Ok((taken, _)) if taken == length => {}
            _ => return Err(Over),
        }
        // A client of a unix socket, perhaps on another machine, must not pass for one on a unix socket of this server.
        if client.host().is_empty() && !self.link.client.host().is_empty() {
            return Err(Over);
        }
        self.link.client = client;
        Ok(Some(()))
    }
}

/// The connection is over.
struct Over;

impl Protocol for AwaitingProxyHeader {
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
        match self.take(turn) {
            Ok(Some(())) => {
                let Self { link, go_on, .. } = *self;
                Driven::Again(go_on(link))
            }
            Ok(None) => Driven::Wait(self),
            Err(Over) => Driven::Closed(self.link.slot.token()),
        }
    }

    /// The time for the handshake is over.
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
