//! The threads that supervise running calls: the watcher keeps the time and never waits for the GIL; the inspector
//! waits for it, to read stacks and to interrupt. Neither ever owns a connection.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::{Level, Outcome};
use rustix::process::{Signal, getpid, kill_process};

use crate::connection::inbox::StopMode;
use crate::deadlines::call_slot::{Call, CallSlot, Due, Expiry, SAMPLES_AT_MOST, Stage};
use crate::deadlines::ending::{Ending, STATUS};
use crate::deadlines::records::{Found, Record};
use crate::deadlines::{Deadlines, ReplaceReason};
use crate::event_loop::context::Context;

/// A new call is noticed after this long at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Minimum time between two looks, so that no deadline makes the thread spin.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(5);

/// A stack to read, or a call to interrupt.
struct Question {
    call_slot: Arc<CallSlot>,
    number: u64,
    kind: Kind,
}

enum Kind {
    Interrupt,
    Sample,
}

/// Starts the watcher and the inspector of a worker.
///
/// # Errors
/// When the system has no threads to give.
pub fn start(context: &Arc<Context>, deadlines: &Arc<Deadlines>) -> io::Result<()> {
    let (questions, to_answer) = channel();
    let watcher = Watcher {
        context: Arc::clone(context),
        deadlines: Arc::clone(deadlines),
        questions,
    };
    let inspector = Inspector {
        context: Arc::clone(context),
        deadlines: Arc::clone(deadlines),
    };
    let guard = &context.lifecycle.panic_guard;
    guard.spawn("lockgate-inspector", move || inspector.answer(&to_answer))?;
    guard.spawn("lockgate-deadlines", move || watcher.watch())
}

struct Watcher {
    context: Arc<Context>,
    deadlines: Arc<Deadlines>,
    /// Dropping it ends the inspector, unless the inspector waits for the GIL.
    questions: Sender<Question>,
}

impl Watcher {
    fn watch(self) {
        while !self.context.pool.is_over() {
            let now = Instant::now();
            let next = self.look(now);
            self.write_records();
            let pause = next.map_or(LOOK_EVERY, |next| next.saturating_duration_since(now));
            thread::sleep(pause.clamp(LOOK_AT_MOST_EVERY, LOOK_EVERY));
        }
        self.write_records();
    }

    /// Does what is due; returns when something will be due, as far as is known now.
    fn look(&self, now: Instant) -> Option<Instant> {
        let call_slots = self.deadlines.call_slots().clone();
        call_slots
            .iter()
            .filter_map(|call_slot| self.look_at(call_slot, now))
            .min()
    }

    fn look_at(&self, call_slot: &Arc<CallSlot>, now: Instant) -> Option<Instant> {
        let mut call = call_slot.lock();
        let mut record = None;
        let mut held_up = None;
        match call.due(now) {
            None => {}
            Some(Due::Expire) => record = self.expire(call_slot, &mut call, now),
            Some(Due::Sample) => {
                let age = now.saturating_duration_since(call.began);
                let is_last = call.samples.len() + 1 >= SAMPLES_AT_MOST;
                call.next_sample = (!is_last).then_some(now + age);
                self.ask(call_slot, call.number, Kind::Sample);
            }
            Some(Due::LogWithoutStack) => {
                record = Some(self.tell(&mut call, Found::InterpreterHeld, now));
            }
            Some(Due::DeclareStuck) => {
                if let Some(expiry) = &mut call.expiry {
                    expiry.is_stuck = true;
                    let since = now.saturating_duration_since(expiry.at);
                    record = Some(Record::of_despair(&call, since));
                    // Such a call has only waited for the GIL.
                    held_up = Some(call.stage == Stage::Waiting);
                }
            }
        }
        let next = call.next();
        drop(call);
        if let Some(record) = record {
            self.context.error_log.write(record.level, &record.text);
        }
        if let Some(is_interpreter_held) = held_up {
            (self.context).ask_for_replacement(ReplaceReason::StuckCall, is_interpreter_held);
            // The worker may have nothing else left to finish, and no other event may wake it.
            self.context.inbox.wake();
        }
        next
    }

    /// The deadline has passed: the client gets 504 or a reset, and the inspector deals with the thread.
    fn expire(&self, call_slot: &Arc<CallSlot>, call: &mut Call, now: Instant) -> Option<Record> {
        let context = &self.context;
        let ending = match call.stage {
            Stage::Idle | Stage::Answered => None,
            Stage::Waiting | Stage::Open => {
                Some(call.client_socket.refuse(context.server_header.as_deref()))
            }
            Stage::Committed => Some(call.client_socket.cut()),
        };
        if let (Some(mut entry), Some(log)) = (call.entry.take(), &context.access_log) {
            entry.status = STATUS;
            entry.reason = Some("request_timeout");
            let nobody = Arc::default();
            let client = entry.client.as_ref().or(call.client.as_ref());
            log.record(&entry, client.unwrap_or(&nobody), 0, Outcome::Expired, now);
        }
        if let Some(ending) = ending {
            context.metrics.count_expired(ending.has_answer());
        }
        call.expiry = Some(Expiry {
            at: now,
            ending,
            is_logged: false,
            is_stuck: false,
        });
        if call.stage == Stage::Waiting {
            return Some(self.tell(call, Found::NotCalled, now));
        }
        self.ask(call_slot, call.number, Kind::Interrupt);
        None
    }

    fn tell(&self, call: &mut Call, found: Found<'_>, now: Instant) -> Record {
        if let Some(expiry) = &mut call.expiry {
            expiry.is_logged = true;
        }
        let limit = self.deadlines.request_timeout.unwrap_or_default();
        Record::of_deadline(call, limit, found, now)
    }

    fn ask(&self, call_slot: &Arc<CallSlot>, number: u64, kind: Kind) {
        self.deadlines.asked_at().get_or_insert_with(Instant::now);
        // The inspector lives as long as the sender.
        let _received = self.questions.send(Question {
            call_slot: Arc::clone(call_slot),
            number,
            kind,
        });
    }

    fn write_records(&self) {
        let records = std::mem::take(
            &mut *self
                .deadlines
                .records
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for record in records {
            self.context.error_log.write(record.level, &record.text);
        }
    }
}

struct Inspector {
    context: Arc<Context>,
    deadlines: Arc<Deadlines>,
}

impl Inspector {
    fn answer(&self, questions: &Receiver<Question>) {
        while let Ok(question) = questions.recv() {
            *self.deadlines.asked_at() = Some(Instant::now());
            match question.kind {
                Kind::Interrupt => self.interrupt(&question),
                Kind::Sample => self.sample(&question),
            }
            *self.deadlines.asked_at() = None;
        }
    }

    fn interrupt(&self, question: &Question) {
        let call_slot = &question.call_slot;
        let mut record = None;
        let stack = self
            .context
            .app
            .interrupt(call_slot.thread, &mut |has_stack| {
                let mut call = call_slot.lock();
                // The call ends on an attached thread, as this one is: either it is over by now or it finds this mark.
                let is_due = call.number == question.number && call.stage != Stage::Idle;
                if is_due {
                    call.is_interrupted = true;
                    record = self.begin_record(&mut call, has_stack, Instant::now());
                }
                is_due
            });
        if let Some(mut record) = record {
            record.text.push_str(stack.as_deref().unwrap_or_default());
            self.context.error_log.write(record.level, &record.text);
        }
    }

    /// The record of a call that is interrupted now, up to the stack; marks the call, so that it has one record only.
    fn begin_record(&self, call: &mut Call, has_stack: bool, now: Instant) -> Option<Record> {
        let was_told = call
            .expiry
            .as_mut()
            .is_none_or(|expiry| std::mem::replace(&mut expiry.is_logged, true));
        match (has_stack, was_told) {
            (false, true) => None,
            (true, true) => Some(Record::of_stack(call, "")),
            (has_stack, false) => {
                let found = match has_stack {
                    true => Found::Stack(""),
                    false => Found::NoFrame,
                };
                let limit = self.deadlines.request_timeout.unwrap_or_default();
                Some(Record::of_deadline(call, limit, found, now))
            }
        }
    }

    fn sample(&self, question: &Question) {
        let call_slot = &question.call_slot;
        let stack = self.context.app.stack(call_slot.thread);
        let mut call = call_slot.lock();
        if call.number == question.number && call.stage != Stage::Idle {
            let age = call.began.elapsed();
            call.samples.push((age, stack));
        }
    }
}

impl Context {
    /// Asks for a replacement; a worker that cannot be replaced finishes what it has and ends. When the call has the
    /// only thread, or the GIL, nothing can be finished, and a regular exit may be impossible: then the worker aborts,
    /// which logs the stacks of all threads, and another one is started at once.
    fn ask_for_replacement(&self, reason: ReplaceReason, is_interpreter_held: bool) {
        let Some(deadlines) = &self.deadlines else {
            return;
        };
        let is_interpreter_held =
            is_interpreter_held || deadlines.is_interpreter_held(Instant::now());
        if self.pool.is_single() || is_interpreter_held {
            self.error_log.write(
                Level::Error,
                "the stuck call holds up all others: this worker ends at once",
            );
            // A process may always signal itself.
            let _unfailing = kill_process(getpid(), Signal::ABORT);
            return;
        }
        match deadlines.ask_for_replacement.get() {
            Some(ask) => ask(reason),
            None => self.inbox.ask_to_stop(StopMode::Drain),
        }
    }
}

/// What [`Ending`] means to the owner of the connection once its thread is back.
impl Ending {
    /// Whether the client may still be reading what it was sent.
    pub fn has_answer(self) -> bool {
        self == Self::Refused
    }
}
