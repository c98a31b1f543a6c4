//! The helper thread that waits for records of the broadcast log and wakes the event loop.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use lockgate_shm::{Cursor, Log};

use crate::connection::inbox::Returned;
use crate::event_loop::context::Context;

/// How often the thread looks whether the worker has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Starts the thread.
///
/// # Errors
/// The system's error when it cannot start a thread.
pub(super) fn start(context: &Arc<Context>, log: Log) -> io::Result<()> {
    let guard = &context.lifecycle.panic_guard;
    let context = Arc::downgrade(context);
    // The event loop begins to read at an earlier place. Not read by the thread, which may start after a client has
    // come and a record for it.
    let seen = log.head();
    guard.spawn("lockgate-broadcast", move || run(&context, log, seen))
}

fn run(context: &Weak<Context>, log: Log, mut seen: Cursor) {
    loop {
        let has_news = log.wait(&seen, LOOK_EVERY);
        let Some(context) = context.upgrade() else {
            return;
        };
        if context.pool.is_over() {
            return;
        }
        if has_news {
            // Read before the event loop reads: it finds at least these records.
            seen = log.head();
            context.inbox.push(Returned::Published, true);
        }
    }
}
