//! `readiness_path`: whether this server takes requests, for load balancers that can reach only the port that it serves
//! on.
//!
//! Answered in the event loop, so also while all threads are in calls (with `threads = 1` after the call): a busy server
//! is ready, and its queue is what limits it.

use lockgate_config::Config;
use lockgate_http::LocalResponse;
use lockgate_observe::Scoreboard;

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

/// See the module documentation.
pub struct Readiness {
    path: Vec<u8>,
    /// `None` beyond the last record of the scoreboard, where nothing tells this worker that the server stops.
    scoreboard: Option<Scoreboard>,
}

impl Readiness {
    /// `None` if no path is set.
    pub fn new(config: &Config, scoreboard: Option<Scoreboard>) -> Option<Self> {
        let path = config.readiness_path.clone()?.into_bytes();
        Some(Self { path, scoreboard })
    }

    fn answer(&self) -> LocalResponse {
        // A worker that answers serves; what may end is the whole server.
        let is_draining = self.scoreboard.is_some_and(Scoreboard::is_draining);
        let (status, body): (_, &[u8]) = match is_draining {
            false => (200, b"ready\n"),
            true => (503, b"draining\n"),
        };
        let response = LocalResponse {
            content_type: "text/plain; charset=utf-8".into(),
            body: body.into(),
            ..LocalResponse::new(status)
        };
        response.with_header("Cache-Control", "no-store")
    }
}

impl Handler for Readiness {
    fn concerns(&self, request: &Request) -> bool {
        request.head.path() == self.path && matches!(request.head.method(), b"GET" | b"HEAD")
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        Handled::Answer(exchange, self.answer().into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use lockgate_config::AppSpec;

    use super::*;

    #[test]
    fn a_server_is_ready_until_it_is_asked_to_stop() {
        let mut config = Config::with_defaults(AppSpec::parse("a:b").unwrap());
        let words: Vec<AtomicU64> = (0..256).map(|_| AtomicU64::new(0)).collect();
        let scoreboard = Scoreboard::new(words.leak());
        assert!(Readiness::new(&config, Some(scoreboard)).is_none());
        config.readiness_path = Some("/readyz".to_owned());
        let shared = Readiness::new(&config, Some(scoreboard)).unwrap();
        let alone = Readiness::new(&config, None).unwrap();
        assert_eq!((shared.answer().status, alone.answer().status), (200, 200));
        scoreboard.set_draining();
        assert_eq!((shared.answer().status, alone.answer().status), (503, 200));
    }
}
