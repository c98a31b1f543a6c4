//! The main loop of a crew thread: lead the event loop, call the application, lead again; or stand by, or sleep.
//!
//! Two rules keep lane and GIL from deadlock: an attached thread only *tries* to lock the lane, and a thread waits for
//! the GIL only after it has released the lane.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use lockgate_observe::Level;

use crate::app::App;
use crate::bookkeeping::Desk;
use crate::crew::{Post, forced_wait};
use crate::deadlines::{Deadline, Deadlines, Station};
use crate::lane::{Lane, Turn};
use crate::queue::{Job, judge};
use crate::reply::{Look, Reply};
use crate::request::Request;
use crate::shared::{Shared, StopMode};

impl Shared {
    /// The main function of a crew thread. Runs attached. A panic in a call costs that request; anywhere else it may
    /// have left the event loop in an inconsistent state, so the worker ends.
    pub fn serve(self: &Arc<Self>) {
        if catch_unwind(AssertUnwindSafe(|| self.serve_until_over())).is_err() {
            self.report_fatal(
                "a thread has panicked outside of a request; this worker ends and is replaced",
            );
        }
    }

    /// Runs requests, and between them the work that the thread pool needs.
    fn serve_until_over(self: &Arc<Self>) {
        let mut reply = Reply::default();
        let mut spare = None;
        let watch = Watch::new(self);
        let mut desk = self.books.desk(|| self.app.thread());
        let forced_wait = forced_wait(self.config.switch_interval);
        loop {
            let mut next = None;
            let mut asked = None;
            self.app.detached(&mut || {
                next = self.next_job(&mut spare);
                let now = Instant::now();
                asked = Some(now);
                // From here on, because the request may wait for the GIL in vain.
                if let Some(job) = &mut next {
                    watch.begin(job, now);
                }
            });
            let mut began = Instant::now();
            let waited = asked.map_or(Duration::ZERO, |asked| began - asked);
            if self
                .crew
                .note_attached(waited, waited >= forced_wait, began)
            {
                self.waker.wake();
            }
            let Some(mut job) = next else {
                if !self.crew.is_over() {
                    self.app.thread_ends();
                }
                return;
            };
            // Not earlier: until this thread has the GIL, a new leader could not call anything.
            self.crew.wake_standby_if_due();
            loop {
                if self.crew.take_spawn_order() {
                    self.spawn_thread();
                }
                if !watch.note_called() {
                    spare = Some(self.drop_expired(job));
                    watch.end(&self.app, began);
                    break;
                }
                let waited = began.saturating_duration_since(job.ready_at);
                if let Some(look) = job.look(waited) {
                    match self.check(job, look, waited, began) {
                        Ok(checked) => job = checked,
                        Err(request) => {
                            // Its response should not wait for the next call.
                            spare = Some(request);
                            watch.end(&self.app, began);
                            break;
                        }
                    }
                }
                spare = Some(self.run(job, waited, &mut reply, watch.deadline(), &mut desk));
                watch.end_now(&self.app);
                match self.continue_turn(&mut spare, &mut began) {
                    Some(following) => {
                        job = following;
                        watch.begin(&mut job, began);
                    }
                    None => break,
                }
            }
            self.app.between_turns(&|| self.crew.promote_now());
        }
    }

    fn spawn_thread(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        if let Err(error) = self
            .app
            .spawn("lockgate-crew".to_owned(), Box::new(move || shared.serve()))
        {
            self.crew.strike_off();
            self.crew
                .pause_growth(Instant::now() + Duration::from_secs(1));
            self.error_log.write(
                Level::Warning,
                &format!("cannot start another thread: {error}"),
            );
        }
    }

    /// Gives up a request that has waited for too long, or whose client has left.
    fn check(
        &self,
        mut job: Job,
        look: Look,
        waited: Duration,
        now: Instant,
    ) -> Result<Job, Box<Request>> {
        let presence = job.channel.presence(look);
        let Some(why) = judge(waited, presence, self.longest_wait()) else {
            return Ok(job);
        };
        self.crew.order().note_given_up(1);
        job.channel.give_up(why, now);
        job.request.clear();
        Err(job.request)
    }

    /// The deadline passed while this thread waited for the GIL: the client has been answered.
    #[cold]
    fn drop_expired(&self, mut job: Job) -> Box<Request> {
        job.channel.abort();
        job.request.clear();
        job.request
    }

    /// Calls the application and handles every outcome.
    fn run(
        &self,
        mut job: Job,
        waited: Duration,
        reply: &mut Reply,
        deadline: Option<Deadline>,
        desk: &mut Desk,
    ) -> Box<Request> {
        desk.begin(&job.request, job.ready_nanos, waited);
        reply.open(job.channel, deadline);
        self.crew.crowd().note_call_begins();
        let call = catch_unwind(AssertUnwindSafe(|| self.app.call(&mut job.request, reply)));
        self.crew.crowd().note_call_ends();
        desk.end();
        if call.is_err() {
            self.error_log.write(
                Level::Critical,
                "a bug in the server: a request's thread panicked; the request gets 500",
            );
        }
        if !reply.is_over() {
            reply.fail_and_close(500, "Internal Server Error");
        }
        job.request.clear();
        job.request
    }

    /// After a call, attached: the next request of the same turn, if this thread still leads.
    fn continue_turn(&self, spare: &mut Option<Box<Request>>, began: &mut Instant) -> Option<Job> {
        if !self.crew.is_still_leading() {
            // Another thread leads the lane. A request that was kept for lack of threads runs here and now, without
            // releasing the GIL in between.
            let job = self.crew.take_back();
            if job.is_some() {
                self.crew.begin_kept_call();
                *began = Instant::now();
            }
            return job;
        }
        let now = Instant::now();
        self.crew
            .note_call_time(now.saturating_duration_since(*began));
        *began = now;
        let mut lane = self.try_lane()?;
        if let Some(request) = spare.take() {
            lane.reuse(request);
        }
        if lane.must_flush(now)
            || lane.must_poll(now)
            || self.stop_mode() == StopMode::Stop
            || !self.crew.has_standby()
        {
            return None;
        }
        let order = self.crew.order();
        let job = self.crew.take_back().or_else(|| lane.take_ready(order))?;
        self.let_go(lane, false);
        Some(job)
    }

    /// Without the GIL: leads, stands by or sleeps until there is a request for this thread. `None`: over.
    fn next_job(self: &Arc<Self>, spare: &mut Option<Box<Request>>) -> Option<Job> {
        loop {
            if self.crew.is_over() {
                return None;
            }
            if let Some(lane) = self.try_lane() {
                return self.lead(lane, spare);
            }
            match self.crew.report() {
                Post::Run(job) => {
                    self.crew.begin_kept_call();
                    return Some(job);
                }
                Post::StandBy => {}
                Post::Park if self.crew.wait_parked() => {}
                Post::Park => return None,
            }
            let mut tried = 0;
            while self.crew.stand_by(&mut tried) {
                if let Some(lane) = self.try_lane() {
                    self.crew.leave_standby();
                    return self.lead(lane, spare);
                }
            }
        }
    }

    fn lead(
        self: &Arc<Self>,
        mut lane: MutexGuard<'_, Lane>,
        spare: &mut Option<Box<Request>>,
    ) -> Option<Job> {
        if self.crew.note_led() {
            self.cork.pull();
        }
        if let Some(request) = spare.take() {
            lane.reuse(request);
        }
        loop {
            if lane.turn(self) == Turn::Over {
                lane.let_go();
                self.end();
                return None;
            }
            let kept = if self.crew.can_take_back() {
                self.crew.take_back()
            } else {
                None
            };
            let Some(job) = kept.or_else(|| lane.take_ready(self.crew.order())) else {
                continue;
            };
            if self.crew.may_call() {
                self.let_go(lane, true);
                return Some(job);
            }
            if let Some(job) = self.crew.put_back(job) {
                self.let_go(lane, true);
                return Some(job);
            }
        }
    }

    /// Releases the lane for a call, and wakes the standby only then, so that it finds the lane free.
    fn let_go(&self, lane: MutexGuard<'_, Lane>, waits_for_interpreter: bool) {
        self.books.note_waiting(lane.queued(self));
        self.crew.begin_call(waits_for_interpreter);
        drop(lane);
        if !waits_for_interpreter {
            self.crew.wake_standby_if_due();
        }
    }

    pub fn end(&self) {
        self.crew.dismiss();
        if let Some(log) = &self.access_log {
            log.close();
        }
        self.is_finished.store(true, Ordering::SeqCst);
        self.finished.wake();
    }
}

/// A crew thread's own station, if calls are watched.
struct Watch {
    posted: Option<(Arc<Deadlines>, Arc<Station>)>,
}

impl Watch {
    fn new(shared: &Shared) -> Self {
        let enlist = |deadlines: &Arc<Deadlines>| {
            let station = deadlines.enlist(shared.app.thread());
            (Arc::clone(deadlines), station)
        };
        Self {
            posted: shared.deadlines.as_ref().map(enlist),
        }
    }

    fn begin(&self, job: &mut Job, now: Instant) {
        if let Some((deadlines, station)) = &self.posted {
            deadlines.begin(station, job, now);
        }
    }

    /// False when the deadline has passed.
    fn note_called(&self) -> bool {
        match &self.posted {
            Some((_, station)) => station.note_called(),
            None => true,
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let (deadlines, station) = self.posted.as_ref()?;
        deadlines.deadline_of(station)
    }

    fn end_now(&self, app: &Arc<dyn App>) {
        if self.posted.is_some() {
            self.end(app, Instant::now());
        }
    }

    fn end(&self, app: &Arc<dyn App>, now: Instant) {
        if let Some((deadlines, station)) = &self.posted
            && deadlines.end(station, now)
        {
            app.forget_interruption();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((deadlines, station)) = &self.posted {
            deadlines.strike_off(station);
        }
    }
}
