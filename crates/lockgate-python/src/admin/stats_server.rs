//! uWSGI's stats server: it sends one JSON document to each connection and closes it.
//!
//! One connection at a time: a document fits into the buffers of a socket, and a client that does not take it is
//! dropped soon.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use lockgate_config::{BindAddress, Endpoint};

/// How long a client may take to receive a part of the document.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the server waits for the client to close, so that the kernel does not discard what was sent.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// A stream that can be given a timeout and closed.
trait Stream: Read + Write {
    fn prepare(&self) -> io::Result<()>;
    fn close_writing(&self) -> io::Result<()>;
}

/// Serves these sockets on a thread for each. `document` is called for each connection.
///
/// # Errors
/// When a thread cannot be started.
pub(super) fn start<F>(listeners: Vec<(Endpoint, OwnedFd)>, document: F) -> io::Result<()>
where
    F: Fn() -> Vec<u8> + Clone + Send + 'static,
{
    for (endpoint, socket) in listeners {
        let document = document.clone();
        let builder = thread::Builder::new().name("uwsgi-stats".to_owned());
        match endpoint.address {
            BindAddress::Unix(_) | BindAddress::Abstract(_) => {
                let listener = UnixListener::from(socket);
                listener.set_nonblocking(false)?;
                builder.spawn(move || serve(|| listener.accept().map(|(s, _)| s), &document))?;
            }
            _ => {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(false)?;
                builder.spawn(move || serve(|| listener.accept().map(|(s, _)| s), &document))?;
            }
        }
    }
    Ok(())
}

fn serve<S: Stream>(accept: impl Fn() -> io::Result<S>, document: &impl Fn() -> Vec<u8>) {
    loop {
        match accept() {
            // A client that has left is its own affair.
            Ok(stream) => drop(answer(stream, &document())),
            // Without descriptors: others may be closed meanwhile.
            Err(_) => thread::sleep(CLOSE_TIMEOUT),
        }
    }
}

fn answer<S: Stream>(mut stream: S, document: &[u8]) -> io::Result<()> {
    stream.prepare()?;
    stream.write_all(document)?;
    stream.close_writing()?;
    // Unread data would make the kernel reset the connection. No client of uWSGI's sends any, but a browser does.
    stream.read(&mut [0; 4096]).map(drop)
}

impl Stream for TcpStream {
    fn prepare(&self) -> io::Result<()> {
        self.set_write_timeout(Some(SEND_TIMEOUT))?;
        self.set_read_timeout(Some(CLOSE_TIMEOUT))
    }

    fn close_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn prepare(&self) -> io::Result<()> {
        self.set_write_timeout(Some(SEND_TIMEOUT))?;
        self.set_read_timeout(Some(CLOSE_TIMEOUT))
    }

    fn close_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
