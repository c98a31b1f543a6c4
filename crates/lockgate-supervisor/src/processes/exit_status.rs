//! The exit status of a process, and its description for the operator.

use std::fmt;

use rustix::process::WaitStatus;

/// How a process ended, as reported by `waitpid(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code, 0..=255.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// The number of the signal.
        number: i32,
        /// Whether the kernel wrote a core file.
        dumped_core: bool,
    },
}

impl ExitStatus {
    /// `None` when the process has not exited, but was stopped or continued.
    pub(crate) fn of(status: WaitStatus) -> Option<Self> {
        if let Some(code) = status.exit_status() {
            return Some(Self::Code(code));
        }
        Some(Self::Signal {
            number: status.terminating_signal()?,
            // The core flag is bit 7 of the status word on every unix that has one.
            dumped_core: status.as_raw() & 0x80 != 0,
        })
    }

    /// Whether the process exited with code 0.
    pub fn is_clean(self) -> bool {
        self == Self::Code(0)
    }

    pub(crate) fn is_kill(self) -> bool {
        matches!(self, Self::Signal { number: 9, .. })
    }
}

/// `exited with code 3` or `was killed by SIGSEGV (core dumped)`.
impl fmt::Display for ExitStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(out, "exited with code {code}"),
            Self::Signal {
                number,
                dumped_core,
            } => {
                match signal_name(number) {
                    Some(name) => write!(out, "was killed by {name}")?,
                    None => write!(out, "was killed by signal {number}")?,
                }
                if dumped_core {
                    out.write_str(" (core dumped)")?;
                }
                Ok(())
            }
        }
    }
}

/// The conventional name of a signal number on this machine; `None` for real-time and unknown signals.
pub(crate) fn signal_name(number: i32) -> Option<&'static str> {
    use signal_hook::consts as c;
    // Numbers above 15 differ between architectures, hence the constants.
    let names = [
        (c::SIGHUP, "SIGHUP"),
        (c::SIGINT, "SIGINT"),
        (c::SIGQUIT, "SIGQUIT"),
        (c::SIGILL, "SIGILL"),
        (c::SIGTRAP, "SIGTRAP"),
        (c::SIGABRT, "SIGABRT"),
        (c::SIGBUS, "SIGBUS"),
        (c::SIGFPE, "SIGFPE"),
        (c::SIGKILL, "SIGKILL"),
        (c::SIGUSR1, "SIGUSR1"),
        (c::SIGSEGV, "SIGSEGV"),
        (c::SIGUSR2, "SIGUSR2"),
        (c::SIGPIPE, "SIGPIPE"),
        (c::SIGALRM, "SIGALRM"),
        (c::SIGTERM, "SIGTERM"),
        (c::SIGXCPU, "SIGXCPU"),
        (c::SIGXFSZ, "SIGXFSZ"),
        (c::SIGVTALRM, "SIGVTALRM"),
        (c::SIGPROF, "SIGPROF"),
        (c::SIGIO, "SIGIO"),
        (c::SIGSYS, "SIGSYS"),
    ];
    names
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_described_by_code_or_signal_name() {
        let signal = |number, dumped_core| ExitStatus::Signal {
            number,
            dumped_core,
        };
        let cases = [
            (ExitStatus::Code(0), "exited with code 0"),
            (ExitStatus::Code(7), "exited with code 7"),
            (signal(9, false), "was killed by SIGKILL"),
            (signal(11, true), "was killed by SIGSEGV (core dumped)"),
            (signal(40, false), "was killed by signal 40"),
        ];
        for (exit_status, words) in cases {
            assert_eq!(exit_status.to_string(), words);
        }
    }
}
