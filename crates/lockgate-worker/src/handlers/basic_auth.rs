//! HTTP Basic: has the hash of a password computed on another thread, unless the user was verified lately.
//!
//! Invariant: for equal credentials one hash is computed at a time, however many requests have them; and a client has at
//! most [`MOST_OF_CLIENT`] that are computed or wait, so that one that guesses leaves room for others
//! (docs/decisions/0061).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lockgate_access::VerifiedKey;
use lockgate_http::LocalResponse;

use crate::blocking_pool::BlockingPool;
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::handler::{Handled, Handler, Resume};
use crate::exchange::request::Request;
use crate::exchange::writer::{DropReason, Presence, PresenceCheck};
use crate::users::{Look, Unverified, UserGuard, UserGuards, reason_of};

/// How many different credentials of one client are checked or wait for it.
const MOST_OF_CLIENT: usize = 4;

/// See the module documentation.
pub struct BasicAuth {
    guards: Arc<UserGuards>,
    checks: Arc<Checks>,
    computing: BlockingPool,
}

/// The checks that run or wait, and the requests that wait for them.
struct Checks {
    running: Mutex<HashMap<VerifiedKey, Check>>,
    resume: Arc<dyn Resume>,
}

struct Check {
    client: Option<IpAddr>,
    waiting: Vec<Exchange>,
}

impl BasicAuth {
    pub fn new(
        guards: &Arc<UserGuards>,
        computing: &BlockingPool,
        resume: &Arc<dyn Resume>,
    ) -> Self {
        Self {
            guards: Arc::clone(guards),
            checks: Arc::new(Checks {
                running: Mutex::default(),
                resume: Arc::clone(resume),
            }),
            computing: computing.clone(),
        }
    }

    /// Has the password checked.
    fn check_later(
        &self,
        exchange: Exchange,
        guard: &Arc<UserGuard>,
        unverified: Unverified,
    ) -> Handled {
        let key = unverified.key;
        let client = exchange.request.client.address().map(network);
        let mut running = self.checks.lock();
        if let Some(check) = running.get_mut(&key) {
            check.waiting.push(exchange);
            return Handled::Taken;
        }
        let is_of_client = |check: &&Check| client.is_some() && check.client == client;
        if running.values().filter(is_of_client).count() >= MOST_OF_CLIENT {
            return Handled::Answer(exchange, later(429, "too_many_password_checks"));
        }
        let waiting = vec![exchange];
        running.insert(key, Check { client, waiting });
        drop(running);
        let (checks, guard) = (Arc::clone(&self.checks), Arc::clone(guard));
        let job = move || checks.run(&guard, &unverified);
        if self.computing.spawn(job).is_ok() {
            return Handled::Taken;
        }
        // The event loop alone adds requests.
        let mut waiting = self.checks.take(&key);
        match waiting.pop() {
            Some(exchange) => Handled::Answer(exchange, later(503, "password_checks_full")),
            None => Handled::Taken,
        }
    }
}

impl Handler for BasicAuth {
    fn concerns(&self, request: &Request) -> bool {
        self.guards.of(request).is_some()
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        let Some(guard) = self.guards.of(&exchange.request) else {
            return Handled::Pass(exchange);
        };
        match guard.look(&exchange.request, Instant::now()) {
            Look::Verified(user) => {
                admit(&mut exchange, user);
                Handled::Pass(exchange)
            }
            Look::Unverified(unverified) => self.check_later(exchange, guard, unverified),
            Look::Nothing(why) => Handled::Answer(exchange, guard.unauthorized(reason_of(why))),
        }
    }
}

impl Checks {
    /// Runs on a thread of the pool.
    fn run(&self, guard: &UserGuard, unverified: &Unverified) {
        let key = &unverified.key;
        if !self.has_clients(key) {
            return;
        }
        let user = guard.check(unverified);
        let now = Instant::now();
        for mut exchange in self.take(key) {
            match &user {
                Some(user) => {
                    admit(&mut exchange, user.clone());
                    self.resume.resume(exchange);
                }
                None => {
                    let answer = guard.unauthorized("wrong_credentials");
                    exchange.writer.answer(&answer, now);
                }
            }
        }
    }

    /// Forgets the requests whose clients have gone. Whether any is left; otherwise no hash is needed.
    fn has_clients(&self, key: &VerifiedKey) -> bool {
        let mut running = self.lock();
        let Some(check) = running.get_mut(key) else {
            return false;
        };
        let (mut left, now) = (Vec::new(), Instant::now());
        let waiting = std::mem::take(&mut check.waiting);
        for mut exchange in waiting {
            match exchange.writer.client().presence(PresenceCheck::Socket) {
                Presence::Gone => left.push(exchange),
                Presence::Connected | Presence::HalfClosed => check.waiting.push(exchange),
            }
        }
        let has_clients = !check.waiting.is_empty();
        if !has_clients {
            running.remove(key);
        }
        drop(running);
        for exchange in left {
            exchange.writer.drop_request(DropReason::Gone, now);
        }
        has_clients
    }

    fn take(&self, key: &VerifiedKey) -> Vec<Exchange> {
        self.lock()
            .remove(key)
            .map_or(Vec::new(), |check| check.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VerifiedKey, Check>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user is REMOTE_USER from now on, and in the access log.
fn admit(exchange: &mut Exchange, user: Box<str>) {
    exchange.writer.control().record_user(&user);
    exchange.request.admitted.user = Some(user);
}

/// The client may try again soon: a check takes a part of a second.
fn later(status: u16, reason: &'static str) -> Answer {
    Answer::refused(
        LocalResponse::text(status, "").with_header("Retry-After", "1"),
        reason,
    )
}

/// What counts as one client: an address of IPv4, or a /64 of IPv6, which one host has as a rule.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
