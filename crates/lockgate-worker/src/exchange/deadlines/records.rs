//! Error-log records about calls that are late or slow.

use std::fmt::Write;
use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::call_slot::Call;
use super::ending::Ending;
use crate::log;

/// One event of the error log.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub level: Level,
    pub text: String,
}

/// The state of a late call when its record is written.
#[derive(Debug, Clone, Copy)]
pub enum CallState<'a> {
    /// The thread has not had the GIL yet.
    WaitingForGil,
    /// The thread runs Python code, with this stack.
    Stack(&'a str),
    /// The call has ended meanwhile.
    Ended,
    /// The thread runs no Python at the moment.
    NotInPython,
    /// The GIL could not be acquired, so the stack is not known.
    GilHeld,
}

impl Record {
    /// The record of a deadline that has passed.
    pub fn expired(call: &Call, found: CallState<'_>, now: Instant) -> Self {
        let got = match call.expiry.and_then(|expiry| expiry.ending) {
            Some(Ending::Answered { .. }) => "answered with 504",
            Some(Ending::Aborted) => "connection aborted",
            None => "the response was sent, but the call is still running",
        };
        let limit = call.limit.unwrap_or_default();
        let mut text = format!(
            "{} has taken {} (setting: request_timeout = {limit:?}): {got}",
            description(call),
            Seconds(now.saturating_duration_since(call.ready_at)),
        );
        let _infallible = match found {
            CallState::WaitingForGil => write!(
                text,
                "; the application was not called, because the thread waited for the GIL"
            ),
            CallState::Stack(stack) => {
                write!(text, "; interrupting its thread, which was here:\n{stack}")
            }
            CallState::Ended => write!(text, "; the call has ended meanwhile"),
            CallState::NotInPython => write!(text, "; its thread runs no Python code"),
            CallState::GilHeld => write!(
                text,
                "; its thread can be neither inspected nor interrupted, because the GIL has not been released for 0.5 s"
            ),
        };
        Self {
            level: Level::Error,
            text,
        }
    }

    /// The stack that was not available for the first record in time.
    pub fn late_stack(call: &Call, stack: &str) -> Self {
        Self {
            level: Level::Error,
            text: format!(
                "{}: the GIL has been released, and the thread is here:\n{stack}",
                description(call)
            ),
        }
    }

    /// The record of a stuck thread.
    pub fn stuck_thread(call: &Call, since: Duration) -> Self {
        Self {
            level: Level::Error,
            text: format!(
                "{} is still running {} after its deadline; this worker will be replaced",
                description(call),
                Seconds(since),
            ),
        }
    }

    /// The record of a call that is over; most have none.
    pub(crate) fn ended(
        call: &mut Call,
        slow_request: Option<Duration>,
        now: Instant,
    ) -> Option<Self> {
        if let Some(expiry) = &mut call.expiry {
            if !std::mem::replace(&mut expiry.is_logged, true) {
                return Some(Self::expired(call, CallState::Ended, now));
            }
            let expiry = *expiry;
            return Some(Self {
                level: Level::Info,
                text: format!(
                    "{}: its thread is free again, {} after the deadline",
                    description(call),
                    Seconds(now.saturating_duration_since(expiry.at)),
                ),
            });
        }
        let threshold = slow_request?;
        let taken = now.saturating_duration_since(call.began);
        if taken < threshold {
            return None;
        }
        let mut text = format!(
            "Slow request: {} took {} (setting: slow_request = {threshold:?})",
            description(call),
            Seconds(taken),
        );
        let mut before = String::new();
        for (age, stack) in call.samples.drain(..) {
            let stack = stack.as_deref().unwrap_or("  no Python code").trim_end();
            let _infallible = match stack == before {
                true => write!(text, "\nafter {}: there still", Seconds(age)),
                false => write!(text, "\nafter {}:\n{stack}", Seconds(age)),
            };
            stack.clone_into(&mut before);
        }
        Some(Self {
            level: Level::Warning,
            text,
        })
    }
}

struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.2} s", self.0.as_secs_f64())
    }
}

fn description(call: &Call) -> String {
    let mut text = log::described(&call.method, &call.target);
    match &call.client {
        Some(client) if !client.host().is_empty() => {
            let _infallible = write!(text, " of {}", client.host());
        }
        _ => {}
    }
    if let Some(id) = &call.request_id {
        let _infallible = write!(text, " (id {})", id.as_str());
    }
    text
}
