//! The poller of macOS and FreeBSD: kqueue.
//!
//! Edge-triggered is EV_CLEAR. A connection has two filters, so one wait may report it in two events; those that come
//! one after the other become one. There are no exclusive listeners: an arrival wakes every worker that waits, and all
//! but one find that it is gone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::timespec;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use rustix::io::{FdFlags, fcntl_setfd};

use super::{EVENTS_AT_ONCE, Readiness, Selector};

/// A connection may take two: a list with room for these is full only if it has [`EVENTS_AT_ONCE`] connections.
const KEVENTS_AT_ONCE: usize = 2 * EVENTS_AT_ONCE;

/// Longer waits end early. macOS refuses those of more than 10^8 seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a token has 64 bits, and kqueue keeps it in a pointer");

/// A kqueue. A child that is forked does not inherit it.
pub struct Poller {
    queue: Arc<Kqueue>,
}

impl Poller {
    fn change(&self, changes: &[KEvent]) -> io::Result<()> {
        self.queue.kevent(changes, &mut [], None)?;
        Ok(())
    }
}

impl Selector for Poller {
    fn new() -> io::Result<Self> {
        let queue = Kqueue::new()?;
        fcntl_setfd(queue.as_fd(), FdFlags::CLOEXEC)?;
        Ok(Self {
            queue: Arc::new(queue),
        })
    }

    fn watch_connection(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
        self.change(&[
            of_descriptor(descriptor, EventFilter::EVFILT_READ, flags, token),
            of_descriptor(descriptor, EventFilter::EVFILT_WRITE, flags, token),
        ])
    }

    fn watch_listener(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let filter = EventFilter::EVFILT_READ;
        self.change(&[of_descriptor(descriptor, filter, EvFlags::EV_ADD, token)])
    }

    fn forget_listener(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let filter = EventFilter::EVFILT_READ;
        self.change(&[of_descriptor(descriptor, filter, EvFlags::EV_DELETE, 0)])
    }

    fn watch_waker(&self, waker: &Waker, token: u64) -> io::Result<()> {
        let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
        self.change(&[of_user(flags, FilterFlag::empty(), token)])?;
        let target = (Arc::clone(&self.queue), token);
        (waker.target.set(target)).map_err(|_| io::ErrorKind::AlreadyExists)?;
        // A wake before this one had no kqueue to go to.
        waker.wake();
        Ok(())
    }

    fn wait(&self, timeout: Option<Duration>, into: &mut Vec<(u64, Readiness)>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| {
            let timeout = timeout.min(LONGEST_WAIT);
            timespec {
                tv_sec: timeout.as_secs().cast_signed(),
                tv_nsec: timeout.subsec_nanos().into(),
            }
        });
        // On the stack: the kernel's event type holds a pointer, so it is not `Send` and cannot be kept in the event
        // loop.
        let mut room = [of_user(EvFlags::empty(), FilterFlag::empty(), 0); KEVENTS_AT_ONCE];
        let count = match self.queue.kevent(&[], &mut room, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut last = None;
        for event in &room[..count] {
            let seen = Seen::of(event);
            match (&mut last, into.last_mut()) {
                (Some(last), Some((_, readiness))) if seen.is_other_half_of(last) => {
                    readiness.merge(seen.readiness);
                    readiness.hung_up |= seen.is_closed && last.is_closed;
                }
                _ => into.push((seen.token, seen.readiness)),
            }
            last = Some(seen);
        }
        Ok(())
    }
}

/// One event of the kernel.
struct Seen {
    token: u64,
    descriptor: usize,
    filter: Option<EventFilter>,
    readiness: Readiness,
    /// This direction is dead.
    is_closed: bool,
}

impl Seen {
    fn of(event: &KEvent) -> Self {
        let filter = event.filter().ok();
        let flags = event.flags();
        let is_closed = flags.contains(EvFlags::EV_EOF);
        // With EV_EOF the flags of the filter are the error of the socket: a number below 128, whose bits are all known
        // to nix, which panics at others.
        let is_reset = is_closed && !event.fflags().is_empty();
        let readiness = match filter {
            Some(EventFilter::EVFILT_WRITE) => Readiness {
                writable: true,
                hung_up: is_reset,
                ..Readiness::default()
            },
            _ => Readiness {
                readable: true,
                read_closed: is_closed,
                hung_up: is_reset || flags.contains(EvFlags::EV_ERROR),
                ..Readiness::default()
            },
        };
        Self {
            token: (event.udata() as i64).cast_unsigned(),
            descriptor: event.ident(),
            filter,
            readiness,
            is_closed,
        }
    }

    /// Whether both are of one connection, one for reading and one for writing.
    fn is_other_half_of(&self, other: &Self) -> bool {
        let is_direction = |filter| {
            matches!(
                filter,
                Some(EventFilter::EVFILT_READ | EventFilter::EVFILT_WRITE)
            )
        };
        self.descriptor == other.descriptor
            && self.filter != other.filter
            && is_direction(self.filter)
            && is_direction(other.filter)
    }
}

fn of_descriptor(
    descriptor: BorrowedFd<'_>,
    filter: EventFilter,
    flags: EvFlags,
    token: u64,
) -> KEvent {
    // An open descriptor is not negative.
    let ident = descriptor.as_raw_fd() as usize;
    KEvent::new(ident, filter, flags, FilterFlag::empty(), 0, udata(token))
}

/// The event of a waker: its number is its token.
fn of_user(flags: EvFlags, trigger: FilterFlag, token: u64) -> KEvent {
    let filter = EventFilter::EVFILT_USER;
    KEvent::new(token as usize, filter, flags, trigger, 0, udata(token))
}

fn udata(token: u64) -> isize {
    token.cast_signed() as isize
}

/// Ends a wait from another thread: an event of the user in the kqueue that watches it.
pub struct Waker {
    target: OnceLock<(Arc<Kqueue>, u64)>,
}

impl Waker {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            target: OnceLock::new(),
        })
    }

    pub fn wake(&self) {
        if let Some((queue, token)) = self.target.get() {
            let trigger = of_user(EvFlags::empty(), FilterFlag::NOTE_TRIGGER, *token);
            // A failure has no remedy here.
            let _ = queue.kevent(&[trigger], &mut [], None);
        }
    }
}
