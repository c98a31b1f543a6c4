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
use crate::event_loop::context::Context;
use crate::exchange::deadlines::call_slot::{Call, CallSlot, Due, Expiry, MAX_SAMPLES, Stage};
use crate::exchange::deadlines::ending::{Ending, STATUS};
use crate::exchange::deadlines::records::{CallState, Record};
use crate::exchange::deadlines::{Deadlines, ReplaceReason};

/// A new call is checked after this long at the latest.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Minimum time between two checks, so that no deadline makes the thread spin.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// A stack to read, or a call to interrupt.
struct Inspection {
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
/// The system's error when it cannot start a thread.
pub fn start(context: &Arc<Context>, deadlines: &Arc<Deadlines>) -> io::Result<()> {
    let (inspections, requested) = channel();
    let watcher = Watcher {
        context: Arc::clone(context),
        deadlines: Arc::clone(deadlines),
        inspections,
    };
    let inspector = Inspector {
        context: Arc::clone(context),
        deadlines: Arc::clone(deadlines),
    };
    let guard = &context.lifecycle.panic_guard;
    guard.spawn("lockgate-inspector", move || inspector.run(&requested))?;
    guard.spawn("lockgate-deadlines", move || watcher.watch())
}

struct Watcher {
    context: Arc<Context>,
    deadlines: Arc<Deadlines>,
    /// Dropping it ends the inspector, unless the inspector waits for the GIL.
    inspections: Sender<Inspection>,
}

impl Watcher {
    fn watch(self) {
        while !self.context.pool.is_over() {
            let now = Instant::now();
            let next = self.check_all(now);
            self.write_records();
            let pause = next.map_or(MAX_PAUSE, |next| next.saturating_duration_since(now));
            thread::sleep(pause.clamp(MIN_PAUSE, MAX_PAUSE));
        }
        self.write_records();
    }

    /// Does what is due; returns when something will be due, as far as is known now.
    fn check_all(&self, now: Instant) -> Option<Instant> {
        let call_slots = self.deadlines.call_slots().clone();
        call_slots
            .iter()
            .filter_map(|call_slot| self.check(call_slot, now))
            .min()
    }

    fn check(&self, call_slot: &Arc<CallSlot>, now: Instant) -> Option<Instant> {
        let mut call = call_slot.lock();
        let mut record = None;
        let mut declared_stuck = None;
        match call.due(now) {
            None => {}
            Some(Due::Expire) => record = self.expire(call_slot, &mut call, now),
            Some(Due::Sample) => {
                let age = now.saturating_duration_since(call.began);
                let is_last = call.samples.len() + 1 >= MAX_SAMPLES;
                call.next_sample = (!is_last).then_some(now + age);
                self.request(call_slot, call.number, Kind::Sample);
            }
            Some(Due::LogWithoutStack) => {
                record = Some(self.expiry_record(&mut call, CallState::GilHeld, now));
            }
            Some(Due::DeclareStuck) => {
                if let Some(expiry) = &mut call.expiry {
                    expiry.is_stuck = true;
                    let since = now.saturating_duration_since(expiry.at);
                    record = Some(Record::stuck_thread(&call, since));
                    // A call in this stage has waited for the GIL all the time.
                    declared_stuck = Some(call.stage == Stage::Waiting);
                }
            }
        }
        let next = call.next();
        drop(call);
        if let Some(record) = record {
            self.context.error_log.write(record.level, &record.text);
        }
        if let Some(is_gil_held) = declared_stuck {
            (self.context).ask_for_replacement(ReplaceReason::StuckCall, is_gil_held);
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
            Stage::Waiting | Stage::Open => Some(
                call.client_socket
                    .answer_or_abort(context.server_header.as_deref()),
            ),
            Stage::Committed => Some(call.client_socket.abort()),
        };
        if let Some(mut entry) = call.entry.take() {
            entry.status = STATUS;
            entry.reason = Some("request_timeout");
            let unknown_client = Arc::default();
            let client = entry.client.as_ref().or(call.client.as_ref());
            context.record(
                &entry,
                client.unwrap_or(&unknown_client),
                ending.map_or(0, Ending::body_bytes),
                Outcome::Expired,
                now,
            );
        }
        if let Some(ending) = ending {
            context.metrics.count_expired(ending.is_answered());
        }
        call.expiry = Some(Expiry {
            at: now,
            ending,
            is_logged: false,
            is_stuck: false,
        });
        if call.stage == Stage::Waiting {
            return Some(self.expiry_record(call, CallState::WaitingForGil, now));
        }
        self.request(call_slot, call.number, Kind::Interrupt);
        None
    }

    fn expiry_record(&self, call: &mut Call, found: CallState<'_>, now: Instant) -> Record {
        if let Some(expiry) = &mut call.expiry {
            expiry.is_logged = true;
        }
        Record::expired(call, found, now)
    }

    fn request(&self, call_slot: &Arc<CallSlot>, number: u64, kind: Kind) {
        self.deadlines
            .gil_awaited_since()
            .get_or_insert_with(Instant::now);
        // The inspector lives as long as the sender.
        let _received = self.inspections.send(Inspection {
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
    fn run(&self, inspections: &Receiver<Inspection>) {
        while let Ok(inspection) = inspections.recv() {
            *self.deadlines.gil_awaited_since() = Some(Instant::now());
            match inspection.kind {
                Kind::Interrupt => self.interrupt(&inspection),
                Kind::Sample => self.sample(&inspection),
            }
            *self.deadlines.gil_awaited_since() = None;
        }
    }

    fn interrupt(&self, inspection: &Inspection) {
        let call_slot = &inspection.call_slot;
        let mut record = None;
        let stack = self
            .context
            .app
            .interrupt(call_slot.thread, &mut |has_stack, raise| {
                let mut call = call_slot.lock();
                // The call ends under this lock: either it is over by now, or it finds this flag set and the exception
                // pending.
                let is_due = call.number == inspection.number && call.stage != Stage::Idle;
                if is_due {
                    call.is_interrupted = true;
                    raise();
                    record = self.begin_record(&mut call, has_stack, Instant::now());
                }
                is_due
            });
        if let Some(mut record) = record {
            record.text.push_str(stack.as_deref().unwrap_or_default());
            self.context.error_log.write(record.level, &record.text);
        }
    }

    /// The record of a call that is interrupted now, up to the stack; the call is marked as logged, so that it has one
    /// record only.
    fn begin_record(&self, call: &mut Call, has_stack: bool, now: Instant) -> Option<Record> {
        let was_logged = call
            .expiry
            .as_mut()
            .is_none_or(|expiry| std::mem::replace(&mut expiry.is_logged, true));
        match (has_stack, was_logged) {
            (false, true) => None,
            (true, true) => Some(Record::late_stack(call, "")),
            (has_stack, false) => {
                let found = match has_stack {
                    true => CallState::Stack(""),
                    false => CallState::NotInPython,
                };
                Some(Record::expired(call, found, now))
            }
        }
    }

    fn sample(&self, inspection: &Inspection) {
        let call_slot = &inspection.call_slot;
        let stack = self.context.app.stack(call_slot.thread);
        let mut call = call_slot.lock();
        if call.number == inspection.number && call.stage != Stage::Idle {
            let age = call.began.elapsed();
            call.samples.push((age, stack));
        }
    }
}

impl Context {
    /// Asks for a replacement; a worker that cannot be replaced finishes what it has and ends. When the call has the
    /// only thread, or the GIL, nothing can be finished, and a regular exit may be impossible: then the worker aborts,
    /// which logs the stacks of all threads, and another one is started at once.
    fn ask_for_replacement(&self, reason: ReplaceReason, is_gil_held: bool) {
        let Some(deadlines) = &self.deadlines else {
            return;
        };
        if !self.lifecycle.owns_process {
            self.error_log.write(
                Level::Error,
                "the stuck call keeps its thread until it ends: no supervisor can replace the worker",
            );
            return;
        }
        let is_gil_held = is_gil_held || deadlines.is_gil_held(Instant::now());
        let is_only_thread = self.pool.is_single() && self.lifecycle.worker.has_one_event_loop();
        if is_only_thread || is_gil_held {
            self.error_log.write(
                Level::Error,
                "the stuck call blocks all other calls; this worker aborts and is replaced",
            );
            // A process may always signal itself.
            let _unfailing = kill_process(getpid(), Signal::ABORT);
            return;
        }
        match deadlines.ask_for_replacement.get() {
            Some(ask) => ask(reason),
            None => self.lifecycle.worker.ask_to_stop(StopMode::Drain),
        }
    }
}

impl Ending {
    /// Whether the client may still be reading what it was sent.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Answered { .. })
    }

    /// The bytes of the body that the client was sent. How much of a response had been sent when it was cut off is not
    /// known here.
    fn body_bytes(self) -> u64 {
        match self {
            Self::Answered { body_bytes } => body_bytes,
            Self::Aborted => 0,
        }
    }
}
