//! The evaluation process: it executes a configuration in Python and writes what that has set to a pipe.
//!
//! The supervisor never runs the operator's code: a configuration that hangs, crashes or ends the process ends only
//! this one, which holds no state.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, kill_process_group, waitpid};

use crate::clock::timespec;
use crate::os::pipe;
use crate::processes::exit_status::ExitStatus;
use crate::processes::kill::{kill, to_pid};

/// The longest result, in bytes.
const LONGEST: usize = 16 << 20;
/// How often a caller that waits looks whether the process has exited: one that it has started may hold the pipe.
const TICK: Duration = Duration::from_millis(20);

/// A running evaluation process.
#[derive(Debug)]
pub struct Evaluation {
    pid: u32,
    /// The reading end; `None` after its end.
    pipe: Option<OwnedFd>,
    output: Vec<u8>,
    deadline: Instant,
    timeout: Duration,
}

/// Why an evaluation has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvaluationFailure {
    /// The process exited first: the configuration ended it, or a signal did.
    Exited(ExitStatus),
    /// It was not finished in time.
    TimedOut(Duration),
    /// It wrote too much.
    TooLong,
    /// The process could not be started.
    NotStarted(String),
}

impl fmt::Display for EvaluationFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(
                out,
                "the process that evaluates the configuration {status} before the end of the configuration"
            ),
            Self::TimedOut(timeout) => write!(
                out,
                "the configuration was not evaluated within {} s",
                timeout.as_secs_f64()
            ),
            Self::TooLong => write!(
                out,
                "the values of the configuration exceed {} MiB",
                LONGEST >> 20
            ),
            Self::NotStarted(problem) => write!(
                out,
                "the process that evaluates the configuration cannot be started: {problem}"
            ),
        }
    }
}

impl Evaluation {
    /// How long a configuration may take.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// Starts this program. It must write its result to descriptor 0, which is a pipe.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        mut command: Command,
        timeout: Duration,
        now: Instant,
    ) -> Result<Self, EvaluationFailure> {
        let started = pipe().and_then(|(reader, writer)| {
            fcntl_setfl(&reader, OFlags::NONBLOCK)?;
            Ok((reader, writer))
        });
        let (reader, child) = started
            .and_then(|(reader, writer)| Ok((reader, command.stdin(writer).spawn()?)))
            .map_err(|error| EvaluationFailure::NotStarted(error.to_string()))?;
        Ok(Self {
            pid: child.id(),
            pipe: Some(reader),
            output: Vec::new(),
            deadline: now + timeout,
            timeout,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The descriptor to poll; what arrives must be [`read`](Self::read).
    pub(crate) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads what has arrived.
    pub(crate) fn read(&mut self) {
        let mut bytes = [0_u8; 16 * 1024];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut bytes) {
                Ok(count) if count > 0 && self.output.len() <= LONGEST => {
                    let read = bytes.get(..count).unwrap_or_default();
                    self.output.extend_from_slice(read);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
    }

    /// The result of a process that has exited and was reaped.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn finish(mut self, exit_status: ExitStatus) -> Result<String, EvaluationFailure> {
        self.read();
        match self.output.len() {
            LONGEST.. => Err(EvaluationFailure::TooLong),
            1.. if exit_status.is_clean() => Ok(String::from_utf8_lossy(&self.output).into_owned()),
            _ => Err(EvaluationFailure::Exited(exit_status)),
        }
    }

    /// The deadline has passed: kills the process.
    pub(crate) fn time_out(self) -> EvaluationFailure {
        self.kill();
        EvaluationFailure::TimedOut(self.timeout)
    }

    /// Kills the process, and what it has started in its session.
    pub(crate) fn kill(&self) {
        if let Some(group) = to_pid(self.pid) {
            // It fails while the process has not begun its session, and then there is nothing else to kill.
            let _no_group = kill_process_group(group, Signal::KILL);
        }
        kill(self.pid);
    }

    /// Waits for the result, and reaps the process.
    ///
    /// # Errors
    /// When it has none.
    pub fn wait(mut self) -> Result<String, EvaluationFailure> {
        loop {
            self.read();
            if let Some(exit_status) = self.reap(WaitOptions::NOHANG) {
                return self.finish(exit_status);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.kill();
                let _exit_status = self.reap(WaitOptions::empty());
                return Err(self.time_out());
            }
            let mut watched: Vec<PollFd<'_>> = (self.poll_fd().into_iter())
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            // After the end of the pipe the process exits at once.
            let tick = if watched.is_empty() { TICK / 20 } else { TICK };
            // The result does not matter: everything is looked at again.
            let _woken = poll(&mut watched, Some(&timespec(left.min(tick))));
        }
    }

    fn reap(&self, options: WaitOptions) -> Option<ExitStatus> {
        loop {
            match waitpid(to_pid(self.pid), options) {
                Err(Errno::INTR) => {}
                Ok(Some((_, status))) => return ExitStatus::of(status),
                Ok(None) => return None,
                // Another part of this process has reaped it: what it has written counts.
                Err(_) => return Some(ExitStatus::Code(0)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(script: &str, timeout: Duration) -> Result<String, EvaluationFailure> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Evaluation::start(command, timeout, Instant::now())?.wait()
    }

    #[test]
    fn the_result_is_what_a_process_that_ends_well_has_written() {
        let long = Duration::from_secs(20);
        let failed = |status| Err(EvaluationFailure::Exited(status));
        let killed = ExitStatus::Signal {
            number: 9,
            dumped_core: false,
        };
        for (script, expected) in [
            ("echo '{}' >&0", Ok("{}\n".to_owned())),
            ("exit 0", failed(ExitStatus::Code(0))),
            ("exit 7", failed(ExitStatus::Code(7))),
            ("echo '{}' >&0; exit 7", failed(ExitStatus::Code(7))),
            ("kill -9 $$", failed(killed)),
            // What it has started may hold the pipe.
            ("sleep 5 & echo x >&0", Ok("x\n".to_owned())),
        ] {
            assert_eq!(evaluate(script, long), expected, "{script}");
        }
    }

    #[test]
    fn a_long_result_is_whole_and_one_that_is_too_long_a_failure() {
        let long = Duration::from_secs(20);
        let bytes = |count: usize| format!("head -c {count} /dev/zero >&0");
        let result = evaluate(&bytes(200_000), long).unwrap();
        assert_eq!(result.len(), 200_000);
        let result = evaluate(&bytes(LONGEST + 100_000), long);
        assert!(
            matches!(
                result,
                Err(EvaluationFailure::TooLong | EvaluationFailure::Exited(_))
            ),
            "{result:?}"
        );
    }

    #[test]
    fn a_process_that_hangs_is_killed_at_the_deadline() {
        let timeout = Duration::from_millis(50);
        let began = Instant::now();
        let result = evaluate("sleep 60", timeout);
        assert_eq!(result, Err(EvaluationFailure::TimedOut(timeout)));
        assert!(began.elapsed() < Duration::from_secs(30));
        let missing = Evaluation::start(Command::new("/nonexistent"), timeout, began);
        assert!(matches!(missing, Err(EvaluationFailure::NotStarted(_))));
    }
}
