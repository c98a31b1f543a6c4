//! The exit report of a worker: the log line with the true cause, as far as the supervisor can know it.

use std::time::Instant;

use lockgate_observe::{ExitCause, Level};

use super::worker::{Seconds, Sentence, Worker};
use crate::{Ending, Unfinished};

/// The log line about the exit of `worker`, and its level.
pub(super) fn farewell(
    worker: &Worker,
    ending: Ending,
    memory_ran_out: Option<bool>,
    now: Instant,
) -> (Level, String) {
    let age = Seconds(now.saturating_duration_since(worker.forked));
    if worker.is_killed && ending.is_kill() {
        let why = match worker.sentence {
            Some(Sentence::TimedOut) => "it had not answered in time",
            _ if worker.has_failed => "it did not exit after its failed start",
            _ => "it had not finished in time",
        };
        return (
            Level::Info,
            format!("{worker} was killed by this supervisor after {age}: {why}"),
        );
    }
    match worker.sentence {
        Some(Sentence::TimedOut) => (
            Level::Info,
            format!(
                "{worker} {ending} after {age}: this supervisor ended it, because it had not answered in time"
            ),
        ),
        Some(Sentence::NotNeeded) if ending.is_clean() => {
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
        Some(Sentence::NotNeeded) if worker.ready.is_none() => {
            (Level::Info, format!("{worker} {ending} after {age}"))
        }
        Some(Sentence::NotNeeded) if !ending.is_kill() => (
            Level::Warning,
            format!("{worker} {ending} after {age}, while it was asked to leave"),
        ),
        _ if ending.is_kill() => {
            let who = match memory_ran_out {
                Some(true) => {
                    "by the kernel's OOM killer: the memory of the control group had run out"
                }
                Some(false) => {
                    "not by this supervisor, and the control group has not run out of memory; an operator did it, or \
                     the kernel because the whole machine had run out"
                }
                None => "not by this supervisor; the kernel's OOM killer or an operator did it",
            };
            (
                Level::Error,
                format!("{worker} {ending} after {age}: {who}"),
            )
        }
        _ if worker.has_failed => (
            Level::Info,
            format!("{worker} {ending} after {age}, after its failed start"),
        ),
        _ if worker.ready.is_none() => (
            Level::Error,
            format!("{worker} {ending} after {age}, before it was ready"),
        ),
        _ if ending.is_clean() => (
            Level::Warning,
            format!("{worker} {ending} after {age}: this supervisor did not ask it to"),
        ),
        _ => (Level::Error, format!("{worker} {ending} after {age}")),
    }
}

/// The same for metrics.
pub(super) fn exit_cause(
    worker: &Worker,
    ending: Ending,
    memory_ran_out: Option<bool>,
) -> ExitCause {
    match worker.sentence {
        Some(Sentence::TimedOut) => ExitCause::Timeout,
        _ if worker.has_failed => ExitCause::BootFailed,
        _ if worker.is_killed && ending.is_kill() => ExitCause::Unfinished,
        Some(Sentence::NotNeeded) if ending.is_clean() || worker.ready.is_none() => {
            ExitCause::Asked
        }
        _ if ending.is_kill() && memory_ran_out == Some(true) => ExitCause::OutOfMemory,
        _ if ending.is_kill() => ExitCause::Killed,
        _ if worker.ready.is_none() => ExitCause::BootFailed,
        _ => match ending {
            Ending::Signal { .. } => ExitCause::Signal,
            Ending::Code(_) => ExitCause::Exited,
        },
    }
}

/// The requests that ended with a worker, one line each, for the same log event.
pub(super) fn last_requests(unfinished: &[Unfinished]) -> String {
    let title = match unfinished.len() {
        0 => return String::new(),
        1 => "the request that it was running ends with it:".to_owned(),
        count => format!("the {count} requests that it was running end with it:"),
    };
    let lines = unfinished.iter().map(|request| format!("\n  {request}"));
    format!("; {title}{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KILL: Ending = Ending::Signal {
        number: 9,
        dumped_core: false,
    };

    /// Checks the report for a worker in slot 1 that was forked 12 s ago, ready or not, after `change`.
    #[track_caller]
    fn check(change: impl Fn(&mut Worker), ending: Ending, level: Level, words: &str) {
        let now = Instant::now() + Duration::from_secs(60);
        let mut worker = Worker::new(1, 124, now - Duration::from_secs(12));
        worker.ready = Some(now - Duration::from_secs(11));
        change(&mut worker);
        let said = farewell(&worker, ending, None, now);
        assert_eq!(said.1, format!("worker 1 (pid 124) {words}"));
        assert!(said.0 == level, "{said:?}");
    }

    #[test]
    fn every_end_has_one_cause() {
        let signal = |number| Ending::Signal {
            number,
            dumped_core: false,
        };
        type Change = fn(&mut Worker);
        let asked: Change = |worker| worker.sentence = Some(Sentence::NotNeeded);
        let untouched: Change = |_| {};
        let table: &[(Change, Ending, Option<bool>, ExitCause)] = &[
            (asked, Ending::Code(0), None, ExitCause::Asked),
            (asked, signal(11), None, ExitCause::Signal),
            (asked, KILL, None, ExitCause::Killed),
            (
                |worker| {
                    worker.sentence = Some(Sentence::NotNeeded);
                    worker.is_killed = true;
                },
                KILL,
                Some(false),
                ExitCause::Unfinished,
            ),
            (
                |worker| worker.sentence = Some(Sentence::TimedOut),
                signal(6),
                None,
                ExitCause::Timeout,
            ),
            (
                |worker| worker.has_failed = true,
                Ending::Code(3),
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
            (untouched, Ending::Code(0), None, ExitCause::Exited),
            (untouched, Ending::Code(7), None, ExitCause::Exited),
        ];
        for (index, (change, ending, memory_ran_out, cause)) in table.iter().enumerate() {
            let mut worker = Worker::new(1, 124, Instant::now());
            worker.ready = Some(Instant::now());
            change(&mut worker);
            assert_eq!(
                exit_cause(&worker, *ending, *memory_ran_out),
                *cause,
                "{index}"
            );
        }
    }

    #[test]
    fn a_kill_for_want_of_memory_is_told_from_others() {
        let now = Instant::now();
        let worker = Worker::new(1, 124, now);
        for (memory_ran_out, words) in [
            (Some(true), "after 0.00 s: by the kernel's OOM killer"),
            (Some(false), "the control group has not run out of memory"),
            (None, "the kernel's OOM killer or an operator did it"),
        ] {
            let (_, said) = farewell(&worker, KILL, memory_ran_out, now);
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn every_request_that_ended_with_it_has_a_line() {
        let request = |thread| Unfinished {
            thread,
            age: Duration::from_millis(1500),
            method: b"GET".to_vec(),
            target: b"/".to_vec(),
            is_cut: false,
            client: b"::1".to_vec(),
        };
        let cases = [
            (0, ""),
            (
                1,
                "; the request that it was running ends with it:\n  GET / of ::1, 1.50 s old, in thread 0",
            ),
            (
                2,
                "; the 2 requests that it was running end with it:\n  GET / of ::1, 1.50 s old, in thread 0\n  GET / of ::1, 1.50 s old, in thread 1",
            ),
        ];
        for (count, words) in cases {
            let requests: Vec<_> = (0..count).map(request).collect();
            assert_eq!(last_requests(&requests), words);
        }
    }

    #[test]
    fn the_cause_of_a_death_is_told_truthfully() {
        let abort = Ending::Signal {
            number: 6,
            dumped_core: true,
        };
        check(
            |_| (),
            Ending::Code(7),
            Level::Error,
            "exited with code 7 after 12.0 s",
        );
        check(
            |_| (),
            Ending::Code(0),
            Level::Warning,
            "exited with code 0 after 12.0 s: this supervisor did not ask it to",
        );
        check(
            |_| (),
            KILL,
            Level::Error,
            "was killed by SIGKILL after 12.0 s: not by this supervisor; the kernel's OOM killer or an operator did it",
        );
        check(
            |_| (),
            abort,
            Level::Error,
            "was killed by SIGABRT (core dumped) after 12.0 s",
        );
        check(
            |worker| worker.sentence = Some(Sentence::TimedOut),
            abort,
            Level::Info,
            "was killed by SIGABRT (core dumped) after 12.0 s: this supervisor ended it, because it had not answered in time",
        );
        check(
            |worker| {
                worker.sentence = Some(Sentence::NotNeeded);
                worker.is_killed = true;
            },
            KILL,
            Level::Info,
            "was killed by this supervisor after 12.0 s: it had not finished in time",
        );
        check(
            |worker| worker.sentence = Some(Sentence::NotNeeded),
            Ending::Code(0),
            Level::Info,
            "stopped after 11.0 s of service",
        );
        check(
            |worker| worker.sentence = Some(Sentence::NotNeeded),
            KILL,
            Level::Error,
            "was killed by SIGKILL after 12.0 s: not by this supervisor; the kernel's OOM killer or an operator did it",
        );
        check(
            |worker| worker.sentence = Some(Sentence::NotNeeded),
            Ending::Code(1),
            Level::Warning,
            "exited with code 1 after 12.0 s, while it was asked to leave",
        );
        check(
            |worker| worker.ready = None,
            Ending::Signal {
                number: 11,
                dumped_core: false,
            },
            Level::Error,
            "was killed by SIGSEGV after 12.0 s, before it was ready",
        );
    }
}
