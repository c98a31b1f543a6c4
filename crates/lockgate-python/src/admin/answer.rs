//! Responses of the admin listener.

use lockgate_http::BodyLength;
use lockgate_worker::Reply;

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A response before it is encoded.
pub(super) struct Answer {
    pub(super) status: (u16, &'static str),
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
    /// The `Allow` header of a 405 response.
    pub(super) allow: &'static str,
}

impl Answer {
    pub(super) fn text(status: u16, reason: &'static str, body: &str) -> Self {
        Self {
            status: (status, reason),
            kind: TEXT,
            body: body.into(),
            allow: "",
        }
    }

    pub(super) fn ok(kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            status: (200, "OK"),
            kind,
            body,
            allow: "",
        }
    }

    pub(super) fn send(&self, reply: &mut Reply) {
        let (status, reason) = self.status;
        let head = reply.head();
        let is_described = head.set_status(status, reason.as_bytes()).is_ok()
            && head.push(b"Content-Type", self.kind.as_bytes()).is_ok()
            && head.push(b"Cache-Control", b"no-store").is_ok()
            && (self.allow.is_empty() || head.push(b"Allow", self.allow.as_bytes()).is_ok());
        debug_assert!(is_described, "constants that are valid");
        reply.start(BodyLength::Known(self.body.len() as u64));
        // A client that has disconnected is not an error here, and the length is right.
        if !reply.allows_body() || reply.send_copy(&self.body).is_ok() {
            let _ = reply.finish();
        }
    }
}
