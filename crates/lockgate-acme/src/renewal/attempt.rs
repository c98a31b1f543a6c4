//! One attempt: asks the CAs in order, and stores the certificate of the first that issues one.

use std::time::Duration;

use crate::certificate::{NewKey, challenge_file, server_name};
use crate::protocol::failure::Failure;
use crate::protocol::order::obtain;
use crate::protocol::session::{Account, Session, is_unknown_account};
use crate::protocol::{ChallengeKind, Host, NoAnswer, Proof, Request, Response};
use crate::renewal::{Attempt, Renewal};
use crate::schedule::{Step, steps};
use crate::settings::Settings;
use crate::storage::Storage;
use crate::storage::lock::Lock;
use crate::world::World;

/// A proof of tls-alpn-01 is presented this long after it was published: the supervisor looks for files every two
/// seconds.
const PRESENTED: Duration = Duration::from_secs(5);
/// Hosts that share a directory over NFS see files late: attributes are cached for some seconds.
const VISIBLE: Duration = Duration::from_secs(1);
/// The lock is renewed between parts of a wait.
const SLICE: Duration = Duration::from_secs(10);

impl Renewal<'_> {
    /// Asks the CAs of the schedule.
    pub(super) fn ask(&mut self, name: &str, lock: Lock) -> Attempt {
        let settings = self.settings;
        let mut last = settings.directory.clone();
        if let Err(failure) = self.world.connect(settings) {
            return Attempt::Failed(last, failure);
        }
        let failures = self.storage.state(name).failures;
        let fallback = settings.fallback_directory.as_deref();
        let steps = steps(failures, &settings.directory, fallback);
        let mut asking = Asking {
            world: &mut *self.world,
            storage: &self.storage,
            lock,
        };
        let mut failed = None;
        let mut is_rehearsal_failed = false;
        for step in steps {
            if is_rehearsal_failed && !step.is_rehearsal {
                is_rehearsal_failed = false;
                continue;
            }
            match asking.order(step, name, settings) {
                Ok(()) if step.is_rehearsal => {}
                Ok(()) => return Attempt::Renewed(step.directory.to_owned()),
                // The lock or the storage would fail for the next CA, too.
                Err(failure @ (Failure::LockLost { .. } | Failure::Storage { .. })) => {
                    return Attempt::Failed(step.directory.to_owned(), failure);
                }
                Err(failure) => {
                    is_rehearsal_failed = step.is_rehearsal;
                    last = step.directory.to_owned();
                    failed = Some(match failed {
                        None => failure,
                        Some(earlier) => Failure::Several(vec![earlier, failure]),
                    });
                }
            }
        }
        let failure = failed.unwrap_or(Failure::Key {
            what: "no CA was asked",
        });
        Attempt::Failed(last, failure)
    }
}

/// The host of an attempt: the world, the storage for proofs, and the lock that is renewed on the way.
struct Asking<'a> {
    world: &'a mut dyn World,
    storage: &'a Storage,
    lock: Lock,
}

impl Asking<'_> {
    /// Orders a certificate from one CA, and stores it unless it is a rehearsal.
    fn order(&mut self, step: Step<'_>, name: &str, settings: &Settings) -> Result<(), Failure> {
        let new = NewKey::generate(name)?;
        let chain = self.chain(step.directory, name, &new, settings)?;
        let file = new.file_with(&chain, name, self.world.unix_now())?;
        match step.is_rehearsal {
            true => Ok(()),
            false => self.storage.store_certificate(name, &file),
        }
    }

    fn chain(
        &mut self,
        directory: &str,
        name: &str,
        new: &NewKey,
        settings: &Settings,
    ) -> Result<Vec<u8>, Failure> {
        let storage = self.storage;
        let (key, known) = storage.account(directory)?;
        let is_first_ca = directory == settings.directory;
        let external = match is_first_ca {
            true => settings.external_account()?,
            false => None,
        };
        let external = external.as_ref();
        let email = settings.email.as_deref();
        let mut session = Session::open(directory, &key, self)?;
        let mut account = session.log_in(&known, email, external)?;
        if account != known {
            storage.store_account(directory, &account)?;
        }
        let outcome = obtain(&mut session, name, &settings.challenges, &new.request);
        match outcome {
            Err(failure) if is_unknown_account(&failure) => {
                account = session.log_in(&Account::default(), email, external)?;
                storage.store_account(directory, &account)?;
                obtain(&mut session, name, &settings.challenges, &new.request)
            }
            outcome => outcome,
        }
    }
}

impl Host for Asking<'_> {
    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer> {
        self.world.send(request)
    }

    fn now(&self) -> u64 {
        self.world.unix_now()
    }

    fn wait(&mut self, duration: Duration) -> Result<(), Failure> {
        let mut left = duration;
        loop {
            self.lock.beat(self.world.monotonic_now())?;
            if left.is_zero() {
                return Ok(());
            }
            let slice = left.min(SLICE);
            self.world.sleep(slice);
            left -= slice;
        }
    }

    fn publish(&mut self, proof: &Proof) -> Result<(), Failure> {
        match proof.kind {
            ChallengeKind::Http01 => {
                let answer = &proof.key_authorization;
                self.storage.publish_http(&proof.token, answer)?;
                self.wait(VISIBLE)
            }
            ChallengeKind::TlsAlpn01 => {
                let file = challenge_file(&proof.name, &proof.key_authorization)?;
                self.storage.publish_tls(&server_name(&proof.name), &file)?;
                self.wait(PRESENTED)
            }
        }
    }

    fn withdraw(&mut self, proof: &Proof) {
        match proof.kind {
            ChallengeKind::Http01 => self.storage.withdraw_http(&proof.token),
            ChallengeKind::TlsAlpn01 => self.storage.withdraw_tls(&server_name(&proof.name)),
        }
    }
}
