//! Maintenance: 503 with Retry-After for all but a few clients and paths, from the settings or from
//! `lockgate ctl maintenance`.

use std::time::Instant;

use lockgate_config::MaintenanceConfig;
use lockgate_http::LocalResponse;
use lockgate_observe::{Maintenance as Switch, Scoreboard};
use lockgate_routes::{PathKey, covers};

use super::stage::{Parts, Stage};
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;

/// See the module documentation.
pub(super) struct Maintenance {
    config: MaintenanceConfig,
    /// Where operators switch it.
    scoreboard: Option<Scoreboard>,
}

impl Maintenance {
    /// `None`: it is off and cannot be switched on.
    pub(super) fn new(parts: &Parts<'_>) -> Option<Self> {
        let config = &parts.config.routes.maintenance;
        let scoreboard = (parts.scoreboard).filter(|_| parts.config.admin_bind.is_some());
        (config.is_on || scoreboard.is_some()).then(|| Self {
            config: config.clone(),
            scoreboard,
        })
    }

    fn is_on(&self) -> bool {
        match self
            .scoreboard
            .map_or(Switch::AsConfigured, Scoreboard::maintenance)
        {
            Switch::AsConfigured => self.config.is_on,
            Switch::On => true,
            Switch::Off => false,
        }
    }

    /// Whether a request is served in spite of it.
    fn is_exempt(&self, request: &Request) -> bool {
        let PathKey { key, others } = PathKey::of(request.head.path());
        // In whichever way the application reads it.
        let is_path = |path: &String| {
            let path = path.as_bytes();
            covers(path, &key) && others.iter().all(|other| covers(path, other))
        };
        self.config.paths.iter().any(is_path)
            || (request.client.address()).is_some_and(|address| self.config.allow.contains(address))
    }
}

impl Stage for Maintenance {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        if !self.is_on() || self.is_exempt(request) {
            return None;
        }
        let seconds = self.config.retry_after.as_secs().max(1).to_string();
        let response = LocalResponse::text(503, "the site is under maintenance")
            .with_header("Retry-After", seconds)
            .with_header("Cache-Control", "no-store");
        Some(Answer::refused(response, "maintenance"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::samples::{request, scoreboard};
    use lockgate_config::Networks;

    fn maintenance(is_on: bool, scoreboard: Option<Scoreboard>) -> Maintenance {
        Maintenance {
            config: MaintenanceConfig {
                is_on,
                allow: Networks::loopback(),
                paths: vec!["/health".to_owned()],
                ..MaintenanceConfig::default()
            },
            scoreboard,
        }
    }

    #[test]
    fn all_but_the_allowed_get_503() {
        let stage = maintenance(true, None);
        for (client, path, expected) in [
            ("192.0.2.1", "/", Some(503)),
            ("192.0.2.1", "/health", None),
            ("192.0.2.1", "/health/db", None),
            ("192.0.2.1", "/healthy", Some(503)),
            ("192.0.2.1", "/x/../health", Some(503)),
            ("192.0.2.1", "/health//x", None),
            ("192.0.2.1", "/health/../x", Some(503)),
            ("127.0.0.1", "/", None),
            ("::1", "/", None),
            ("", "/", Some(503)),
        ] {
            let answer = stage.examine(&mut request(client, "h", path), Instant::now());
            let status = answer.map(|answer| answer.response.status);
            assert_eq!(status, expected, "{client} {path}");
        }
        assert!(
            maintenance(false, None)
                .examine(&mut request("", "h", "/"), Instant::now())
                .is_none()
        );
    }

    #[test]
    fn an_operator_switches_it_in_all_workers() {
        let board = scoreboard();
        for (is_on, switch, expected) in [
            (false, Switch::On, true),
            (false, Switch::Off, false),
            (false, Switch::AsConfigured, false),
            (true, Switch::Off, false),
            (true, Switch::AsConfigured, true),
        ] {
            let stage = maintenance(is_on, Some(board));
            board.set_maintenance(switch);
            assert_eq!(stage.is_on(), expected, "{is_on} {switch:?}");
        }
    }
}
