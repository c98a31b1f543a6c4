//! The resources of a generation of workers: its settings and listening sockets. During a reload there are two.

use std::sync::Arc;

use lockgate_config::Config;

use crate::sockets::{self, BindFailure, Listener};
use crate::supervisor::Rules;
use crate::template::Template;

/// See the module.
pub(crate) struct Site {
    /// The number of reloads so far.
    pub(crate) generation: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) listeners: Vec<Listener>,
    /// The process that forks its workers, where `preload` is set and a worker has been wanted.
    pub(crate) template: Option<Template>,
}

impl Site {
    /// The first site, or the one on which workers of the previous version serve.
    pub(crate) fn new(config: Config, generation: u64, listeners: Vec<Listener>) -> Self {
        Self {
            generation,
            config: Arc::new(config),
            listeners,
            template: None,
        }
    }

    /// The site for new settings: unchanged addresses keep their sockets, so that no queued connection is lost. Also
    /// returns the names of settings that have changed but cannot take effect.
    pub(crate) fn next(
        &self,
        mut config: Config,
        owner: Option<(u32, u32)>,
    ) -> Result<(Self, Vec<&'static str>), BindFailure> {
        let unchanged = keep_what_stays(&self.config, &mut config);
        let listeners = sockets::bind(&config, owner, &self.listeners)?;
        let config = Arc::new(config);
        let generation = self.generation + 1;
        let next = Self {
            generation,
            config,
            listeners,
            template: None,
        };
        Ok((next, unchanged))
    }

    /// Releases everything that `other` does not share.
    pub(crate) fn leave_to(self, other: &Self) {
        for listener in &self.listeners {
            if !other.listeners.iter().any(|kept| kept.is_same(listener)) {
                listener.remove_file();
            }
        }
    }

    /// Final cleanup: removes the socket files.
    pub(crate) fn remove_files(&self) {
        self.listeners.iter().for_each(Listener::remove_file);
    }

    /// The settings that decisions depend on.
    pub(crate) fn rules(&self) -> Rules {
        let config = &self.config;
        Rules {
            workers: config.workers,
            timeout: config.timeout,
            graceful_timeout: config.graceful_timeout,
            drain_delay: config.drain_delay,
            boot_timeout: config.boot_timeout,
            canary_period: config.canary_period,
            canary_max_error_increase: config.canary_max_error_increase,
            max_requests: config.max_requests,
            max_requests_jitter: config.max_requests_jitter,
            max_worker_age: config.max_worker_age,
            max_worker_memory: config.max_worker_memory,
            max_worker_memory_hard: config.max_worker_memory_hard,
        }
    }
}

/// Restores the settings that belong to the supervisor or to open sockets; returns the names of those that had changed.
fn keep_what_stays(present: &Config, next: &mut Config) -> Vec<&'static str> {
    let mut names = Vec::new();
    macro_rules! stays {
        ($($name:literal $field:ident),*) => {
            $(if next.$field != present.$field {
                next.$field = present.$field.clone();
                names.push($name);
            })*
        };
    }
    stays!("backlog" backlog, "reuse_port" reuse_port, "umask" umask, "user" user, "group" group,
           "pid" pidfile, "name" proc_name);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::{AppSpec, BindAddress};
    use std::path::Path;

    fn config(bind: Vec<BindAddress>) -> Config {
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        Config {
            bind,
            ..Config::with_defaults(app)
        }
    }

    fn unix(path: &Path) -> BindAddress {
        BindAddress::Unix(path.to_owned())
    }

    fn first(config: Config) -> Site {
        let listeners = sockets::bind(&config, None, &[]).unwrap();
        Site::new(config, 0, listeners)
    }

    #[test]
    fn addresses_that_stay_are_kept_and_others_come_and_go_with_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let there = || [&a, &b, &c].map(|path| path.exists());
        let first = first(config(vec![unix(&a), unix(&b)]));
        let (next, _) = first.next(config(vec![unix(&b), unix(&c)]), None).unwrap();
        assert_eq!(there(), [true, true, true]);
        let (discarded, _) = first.next(config(vec![unix(&b)]), None).unwrap();
        discarded.leave_to(&first);
        assert_eq!(there(), [true, true, true]);
        first.leave_to(&next);
        assert_eq!(there(), [false, true, true]);
        next.remove_files();
        assert_eq!(there(), [false, false, false]);
    }

    #[test]
    fn an_address_that_cannot_be_bound_leaves_the_present_ones_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let first = first(config(vec![unix(&a)]));
        let missing = folder.path().join("missing/c");
        let wanted = config(vec![unix(&a), unix(&b), unix(&missing)]);
        assert!(first.next(wanted, None).is_err());
        assert!(a.exists() && !b.exists());
    }

    #[test]
    fn what_belongs_to_the_supervisor_stays_and_is_named() {
        let first = first(config(Vec::new()));
        let mut other = config(Vec::new());
        other.pidfile = Some("/run/other.pid".into());
        other.backlog = 7;
        other.workers = 5;
        let (next, unchanged) = first.next(other, None).unwrap();
        assert_eq!(unchanged, ["backlog", "pid"]);
        assert_eq!(
            (next.config.pidfile.clone(), next.rules().workers),
            (None, 5)
        );
    }
}
