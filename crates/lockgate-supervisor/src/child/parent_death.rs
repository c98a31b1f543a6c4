//! The parent-death signal: while it is set, the kernel kills this process with SIGKILL when its parent exits.
//!
//! It covers the boot, when the process may be inside the application's import. Other signals might be caught there.

use rustix::process::{Pid, getppid};

/// Sets the signal. False when the supervisor exited before: the caller must exit.
#[must_use]
pub(crate) fn die_with(supervisor: Option<Pid>) -> bool {
    set(true);
    getppid() == supervisor
}

/// Clears the signal: from now on the process itself detects that its supervisor has exited.
pub(crate) fn outlive_parent() {
    set(false);
}

#[cfg(target_os = "linux")]
fn set(dies: bool) {
    use rustix::process::{Signal, set_parent_process_death_signal};
    // Where it is unsupported, an orphan lives until it is ready and then sees that the lifeline is closed.
    let _unsupported = set_parent_process_death_signal(dies.then_some(Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
fn set(_dies: bool) {}
