//! A line on a terminal about what a command waits for, once that has taken a second.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Until the first line.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Between the first line and later ones.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Writes lines to standard error until it is dropped, if that is a terminal.
pub(crate) struct Waiting {
    /// Dropping it ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins now. `what` is such as `loading shop.wsgi`.
    pub(crate) fn begin(what: String) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let report = move || {
            let began = Instant::now();
            let mut pause = FIRST_AFTER;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let seconds = began.elapsed().as_secs();
                // A terminal that is gone does not matter to the command.
                let _ = writeln!(io::stderr(), "lockgate: {what} ({seconds} s)");
                pause = AGAIN_AFTER;
            }
        };
        // Without a thread the command works, and is silent.
        let thread = (io::stderr().is_terminal())
            .then(|| {
                thread::Builder::new()
                    .name("progress".to_owned())
                    .spawn(report)
                    .ok()
            })
            .flatten();
        Self {
            end: Some(end),
            thread,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}
