//! The exit report of a worker: the log line with the cause, as far as the supervisor can know it.

use std::time::Instant;

use lockgate_observe::{ExitCause, GunicornEvent, Level};

use super::worker::{ShutdownReason, Worker};
use crate::processes::exit_status::{ExitStatus, signal_name};
use crate::processes::in_flight::InFlightRequest;
use crate::seconds::Seconds;

/// The log line about the exit of `worker`, and its level.
pub(super) fn exit_report(
    worker: &Worker,
    exit_status: ExitStatus,
    memory_ran_out: Option<bool>,
    now: Instant,
) -> (Level, String) {
    let age = Seconds(now.saturating_duration_since(worker.forked));
    if worker.is_killed && exit_status.is_kill() {
        let why = match worker.shutdown_reason {
            Some(ShutdownReason::TimedOut) => "it exceeded its timeout (setting: timeout)",
            _ if worker.has_failed => "it did not exit after its boot had failed",
            _ => "it had not stopped in time",
        };
        return (
            Level::Info,
            format!("{worker} was killed by the supervisor after {age}: {why}"),
        );
    }
    match worker.shutdown_reason {
        Some(ShutdownReason::TimedOut) => (
            Level::Info,
            format!(
                "{worker} {exit_status} after {age}: aborted by the supervisor (setting: timeout)"
            ),
        ),
        Some(ShutdownReason::NotNeeded) if exit_status.is_clean() => {
            let message = match worker.ready {
                Some(ready) => {
                    let served = Seconds(now.saturating_duration_since(ready));
                    format!("{worker} stopped after {served} of service")
                }
                None => format!("{worker} stopped after {age}, before it was ready"),
            };
            (Level::Info, message)
        }
        // The order may have arrived before the worker had its own handlers.
        Some(ShutdownReason::NotNeeded) if worker.ready.is_none() => {
            (Level::Info, format!("{worker} {exit_status} after {age}"))
        }
        Some(ShutdownReason::NotNeeded) if !exit_status.is_kill() => (
            Level::Warning,
            format!("{worker} {exit_status} after {age}, while it was stopping"),
        ),
        _ if exit_status.is_kill() => {
            let who = match memory_ran_out {
                Some(true) => {
                    "by the kernel's OOM killer: the control group had reached its memory limit"
                }
                Some(false) => {
                    "by an operator, or by the kernel's OOM killer because the machine had run out of memory; the \
                     control group had not reached its memory limit"
                }
                None => "by the kernel's OOM killer or by an operator, not by the supervisor",
            };
            (
                Level::Error,
                format!("{worker} {exit_status} after {age}: {who}"),
            )
        }
        _ if worker.has_failed => (
            Level::Info,
            format!("{worker} {exit_status} after {age}, after its boot had failed"),
        ),
        _ if worker.ready.is_none() => (
            Level::Error,
            format!("{worker} {exit_status} after {age}, before it was ready"),
        ),
        _ if exit_status.is_clean() => (
            Level::Warning,
            format!("{worker} {exit_status} after {age}, although no stop was requested"),
        ),
        _ => (Level::Error, format!("{worker} {exit_status} after {age}")),
    }
}

/// The exit as gunicorn logs it, with Lockgate's report below; `None`: not at all, or, when the supervisor itself has
/// killed the worker, with the guess that memory has run out.
pub(super) fn as_gunicorn(
    worker: &Worker,
    exit_status: ExitStatus,
    report: &str,
) -> Option<GunicornEvent> {
    let (pid, detail) = (worker.pid, report.to_owned());
    match exit_status {
        ExitStatus::Code(0) => None,
        ExitStatus::Code(code) => Some(GunicornEvent::Exited { pid, code, detail }),
        ExitStatus::Signal { .. } if worker.is_killed && exit_status.is_kill() => None,
        ExitStatus::Signal { number, .. } => Some(GunicornEvent::Killed {
            pid,
            signal: signal_name(number)
                .map_or_else(|| format!("signal {number}"), ToOwned::to_owned),
            detail,
        }),
    }
}

/// The cause for metrics.
pub(super) fn exit_cause(
    worker: &Worker,
    exit_status: ExitStatus,
    memory_ran_out: Option<bool>,
) -> ExitCause {
    match worker.shutdown_reason {
        Some(ShutdownReason::TimedOut) => ExitCause::Timeout,
        _ if worker.has_failed => ExitCause::BootFailed,
        _ if worker.is_killed && exit_status.is_kill() => ExitCause::Unfinished,
        Some(ShutdownReason::NotNeeded) if exit_status.is_clean() || worker.ready.is_none() => {
            ExitCause::Asked
        }
        _ if exit_status.is_kill() && memory_ran_out == Some(true) => ExitCause::OutOfMemory,
        _ if exit_status.is_kill() => ExitCause::Killed,
        _ if worker.ready.is_none() => ExitCause::BootFailed,
        _ => match exit_status {
            ExitStatus::Signal { .. } => ExitCause::Signal,
            ExitStatus::Code(_) => ExitCause::Exited,
        },
    }
}

/// The requests that were in flight in a worker, one line each, for the same log event.
pub(super) fn last_requests(in_flight: &[InFlightRequest]) -> String {
    let title = match in_flight.len() {
        0 => return String::new(),
        1 => "1 request was in flight:".to_owned(),
        count => format!("{count} requests were in flight:"),
    };
    let lines = in_flight.iter().map(|request| format!("\n  {request}"));
    format!("; {title}{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KILL: ExitStatus = ExitStatus::Signal {
        number: 9,
        dumped_core: false,
    };

    /// Checks the report for a worker in slot 1 that was forked 12 s ago, ready or not, after `change`.
    #[track_caller]
    fn check(change: impl Fn(&mut Worker), exit_status: ExitStatus, level: Level, words: &str) {
        let now = Instant::now() + Duration::from_secs(60);
        let mut worker = Worker::new(1, 124, now - Duration::from_secs(12));
        worker.ready = Some(now - Duration::from_secs(11));
        change(&mut worker);
        let report = exit_report(&worker, exit_status, None, now);
        assert_eq!(report.1, format!("worker 1 (pid 124) {words}"));
        assert!(report.0 == level, "{report:?}");
    }

    #[test]
    fn every_exit_has_one_cause() {
        let signal = |number| ExitStatus::Signal {
            number,
            dumped_core: false,
        };
        type Change = fn(&mut Worker);
        let ordered: Change = |worker| worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
        let untouched: Change = |_| {};
        let table: &[(Change, ExitStatus, Option<bool>, ExitCause)] = &[
            (ordered, ExitStatus::Code(0), None, ExitCause::Asked),
            (ordered, signal(11), None, ExitCause::Signal),
            (ordered, KILL, None, ExitCause::Killed),
            (
                |worker| {
                    worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
                    worker.is_killed = true;
                },
                KILL,
                Some(false),
                ExitCause::Unfinished,
            ),
            (
                |worker| worker.shutdown_reason = Some(ShutdownReason::TimedOut),
                signal(6),
                None,
                ExitCause::Timeout,
            ),
            (
                |worker| worker.has_failed = true,
                ExitStatus::Code(3),
                None,
                ExitCause::BootFailed,
            ),
            (
                |worker| worker.ready = None,
                signal(11),
                None,
                ExitCause::BootFailed,
            ),
            (untouched, KILL, Some(true), ExitCause::OutOfMemory),
            (untouched, KILL, None, ExitCause::Killed),
            (untouched, signal(11), None, ExitCause::Signal),
            (untouched, ExitStatus::Code(0), None, ExitCause::Exited),
            (untouched, ExitStatus::Code(7), None, ExitCause::Exited),
        ];
        for (index, (change, exit_status, memory_ran_out, cause)) in table.iter().enumerate() {
            let mut worker = Worker::new(1, 124, Instant::now());
            worker.ready = Some(Instant::now());
            change(&mut worker);
            assert_eq!(
                exit_cause(&worker, *exit_status, *memory_ran_out),
                *cause,
                "{index}"
            );
        }
    }

    #[test]
    fn a_kill_by_the_oom_killer_is_distinguished_from_others() {
        let now = Instant::now();
        let worker = Worker::new(1, 124, now);
        for (memory_ran_out, words) in [
            (Some(true), "after 0.00 s: by the kernel's OOM killer"),
            (
                Some(false),
                "the control group had not reached its memory limit",
            ),
            (None, "the kernel's OOM killer or by an operator"),
        ] {
            let (_, text) = exit_report(&worker, KILL, memory_ran_out, now);
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn every_request_in_flight_has_a_line() {
        let request = |thread| InFlightRequest {
            thread,
            age: Duration::from_millis(1500),
            method: b"GET".to_vec(),
            target: b"/".to_vec(),
            is_cut: false,
            client: b"::1".to_vec(),
            request_id: Vec::new(),
        };
        let cases = [
            (0, ""),
            (
                1,
                "; 1 request was in flight:\n  GET / of ::1, 1.50 s old, in thread 0",
            ),
            (
                2,
                "; 2 requests were in flight:\n  GET / of ::1, 1.50 s old, in thread 0\n  GET / of ::1, 1.50 s old, in thread 1",
            ),
        ];
        for (count, words) in cases {
            let requests: Vec<_> = (0..count).map(request).collect();
            assert_eq!(last_requests(&requests), words);
        }
    }

    #[test]
    fn the_report_states_the_cause() {
        let abort = ExitStatus::Signal {
            number: 6,
            dumped_core: true,
        };
        check(
            |_| (),
            ExitStatus::Code(7),
            Level::Error,
            "exited with code 7 after 12.0 s",
        );
        check(
            |_| (),
            ExitStatus::Code(0),
            Level::Warning,
            "exited with code 0 after 12.0 s, although no stop was requested",
        );
        check(
            |_| (),
            KILL,
            Level::Error,
            "was killed by SIGKILL after 12.0 s: by the kernel's OOM killer or by an operator, not by the supervisor",
        );
        check(
            |_| (),
            abort,
            Level::Error,
            "was killed by SIGABRT (core dumped) after 12.0 s",
        );
        check(
            |worker| worker.shutdown_reason = Some(ShutdownReason::TimedOut),
            abort,
            Level::Info,
            "was killed by SIGABRT (core dumped) after 12.0 s: aborted by the supervisor (setting: timeout)",
        );
        check(
            |worker| {
                worker.shutdown_reason = Some(ShutdownReason::NotNeeded);
                worker.is_killed = true;
            },
            KILL,
            Level::Info,
            "was killed by the supervisor after 12.0 s: it had not stopped in time",
        );
        check(
            |worker| worker.shutdown_reason = Some(ShutdownReason::NotNeeded),
            ExitStatus::Code(0),
            Level::Info,
            "stopped after 11.0 s of service",
        );
        check(
            |worker| worker.shutdown_reason = Some(ShutdownReason::NotNeeded),
            KILL,
            Level::Error,
            "was killed by SIGKILL after 12.0 s: by the kernel's OOM killer or by an operator, not by the supervisor",
        );
        check(
            |worker| worker.shutdown_reason = Some(ShutdownReason::NotNeeded),
            ExitStatus::Code(1),
            Level::Warning,
            "exited with code 1 after 12.0 s, while it was stopping",
        );
        check(
            |worker| worker.ready = None,
            ExitStatus::Signal {
                number: 11,
                dumped_core: false,
            },
            Level::Error,
            "was killed by SIGSEGV after 12.0 s, before it was ready",
        );
    }
}
