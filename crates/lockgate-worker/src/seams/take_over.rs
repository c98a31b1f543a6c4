//! A connection that the application takes over from HTTP, as for a WebSocket.
#![cfg(test)]

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use lockgate_http::encode_interim_head;

use super::tls::{Scrambled, scramble};
use super::{answer, start};
use crate::exchange::writer::TakenOver;

/// Sends back what arrives, until the client ends its stream.
fn echo(mut connection: TakenOver) {
    let mut pending = std::mem::take(&mut connection.unread);
    let mut buffer = [0; 1000];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        while !pending.is_empty() {
            match connection.transport.write(&[IoSlice::new(&pending)]) {
                Ok(count) => drop(pending.drain(..count)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        match connection.transport.read(&mut buffer) {
            Ok(received) if received.count == 0 => break,
            Ok(received) => pending.extend_from_slice(&buffer[..received.count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    while connection.transport.push().is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_connection_taken_over_counts_until_it_ends() {
    for threads in [1, 2] {
        let handle = start(threads, |request, reply| {
            if request.head.path() != b"/upgrade" {
                return answer(reply, b"plain");
            }
            let mut head = Vec::new();
            let upgrade = (&b"Upgrade"[..], &b"echo"[..]);
            encode_interim_head(&mut head, 101, [upgrade]).unwrap();
            echo(reply.take_over(&head).unwrap());
        });
        let mut client = Scrambled::connect(&handle);
        let sent = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ";
        client.write_all(&scramble(sent.as_bytes())).unwrap();
        client.write_all(&scramble(b"and late")).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        let text = String::from_utf8(scramble(&received)).unwrap();
        assert!(text.contains("\r\n\r\nplainHTTP/1.1 101 "), "{text}");
        assert!(text.ends_with("\r\n\r\nearly and late"), "{text}");
        // A worker that drains waits for it; its place is free when it has ended.
        handle.drain();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !handle.is_finished() {
            assert!(Instant::now() < deadline, "{threads} threads");
            std::thread::yield_now();
        }
    }
}
