//! Responses of the admin listener.

use lockgate_http::BodyLength;
use lockgate_worker::Reply;

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// The content security policy of answers that are no page: a browser that is made to show one runs and loads nothing.
const NO_CONTENT: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// What every answer tells a browser: not to store it, not to guess its type, and not to let another origin embed it,
/// frame it, hold on to its window or learn its address.
const PROTECTION: &[(&str, &str)] = &[
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
];

/// A response before it is encoded.
pub(super) struct Answer {
    pub(super) status: (u16, &'static str),
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
    /// The `Allow` header of a 405 response.
    pub(super) allow: &'static str,
    /// The content security policy.
    pub(super) policy: &'static str,
}

impl Answer {
    pub(super) fn text(status: u16, reason: &'static str, body: &str) -> Self {
        Self {
            status: (status, reason),
            kind: TEXT,
            body: body.into(),
            allow: "",
            policy: NO_CONTENT,
        }
    }

    pub(super) fn ok(kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            kind,
            body,
            ..Self::text(200, "OK", "")
        }
    }

    pub(super) fn send(&self, reply: &mut Reply) {
        let (status, reason) = self.status;
        let head = reply.head();
        let mut is_described = head.set_status(status, reason.as_bytes()).is_ok();
        let own = [
            ("Content-Type", self.kind),
            ("Content-Security-Policy", self.policy),
            ("Allow", self.allow),
        ];
        for (name, value) in own.iter().chain(PROTECTION) {
            is_described &=
                value.is_empty() || head.push(name.as_bytes(), value.as_bytes()).is_ok();
        }
        debug_assert!(is_described, "constants that are valid");
        reply.start(BodyLength::Known(self.body.len() as u64));
        // A client that has disconnected is not an error here, and the length is right.
        if !reply.allows_body() || reply.send_copy(&self.body).is_ok() {
            let _ = reply.finish();
        }
    }
}
