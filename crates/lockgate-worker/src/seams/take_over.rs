//! A connection that the application takes over from HTTP, as for a WebSocket.
#![cfg(test)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use lockgate_config::Config;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::tls::{Scrambled, scramble};
use super::{answer, start, start_with};
use crate::worker::Handle;

const HEAD: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// Writes the head and sends back what arrives, until the client ends its stream.
fn echo(mut socket: UnixStream) {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.write_all(HEAD.as_bytes()).unwrap();
    let mut buffer = [0; 1000];
    loop {
        match socket.read(&mut buffer).unwrap() {
            0 => break,
            count => socket.write_all(&buffer[..count]).unwrap(),
        }
    }
    socket.write_all(b" end").unwrap();
}

#[test]
fn a_connection_taken_over_counts_until_it_ends() {
    let handle = start(2, |request, reply| {
        if request.head.path() != b"/upgrade" {
            return answer(reply, b"plain");
        }
        echo(reply.take_over().unwrap().into());
        assert!(reply.is_taken_over() && reply.take_over().is_err());
    });
    let mut client = Scrambled::connect(&handle);
    let sent = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ";
    client.write_all(&scramble(sent.as_bytes())).unwrap();
    client.write_all(&scramble(b"and late")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    let text = String::from_utf8(scramble(&received)).unwrap();
    assert!(text.contains(&format!("\r\n\r\nplain{HEAD}")), "{text}");
    assert!(text.ends_with("\r\n\r\nearly and late end"), "{text}");
    // Its place is free when it has ended: a worker that drains waits for it.
    handle.drain();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !handle.is_finished() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_drain_ends_the_input_of_a_tunnel_and_sends_what_the_application_still_writes() {
    let handle = start(2, |_, reply| echo(reply.take_over().unwrap().into()));
    let mut client = Scrambled::connect(&handle);
    let sent = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello";
    client.write_all(&scramble(sent.as_bytes())).unwrap();
    let mut first = vec![0; HEAD.len() + 5];
    client.read_exact(&mut first).unwrap();
    handle.drain();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(scramble(&rest), b" end");
}

#[test]
fn many_tunnels_leave_threads_for_other_requests() {
    let handle = start(2, |request, reply| match request.head.path() {
        b"/upgrade" => echo(reply.take_over().unwrap().into()),
        _ => answer(reply, b"plain"),
    });
    let sent = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Scrambled::connect(&handle);
            client.write_all(&scramble(sent.as_bytes())).unwrap();
            let mut head = vec![0; HEAD.len()];
            client.read_exact(&mut head).unwrap();
            client
        })
        .collect();
    let mut client = Scrambled::connect(&handle);
    let sent = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(&scramble(sent.as_bytes())).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert!(scramble(&received).ends_with(b"plain"));
    drop(clients);
    handle.drain();
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// More than the socket pair holds, and less than that with the client's own socket.
const MUCH: usize = 300_000;

/// A client that has asked for the upgrade and has sent `count` bytes after the response's head.
fn client_with_input(handle: &Handle, count: usize) -> UnixStream {
    let mut client = Scrambled::connect(handle);
    client.write_all(&scramble(ASK)).unwrap();
    let mut head = vec![0; HEAD.len()];
    client.read_exact(&mut head).unwrap();
    client.write_all(&vec![!b'x'; count]).unwrap();
    client
}

/// Whether the event loop closes its end within 20 seconds. Nothing is read or written.
fn hangs_up(socket: &UnixStream) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::empty())];
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    poll(&mut watched, Some(&limit)).unwrap();
    watched[0].revents().contains(PollFlags::HUP)
}

#[test]
fn a_tunnel_of_a_client_that_has_gone_ends_although_the_application_does_not_read() {
    for (count, is_half_closed) in [(MUCH, false), (MUCH, true), (10, false)] {
        let (ended, end) = mpsc::channel();
        let adjust = |config: &mut Config| config.write_timeout = Duration::from_millis(100);
        let handle = start_with(adjust, 2, move |_, reply| {
            let mut socket: UnixStream = reply.take_over().unwrap().into();
            socket.write_all(HEAD.as_bytes()).unwrap();
            ended.send(hangs_up(&socket)).unwrap();
        });
        let client = client_with_input(&handle, count);
        client.shutdown(Shutdown::Write).unwrap();
        let kept = is_half_closed.then_some(client);
        assert!(end.recv().unwrap(), "{count} bytes, {is_half_closed}");
        drop(kept);
        handle.drain();
    }
}

#[test]
fn an_application_that_reads_late_and_slowly_has_all_that_a_lost_client_has_sent() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    // An application that was stopped for too long proves nothing.
    for _ in 0..10 {
        let (ended, end) = mpsc::channel();
        let (lost, loss) = mpsc::channel();
        let loss = Mutex::new(loss);
        let handle = start_with(
            |config| config.write_timeout = TIMEOUT,
            2,
            move |_, reply| {
                let mut socket: UnixStream = reply.take_over().unwrap().into();
                socket.write_all(HEAD.as_bytes()).unwrap();
                loss.lock().unwrap().recv().unwrap();
                let (mut longest, mut total) = (Duration::ZERO, 0);
                let mut buffer = [0; 5000];
                for step in 0.. {
                    let before = Instant::now();
                    // Slowly for longer than the timeout, in pieces that leave most of the socket's buffer full.
                    if step < 20 {
                        std::thread::sleep(TIMEOUT / 6);
                    }
                    match socket.read(&mut buffer).unwrap_or(0) {
                        0 => break,
                        count => total += count,
                    }
                    longest = longest.max(before.elapsed());
                }
                ended.send((longest, total)).unwrap();
            },
        );
        drop(client_with_input(&handle, MUCH));
        lost.send(()).unwrap();
        let (longest, total) = end.recv().unwrap();
        handle.drain();
        if longest < TIMEOUT / 2 {
            return assert_eq!(total, MUCH);
        }
    }
}
