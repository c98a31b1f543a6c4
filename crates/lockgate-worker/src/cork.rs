//! Small pieces of a stream leave together, and yet none waits for the next one. Knows neither requests nor responses.
//!
//! PEP 3333 ("Buffering and Streaming") lets a server go on for the next piece before the last one is transmitted if it
//! guarantees that transmission continues meanwhile. While a call still leads, somebody stands by to take the lane when
//! the call outlives a tick; until then the kernel gathers the pieces (MSG_MORE), and whoever takes the lane sends
//! them on. 100 pieces of 1 KiB: 71 µs of CPU instead of 210. Should nobody come, because a thread could not be started,
//! the kernel sends them by itself after 200 ms.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, PoisonError, Weak};

use crate::descriptors::Noted;

/// The stream of the call for which the lane was let go: there is one at most.
#[derive(Default)]
pub struct Cork {
    stream: Mutex<Weak<Noted>>,
}

impl Cork {
    /// The call's thread is about to write corked.
    pub fn enter(&self, socket: Weak<Noted>) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }

    /// The lane was taken from a call that still runs: what it has written so far leaves now.
    ///
    /// The taker has announced itself before it looks here, the writer writes before it looks for a taker
    /// ([`Cork::settle`]), and a fence on either side lets at least one of them see the other.
    pub fn pull(&self) {
        fence(Ordering::SeqCst);
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        uncork(&stream);
    }

    /// After a corked write: `is_watched` tells whether somebody still has to come and take the lane.
    pub fn settle(&self, socket: &Weak<Noted>, is_watched: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if !is_watched() {
            uncork(socket);
        }
    }
}

/// Sends what waits in the kernel: to set TCP_NODELAY, also where it is set already, transmits all that is queued
/// (tcp(7)).
fn uncork(socket: &Weak<Noted>) {
    if let Some(socket) = socket.upgrade() {
        // A connection that was reset has nothing to send; a unix socket has never kept anything.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&*socket, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Plain, Transport};
    use std::io::{IoSlice, Read};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn pair() -> (Plain, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        server.set_nodelay(true).unwrap();
        (Plain::new(Noted::new(server.into())), client)
    }

    fn has_arrived(client: &mut TcpStream) -> bool {
        client.set_nonblocking(true).unwrap();
        client.peek(&mut [0]).is_ok()
    }

    #[test]
    fn a_corked_piece_waits_until_the_lane_is_taken() {
        let (mut transport, mut client) = pair();
        let cork = Cork::default();
        cork.enter(transport.corked_socket());
        transport.set_corked(true);
        transport.write(&[IoSlice::new(b"piece")]).unwrap();
        cork.settle(&transport.corked_socket(), || true);
        // Loopback delivers within the call that sends: what is not there now was not sent.
        assert!(!has_arrived(&mut client));
        cork.pull();
        assert!(has_arrived(&mut client));
    }

    #[test]
    fn a_piece_written_after_the_lane_was_taken_does_not_wait() {
        let (mut transport, mut client) = pair();
        let cork = Cork::default();
        cork.enter(transport.corked_socket());
        cork.pull();
        transport.set_corked(true);
        transport.write(&[IoSlice::new(b"piece")]).unwrap();
        cork.settle(&transport.corked_socket(), || false);
        assert!(has_arrived(&mut client));
    }

    #[test]
    fn the_last_piece_takes_the_others_along() {
        let (mut transport, mut client) = pair();
        for (piece, is_corked) in [(b"one", true), (b"two", true), (b"end", false)] {
            transport.set_corked(is_corked);
            transport.write(&[IoSlice::new(piece)]).unwrap();
        }
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut got = [0; 9];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"onetwoend");
    }

    #[test]
    fn a_socket_that_is_closed_is_not_kept_open() {
        let (transport, mut client) = pair();
        let cork = Cork::default();
        cork.enter(transport.corked_socket());
        drop(transport);
        cork.pull();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
