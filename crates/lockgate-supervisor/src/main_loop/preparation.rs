//! The first step of a reload: the settings are read. A configuration in Python is evaluated by a process of its own
//! first, and the supervisor continues meanwhile.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use lockgate_config::Config;

use crate::processes::evaluation::Evaluation;
use crate::processes::exit_status::ExitStatus;
use crate::{Hooks, SettingsFailure};

/// See the module.
#[derive(Default)]
pub(super) struct Preparation {
    evaluation: Option<Evaluation>,
}

/// The settings of the next generation.
pub(super) type ReadSettings = Result<Config, SettingsFailure>;

impl Preparation {
    /// Begins; returns the settings if they can be read at once.
    pub(super) fn begin(&mut self, hooks: &mut dyn Hooks) -> Option<ReadSettings> {
        self.cancel();
        match hooks.evaluate_settings() {
            None => Some(hooks.read_settings(None)),
            Some(Err(failure)) => Some(hooks.read_settings(Some(Err(failure)))),
            Some(Ok(evaluation)) => {
                self.evaluation = Some(evaluation);
                None
            }
        }
    }

    /// Kills the evaluation process.
    pub(super) fn cancel(&mut self) {
        if let Some(evaluation) = self.evaluation.take() {
            evaluation.kill();
        }
    }

    /// The descriptor to poll, besides the [`deadline`](Self::deadline).
    pub(super) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.evaluation.as_ref()?.poll_fd()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.evaluation.as_ref().map(Evaluation::deadline)
    }

    /// Reads what has arrived; returns the failure of an evaluation that is late.
    pub(super) fn check(&mut self, now: Instant, hooks: &mut dyn Hooks) -> Option<ReadSettings> {
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.read();
        }
        let late = self
            .evaluation
            .take_if(|evaluation| evaluation.deadline() <= now)?;
        Some(hooks.read_settings(Some(Err(late.time_out()))))
    }

    /// If the process that has exited was the evaluation process: the settings.
    pub(super) fn on_exited(
        &mut self,
        pid: u32,
        exit_status: ExitStatus,
        hooks: &mut dyn Hooks,
    ) -> Option<ReadSettings> {
        let evaluation = self
            .evaluation
            .take_if(|evaluation| evaluation.pid() == pid)?;
        Some(hooks.read_settings(Some(evaluation.finish(exit_status))))
    }
}
