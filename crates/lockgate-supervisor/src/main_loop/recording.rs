//! Writes reload progress and worker exits to the scoreboard, for the admin process.

use super::MainLoop;
use super::admin::monotonic_nanos;
use crate::supervisor::Fact;

impl MainLoop {
    pub(super) fn record(&self, fact: Fact) {
        let Some(scoreboard) = self.scoreboard else {
            return;
        };
        match fact {
            Fact::ReloadBegun => scoreboard.record_reload_begun(monotonic_nanos()),
            Fact::ReloadReady { ready, wanted } => scoreboard.record_reload_ready(ready, wanted),
            Fact::ReloadMoving => scoreboard.record_reload_moving(),
            Fact::ReloadDone => scoreboard.record_reload_done(monotonic_nanos()),
            Fact::WorkerExited(cause) => scoreboard.record_exit(cause),
            Fact::ReloadFailed { why } => scoreboard.record_reload_failed(&why, monotonic_nanos()),
        }
    }
}
