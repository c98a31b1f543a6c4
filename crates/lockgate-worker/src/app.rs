//! The interface between the server and the application. Python implements it, or a Rust function in tests and benches.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::detached_work::DetachedWork;
use crate::exchange::request::Request;
use crate::exchange::response::Reply;

/// The body of a worker thread.
pub type ThreadBody = Box<dyn FnOnce() + Send>;

/// See [`App::interrupt`].
pub type IfDue<'a> = &'a mut dyn FnMut(bool, &mut dyn FnMut()) -> bool;

/// The application, and the Python interpreter that it runs in.
///
/// A worker thread is *attached* to the interpreter (holds the GIL) for its whole life, except inside
/// [`App::detached`]: only there it runs the event loop, waits for locks and writes to sockets (ARCHITECTURE.md, rule
/// 2).
pub trait App: Send + Sync + 'static {
    /// Answers one request. Called on a worker thread, attached. A reply that is neither finished nor aborted when this
    /// returns (or panics) becomes a 500, or a closed connection when some of it has been sent already.
    fn call(&self, request: &mut Request, reply: &mut Reply);

    /// Runs `work` without the GIL; returns when `work` is done and the GIL is held again.
    fn detached(&self, work: DetachedWork<'_>) {
        work.run();
    }

    /// Maintenance of the interpreter that no request should wait for, such as garbage collection. Called attached, on
    /// a worker thread that has run what was ready and is about to wait; another thread may be in a call, or here.
    /// `release` has the follower send the turn's responses meanwhile: call it before anything that takes longer than
    /// waking a thread, some 50 µs. With one thread there is no follower, and the responses are sent when this returns.
    fn between_turns(&self, _release: &dyn Fn()) {}

    /// The number by which [`App::stack`], [`App::interrupt`] and stack dumps for operators name the current thread, a
    /// worker thread. Called attached.
    fn thread(&self) -> u64 {
        0
    }

    /// The stack of the application's code on `thread`, for people to read. Called detached, on a thread that may wait.
    fn stack(&self, _thread: u64) -> Option<String> {
        None
    }

    /// Raises an exception in the application's code on `thread` as soon as that code runs again, and returns its
    /// stack, as [`App::stack`] does. `if_due` is called attached, with whether there is a stack and what makes the
    /// exception pending. If the call still runs, it does so and returns true: the call cannot end in between.
    fn interrupt(&self, _thread: u64, if_due: IfDue<'_>) -> Option<String> {
        if_due(false, &mut || {});
        None
    }

    /// The current thread's call, for which [`App::interrupt`] was due, has ended: an exception that it has not raised
    /// yet must not be raised in the next call. Called attached.
    fn forget_interruption(&self) {}

    /// Sets how long a thread may compute while others wait for the GIL. Called attached.
    fn set_switch_interval(&self, _interval: Duration) {}

    /// The current thread was idle for `thread_idle_timeout` and ends, while the worker continues. Called attached.
    fn thread_ends(&self) {}

    /// Starts a worker thread; `body` runs attached and ends with the worker, or when the thread was idle for too long.
    ///
    /// # Errors
    /// The system's error when it cannot start a thread.
    fn spawn(&self, name: String, body: ThreadBody) -> io::Result<()> {
        std::thread::Builder::new().name(name).spawn(body).map(drop)
    }
}

/// The application as one of several event loops has it: with a reference count that no other event loop writes. Every
/// method is passed on.
#[repr(align(64))]
pub(crate) struct Counted(pub(crate) Arc<dyn App>);

impl App for Counted {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        self.0.call(request, reply);
    }

    fn detached(&self, work: DetachedWork<'_>) {
        self.0.detached(work);
    }

    fn between_turns(&self, release: &dyn Fn()) {
        self.0.between_turns(release);
    }

    fn thread(&self) -> u64 {
        self.0.thread()
    }

    fn stack(&self, thread: u64) -> Option<String> {
        self.0.stack(thread)
    }

    fn interrupt(&self, thread: u64, if_due: IfDue<'_>) -> Option<String> {
        self.0.interrupt(thread, if_due)
    }

    fn forget_interruption(&self) {
        self.0.forget_interruption();
    }

    fn set_switch_interval(&self, interval: Duration) {
        self.0.set_switch_interval(interval);
    }

    fn thread_ends(&self) {
        self.0.thread_ends();
    }

    fn spawn(&self, name: String, body: ThreadBody) -> io::Result<()> {
        self.0.spawn(name, body)
    }
}
