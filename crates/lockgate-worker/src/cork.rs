//! Small pieces of a stream leave together, and yet none waits for the next one. Knows neither requests nor responses.
//!
//! PEP 3333 ("Buffering and Streaming") lets a server go on for the next piece before the last one is transmitted if it
//! guarantees that transmission continues meanwhile. While a call still leads, somebody stands by to take the lane when
//! the call outlives a tick; until then the kernel gathers the pieces (MSG_MORE), and whoever takes the lane sends
//! them on. 100 pieces of 1 KiB: 71 µs of CPU instead of 210. Should nobody come, because a thread could not be started,
//! the kernel sends them by itself after 200 ms.

#[cfg(loom)]
use loom::sync::{
    Mutex,
    atomic::{Ordering, fence},
};
#[cfg(loom)]
use std::sync::PoisonError;
use std::sync::Weak;
#[cfg(not(loom))]
use std::sync::{
    Mutex, PoisonError,
    atomic::{Ordering, fence},
};

use crate::descriptors::Noted;

/// Something whose gathered output can be sent on.
pub trait Corked {
    /// Sends what was gathered.
    fn uncork(&self);
}

/// The stream of the call for which the lane was let go: there is one at most.
pub struct Cork<S = Weak<Noted>> {
    stream: Mutex<Option<S>>,
}

impl<S: Corked> Cork<S> {
    pub fn new() -> Self {
        Self {
            stream: Mutex::new(None),
        }
    }

    /// The call's thread is about to write corked.
    pub fn enter(&self, stream: S) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    /// The lane was taken from a call that still runs: what it has written so far leaves now.
    ///
    /// The taker has announced itself before it looks here, the writer writes before it looks for a taker
    /// ([`Cork::settle`]), and a fence on either side lets at least one of them see the other.
    pub fn pull(&self) {
        fence(Ordering::SeqCst);
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = &*stream {
            stream.uncork();
        }
    }

    /// After a corked write: `is_watched` tells whether a standby is still due to take the lane.
    pub fn settle(&self, stream: &S, is_watched: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if !is_watched() {
            stream.uncork();
        }
    }
}

impl Corked for Weak<Noted> {
    /// To set TCP_NODELAY, also where it is set already, transmits all that is queued (tcp(7)).
    fn uncork(&self) {
        if let Some(socket) = self.upgrade() {
            // A connection that was reset has nothing to send; a unix socket has never kept anything.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&*socket, true);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use super::*;
    use crate::watch::Watch;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    /// Counts what the kernel gathers, and what it has sent.
    #[derive(Default)]
    struct Socket {
        written: AtomicU64,
        sent: AtomicU64,
    }

    impl Corked for Arc<Socket> {
        fn uncork(&self) {
            // A system call is a full barrier in effect; the counter needs none of its own.
            self.sent
                .fetch_max(self.written.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// A call writes a piece while the standby takes the lane from it: the piece is sent by one of them.
    #[test]
    fn a_piece_does_not_stay_behind_when_the_lane_is_taken() {
        loom::model(|| {
            let (cork, watch) = (Arc::new(Cork::new()), Arc::new(Watch::new()));
            let socket = Arc::new(Socket::default());
            watch.let_go_alone(1);
            let taker = {
                let (cork, watch) = (Arc::clone(&cork), Arc::clone(&watch));
                thread::spawn(move || {
                    watch.retake();
                    cork.pull();
                })
            };
            cork.enter(Arc::clone(&socket));
            socket.written.store(1, Ordering::Relaxed);
            cork.settle(&socket, || watch.call() == 1);
            taker.join().unwrap();
            assert_eq!(socket.sent.load(Ordering::SeqCst), 1);
        });
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
        let cork = Cork::new();
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
        let cork = Cork::new();
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
        let cork = Cork::new();
        cork.enter(transport.corked_socket());
        drop(transport);
        cork.pull();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
