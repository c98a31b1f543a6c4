//! Error-log records about calls that are late or slow.

use std::fmt::Write;
use std::time::{Duration, Instant};

use lockgate_observe::Level;

use super::Deadlines;
use super::call_slot::Call;
use super::ending::Ending;
use crate::log;

/// One event of the error log.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub level: Level,
    pub text: String,
}

/// What a look at a late call found.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// The call never had the GIL.
    NotCalled,
    Stack(&'a str),
    /// The call has ended meanwhile.
    CameBack,
    /// The thread runs no Python at the moment.
    NoFrame,
    /// The GIL could not be acquired to look.
    InterpreterHeld,
}

impl Record {
    /// The record of a deadline that has passed.
    pub fn of_deadline(call: &Call, limit: Duration, found: Found<'_>, now: Instant) -> Self {
        let got = match call.expiry.and_then(|expiry| expiry.ending) {
            Some(Ending::Refused) => "it got 504",
            Some(Ending::Cut) => "its connection was cut",
            None => "it has its response, but the call goes on",
        };
        let mut text = format!(
            "{} has taken {} (setting: request_timeout = {limit:?}): {got}",
            described(call),
            Seconds(now.saturating_duration_since(call.ready_at)),
        );
        let _infallible = match found {
            Found::NotCalled => write!(
                text,
                ", and the application does not see it: it waited for the interpreter"
            ),
            Found::Stack(stack) => {
                write!(
                    text,
                    ", and its thread is interrupted, which was here:\n{stack}"
                )
            }
            Found::CameBack => write!(text, "; the call has ended by itself"),
            Found::NoFrame => write!(text, "; its thread runs no Python code"),
            Found::InterpreterHeld => write!(
                text,
                ". Where its thread is cannot be told, nor can it be interrupted: some call has not given the \
                 interpreter away for half a second"
            ),
        };
        Self {
            level: Level::Error,
            text,
        }
    }

    /// The stack that was not available for the first record in time.
    pub fn of_stack(call: &Call, stack: &str) -> Self {
        Self {
            level: Level::Error,
            text: format!(
                "{}: the interpreter is free again, and the thread is here:\n{stack}",
                described(call)
            ),
        }
    }

    /// The record of a stuck thread.
    pub fn of_despair(call: &Call, since: Duration) -> Self {
        Self {
            level: Level::Error,
            text: format!(
                "{} is still running {} after its deadline: this worker is to be replaced",
                described(call),
                Seconds(since),
            ),
        }
    }

    /// The record of a call that is over; most have none.
    pub(crate) fn of_end(call: &mut Call, deadlines: &Deadlines, now: Instant) -> Option<Self> {
        if let Some(expiry) = &mut call.expiry {
            if !std::mem::replace(&mut expiry.is_logged, true) {
                let limit = deadlines.request_timeout.unwrap_or_default();
                return Some(Self::of_deadline(call, limit, Found::CameBack, now));
            }
            let expiry = *expiry;
            return Some(Self {
                level: Level::Info,
                text: format!(
                    "{}: its thread is free again, {} after the deadline",
                    described(call),
                    Seconds(now.saturating_duration_since(expiry.at)),
                ),
            });
        }
        let threshold = deadlines.slow_request?;
        let taken = now.saturating_duration_since(call.began);
        if taken < threshold {
            return None;
        }
        let mut text = format!(
            "Slow request: {} took {} (setting: slow_request = {threshold:?})",
            described(call),
            Seconds(taken),
        );
        for (age, stack) in call.samples.drain(..) {
            let stack = stack.as_deref().unwrap_or("  no Python code");
            let _infallible = write!(text, "\nafter {}:\n{}", Seconds(age), stack.trim_end());
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

fn described(call: &Call) -> String {
    let mut text = log::described(&call.method, &call.target);
    match &call.client {
        Some(client) if !client.host.is_empty() => {
            let _infallible = write!(text, " of {}", client.host);
        }
        _ => {}
    }
    text
}
