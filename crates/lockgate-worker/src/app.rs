//! The seam between the server and what it serves. Behind it stands Python, or a Rust function in tests and benches.

use std::io;

use crate::reply::Reply;
use crate::request::Request;

/// What a crew thread is asked to run when it starts.
pub type ThreadBody = Box<dyn FnOnce() + Send>;

/// The application, and the interpreter that it lives in.
///
/// A crew thread is *attached* to the interpreter for its whole life and leaves it only inside [`App::detached`]:
/// the lane is led, locks are waited for and sockets are written there, never while attached (ARCHITECTURE.md, rule 2).
pub trait App: Send + Sync + 'static {
    /// Answers one request. Called on a crew thread, attached. A reply that is neither finished nor aborted
    /// when this returns (or panics) becomes a 500, or a closed connection when bytes have left already.
    fn call(&self, request: &mut Request, reply: &mut Reply);

    /// Runs `work` outside the interpreter and returns when both `work` is done and the interpreter is ours again.
    fn detached(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// Work of the interpreter's own that no request should wait for, such as collecting garbage. Called attached, on
    /// a crew thread that has run what was ready, before it goes to wait; another thread may be in a call, or here.
    /// `let_go` has the standby send the turn's responses meanwhile: to be called before anything that takes longer
    /// than waking a thread, some 50 µs. With one thread nobody stands by, and they leave when this returns.
    fn between_turns(&self, _let_go: &dyn Fn()) {}

    /// What [`App::stack`], [`App::interrupt`] and the stacks that operators see call the present thread, a crew thread.
    /// Called attached.
    fn thread(&self) -> u64 {
        0
    }

    /// Where the application's code stands on `thread`, for people to read. Called detached, on a thread that may wait.
    fn stack(&self, _thread: u64) -> Option<String> {
        None
    }

    /// Has the application's code on `thread` fail as soon as it runs on, and says where it stands, as [`App::stack`].
    /// `is_due` is asked attached, and told whether there is a stack; the thread cannot end its call before the exception is
    /// under way.
    fn interrupt(&self, _thread: u64, is_due: &mut dyn FnMut(bool) -> bool) -> Option<String> {
        is_due(false);
        None
    }

    /// The call of the present thread, for which [`App::interrupt`] was due, is over: what it has not raised by now must
    /// not be raised in the next. Called attached.
    fn forget_interruption(&self) {}

    /// The present thread was idle for `thread_idle_timeout` and ends, while the worker goes on. Called attached.
    fn thread_ends(&self) {}

    /// Starts a crew thread; `body` runs attached and ends when the worker does, or when the thread was idle for long.
    ///
    /// # Errors
    /// Whatever the system says when it has no thread to give.
    fn spawn(&self, name: String, body: ThreadBody) -> io::Result<()> {
        std::thread::Builder::new().name(name).spawn(body).map(drop)
    }
}
