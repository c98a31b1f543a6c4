//! A connection that the application takes over from HTTP, as for a WebSocket.
#![cfg(test)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::tls::{Scrambled, scramble};
use super::{answer, start};

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
