//! The side processes that only some settings need: the ACME process, the Redis relay, the OTLP exporter and the
//! watcher.
//!
//! The ACME process is started when the first workers serve, because they answer the authority's challenges; the server
//! loses nothing with it but the next renewal. The others are started at once and ended last. All are started again at
//! each reload, with the new settings, except the watcher, which keeps what it knows while its settings are the same.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_observe::Level;

use crate::Hooks;
use crate::channels::control::ControlMessage;
use crate::channels::status::StatusMessage;
use crate::child::side_process::NewSideProcess;
use crate::os::{enlarge, nonblocking_pipe};
use crate::processes::exit_status::ExitStatus;
use crate::processes::side_process::SideProcess;
use crate::supervisor::Request;

/// What an optional process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Obtains certificates.
    Acme,
    /// Relays messages, purges, and what rate limits count through Redis.
    Relay,
    /// Sends spans to a collector.
    Exporter,
    /// Watches the files of the application, and requests reloads.
    Watcher,
}

/// See the module.
#[derive(Default)]
pub(crate) struct OptionalProcesses {
    acme: Option<SideProcess>,
    relay: Option<SideProcess>,
    exporter: Option<SideProcess>,
    watcher: Option<SideProcess>,
    /// Through it workers report to the watcher; it survives both.
    reports: Option<ReportPipe>,
    /// The settings of the running watcher.
    watched: Option<Arc<Config>>,
}

/// The pipe from the workers to the watcher.
struct ReportPipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Duty {
    const ALL: [Self; 4] = [Self::Acme, Self::Relay, Self::Exporter, Self::Watcher];

    fn name(self) -> &'static str {
        match self {
            Self::Acme => "ACME process",
            Self::Relay => "Redis relay",
            Self::Exporter => "OTLP exporter",
            Self::Watcher => "watcher",
        }
    }

    fn is_needed(self, config: &Config) -> bool {
        match self {
            Self::Acme => config.acme.public_domains().next().is_some(),
            Self::Relay => {
                let has_messages = config.push.is_enabled && config.push.redis.is_some();
                let has_purges = config.cache.is_enabled() && config.cache.redis.is_some();
                has_messages || has_purges || config.shared_rate_limits().is_some()
            }
            Self::Exporter => config.identity.otlp.is_some(),
            Self::Watcher => config.reload.is_enabled,
        }
    }
}

impl ReportPipe {
    /// A new pipe, close-on-exec and non-blocking at both ends.
    fn new() -> io::Result<Self> {
        let (reader, writer) = nonblocking_pipe()?;
        // With a smaller pipe workers wait for the watcher.
        enlarge(writer.as_fd(), REPORT_BYTES);
        Ok(Self { reader, writer })
    }
}

/// The size of the pipe: thousands of modules are reported at once, which exceeds the usual 64 KiB.
const REPORT_BYTES: usize = 1 << 20;

impl OptionalProcesses {
    /// Before the first worker: starts those that do not wait for workers.
    pub(crate) fn start_first(&mut self, config: &Config, now: Instant, hooks: &dyn Hooks) {
        for duty in [Duty::Relay, Duty::Exporter] {
            self.start(duty, config, now);
        }
        self.watch(config, now, hooks);
    }

    /// Before workers with these settings are forked: they report to the watcher, if there is to be one.
    pub(crate) fn watch(&mut self, config: &Config, now: Instant, hooks: &dyn Hooks) {
        if !Duty::Watcher.is_needed(config) || self.reports.is_some() {
            return;
        }
        match ReportPipe::new() {
            Ok(pipe) => {
                self.reports = Some(pipe);
                self.watched = Some(Arc::new(config.clone()));
                self.start(Duty::Watcher, config, now);
            }
            Err(error) => {
                let message = format!("files are not watched: no pipe for reports: {error}");
                hooks.log(Level::Error, &message);
            }
        }
    }

    /// Starts the process if these settings need it and it does not run yet.
    pub(crate) fn start(&mut self, duty: Duty, config: &Config, now: Instant) {
        let process = self.get(duty);
        if process.is_none() && duty.is_needed(config) {
            *process = Some(SideProcess::new(duty.name(), None, now));
        }
    }

    /// Ends the process, until the next [`start`](Self::start).
    pub(crate) fn end(&mut self, duty: Duty) {
        if let Some(mut process) = self.get(duty).take() {
            process.end();
        }
    }

    /// Lets the exporter send what there is at the end of the server, for at most a second.
    pub(crate) fn finish_exporter(&mut self) {
        if let Some(exporter) = &mut self.exporter {
            exporter.finish(Duration::from_secs(1));
        }
    }

    /// Ends all.
    pub(crate) fn end_all(&mut self) {
        Duty::ALL.into_iter().for_each(|duty| self.end(duty));
    }

    /// These settings apply from now on.
    pub(crate) fn restart(&mut self, config: &Config, now: Instant) {
        for duty in [Duty::Acme, Duty::Relay, Duty::Exporter] {
            self.end(duty);
            self.start(duty, config, now);
        }
        if !Duty::Watcher.is_needed(config) {
            self.end(Duty::Watcher);
            self.reports = None;
        } else if (self.watched.as_ref()).is_some_and(|watched| !is_watched_alike(watched, config))
        {
            // It dies, and its successor has these settings.
            self.watched = Some(Arc::new(config.clone()));
            self.watcher.iter().for_each(SideProcess::kill);
        }
        if self.reports.is_some() {
            // An upgrade that failed has ended it.
            self.start(Duty::Watcher, config, now);
        }
    }

    /// In a worker or a fork server: where it reports to the watcher.
    pub(crate) fn into_report_writer(self) -> Option<OwnedFd> {
        self.reports.map(|pipe| pipe.writer)
    }

    /// In the watcher: where it reads the reports, and its settings, which may be those of the next generation.
    pub(crate) fn take_watched(&mut self) -> Option<(OwnedFd, Arc<Config>)> {
        let reports = self.reports.take()?;
        Some((reports.reader, self.watched.take()?))
    }

    fn get(&mut self, duty: Duty) -> &mut Option<SideProcess> {
        match duty {
            Duty::Acme => &mut self.acme,
            Duty::Relay => &mut self.relay,
            Duty::Exporter => &mut self.exporter,
            Duty::Watcher => &mut self.watcher,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &SideProcess> {
        let first = self.acme.iter().chain(&self.relay);
        first.chain(&self.exporter).chain(&self.watcher)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut SideProcess> {
        let first = self.acme.iter_mut().chain(&mut self.relay);
        first.chain(&mut self.exporter).chain(&mut self.watcher)
    }

    /// The descriptors to poll, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.iter().filter_map(SideProcess::poll_fd)
    }

    /// When something is to be done; see [`SideProcess::next`].
    pub(crate) fn next(&self) -> Option<Instant> {
        self.iter().map(SideProcess::next).min()
    }

    /// Forks a process when one is due. In the new process: what it does, and its ends of the channels.
    pub(crate) fn fork_if_due(
        &mut self,
        now: Instant,
        hooks: &mut dyn Hooks,
    ) -> Option<(Duty, NewSideProcess)> {
        Duty::ALL.into_iter().find_map(|duty| {
            let new = self.get(duty).as_mut()?.fork_if_due(now, hooks)?;
            Some((duty, new))
        })
    }

    /// Reads their heartbeats, and the watcher's requests.
    pub(crate) fn read(&mut self, now: Instant, hooks: &dyn Hooks) -> Option<Request> {
        let others = [&mut self.acme, &mut self.relay, &mut self.exporter];
        for process in others.into_iter().flatten() {
            // It has nothing else to say.
            let _heartbeats = process.read(now, hooks);
        }
        let watcher = self.watcher.as_mut()?;
        let is_request = |message| matches!(message, StatusMessage::Requested { .. });
        let mut messages = watcher.read(now, hooks).into_iter();
        messages.any(is_request).then_some(Request::Reload)
    }

    /// Makes the processes reopen their log file.
    pub(crate) fn reopen_logs(&self) {
        for process in self.iter() {
            // A process that has just exited is replaced by one that opens the file.
            let _is_sent = process.send(ControlMessage::ReopenLogs);
        }
    }

    /// Handles the exit of a child; if it was one of them: what that requests.
    ///
    /// What workers have reported is lost with the watcher, and a change may have been missed: after a reload the next
    /// watcher has both.
    pub(crate) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> Option<Option<Request>> {
        let is_watcher = (self.watcher.as_ref()).is_some_and(|watcher| watcher.pid() == Some(pid));
        self.iter_mut()
            .any(|process| process.on_exited(pid, exit_status, now, hooks))
            .then(|| is_watcher.then_some(Request::Reload))
    }
}

/// Whether a watcher with the first settings works also for the second.
fn is_watched_alike(running: &Config, config: &Config) -> bool {
    let log = |config: &Config| (config.error_log.clone(), config.log_level, config.log_style);
    running.reload == config.reload && log(running) == log(config)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use lockgate_config::{
        AppSpec, HostPattern, OtlpConfig, Rate, RateKey, RateLimitConfig, RedisAddress,
    };

    use super::*;

    fn config() -> Config {
        Config::with_defaults(AppSpec::parse("app:app").unwrap())
    }

    fn limits(is_enabled: bool) -> Vec<RateLimitConfig> {
        let limit = RateLimitConfig {
            name: "all".to_owned(),
            host: HostPattern::Any,
            path: String::new(),
            methods: Vec::new(),
            key: RateKey::Address,
            rates: vec![Rate {
                count: NonZeroU32::MIN,
                period: Duration::from_secs(1),
            }],
            burst: None,
            concurrency: None,
            is_dry_run: false,
        };
        // What runs at the same time is not shared.
        let of_concurrency = RateLimitConfig {
            rates: Vec::new(),
            concurrency: Some(NonZeroU32::MIN),
            ..limit.clone()
        };
        match is_enabled {
            true => vec![of_concurrency, limit],
            false => vec![of_concurrency],
        }
    }

    fn assert_is_needed(duty: Duty, config: &Config, is_needed: bool) {
        let now = Instant::now();
        let mut processes = OptionalProcesses::default();
        assert_eq!(processes.next(), None);
        processes.start(duty, config, now);
        assert_eq!(processes.next().is_some(), is_needed, "{duty:?}");
        processes.restart(config, now);
        assert_eq!(processes.next().is_some(), is_needed, "{duty:?}");
        processes.end_all();
        assert_eq!(processes.next(), None);
    }

    #[test]
    fn the_acme_process_runs_while_names_need_an_authority() {
        for (domains, is_needed) in [
            (&[][..], false),
            (&["localhost", "127.0.0.1"], false),
            (&["localhost", "shop.example"], true),
        ] {
            let mut config = config();
            config.acme.domains = domains.iter().map(|name| (*name).to_owned()).collect();
            assert_is_needed(Duty::Acme, &config, is_needed);
        }
    }

    #[test]
    fn the_span_exporter_runs_with_a_collector() {
        let mut config = config();
        assert_is_needed(Duty::Exporter, &config, false);
        config.identity.otlp = Some(OtlpConfig {
            host: "localhost".to_owned(),
            port: 4318,
            path: "/v1/traces".to_owned(),
            sample: 10_000,
            service: "shop".to_owned(),
            ..OtlpConfig::default()
        });
        assert_is_needed(Duty::Exporter, &config, true);
    }

    #[test]
    fn a_watcher_outlives_a_reload_that_changes_nothing_of_its_own() {
        let running = config();
        let changed = |change: fn(&mut Config)| {
            let mut config = running.clone();
            change(&mut config);
            is_watched_alike(&running, &config)
        };
        assert!(changed(|_| {}));
        assert!(changed(|config| config.workers = 7));
        assert!(!changed(|config| config.reload.is_enabled = true));
        assert!(!changed(
            |config| config.reload.extra_files = vec!["/a".into()]
        ));
        assert!(!changed(
            |config| config.log_level = lockgate_config::LogLevel::Debug
        ));
        assert!(!changed(|config| {
            config.error_log = lockgate_config::LogTarget::Stdout;
        }));
    }

    #[test]
    fn the_relay_runs_with_something_to_relay_and_a_redis_server() {
        let redis = RedisAddress {
            is_tls: false,
            host: "localhost".to_owned(),
            port: 6379,
            user: None,
            password: None,
            database: 0,
        };
        for (is_enabled, redis, is_needed) in [
            (false, None, false),
            (true, None, false),
            (false, Some(&redis), false),
            (true, Some(&redis), true),
        ] {
            let mut of_limits = config();
            of_limits.routes.rate_limits = limits(is_enabled);
            of_limits.rate_limits.redis = redis.cloned();
            assert_is_needed(Duty::Relay, &of_limits, is_needed);
            let mut of_purges = config();
            of_purges.cache.memory = if is_enabled { 1 << 26 } else { 0 };
            of_purges.cache.redis = redis.cloned();
            assert_is_needed(Duty::Relay, &of_purges, is_needed);
            let mut config = config();
            config.push.is_enabled = is_enabled;
            config.push.redis = redis.cloned();
            assert_is_needed(Duty::Relay, &config, is_needed);
        }
    }
}
