//! Requests that were in flight in a worker that has died, for the log.

use std::fmt;
use std::time::Duration;

use lockgate_observe::{Call, escape_into};

/// A request that will not be finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlightRequest {
    /// The kernel's id of the thread that ran it.
    pub thread: u64,
    /// Time since it was received completely.
    pub age: Duration,
    /// The beginning of its method.
    pub method: Vec<u8>,
    /// The beginning of its target.
    pub target: Vec<u8>,
    /// Whether the target is longer.
    pub is_cut: bool,
    /// The client's address; empty on a unix socket.
    pub client: Vec<u8>,
    /// The beginning of its id; empty if requests have none.
    pub request_id: Vec<u8>,
}

impl InFlightRequest {
    /// A thread's call, at this time of the scoreboard's clock; `None` when the thread was idle.
    pub(crate) fn of(call: Call, now: u64) -> Option<Self> {
        let request = call.request?;
        Some(Self {
            thread: call.thread,
            age: Duration::from_nanos(now.saturating_sub(request.began)),
            method: request.method,
            target: request.target,
            is_cut: request.is_cut,
            client: request.client,
            request_id: request.request_id,
        })
    }
}

/// `GET /a of 127.0.0.1, 0.35 s old, in thread 140`.
impl fmt::Display for InFlightRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |bytes: &[u8]| {
            let mut text = Vec::new();
            escape_into(&mut text, bytes);
            String::from_utf8_lossy(&text).into_owned()
        };
        write!(out, "{} {}", escaped(&self.method), escaped(&self.target))?;
        if self.is_cut {
            out.write_str("...")?;
        }
        if !self.client.is_empty() {
            write!(out, " of {}", escaped(&self.client))?;
        }
        if !self.request_id.is_empty() {
            write!(out, " (id {})", escaped(&self.request_id))?;
        }
        let seconds = self.age.as_secs_f64();
        write!(out, ", {seconds:.2} s old, in thread {}", self.thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lockgate_observe::Running;

    #[test]
    fn a_request_is_described_in_one_line_whatever_the_client_has_sent() {
        let call = |request| Call {
            ident: 0,
            thread: 140,
            request,
        };
        assert_eq!(InFlightRequest::of(call(None), 9), None);
        let running = Running {
            began: 2_000_000_000,
            method: b"GET".to_vec(),
            target: b"/a?\n[x]\"".to_vec(),
            is_cut: true,
            client: b"127.0.0.1".to_vec(),
            request_id: b"4bf9".to_vec(),
            is_upgraded: false,
        };
        let request = InFlightRequest::of(call(Some(running)), 2_350_000_000).unwrap();
        assert_eq!(
            request.to_string(),
            r"GET /a?\x0a[x]\x22... of 127.0.0.1 (id 4bf9), 0.35 s old, in thread 140"
        );
        let local = InFlightRequest {
            client: Vec::new(),
            request_id: Vec::new(),
            is_cut: false,
            target: b"/".to_vec(),
            ..request
        };
        assert_eq!(local.to_string(), "GET /, 0.35 s old, in thread 140");
    }
}
