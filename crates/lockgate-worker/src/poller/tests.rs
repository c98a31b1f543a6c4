//! The contract of [`Selector`], on the implementation that is compiled.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::*;

const CONNECTION: u64 = 7 << 32 | 1;
const LISTENER: u64 = 1;
const WAKER: u64 = 0;

/// How long an event may take to arrive; none of them is waited for in vain.
const SOON: Duration = Duration::from_secs(20);

/// What is reported of `token` until `is_enough`, all events merged.
fn wait_until(poller: &Poller, token: u64, is_enough: impl Fn(Readiness) -> bool) -> Readiness {
    let (mut seen, begin) = (Readiness::default(), Instant::now());
    while !is_enough(seen) {
        assert!(begin.elapsed() < SOON, "only {seen:?}");
        let mut events = Vec::new();
        poller
            .wait(Some(Duration::from_millis(200)), &mut events)
            .unwrap();
        for (from, readiness) in events {
            assert_eq!(from, token);
            seen.merge(readiness);
        }
    }
    seen
}

/// Whether a wait that does not wait reports anything.
fn reports(poller: &Poller) -> bool {
    let mut events = Vec::new();
    poller.wait(Some(Duration::ZERO), &mut events).unwrap();
    !events.is_empty()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// One pair of connected sockets: what the peer does, and what the poller reports of the other end.
#[test]
fn a_connection_reports_each_change_once() {
    fn with_unix(act: fn(&mut UnixStream, &mut UnixStream)) -> (Poller, Box<dyn std::any::Any>) {
        let (mut peer, mut own) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.watch_connection(own.as_fd(), CONNECTION).unwrap();
        wait_until(&poller, CONNECTION, |seen| seen.writable);
        act(&mut peer, &mut own);
        (poller, Box::new((peer, own)))
    }
    let readable = Readiness {
        readable: true,
        ..Readiness::default()
    };
    type Case = (
        &'static str,
        fn(&mut UnixStream, &mut UnixStream),
        Readiness,
    );
    let cases: [Case; 4] = [
        (
            "bytes arrive",
            |peer, _| peer.write_all(b"1").unwrap(),
            readable,
        ),
        (
            "more bytes arrive before the first are read",
            |peer, _| {
                peer.write_all(b"1").unwrap();
                peer.write_all(b"2").unwrap();
            },
            readable,
        ),
        (
            "the peer ends its stream",
            |peer, _| peer.shutdown(Shutdown::Write).unwrap(),
            Readiness {
                read_closed: true,
                ..readable
            },
        ),
        (
            "the peer closes",
            |peer, _| peer.shutdown(Shutdown::Both).unwrap(),
            Readiness {
                read_closed: true,
                hung_up: true,
                ..readable
            },
        ),
    ];
    for (name, act, wanted) in cases {
        let (poller, _sockets) = with_unix(act);
        let contains = |seen: Readiness| {
            let mut both = seen;
            both.merge(wanted);
            both == seen
        };
        let seen = wait_until(&poller, CONNECTION, contains);
        assert_eq!(
            (seen.read_closed, seen.hung_up),
            (wanted.read_closed, wanted.hung_up),
            "{name}"
        );
        assert!(!reports(&poller), "{name}: reported again");
    }
}

#[test]
fn bytes_that_follow_unread_ones_are_a_new_event() {
    let (mut peer, mut own) = tcp_pair();
    let poller = Poller::new().unwrap();
    poller.watch_connection(own.as_fd(), CONNECTION).unwrap();
    for byte in 0..3 {
        peer.write_all(&[byte]).unwrap();
        wait_until(&poller, CONNECTION, |seen| seen.readable);
    }
    own.read_exact(&mut [0; 3]).unwrap();
    assert!(!reports(&poller));
}

#[test]
fn what_happened_before_watching_is_the_first_event() {
    let (mut peer, own) = tcp_pair();
    peer.write_all(b"1").unwrap();
    drop(peer);
    let poller = Poller::new().unwrap();
    poller.watch_connection(own.as_fd(), CONNECTION).unwrap();
    wait_until(&poller, CONNECTION, |seen| {
        seen.readable && seen.writable && seen.read_closed
    });
}

/// A reset: the peer closes with input unread.
#[test]
fn a_reset_connection_has_hung_up() {
    let (peer, mut own) = tcp_pair();
    own.write_all(b"unread").unwrap();
    peer.peek(&mut [0]).unwrap();
    let poller = Poller::new().unwrap();
    poller.watch_connection(own.as_fd(), CONNECTION).unwrap();
    drop(peer);
    wait_until(&poller, CONNECTION, |seen| seen.hung_up);
}

#[test]
fn room_for_output_is_reported_when_the_peer_has_read() {
    let (mut peer, mut own) = UnixStream::pair().unwrap();
    own.set_nonblocking(true).unwrap();
    let poller = Poller::new().unwrap();
    poller.watch_connection(own.as_fd(), CONNECTION).unwrap();
    wait_until(&poller, CONNECTION, |seen| seen.writable);
    let mut sent = 0;
    while let Ok(count) = own.write(&[0; 4096]) {
        sent += count;
    }
    let mut events = Vec::new();
    poller.wait(Some(Duration::ZERO), &mut events).unwrap();
    peer.read_exact(&mut vec![0; sent]).unwrap();
    let seen = wait_until(&poller, CONNECTION, |seen| seen.writable);
    assert!(!seen.hung_up && !seen.read_closed);
}

#[test]
fn a_listener_is_reported_until_nothing_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let poller = Poller::new().unwrap();
    poller.watch_listener(listener.as_fd(), LISTENER).unwrap();
    assert!(!reports(&poller));
    let _clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    for _ in 0..2 {
        // The second one of these waits would end late if an arrival were reported once.
        for _ in 0..2 {
            wait_until(&poller, LISTENER, |seen| seen.readable);
        }
        listener.accept().unwrap();
    }
    assert!(!reports(&poller));
    // Watched again after it was forgotten, as a worker does that gives way.
    poller.forget_listener(listener.as_fd()).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    assert!(!reports(&poller));
    poller.watch_listener(listener.as_fd(), LISTENER).unwrap();
    wait_until(&poller, LISTENER, |seen| seen.readable);
}

#[test]
fn each_wake_ends_one_wait_whichever_begins_first() {
    let waker = Arc::new(Waker::new().unwrap());
    let poller = Poller::new().unwrap();
    poller.watch_waker(&waker, WAKER).unwrap();
    // What was left from before it was watched, if anything.
    let _early = reports(&poller);
    for _ in 0..3 {
        waker.wake();
        waker.wake();
        assert!(reports(&poller));
        assert!(!reports(&poller));
        let from_elsewhere = Arc::clone(&waker);
        let thread = thread::spawn(move || from_elsewhere.wake());
        let mut events = Vec::new();
        poller.wait(Some(SOON), &mut events).unwrap();
        assert_eq!(events.first().map(|(token, _)| *token), Some(WAKER));
        thread.join().unwrap();
    }
}

#[test]
fn a_wait_ends_at_its_timeout() {
    let poller = Poller::new().unwrap();
    for timeout in [
        Duration::ZERO,
        Duration::from_micros(300),
        Duration::from_millis(20),
    ] {
        let begin = Instant::now();
        let mut events = Vec::new();
        poller.wait(Some(timeout), &mut events).unwrap();
        assert!(events.is_empty() && begin.elapsed() >= timeout && begin.elapsed() < SOON);
    }
}

#[test]
fn a_list_that_is_not_full_has_all_events() {
    let poller = Poller::new().unwrap();
    let watched = EVENTS_AT_ONCE + 20;
    let pairs: Vec<_> = (0..watched).map(|_| UnixStream::pair().unwrap()).collect();
    for ((peer, own), token) in pairs.iter().zip(1..) {
        (&*peer).write_all(b"1").unwrap();
        poller.watch_connection(own.as_fd(), token).unwrap();
    }
    let mut tokens = Vec::new();
    loop {
        let mut events = Vec::new();
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        tokens.extend(events.iter().map(|(token, _)| *token));
        if events.len() < EVENTS_AT_ONCE {
            break;
        }
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), watched);
}

#[test]
fn a_latch_stays_readable_once_it_is_set() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let latch = Latch::new().unwrap();
    let is_readable = || {
        let mut watched = [PollFd::from_borrowed_fd(latch.descriptor(), PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).unwrap() == 1
    };
    assert!(!is_readable());
    latch.set();
    latch.set();
    assert!(is_readable() && is_readable());
}
