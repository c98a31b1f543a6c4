//! A whole request as it crosses to the application: head, buffered body, who sent it. Knows no socket.

use std::fs::File;
use std::sync::Arc;

use lockgate_http::RequestHead;

use crate::body_buffer::BodyBuffer;

/// The body of a request, complete before the application is called.
#[derive(Debug, Default)]
pub enum Body {
    /// No body, or one of no bytes.
    #[default]
    Empty,
    /// Up to `body_memory` bytes.
    Memory(BodyBuffer),
    /// Larger bodies, in an unnamed temporary file that is positioned at its start.
    Spooled {
        /// The file; it disappears when it is closed.
        file: File,
        /// Bytes in the file.
        length: u64,
    },
}

impl Body {
    /// Bytes in the body.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled { length, .. } => *length,
        }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The peer of a connection, as text for CGI variables and logs. Both are empty on a unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Address without port: `127.0.0.1`, `::1`.
    pub host: String,
    /// Port in decimal.
    pub port: String,
}

/// The listener that a connection came in by, as text for `SERVER_NAME` and `SERVER_PORT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// Address, or the socket's path.
    pub server_name: String,
    /// Port in decimal; empty on a unix socket.
    pub server_port: String,
}

/// One request. The boxes are reused from request to request, so nothing in here is allocated in steady state.
#[derive(Default)]
pub struct Request {
    /// Request line and headers.
    pub head: RequestHead,
    pub(crate) body: Body,
    pub(crate) has_body: bool,
    pub(crate) client: Arc<Client>,
    pub(crate) local: Arc<Local>,
    pub(crate) is_encrypted: bool,
}

impl Request {
    /// The body; a second call finds it empty.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// Bytes in the body; `None` when the message had no body at all (neither length nor chunks).
    pub fn body_length(&self) -> Option<u64> {
        self.has_body.then(|| self.body.len())
    }

    /// Who sent it.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Where it came in.
    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// `http` or `https`, from the transport.
    pub fn scheme(&self) -> &'static str {
        if self.is_encrypted { "https" } else { "http" }
    }

    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.body = Body::Empty;
        self.has_body = false;
    }
}
