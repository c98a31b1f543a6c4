//! The main loop of a worker thread: lead the event loop, call the application, lead again; or follow, or sleep.
//!
//! Two rules keep event loop and GIL from deadlock: an attached thread only *tries* to lock the event loop, and a
//! thread waits for the GIL only after it has released the event loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use lockgate_observe::Level;

use crate::app::App;
use crate::connection::inbox::StopMode;
use crate::detached_work::DetachedWork;
use crate::event_loop::context::Context;
use crate::event_loop::handle::SharedEventLoop;
use crate::event_loop::{EventLoop, Exit};
use crate::exchange::Exchange;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::exchange::deadlines::{Deadline, Deadlines};
use crate::exchange::queue::drop_reason;
use crate::exchange::request::Request;
use crate::exchange::response::Reply;
use crate::exchange::writer::PresenceCheck;
use crate::log::lines::set_current_trace;
use crate::metrics::ThreadRecorder;
use crate::protocol::Protocols;
use crate::thread_pool::Role;

/// The name of a worker thread, for debuggers and `top -H`.
pub const NAME: &str = "lockgate-worker";

/// What every worker thread needs.
#[derive(Clone)]
pub struct WorkerThread {
    pub context: Arc<Context>,
    pub event_loop: Arc<SharedEventLoop>,
    pub protocols: Protocols,
}

impl WorkerThread {
    /// The main function of a worker thread. Runs attached. A panic in a call costs that request; anywhere else it may
    /// have left the event loop in an inconsistent state, so the worker ends.
    pub fn run(&self) {
        if catch_unwind(AssertUnwindSafe(|| self.run_until_over())).is_err() {
            self.context.report_fatal(
                "a worker thread panicked outside of a request; this worker ends and is replaced",
            );
        }
    }

    /// Runs requests, and between them the work that the thread pool needs.
    fn run_until_over(&self) {
        let mut reply = Reply::default();
        let mut spare = None;
        let watch = CallWatch::new(&self.context);
        let mut recorder = self.context.metrics.recorder(|| self.context.app.thread());
        loop {
            let mut next = None;
            let mut asked = None;
            self.context.app.detached(DetachedWork::new(&mut || {
                next = self.next_job(&mut spare);
                let now = Instant::now();
                asked = Some(now);
                // From here on, because the deadline may pass while this thread waits for the GIL.
                if let Some(exchange) = &mut next {
                    watch.begin(exchange, now);
                }
            }));
            let mut began = Instant::now();
            let waited = asked.map_or(Duration::ZERO, |asked| began - asked);
            let pool = &self.context.pool;
            let is_forced = asked.is_some() && waited >= pool.forced_wait();
            if pool.on_attached(waited, is_forced, began) {
                self.context.inbox.wake();
            }
            let Some(mut exchange) = next else {
                if !self.context.pool.is_over() {
                    self.context.app.thread_ends();
                }
                return;
            };
            // Not earlier: until this thread has the GIL, a new leader could not call anything.
            self.context.pool.wake_follower_if_due();
            loop {
                if self.context.pool.take_spawn_request() {
                    self.spawn_thread();
                }
                if !watch.on_called() {
                    spare = Some(self.drop_expired(exchange));
                    watch.end(&self.context.app, began);
                    break;
                }
                let waited = began.saturating_duration_since(exchange.queued_at);
                if let Some(check) = exchange.presence_check(waited) {
                    match self.check(exchange, check, waited, began) {
                        Ok(checked) => exchange = checked,
                        Err(request) => {
                            // Its response should not wait for the next call.
                            spare = Some(request);
                            watch.end(&self.context.app, began);
                            break;
                        }
                    }
                }
                spare = Some(self.call(
                    exchange,
                    waited,
                    &mut reply,
                    (watch.deadline(), watch.call_slot()),
                    &mut recorder,
                ));
                watch.end_now(&self.context.app);
                match self.continue_turn(&mut spare, &mut began) {
                    Some(following) => {
                        exchange = following;
                        watch.begin(&mut exchange, began);
                    }
                    None => break,
                }
            }
            self.context
                .app
                .between_turns(&|| self.context.pool.promote_now());
        }
    }

    fn spawn_thread(&self) {
        let thread = self.clone();
        if let Err(error) =
            (self.context.app).spawn(NAME.to_owned(), Box::new(move || thread.run()))
        {
            self.context.pool.unregister();
            self.context
                .pool
                .pause_growth(Instant::now() + Duration::from_secs(1));
            self.context.error_log.write(
                Level::Warning,
                &format!(
                    "cannot start another thread: {error}; retrying after 1 s (setting: threads)"
                ),
            );
        }
    }

    /// Drops a request that has waited for too long, or whose client has left.
    fn check(
        &self,
        mut exchange: Exchange,
        check: PresenceCheck,
        waited: Duration,
        now: Instant,
    ) -> Result<Exchange, Box<Request>> {
        let presence = exchange.writer.client().presence(check);
        let limit = self.context.longest_wait().of(&exchange.request);
        let Some(why) = drop_reason(waited, presence, limit) else {
            return Ok(exchange);
        };
        self.context.pool.discipline().record_drops(1);
        exchange.writer.drop_request(why, now);
        exchange.request.clear();
        Err(exchange.request)
    }

    /// The deadline passed while this thread waited for the GIL: the client has been answered.
    #[cold]
    fn drop_expired(&self, mut exchange: Exchange) -> Box<Request> {
        exchange.writer.abort();
        exchange.request.clear();
        exchange.request
    }

    /// Calls the application and handles every outcome.
    fn call(
        &self,
        mut exchange: Exchange,
        waited: Duration,
        reply: &mut Reply,
        (deadline, call_slot): (Option<Deadline>, Option<Arc<CallSlot>>),
        recorder: &mut ThreadRecorder,
    ) -> Box<Request> {
        recorder.begin(&exchange.request, exchange.ready_nanos, waited);
        if self.context.spans.is_some() {
            exchange.writer.control().record_queue_time(waited);
            set_current_trace(exchange.request.admitted.trace.as_ref());
        }
        reply.open(exchange.writer, deadline, call_slot, recorder.record());
        if self.context.bulkheads.is_some() {
            reply.set_place(exchange.request.admitted.place.take());
        }
        self.context.pool.saturation().on_call_begin();
        let call = catch_unwind(AssertUnwindSafe(|| {
            self.context.app.call(&mut exchange.request, reply)
        }));
        if reply.is_taken_over() {
            self.context.pool.end_upgraded();
            self.context.adapt_switch_interval();
            recorder.end_upgraded(reply.record());
        }
        self.context.pool.saturation().on_call_end();
        recorder.end();
        if call.is_err() {
            self.context.error_log.write(
                Level::Critical,
                "a thread panicked while it ran a request, a bug in the server; the request gets 500",
            );
        }
        if !reply.is_over() {
            reply.fail_and_close(500);
        }
        if self.context.spans.is_some() {
            set_current_trace(None);
        }
        if self.context.bulkheads.is_some() {
            // The thread is free for a request that waits for this place.
            reply.set_place(None);
        }
        exchange.request.clear();
        exchange.request
    }

    /// After a call, attached: the next request of the same turn, if this thread still leads.
    fn continue_turn(
        &self,
        spare: &mut Option<Box<Request>>,
        began: &mut Instant,
    ) -> Option<Exchange> {
        if !self.context.pool.is_still_leading() {
            // Another thread leads the event loop. A request from the backlog runs here, without releasing the
            // GIL in between.
            let exchange = self.context.pool.take_from_backlog();
            if exchange.is_some() {
                self.context.pool.begin_backlog_call();
                *began = Instant::now();
            }
            return exchange;
        }
        let now = Instant::now();
        self.context
            .pool
            .record_call_time(now.saturating_duration_since(*began));
        *began = now;
        let mut event_loop = self.event_loop.try_lock()?;
        if let Some(request) = spare.take() {
            event_loop.reuse(request);
        }
        if event_loop.must_flush(now)
            || event_loop.must_poll(now)
            || self.context.inbox.stop_mode() == StopMode::Stop
            || !self.context.pool.has_follower()
        {
            return None;
        }
        let exchange = self.take_next(&mut event_loop, true)?;
        self.release(event_loop, false);
        Some(exchange)
    }

    /// Without the GIL: leads, follows or sleeps until there is a request for this thread. `None`: over.
    fn next_job(&self, spare: &mut Option<Box<Request>>) -> Option<Exchange> {
        loop {
            if self.context.pool.is_over() {
                return None;
            }
            if let Some(event_loop) = self.event_loop.try_lock() {
                return self.lead(event_loop, spare);
            }
            match self.context.pool.take_role() {
                Role::Run(exchange) => {
                    self.context.pool.begin_backlog_call();
                    return Some(exchange);
                }
                Role::Follow => {}
                Role::Park if self.context.pool.wait_parked() => {}
                Role::Park | Role::End => return None,
            }
            let mut tried = 0;
            while self.context.pool.wait_as_follower(&mut tried) {
                if let Some(event_loop) = self.event_loop.try_lock() {
                    self.context.pool.stop_following();
                    return self.lead(event_loop, spare);
                }
            }
        }
    }

    fn lead(
        &self,
        mut event_loop: MutexGuard<'_, EventLoop>,
        spare: &mut Option<Box<Request>>,
    ) -> Option<Exchange> {
        if self.context.pool.on_lead() {
            self.context.cork.uncork();
        }
        if let Some(request) = spare.take() {
            event_loop.reuse(request);
        }
        loop {
            if event_loop.run(&self.protocols) == Exit::Over {
                event_loop.close_all();
                self.context.end();
                return None;
            }
            let may_take_from_backlog = self.context.pool.can_take_from_backlog();
            let Some(exchange) = self.take_next(&mut event_loop, may_take_from_backlog) else {
                continue;
            };
            if self.context.pool.may_call() {
                self.release(event_loop, true);
                return Some(exchange);
            }
            if let Some(exchange) = self.context.pool.put_back(exchange) {
                self.release(event_loop, true);
                return Some(exchange);
            }
        }
    }

    /// The next request to run: those in the backlog have waited for longer than those that are ready.
    #[inline]
    fn take_next(
        &self,
        event_loop: &mut EventLoop,
        may_take_from_backlog: bool,
    ) -> Option<Exchange> {
        let pool = &self.context.pool;
        let is_ready_first = (self.context.route_limits())
            .is_some_and(|limits| limits.has_priorities())
            && event_loop.ready_priority() > pool.backlog_priority();
        if may_take_from_backlog
            && !is_ready_first
            && let Some(exchange) = pool.take_from_backlog()
        {
            return Some(exchange);
        }
        event_loop.take_ready()
    }

    /// Releases the event loop for a call, and wakes the follower only then, so that it finds the event loop free.
    #[inline]
    fn release(&self, event_loop: MutexGuard<'_, EventLoop>, waits_for_gil: bool) {
        self.context.metrics.record_waiting(event_loop.queued());
        let is_burst = event_loop.has_many_ready();
        self.context.pool.begin_call(waits_for_gil, is_burst);
        drop(event_loop);
        if !waits_for_gil {
            self.context.pool.wake_follower_if_due();
        }
    }
}

/// A worker thread's own call slot, if calls are watched.
struct CallWatch {
    slot: Option<(Arc<Deadlines>, Arc<CallSlot>)>,
}

impl CallWatch {
    fn new(context: &Context) -> Self {
        let register = |deadlines: &Arc<Deadlines>| {
            let call_slot = deadlines.register(context.app.thread());
            (Arc::clone(deadlines), call_slot)
        };
        Self {
            slot: context.deadlines.as_ref().map(register),
        }
    }

    fn begin(&self, exchange: &mut Exchange, now: Instant) {
        if let Some((deadlines, call_slot)) = &self.slot
            && deadlines.begin(call_slot, &exchange.request, exchange.ready_at, now)
        {
            exchange.writer.control().watch_deadline(call_slot);
        }
    }

    /// False when the deadline has passed.
    fn on_called(&self) -> bool {
        match &self.slot {
            Some((_, call_slot)) => call_slot.on_called(),
            None => true,
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let (deadlines, call_slot) = self.slot.as_ref()?;
        deadlines.deadline_of(call_slot)
    }

    fn call_slot(&self) -> Option<Arc<CallSlot>> {
        let (_, call_slot) = self.slot.as_ref()?;
        Some(Arc::clone(call_slot))
    }

    fn end_now(&self, app: &Arc<dyn App>) {
        if self.slot.is_some() {
            self.end(app, Instant::now());
        }
    }

    fn end(&self, app: &Arc<dyn App>, now: Instant) {
        if let Some((deadlines, call_slot)) = &self.slot
            && deadlines.end(call_slot, now)
        {
            app.forget_interruption();
        }
    }
}

impl Drop for CallWatch {
    fn drop(&mut self) {
        if let Some((deadlines, call_slot)) = &self.slot {
            deadlines.unregister(call_slot);
        }
    }
}
