//! The certificates of the server. The supervisor reads and checks them, watches their files and publishes them to the
//! workers, with the keys of session tickets.
//!
//! Invariant: what is published was checked; a file that cannot be used never replaces a certificate that could.

mod board_memory;
mod challenges;
mod expiry;
mod loading;
mod pool;
mod report;
mod self_signed;
mod session_tickets;
mod settings;
mod standalone;
mod version;
mod view;
mod wanted;
mod watch;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_observe::Level;
use lockgate_tls::{Board, Material, TicketKeys};

pub(crate) use self::board_memory::inherit;
use self::challenges::Challenges;
use self::expiry::ExpiryWarnings;
use self::loading::LoadedCertificate;
use self::pool::Pool;
use self::self_signed::SelfSigned;
pub use self::settings::check_certificates;
pub use self::standalone::StandaloneCertificates;
pub use self::view::CertificateViews;
use self::wanted::Wanted;
use crate::Hooks;
use crate::clock::Moment;
use crate::supervisor::Generation;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// The same while ACME may put validation certificates into its directory.
const ACME_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Certificates {
    board: Board,
    /// The memory of the board, for the next program in this process.
    memory: OwnedFd,
    pool: Pool,
    present: Wanted,
    /// While a reload is in progress. Until it is over the certificates of both generations are published.
    next: Option<Wanted>,
    self_signed: SelfSigned,
    /// Certificates signed by this server that are in use: for names that no other certificate covers.
    own: Vec<LoadedCertificate>,
    challenges: Challenges,
    ticket_keys: TicketKeys,
    expiry: ExpiryWarnings,
    next_look: Option<Instant>,
}

impl Certificates {
    /// Loads and publishes the certificates of the first generation. `inherited` is the board of the previous program in
    /// this process. The error is for the operator; the server cannot start.
    pub(crate) fn start(
        config: &Config,
        inherited: Option<(Board, OwnedFd)>,
        now: Moment,
        hooks: &dyn Hooks,
    ) -> Result<Self, String> {
        let before = inherited.as_ref().and_then(|(board, _)| board.read());
        let kept = before.as_ref().map(loading::inherited);
        let (board, memory) = match inherited {
            Some(inherited) => inherited,
            None => board_memory::create().map_err(|error| {
                format!("cannot create shared memory for certificates: {error}")
            })?,
        };
        let wanted = Wanted::of(config);
        let mut certificates = Self {
            board,
            memory,
            pool: Pool::default(),
            present: wanted.clone(),
            next: None,
            self_signed: SelfSigned::new(kept.as_deref().unwrap_or_default()),
            own: Vec::new(),
            challenges: Challenges::default(),
            ticket_keys: before.unwrap_or_default().ticket_keys,
            expiry: ExpiryWarnings::default(),
            next_look: None,
        };
        certificates.load(&wanted, kept.as_deref(), now, hooks)?;
        certificates.update(true, now, hooks)?;
        Ok(certificates)
    }

    /// The board, for the workers of this generation; `None` if its settings do not ask for TLS.
    pub(crate) fn board_of(&self, generation: Generation) -> Option<Board> {
        let wanted = match (generation, &self.next) {
            (Generation::Next, Some(next)) => next,
            _ => &self.present,
        };
        wanted.is_tls().then_some(self.board)
    }

    /// The board, for the admin process: a reload may turn TLS on.
    pub(crate) fn board(&self) -> Board {
        self.board
    }

    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// When to call [`on_timer`](Self::on_timer); `None` without TLS.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next_look
    }

    /// Loads the certificates of the next generation and publishes them beside the present ones. The error is for the
    /// operator; the reload fails.
    pub(crate) fn prepare(
        &mut self,
        config: &Config,
        now: Moment,
        hooks: &dyn Hooks,
    ) -> Result<(), String> {
        settings::check_settings(config).map_err(|error| error.to_string())?;
        let wanted = Wanted::of(config);
        self.load(&wanted, None, now, hooks)?;
        self.next = Some(wanted);
        self.update(true, now, hooks)
    }

    /// The next generation becomes the present one.
    pub(crate) fn switch_over(&mut self, now: Moment, hooks: &dyn Hooks) {
        if let Some(next) = self.next.take() {
            self.present = next;
        }
        self.update_or_log(true, now, hooks);
    }

    /// There is no next generation: the reload has failed.
    pub(crate) fn discard(&mut self, now: Moment, hooks: &dyn Hooks) {
        self.next = None;
        self.update_or_log(true, now, hooks);
    }

    /// Looks at the files when it is time to, and publishes what has changed.
    pub(crate) fn on_timer(&mut self, now: Moment, hooks: &dyn Hooks) {
        if self.next_look.is_some_and(|at| at <= now.monotonic) {
            let changes = self.pool.look(now.monotonic);
            for change in &changes {
                report::change(change, hooks);
            }
            self.update_or_log(!changes.is_empty(), now, hooks);
        }
    }

    fn load(
        &mut self,
        wanted: &Wanted,
        inherited: Option<&[LoadedCertificate]>,
        now: Moment,
        hooks: &dyn Hooks,
    ) -> Result<(), String> {
        let loaded = self.pool.add(wanted, inherited, now.monotonic);
        for change in loaded.map_err(|errors| settings::joined(&errors))? {
            report::change(&change, hooks);
        }
        Ok(())
    }

    fn update_or_log(&mut self, is_changed: bool, now: Moment, hooks: &dyn Hooks) {
        if let Err(problem) = self.update(is_changed, now, hooks) {
            let message =
                format!("certificates not published: {problem}; workers keep the previous ones");
            hooks.log(Level::Error, &message);
        }
    }

    /// Brings everything else up to date with the time and with the loaded certificates, if those have changed, and
    /// publishes all of it after a change.
    fn update(
        &mut self,
        mut is_changed: bool,
        now: Moment,
        hooks: &dyn Hooks,
    ) -> Result<(), String> {
        let generations = std::iter::once(&self.present).chain(&self.next);
        if is_changed {
            self.pool.retain(generations.clone());
        }
        if !generations.clone().any(Wanted::is_tls) {
            self.next_look = None;
            self.own.clear();
            // A reload may have turned TLS off.
            return match self.board.version() {
                0 => Ok(()),
                _ => self.publish(),
            };
        }
        let directory = generations.clone().find_map(Wanted::challenge_directory);
        let interval = match directory {
            Some(_) => ACME_INTERVAL,
            None => INTERVAL,
        };
        self.next_look = Some(now.monotonic + interval);
        is_changed |= self.challenges.look(directory.as_deref());
        if is_changed || !self_signed::are_fresh(&self.own, now.unix_seconds) {
            self.sign_missing(now, hooks);
            is_changed = true;
        }
        is_changed |= session_tickets::rotate_if_due(&mut self.ticket_keys, now.unix_seconds)
            .map_err(|error| format!("no random bytes for the keys of session tickets: {error}"))?;
        if is_changed || self.expiry.is_time(now.unix_seconds) {
            let in_use = self.in_use();
            let titles: Vec<_> = in_use
                .map(|loaded| (report::title(loaded), loaded.validity()))
                .collect();
            report::expiries(self.expiry.due(&titles, now.unix_seconds), hooks);
        }
        match is_changed {
            true => self.publish(),
            false => Ok(()),
        }
    }

    /// Signs certificates for the names that no loaded certificate covers.
    fn sign_missing(&mut self, now: Moment, hooks: &dyn Hooks) {
        let generations = std::iter::once(&self.present).chain(&self.next);
        let mut public = Vec::new();
        let mut local = Vec::new();
        for wanted in generations {
            let loaded: Vec<&LoadedCertificate> = self.pool.of(wanted).collect();
            let is_missing = |name: &&String| !loaded.iter().any(|one| one.covers(name));
            public.extend(wanted.public.iter().filter(is_missing).cloned());
            local.extend(wanted.local.iter().filter(is_missing).cloned());
        }
        let file = (self.next.as_ref().unwrap_or(&self.present)).self_signed_file();
        let before = std::mem::take(&mut self.own);
        for (names, file) in [(public, None), (local, Some(file.as_path()))] {
            if names.is_empty() {
                continue;
            }
            let names = without_repetition(names);
            match self.self_signed.get(&names, file, now.unix_seconds) {
                Ok((own, unwritten)) => {
                    if !before.iter().any(|one| one.is_same(&own)) {
                        report::signed(&own, file.is_some(), unwritten, hooks);
                    }
                    self.own.push(own);
                }
                Err(problem) => report::unsigned(&names, &problem, hooks),
            }
        }
    }

    /// The certificates of all generations, the default one first.
    fn in_use(&self) -> impl Iterator<Item = &LoadedCertificate> {
        let generations = std::iter::once(&self.present).chain(&self.next);
        let loaded = generations.flat_map(|wanted| self.pool.of(wanted));
        loaded.chain(&self.own)
    }

    fn publish(&self) -> Result<(), String> {
        let mut material = Material {
            ticket_keys: self.ticket_keys.clone(),
            challenges: self.challenges.get().to_vec(),
            ..Material::default()
        };
        for loaded in self.in_use() {
            if !material.certificates.contains(loaded.source()) {
                material.certificates.push(loaded.source().clone());
                material.origins.push(loaded.origin.clone());
            }
        }
        if self.board.read().as_ref() == Some(&material) {
            return Ok(());
        }
        let published = self.board.publish(&material);
        published.map_err(|error| error.to_string())
    }
}

fn without_repetition(names: Vec<String>) -> Vec<String> {
    let mut once = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
}

#[cfg(test)]
mod tests;
