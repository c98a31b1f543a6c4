//! A client that sends faster than any socket could: there is always more to read.
#![cfg(test)]

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Weak;
use std::time::Duration;

use super::{adopt, answer, start, start_with};
use crate::transport::descriptors::TrackedFd;
use crate::transport::{AbortHandle, Plain, Received, SharedTransport, Transport};
use crate::worker::Handle;

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `head` and then `repeated` for ever; takes all output, or none.
struct Endless {
    socket: UnixStream,
    head: Vec<u8>,
    repeated: Vec<u8>,
    takes_output: bool,
}

impl Transport for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut count = self.head.len();
        buffer[..count].copy_from_slice(&self.head);
        self.head.clear();
        while count + self.repeated.len() <= buffer.len() {
            buffer[count..count + self.repeated.len()].copy_from_slice(&self.repeated);
            count += self.repeated.len();
        }
        let is_drained = false;
        Ok(Received { count, is_drained })
    }
    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        Weak::<TrackedFd>::new()
    }
    fn share(&self) -> Weak<dyn SharedTransport> {
        Weak::<TrackedFd>::new()
    }
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.takes_output {
            true => Ok(pieces[0].len()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
    fn send_file(&mut self, _: &File, _: u64, _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }
    fn reset_on_close(&mut self) {}
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, client) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, client)
}

/// A connection of this client; returns its other end, which sees only the end of the connection.
fn adopt_endless(handle: &Handle, head: &[u8], repeated: &[u8], takes_output: bool) -> UnixStream {
    let (socket, client) = pair();
    let transport = Endless {
        socket,
        head: head.to_vec(),
        repeated: repeated.to_vec(),
        takes_output,
    };
    adopt(handle, Box::new(transport));
    client
}

#[test]
fn a_client_that_pipelines_questions_for_the_server_delays_no_other_client() {
    for threads in [1, 2] {
        let handle = start(threads, |_, reply| answer(reply, b"done"));
        let (ours, mut client) = pair();
        adopt(&handle, Box::new(Plain::new(TrackedFd::new(ours.into()))));
        let question = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
        let _endless = adopt_endless(&handle, b"", question, true);
        for _ in 0..10 {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let mut response = Vec::new();
            while !response.ends_with(b"\r\n\r\ndone") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                response.push(byte[0]);
            }
        }
        handle.stop();
    }
}

#[test]
fn a_client_that_sends_for_ever_and_takes_no_response_is_cut_off() {
    for threads in [1, 2] {
        let adjust = |config: &mut lockgate_config::Config| {
            config.stream_request_body = vec!["/up".to_owned()];
            config.write_timeout = Duration::from_millis(100);
        };
        let handle = start_with(adjust, threads, |_, reply| answer(reply, b"early"));
        let head = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
        let mut client = adopt_endless(&handle, head, b"body", false);
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
        handle.stop();
    }
}
