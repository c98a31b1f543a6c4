//! The listening sockets of a worker: accepts connections up to the limit, leaves siblings their share, and closes the
//! listeners when the worker drains.

mod addresses;
mod balance;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::{Endpoint, Scheme};
use lockgate_observe::WorkerSlot;
use rustix::io::Errno;
use socket2::SockRef;

pub use self::addresses::{AddressCounts, Addresses, Network};
use self::balance::{Balance, fair_room};
use crate::client::{Client, Local};
use crate::os;
use crate::poller::{Poller, Selector};
#[cfg(not(loom))]
use crate::transport::descriptors::fork_gate::FORK_GATE;
use crate::transport::descriptors::{TrackedFd, move_up};

/// Listener `n` has this token plus `n`; slots never do, because their generation is never 0.
pub const FIRST_LISTENER: u64 = 1;

/// Connections taken from one listener per turn. Few, so that workers that share it get their part.
pub const ACCEPTS_AT_ONCE: usize = 16;

/// How long accepting pauses when the process or the system has run out of descriptors.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection is left to siblings that hold clearly fewer. They see it as soon as they poll; if none of them
/// takes it, its accept is delayed by this much, once. 0.5 ms and 6 ms spread 48 connections as evenly.
const SIBLING_PAUSE: Duration = Duration::from_millis(1);

struct Listener {
    socket: TrackedFd,
    local: Arc<Local>,
    is_watched: bool,
}

/// A connection that was just accepted.
pub struct Arrival {
    /// Registered at once: the application may fork before this connection is served.
    pub socket: TrackedFd,
    pub client: Arc<Client>,
    pub local: Arc<Local>,
    /// The client that the connection counts for; `None` on a unix socket.
    pub network: Option<Network>,
}

/// All listeners of one worker.
pub struct Acceptor {
    listeners: Vec<Listener>,
    /// Set while accepting is paused.
    resumes_at: Option<Instant>,
    siblings: Option<Siblings>,
    unix_client: Arc<Client>,
}

/// The workers that accept from the same listeners, and what this worker remembers of them.
struct Siblings {
    worker_slot: WorkerSlot,
    balance: Balance,
    /// The current pause leaves a connection to the siblings.
    is_waiting: bool,
    /// Such a pause has just ended: what the next poll reports was left by the siblings.
    has_waited: bool,
}

impl Acceptor {
    /// With a worker slot, the worker shares arrivals with the other workers on the same listeners.
    pub fn new(
        listeners: Vec<(Endpoint, OwnedFd)>,
        worker_slot: Option<WorkerSlot>,
    ) -> io::Result<Self> {
        let listeners = listeners
            .into_iter()
            .map(|(endpoint, socket)| {
                SockRef::from(&socket).set_nonblocking(true)?;
                let local = Arc::new(local_of(&endpoint, &socket)?);
                Ok(Listener {
                    socket: TrackedFd::new(socket),
                    local,
                    is_watched: false,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            listeners,
            resumes_at: None,
            siblings: worker_slot.map(|worker_slot| Siblings {
                worker_slot,
                balance: Balance::default(),
                is_waiting: false,
                has_waited: false,
            }),
            unix_client: Arc::default(),
        })
    }

    /// The siblings count this worker from now on; to be called before the first `watch`.
    pub fn join(&self) {
        if let Some(siblings) = &self.siblings {
            siblings.worker_slot.enter();
        }
    }

    /// Starts or resumes listening.
    pub fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        self.resumes_at = None;
        if let Some(siblings) = &mut self.siblings {
            siblings.has_waited |= std::mem::take(&mut siblings.is_waiting);
        }
        for (token, listener) in (FIRST_LISTENER..).zip(&mut self.listeners) {
            if !listener.is_watched {
                poller.watch_listener(listener.socket.as_fd(), token)?;
                listener.is_watched = true;
            }
        }
        Ok(())
    }

    /// Accepts nothing until `watch` is called again; connections wait in the kernel's queue or go to another worker.
    pub fn pause(&mut self, poller: &Poller, until: Instant) {
        self.resumes_at = Some(until);
        self.unwatch(poller);
    }

    /// Whether a worker that now holds `own` connections should end its pause because the reason for it is gone.
    pub fn may_resume(&self, own: usize) -> bool {
        self.resumes_at.is_some()
            && self.siblings.as_ref().is_none_or(|siblings| {
                !siblings.is_waiting || fair_room(own, siblings.worker_slot.siblings()) > 0
            })
    }

    pub fn resumes_at(&self) -> Option<Instant> {
        self.resumes_at
    }

    /// Number of listening sockets.
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// Whether the token belongs to a listener.
    pub fn owns(&self, token: u64) -> bool {
        token >= FIRST_LISTENER && token - FIRST_LISTENER < self.listeners.len() as u64
    }

    /// How many connections a worker that holds `own` may accept, now that one waits. 0: the siblings hold clearly
    /// fewer, so this worker pauses for a moment and leaves the connection to them.
    pub fn share(&mut self, poller: &Poller, own: usize, now: Instant) -> usize {
        let Some(siblings) = &mut self.siblings else {
            return usize::MAX;
        };
        let share =
            siblings
                .balance
                .room(own, siblings.worker_slot.siblings(), siblings.has_waited);
        if share == 0 {
            siblings.is_waiting = true;
            self.pause(poller, now + SIBLING_PAUSE);
        }
        share
    }

    /// Called after connections were accepted. A worker that has its share goes to the end of the kernel's queue: the
    /// next arrival wakes a sibling, or this worker when every sibling is in a call.
    pub fn give_way(&mut self, poller: &Poller, own: usize, requests: u64) -> io::Result<()> {
        self.publish(own, requests);
        let has_part = self
            .siblings
            .as_ref()
            .is_some_and(|siblings| fair_room(own, siblings.worker_slot.siblings()) == 0);
        match has_part {
            true => self.go_behind(poller),
            false => Ok(()),
        }
    }

    /// Goes to the end of the kernel's queue.
    pub fn go_behind(&mut self, poller: &Poller) -> io::Result<()> {
        // A paused worker joins at the end of the queue when it resumes.
        if self.resumes_at.is_some() {
            return Ok(());
        }
        // The kernel wakes exclusive waiters from the head of its queue and adds them at the tail.
        self.unwatch(poller);
        self.watch(poller)
    }

    /// Publishes to the siblings how many connections this worker holds and how many requests it has served.
    pub fn publish(&self, own: usize, requests: u64) {
        if let Some(siblings) = &self.siblings {
            siblings.worker_slot.publish(own as u64, requests);
        }
    }

    /// The worker has polled its listeners.
    pub fn on_polled(&mut self) {
        if let Some(siblings) = &mut self.siblings {
            siblings.has_waited = false;
        }
    }

    /// Accepts connections from one listener until its queue is empty, `room` is used up, or other work is due.
    ///
    /// # Errors
    /// When the system has no descriptor or memory for one more; the caller pauses accepting.
    pub fn accept(&self, token: u64, room: usize, into: &mut Vec<Arrival>) -> io::Result<()> {
        self.accept_from(
            (token - FIRST_LISTENER) as usize,
            room.min(ACCEPTS_AT_ONCE),
            into,
        )
    }

    /// Accepts everything that waits in the kernel's queues, then closes the listeners.
    pub fn close(&mut self, poller: &Poller, into: &mut Vec<Arrival>) {
        for index in 0..self.listeners.len() {
            // Descriptors may run out on the way; the kernel refuses what is left then.
            let _ = self.accept_from(index, usize::MAX, into);
        }
        self.unwatch(poller);
        self.resumes_at = None;
        self.listeners.clear();
        if let Some(siblings) = self.siblings.take() {
            siblings.worker_slot.leave();
        }
    }

    pub fn resumes_at_after_failure(now: Instant) -> Instant {
        now + FAILURE_PAUSE
    }

    fn unwatch(&mut self, poller: &Poller) {
        for listener in &mut self.listeners {
            if listener.is_watched && poller.forget_listener(listener.socket.as_fd()).is_ok() {
                listener.is_watched = false;
            }
        }
    }

    fn accept_from(&self, index: usize, most: usize, into: &mut Vec<Arrival>) -> io::Result<()> {
        let Some(listener) = self.listeners.get(index) else {
            return Ok(());
        };
        #[cfg(not(loom))]
        let _no_fork = FORK_GATE.begin_accept();
        for _ in 0..most {
            match os::accept(&listener.socket) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let client = address.as_ref().map_or_else(
                        || Arc::clone(&self.unix_client),
                        |address| Arc::new(client_of(address)),
                    );
                    let local = Arc::clone(&listener.local);
                    into.push(Arrival {
                        socket: TrackedFd::new(move_up(socket)),
                        client,
                        local,
                        network: address.map(|address| Network::of(address.ip())),
                    });
                }
                Err(Errno::AGAIN) => return Ok(()),
                // The client was gone before it was accepted (accept(2)); the next one may be waiting.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn client_of(address: &SocketAddr) -> Client {
    Client::new(&host_text(address), &address.port().to_string())
}

/// An IPv4 client on a dual-stack socket is shown by its IPv4 address.
fn host_text(address: &SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

fn local_of(endpoint: &Endpoint, socket: &OwnedFd) -> io::Result<Local> {
    let is_tls = endpoint.scheme == Scheme::Https;
    let is_uwsgi = endpoint.scheme == Scheme::Uwsgi;
    match SockRef::from(socket).local_addr()?.as_socket() {
        Some(bound) => Ok(Local {
            server_name: host_text(&bound),
            server_port: bound.port().to_string(),
            is_tls,
            is_uwsgi,
        }),
        None => Ok(Local {
            server_name: "localhost".to_owned(),
            server_port: String::new(),
            is_tls,
            is_uwsgi,
        }),
    }
}
