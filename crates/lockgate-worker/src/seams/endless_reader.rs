//! A client that accepts output faster than any socket does.
#![cfg(test)]

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use lockgate_http::BodyLength;

use super::{adopt, start_with};
use crate::exchange::request::Request;
use crate::exchange::response::Reply;
use crate::transport::descriptors::TrackedFd;
use crate::transport::{AbortHandle, Received, SharedTransport, Transport};

/// Reads one request and accepts any amount of output at once, as the fastest client would.
struct Bottomless {
    socket: UnixStream,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Bottomless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let count = self.socket.read(buffer)?;
        let is_drained = count < buffer.len();
        Ok(Received { count, is_drained })
    }
    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        Weak::<TrackedFd>::new()
    }
    fn share(&self) -> Weak<dyn SharedTransport> {
        Weak::<TrackedFd>::new()
    }
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let piece = &pieces[0][..pieces[0].len().min(1 << 20)];
        self.taken.lock().unwrap().extend_from_slice(piece);
        Ok(piece.len())
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

#[test]
fn a_large_response_outlives_the_deadline_of_its_head() {
    const LENGTH: usize = 32 << 20;
    let head_timeout = Duration::from_millis(20);
    let answer = move |_: &mut Request, reply: &mut Reply| {
        let asked = Instant::now();
        while asked.elapsed() < head_timeout * 2 {
            std::thread::yield_now();
        }
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Known(LENGTH as u64));
        reply.send_copy(&vec![b'x'; LENGTH]).unwrap();
        reply.finish().unwrap();
    };
    for threads in [1, 4] {
        let handle = start_with(|config| config.head_timeout = head_timeout, threads, answer);
        let (ours, mut client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let transport = Box::new(Bottomless {
            socket: ours,
            taken: Arc::clone(&taken),
        });
        adopt(&handle, transport);
        // The worker sends nothing on this socket; its end is the end of the connection.
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
        assert!(taken.lock().unwrap().len() > LENGTH, "{threads} threads");
        handle.stop();
    }
}
