//! Signals to child processes. A child keeps its pid until the supervisor reaps it, so no other process is hit.

use rustix::process::{Pid, Signal, kill_process};

/// The system's type for a pid.
pub(crate) fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Sends a signal.
pub(crate) fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        // It fails only for a process that has exited.
        let _has_exited = kill_process(pid, signal);
    }
}

/// Sends SIGKILL, which cannot be caught.
pub(crate) fn kill(pid: u32) {
    send_signal(pid, Signal::KILL);
}
