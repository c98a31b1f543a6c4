//! The threads of a worker and how they take turns: one leads the lane, one stands by, the rest are parked or run
//! the application. Knows no socket.
//!
//! Leadership *is* holding the lane's mutex. The leader lets it go before each call; when that call outlives a tick,
//! the standby takes the free lane and the old leader, when it returns, joins the parked (late promotion).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::lane::Job;
use crate::watch::Watch;

/// The tick while calls are being promoted. With 64 clients of a view that waits 10 ms, 50–100 µs served 98 % of what
/// the clients allow, 200 µs 60 % (prototype, design.md §4).
const SHORT_TICK: Duration = Duration::from_micros(50);

/// The tick while calls are short: a thousand wake-ups a second at the most, 0.5 % of a core.
const LONG_TICK: Duration = Duration::from_millis(1);

/// Ticks without a single call after which the standby sleeps until it is woken.
const DEEP_AFTER: u32 = 50;

/// A deep sleep ends by itself, so that a lost wake-up would cost a tenth of a second and not the service.
const BELT: Duration = Duration::from_millis(100);

thread_local! {
    /// The call for which this thread let go of the lane; 0 when it runs one that was handed to it.
    static MY_CALL: Cell<u64> = const { Cell::new(0) };
}

/// What a thread that does not lead should do.
pub enum Post {
    /// Run this: every other thread was busy when it was parsed.
    Run(Job),
    /// Watch the leader.
    StandBy,
    /// Sleep until somebody wakes it.
    Park,
}

#[derive(Default)]
struct Roster {
    parked: Vec<Thread>,
    standby: Option<Thread>,
    /// Threads that exist or are being started.
    threads: usize,
    backlog: VecDeque<Job>,
}

/// See the module.
pub struct Crew {
    roster: Mutex<Roster>,
    /// Threads that may run the application at a time.
    most_calls: usize,
    watch: Watch,
    last_call: AtomicU64,
    /// The call that should be promoted without waiting for the tick.
    promote: AtomicU64,
    /// Mirrors the roster, so that the leader asks without its lock.
    is_standby_there: AtomicBool,
    is_spawn_wanted: AtomicBool,
    /// A thread with a request in hand waits for the interpreter.
    is_one_waiting: AtomicBool,
    backlog_len: AtomicUsize,
    tick_micros: AtomicU32,
    is_over: AtomicBool,
}

impl Crew {
    pub fn new(most_calls: usize) -> Self {
        Self {
            roster: Mutex::default(),
            most_calls,
            watch: Watch::new(),
            last_call: AtomicU64::new(0),
            promote: AtomicU64::new(0),
            is_standby_there: AtomicBool::new(false),
            is_spawn_wanted: AtomicBool::new(false),
            is_one_waiting: AtomicBool::new(false),
            backlog_len: AtomicUsize::new(0),
            tick_micros: AtomicU32::new(LONG_TICK.as_micros() as u32),
            is_over: AtomicBool::new(false),
        }
    }

    /// Pure inline execution: nobody stands by.
    pub fn is_single(&self) -> bool {
        self.most_calls == 1
    }

    /// Threads to start with: the leader, and its standby.
    pub fn first_threads(&self) -> usize {
        if self.is_single() { 1 } else { 2 }
    }

    /// One more than may call: the last one never runs the application, so that somebody always polls.
    fn most_threads(&self) -> usize {
        if self.is_single() {
            1
        } else {
            self.most_calls + 1
        }
    }

    /// A thread was started (or will be).
    pub fn enlist(&self) {
        self.roster().threads += 1;
    }

    /// A thread could not be started after all.
    pub fn strike_off(&self) {
        self.roster().threads -= 1;
    }

    /// The leader may let go of the lane only if somebody stands by to take it. Wakes or orders that somebody.
    pub fn has_standby(&self) -> bool {
        if self.is_single() || self.is_standby_there.load(Ordering::Relaxed) {
            return true;
        }
        let mut roster = self.roster();
        if let Some(thread) = roster.parked.pop() {
            thread.unpark();
            self.seat_standby(&mut roster, Some(thread));
            return true;
        }
        if roster.threads < self.most_threads() {
            // Starting a thread needs the interpreter, which a leader must not wait for: whoever is attached next does it.
            self.is_spawn_wanted.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Whether the caller, attached, should start one more thread.
    pub fn take_spawn_order(&self) -> bool {
        if !self.is_spawn_wanted.load(Ordering::Relaxed) {
            return false;
        }
        let mut roster = self.roster();
        let is_wanted = self.is_spawn_wanted.swap(false, Ordering::Relaxed)
            && roster.standby.is_none()
            && roster.threads < self.most_threads();
        if is_wanted {
            roster.threads += 1;
        }
        is_wanted
    }

    /// Whether a further request may leave the lane now: at most one thread waits for the interpreter with one in hand.
    pub fn may_call(&self) -> bool {
        !self.is_one_waiting.load(Ordering::Relaxed) && self.has_standby()
    }

    /// Keeps a request for the first thread that comes free. Returns it when somebody stands by after all.
    pub fn put_back(&self, job: Job) -> Option<Job> {
        let mut roster = self.roster();
        if roster.standby.is_some() && !self.is_one_waiting.load(Ordering::Relaxed) {
            return Some(job);
        }
        roster.backlog.push_back(job);
        self.backlog_len
            .store(roster.backlog.len(), Ordering::SeqCst);
        None
    }

    /// A request that was kept, the oldest first.
    pub fn take_back(&self) -> Option<Job> {
        if self.backlog_len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut roster = self.roster();
        let job = roster.backlog.pop_front();
        self.backlog_len
            .store(roster.backlog.len(), Ordering::SeqCst);
        job
    }

    /// Whether a leader has a kept request that a thread may run now.
    pub fn can_take_back(&self) -> bool {
        self.backlog_len.load(Ordering::SeqCst) > 0 && self.may_call()
    }

    /// The lane is held again.
    pub fn note_led(&self) {
        self.watch.retake();
    }

    /// The caller holds the lane and is about to let it go for a call. Returns after the standby knows.
    pub fn begin_call(&self, waits_for_interpreter: bool) {
        let call = self.last_call.load(Ordering::Relaxed) + 1;
        self.last_call.store(call, Ordering::Relaxed);
        MY_CALL.set(call);
        if self.is_single() {
            self.watch.let_go_alone(call);
            return;
        }
        if waits_for_interpreter {
            self.is_one_waiting.store(true, Ordering::Relaxed);
        }
        if self.watch.let_go(call)
            && let Some(standby) = &self.roster().standby
        {
            standby.unpark();
        }
    }

    /// The caller runs a request that was kept: the lane is somebody else's.
    pub fn begin_kept_call(&self) {
        MY_CALL.set(0);
    }

    /// The caller has the interpreter. Says whether requests wait that could not be called before.
    pub fn note_attached(&self) -> bool {
        self.is_one_waiting.swap(false, Ordering::SeqCst)
            && self.backlog_len.load(Ordering::SeqCst) > 0
    }

    /// Whether the lane is still free for the call that this thread runs: then it may take the lane back.
    pub fn is_still_leading(&self) -> bool {
        let call = MY_CALL.get();
        call != 0 && self.watch.call() == call
    }

    /// The call of this thread is about to wait: the standby need not wait for the tick.
    pub fn promote_now(&self) {
        if !self.is_single() && self.is_still_leading() {
            self.promote.store(MY_CALL.get(), Ordering::SeqCst);
            if let Some(standby) = &self.roster().standby {
                standby.unpark();
            }
        }
    }

    /// Signs a thread in that found the lane taken.
    pub fn report(&self) -> Post {
        let mut roster = self.roster();
        if !self.is_one_waiting.load(Ordering::Relaxed)
            && let Some(job) = roster.backlog.pop_front()
        {
            self.backlog_len
                .store(roster.backlog.len(), Ordering::SeqCst);
            self.is_one_waiting.store(true, Ordering::Relaxed);
            return Post::Run(job);
        }
        if roster.standby.is_none() {
            self.seat_standby(&mut roster, Some(thread::current()));
            return Post::StandBy;
        }
        roster.parked.push(thread::current());
        Post::Park
    }

    /// Sleeps until this thread was made the standby (true) or the worker is over (false).
    pub fn wait_parked(&self) -> bool {
        let me = thread::current().id();
        loop {
            if self.is_over() {
                return false;
            }
            if self
                .roster()
                .standby
                .as_ref()
                .is_some_and(|standby| standby.id() == me)
            {
                return true;
            }
            thread::park();
        }
    }

    /// Sleeps until the lane should be taken from a call that has outlived a tick. False when the worker is over.
    pub fn stand_by(&self) -> bool {
        sharpen_sleep();
        let mut quiet_ticks = 0;
        let mut seen_calls = self.last_call.load(Ordering::Relaxed);
        loop {
            if self.is_over() {
                return false;
            }
            let call = self.watch.call();
            self.sleep_a_tick(call);
            if call != 0 && self.watch.call() == call {
                self.tick_micros
                    .store(SHORT_TICK.as_micros() as u32, Ordering::Relaxed);
                return true;
            }
            let calls = self.last_call.load(Ordering::Relaxed);
            if calls != seen_calls {
                quiet_ticks = 0;
                seen_calls = calls;
                self.lengthen_tick();
                continue;
            }
            quiet_ticks += 1;
            if quiet_ticks > DEEP_AFTER {
                self.watch.sleep_deeply(|| {
                    if !self.is_over() {
                        thread::park_timeout(BELT);
                    }
                });
                // Woken by its belt alone, it goes back to sleep after one look.
                quiet_ticks = DEEP_AFTER;
            }
        }
    }

    /// The standby has the lane now and stands by no longer.
    pub fn leave_standby(&self) {
        let mut roster = self.roster();
        self.seat_standby(&mut roster, None);
    }

    /// Everybody goes home.
    pub fn dismiss(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let roster = self.roster();
        roster
            .parked
            .iter()
            .chain(&roster.standby)
            .for_each(Thread::unpark);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The call that the lane is free for, 0 when it is held: unchanged for long, nobody leads.
    pub fn lane_call(&self) -> u64 {
        self.watch.call()
    }

    fn sleep_a_tick(&self, call: u64) {
        let tick = Duration::from_micros(u64::from(self.tick_micros.load(Ordering::Relaxed)));
        let until = Instant::now() + tick;
        loop {
            if call != 0 && self.promote.load(Ordering::SeqCst) == call || self.is_over() {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn lengthen_tick(&self) {
        let tick = self.tick_micros.load(Ordering::Relaxed);
        let longest = LONG_TICK.as_micros() as u32;
        self.tick_micros
            .store((tick + tick / 8 + 1).min(longest), Ordering::Relaxed);
    }

    fn seat_standby(&self, roster: &mut Roster, thread: Option<Thread>) {
        self.is_standby_there
            .store(thread.is_some(), Ordering::Relaxed);
        roster.standby = thread;
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        // Nothing under this lock can panic but an allocation.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel may round a thread's sleeps up by its timer slack, 50 µs by default: as much as a short tick. Once a thread.
fn sharpen_sleep() {
    thread_local! {
        static IS_SHARP: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_SHARP.replace(true) {
        #[cfg(target_os = "linux")]
        // Refused, the tick is only less exact.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}
