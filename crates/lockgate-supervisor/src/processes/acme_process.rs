//! The ACME process as the supervisor sees it: a side process that runs while some names need a certificate authority.
//!
//! It is started when the first workers serve, because they answer the authority's challenges, and again at each reload,
//! with the new settings. The server loses nothing with it but the next renewal.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use lockgate_config::Config;

use crate::Hooks;
use crate::channels::control::ControlMessage;
use crate::child::side_process::NewSideProcess;
use crate::processes::exit_status::ExitStatus;
use crate::processes::side_process::SideProcess;

/// See the module.
#[derive(Default)]
pub(crate) struct AcmeProcess {
    process: Option<SideProcess>,
}

impl AcmeProcess {
    /// Workers with these settings serve: starts the process if they need it and it does not run yet.
    pub(crate) fn start(&mut self, config: &Config, now: Instant) {
        if self.process.is_none() && config.acme.public_domains().next().is_some() {
            self.process = Some(SideProcess::new("ACME process", None, now));
        }
    }

    /// Ends the process, until the next [`start`](Self::start).
    pub(crate) fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end();
        }
    }

    /// The descriptor to poll, besides the time of [`next`](Self::next).
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref()?.poll_fd()
    }

    /// When something is to be done; see [`SideProcess::next`].
    pub(crate) fn next(&self) -> Option<Instant> {
        self.process.as_ref().map(SideProcess::next)
    }

    /// Forks a process when one is due. In the new process: its ends of the channels.
    pub(crate) fn fork_if_due(
        &mut self,
        now: Instant,
        hooks: &mut dyn Hooks,
    ) -> Option<NewSideProcess> {
        self.process.as_mut()?.fork_if_due(now, hooks)
    }

    /// Reads its heartbeats.
    pub(crate) fn read(&mut self, now: Instant, hooks: &dyn Hooks) {
        if let Some(process) = &mut self.process {
            // It has nothing else to say.
            let _heartbeats = process.read(now, hooks);
        }
    }

    /// Makes the process reopen its log file.
    pub(crate) fn reopen_logs(&self) {
        let process = self.process.as_ref();
        // A process that has just exited is replaced by one that opens the file.
        let _is_sent = process.is_some_and(|process| process.send(ControlMessage::ReopenLogs));
    }

    /// Handles the exit of a child; returns whether it was the ACME process.
    pub(crate) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        now: Instant,
        hooks: &dyn Hooks,
    ) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| process.on_exited(pid, exit_status, now, hooks))
    }
}

#[cfg(test)]
mod tests {
    use lockgate_config::AppSpec;

    use super::*;

    #[test]
    fn it_runs_while_names_need_an_authority() {
        let now = Instant::now();
        for (domains, is_needed) in [
            (&[][..], false),
            (&["localhost", "127.0.0.1"], false),
            (&["localhost", "shop.example"], true),
        ] {
            let mut config = Config::with_defaults(AppSpec::parse("app:app").unwrap());
            config.acme.domains = domains.iter().map(|name| (*name).to_owned()).collect();
            let mut acme = AcmeProcess::default();
            assert_eq!(acme.next(), None);
            acme.start(&config, now);
            assert_eq!(acme.next().is_some(), is_needed, "{domains:?}");
            acme.end();
            assert_eq!(acme.next(), None);
        }
    }
}
