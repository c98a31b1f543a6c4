//! Writes reload progress and worker exits to the scoreboard, for the admin process.

use super::MainLoop;
use super::admin::monotonic_nanos;
use crate::supervisor::Fact;

impl MainLoop {
    pub(super) fn record(&self, fact: Fact) {
        let Some(page) = self.page else { return };
        match fact {
            Fact::ReloadBegun => page.note_reload_begun(monotonic_nanos()),
            Fact::ReloadReady { ready, wanted } => page.note_reload_ready(ready, wanted),
            Fact::ReloadMoving => page.note_reload_moving(),
            Fact::ReloadDone => page.note_reload_done(monotonic_nanos()),
            Fact::WorkerExited(cause) => page.note_exit(cause),
            Fact::ReloadFailed { why } => page.note_reload_failed(&why, monotonic_nanos()),
        }
    }
}
