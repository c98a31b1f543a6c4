//! The listening sockets of a worker: takes new connections, stops at the limit, leaves their part to its siblings,
//! lets go when it drains. Knows nothing of what is said on a connection.

mod addresses;
mod balance;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::BindAddress;
use lockgate_observe::Seat;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;

pub use self::addresses::{Addresses, Network};
use self::balance::{Balance, fair_room};
use crate::descriptors::{Noted, move_up};
use crate::poller::Poller;
use crate::request::{Client, Local};

/// Listener `n` has this token plus `n`; slots never do, because their generation is never 0.
pub const FIRST_LISTENER: u64 = 1;

/// Connections taken from one listener per turn. Few, so that workers that share it get their part.
pub const ACCEPTS_AT_ONCE: usize = 16;

/// How long accepting rests when the process or the system has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// How long a connection is left to siblings that hold clearly fewer. They know of it and come as soon as they poll;
/// the client of a connection that none of them comes for has waited this long, once. 0.5 ms and 6 ms spread 48
/// connections as evenly.
const COURTESY: Duration = Duration::from_millis(1);

struct Listener {
    socket: Noted,
    local: Arc<Local>,
    is_watched: bool,
}

/// A connection that has just come in.
pub struct Arrival {
    /// Noted at once: those that came with it are read from first, and an application may fork meanwhile.
    pub socket: Noted,
    pub client: Arc<Client>,
    pub local: Arc<Local>,
    /// Who it counts for; nobody on a unix socket.
    pub network: Option<Network>,
}

/// All listeners of one worker.
pub struct Acceptor {
    listeners: Vec<Listener>,
    /// Set while there is no room for another connection.
    resumes: Option<Instant>,
    siblings: Option<Siblings>,
    unix_client: Arc<Client>,
}

/// Workers that accept from the same listeners, and how this one gets on with them.
struct Siblings {
    seat: Seat,
    balance: Balance,
    /// The rest that goes on is for their sake.
    is_waiting: bool,
    /// Such a rest has just ended: what is there on the next look was left by them.
    has_waited: bool,
}

impl Acceptor {
    /// With a seat, workers that accept from the same listeners get their part.
    pub fn new(listeners: Vec<(BindAddress, OwnedFd)>, seat: Option<Seat>) -> io::Result<Self> {
        let listeners = listeners
            .into_iter()
            .map(|(_, socket)| {
                SockRef::from(&socket).set_nonblocking(true)?;
                let local = Arc::new(local_of(&socket)?);
                Ok(Listener {
                    socket: Noted::new(socket),
                    local,
                    is_watched: false,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            listeners,
            resumes: None,
            siblings: seat.map(|seat| Siblings {
                seat,
                balance: Balance::default(),
                is_waiting: false,
                has_waited: false,
            }),
            unix_client: Arc::default(),
        })
    }

    /// From now on the siblings count on this worker; to be called before the first `watch`.
    pub fn enter(&self) {
        if let Some(siblings) = &self.siblings {
            siblings.seat.enter();
        }
    }

    /// Starts or goes on listening.
    pub fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        self.resumes = None;
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

    /// Takes no connection until `watch` is called again; they wait in the kernel's queue, or at another worker.
    pub fn rest(&mut self, poller: &Poller, until: Instant) {
        self.resumes = Some(until);
        self.unwatch(poller);
    }

    /// Whether a worker that now holds `own` connections should end its rest: its reason has gone.
    pub fn may_resume(&self, own: usize) -> bool {
        self.resumes.is_some()
            && self.siblings.as_ref().is_none_or(|siblings| {
                !siblings.is_waiting || fair_room(own, siblings.seat.siblings()) > 0
            })
    }

    pub fn resumes(&self) -> Option<Instant> {
        self.resumes
    }

    /// How many sockets are listened to.
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// Whether the token belongs to a listener.
    pub fn owns(&self, token: u64) -> bool {
        token >= FIRST_LISTENER && token - FIRST_LISTENER < self.listeners.len() as u64
    }

    /// How many connections a worker that holds `own` may take, now that one waits. 0: its siblings hold clearly
    /// fewer, and it leaves them this one: it rests for a moment.
    pub fn share(&mut self, poller: &Poller, own: usize, now: Instant) -> usize {
        let Some(siblings) = &mut self.siblings else {
            return usize::MAX;
        };
        let share = siblings
            .balance
            .room(own, siblings.seat.siblings(), siblings.has_waited);
        if share == 0 {
            siblings.is_waiting = true;
            self.rest(poller, now + COURTESY);
        }
        share
    }

    /// Connections were taken. A worker that has its part now goes to the end of the kernel's queue: the next
    /// arrival wakes a sibling, or this one all the same when every sibling is in a call.
    pub fn give_way(&mut self, poller: &Poller, own: usize, requests: u64) -> io::Result<()> {
        self.publish(own, requests);
        let has_part = self
            .siblings
            .as_ref()
            .is_some_and(|siblings| fair_room(own, siblings.seat.siblings()) == 0);
        match has_part {
            true => self.go_behind(poller),
            false => Ok(()),
        }
    }

    /// Goes to the end of the kernel's queue.
    pub fn go_behind(&mut self, poller: &Poller) -> io::Result<()> {
        // Whoever rests comes back there.
        if self.resumes.is_some() {
            return Ok(());
        }
        // The kernel wakes exclusive waiters from the head of its queue and adds them at the tail.
        self.unwatch(poller);
        self.watch(poller)
    }

    /// Tells the siblings what this worker holds and has done.
    pub fn publish(&self, own: usize, requests: u64) {
        if let Some(siblings) = &self.siblings {
            siblings.seat.publish(own as u64, requests);
        }
    }

    /// The worker has looked for arrivals.
    pub fn note_looked(&mut self) {
        if let Some(siblings) = &mut self.siblings {
            siblings.has_waited = false;
        }
    }

    /// Takes connections from one listener until it is empty, `room` is used up, or others should have a turn.
    ///
    /// # Errors
    /// When the system has no descriptor or memory for one more; the caller lets accepting rest.
    pub fn accept(&self, token: u64, room: usize, into: &mut Vec<Arrival>) -> io::Result<()> {
        self.accept_from(
            (token - FIRST_LISTENER) as usize,
            room.min(ACCEPTS_AT_ONCE),
            into,
        )
    }

    /// Takes everything that waits in the kernel's queues, then closes the listeners.
    pub fn close(&mut self, poller: &Poller, into: &mut Vec<Arrival>) {
        for index in 0..self.listeners.len() {
            // Descriptors may run out on the way; what is left then is refused by the kernel.
            let _ = self.accept_from(index, usize::MAX, into);
        }
        self.unwatch(poller);
        self.resumes = None;
        self.listeners.clear();
        if let Some(siblings) = self.siblings.take() {
            siblings.seat.leave();
        }
    }

    pub fn rest_after_failure(now: Instant) -> Instant {
        now + REST
    }

    fn unwatch(&mut self, poller: &Poller) {
        for listener in &mut self.listeners {
            if listener.is_watched && poller.forget(listener.socket.as_fd()).is_ok() {
                listener.is_watched = false;
            }
        }
    }

    fn accept_from(&self, index: usize, most: usize, into: &mut Vec<Arrival>) -> io::Result<()> {
        let Some(listener) = self.listeners.get(index) else {
            return Ok(());
        };
        for _ in 0..most {
            // accept4: both flags without a call of their own; on Linux TCP_NODELAY is inherited from the listener.
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match acceptfrom_with(&listener.socket, flags) {
                Ok((socket, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let client = address.as_ref().map_or_else(
                        || Arc::clone(&self.unix_client),
                        |address| Arc::new(client_of(address)),
                    );
                    let local = Arc::clone(&listener.local);
                    into.push(Arrival {
                        socket: Noted::new(move_up(socket)),
                        client,
                        local,
                        network: address.map(|address| Network::of(address.ip())),
                    });
                }
                Err(Errno::AGAIN) => return Ok(()),
                // The client was gone before it was accepted (accept(2)): its loss, and the next one may be there.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn client_of(address: &SocketAddr) -> Client {
    Client {
        host: host_text(address),
        port: address.port().to_string(),
        proxy: None,
    }
}

/// An IPv4 client that came in by a dual-stack socket is shown by the address it knows itself by.
fn host_text(address: &SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

fn local_of(socket: &OwnedFd) -> io::Result<Local> {
    match SockRef::from(socket).local_addr()?.as_socket() {
        Some(bound) => Ok(Local {
            server_name: host_text(&bound),
            server_port: bound.port().to_string(),
        }),
        None => Ok(Local {
            server_name: "localhost".to_owned(),
            server_port: String::new(),
        }),
    }
}
