//! The poller of Linux: epoll. Listeners are exclusive, so that one arrival wakes one worker (EPOLLEXCLUSIVE).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::{EVENTS_AT_ONCE, Readiness, Selector};
use crate::transport::descriptors::TrackedFd;

/// An epoll instance.
pub struct Poller {
    epoll: TrackedFd,
}

impl Selector for Poller {
    fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: TrackedFd::new(epoll::create(CreateFlags::CLOEXEC)?),
        })
    }

    fn watch_connection(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            EventData::new_u64(token),
            interest,
        )?)
    }

    fn watch_listener(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let interest = EventFlags::IN | EventFlags::EXCLUSIVE;
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            EventData::new_u64(token),
            interest,
        )?)
    }

    fn watch_waker(&self, waker: &Waker, token: u64) -> io::Result<()> {
        // Edge-triggered: the counter need not be read, each write is a new edge.
        let interest = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            waker.event.as_fd(),
            EventData::new_u64(token),
            interest,
        )?)
    }

    fn forget_listener(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, descriptor)?)
    }

    fn wait(&self, timeout: Option<Duration>, into: &mut Vec<(u64, Readiness)>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        // On the stack: the kernel's event type holds a pointer, so it is not `Send` and cannot be kept in the event
        // loop.
        let mut room = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_AT_ONCE];
        let events = match epoll::wait(&self.epoll, &mut room[..], timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        into.extend(events.iter().map(|event| {
            let flags = event.flags;
            let readiness = Readiness {
                readable: flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                read_closed: flags.contains(EventFlags::RDHUP),
                hung_up: flags.intersects(EventFlags::HUP | EventFlags::ERR),
            };
            (event.data.u64(), readiness)
        }));
        Ok(())
    }
}

/// Ends a wait from another thread.
pub struct Waker {
    event: TrackedFd,
}

impl Waker {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            event: TrackedFd::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
        })
    }

    pub fn wake(&self) {
        // A full counter (EAGAIN) means that 2^64 - 1 wakes are pending; other failures have no remedy here.
        let _ = rustix::io::write(self.event.as_fd(), &1u64.to_ne_bytes());
    }
}
