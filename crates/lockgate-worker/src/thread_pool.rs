//! The thread pool of a worker (the Leader/Followers pattern): the leader runs the event loop, the follower
//! watches the running call, and the other threads are parked or run the application.
//!
//! Leadership *is* holding the event loop's mutex. The leader releases it before each call; when that call outlives a
//! tick, the follower takes the free event loop, and the old leader is parked when it returns (late hand-off).

mod backlog;
pub mod bulkheads;
mod follower;
mod hand_off;
pub mod parking;
mod saturation;
mod upgraded;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::exchange::Exchange;
use crate::exchange::queue::{Queue, QueueDiscipline};
use crate::thread_pool::hand_off::HandOffPolicy;
use crate::thread_pool::parking::Parking;
use crate::thread_pool::saturation::CpuSaturation;
use crate::thread_pool::upgraded::UpgradedCalls;

/// If reacquiring the GIL takes longer than this after a promotion, the promoted call was CPU-bound: a call that waits
/// has released the GIL, which is then acquired within microseconds.
const CPU_BOUND_FROM: Duration = Duration::from_micros(200);

thread_local! {
    /// The call for which this thread released the event loop; 0 when it runs one that was handed to it.
    static MY_CALL: Cell<u64> = const { Cell::new(0) };
    /// Many requests were ready when this thread, the only one, released the event loop.
    static IS_BURST: Cell<bool> = const { Cell::new(false) };
    /// The follower was in deep sleep when this thread released the event loop.
    static IS_WAKE_DUE: Cell<bool> = const { Cell::new(false) };
    /// This thread took the event loop from a call that was still running.
    static HAS_PROMOTED: Cell<bool> = const { Cell::new(false) };
}

/// What a thread that does not lead should do.
pub enum Role {
    /// Run this request: every other thread was busy when it was parsed.
    Run(Exchange),
    /// Watch the leader.
    Follow,
    /// Sleep until woken.
    Park,
    /// End: there are more threads than may be.
    End,
}

#[derive(Default)]
struct PoolState {
    parked: Vec<Thread>,
    follower: Option<Thread>,
    /// Threads that exist or are being started.
    threads: usize,
    /// Requests that no thread may run for now.
    backlog: Queue,
}

/// See the module documentation.
#[repr(align(64))]
pub struct ThreadPool {
    state: Mutex<PoolState>,
    /// Maximum threads that run the application at a time.
    max_calls: usize,
    /// A parked thread ends after this time.
    idle_timeout: Option<Duration>,
    parking: Parking,
    last_call: AtomicU64,
    /// The call that should be promoted without waiting for the tick.
    promote: AtomicU64,
    /// Mirrors the state, so that the leader can read it without its lock.
    has_follower_now: AtomicBool,
    is_spawn_wanted: AtomicBool,
    /// A thread that has a request waits for the GIL.
    is_gil_awaited: AtomicBool,
    backlog_len: AtomicUsize,
    discipline: QueueDiscipline,
    saturation: CpuSaturation,
    created_at: Instant,
    /// No thread is started before this many microseconds after `created_at`: the last start failed.
    may_grow_at: AtomicU64,
    /// Changes whenever a call or a stream makes progress.
    progress: AtomicU64,
    hand_off: HandOffPolicy,
    /// Calls that have taken their connection over: each may last as long as its client stays, so their threads are
    /// counted apart.
    upgraded: UpgradedCalls,
    is_over: AtomicBool,
}

impl ThreadPool {
    pub fn new(
        max_calls: usize,
        idle_timeout: Option<Duration>,
        switch_interval: Duration,
    ) -> Self {
        Self {
            state: Mutex::default(),
            max_calls,
            idle_timeout,
            parking: Parking::new(),
            last_call: AtomicU64::new(0),
            promote: AtomicU64::new(0),
            has_follower_now: AtomicBool::new(false),
            is_spawn_wanted: AtomicBool::new(false),
            is_gil_awaited: AtomicBool::new(false),
            backlog_len: AtomicUsize::new(0),
            discipline: QueueDiscipline::default(),
            saturation: CpuSaturation::new(),
            created_at: Instant::now(),
            may_grow_at: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            hand_off: HandOffPolicy::new(),
            upgraded: UpgradedCalls::new(switch_interval),
            is_over: AtomicBool::new(false),
        }
    }

    /// One thread that runs calls inline, without a follower.
    pub fn is_single(&self) -> bool {
        self.max_calls == 1
    }

    /// Maximum threads that run the application at a time.
    pub fn max_calls(&self) -> usize {
        self.max_calls
    }

    /// Threads to start with: the leader and its follower.
    pub fn initial_threads(&self) -> usize {
        if self.is_single() { 1 } else { 2 }
    }

    /// One more than may call: the last thread never runs the application, so that one thread always polls.
    fn max_threads(&self) -> usize {
        if self.is_single() {
            1
        } else {
            self.max_calls + 1 + self.upgraded.count()
        }
    }

    /// A call has taken its connection over: another thread may be started in its place.
    pub fn begin_upgraded(&self) {
        self.upgraded.begin();
        self.saturation.on_call_end();
        self.promote_now();
    }

    /// Such a call has ended.
    pub fn end_upgraded(&self) {
        self.upgraded.end();
        self.saturation.on_call_begin();
    }

    /// The switch interval that suits these calls, if it differs from the present one. The caller sets it.
    pub fn new_switch_interval(&self) -> Option<Duration> {
        self.upgraded.new_interval()
    }

    /// A thread that waited this long for the GIL got it by force, after a switch interval (minus some for clocks and
    /// scheduling): the running calls are CPU-bound, and another concurrent call would gain nothing.
    pub fn forced_wait(&self) -> Duration {
        self.upgraded.interval() * 4 / 5
    }

    /// A thread was started (or will be).
    pub fn register(&self) {
        self.lock().threads += 1;
    }

    /// A thread could not be started after all.
    pub fn unregister(&self) {
        self.lock().threads -= 1;
    }

    /// Whether a follower exists to take the event loop: only then may the leader release it. Wakes a parked thread, or
    /// requests a new one.
    pub fn has_follower(&self) -> bool {
        if self.is_single() || self.has_follower_now.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.lock();
        if let Some(thread) = state.parked.pop() {
            thread.unpark();
            self.set_follower(&mut state, Some(thread));
            return true;
        }
        let may_grow = self.may_grow_at.load(Ordering::Relaxed) <= self.micros(Instant::now());
        if state.threads < self.max_threads() && may_grow {
            // Starting a thread needs the GIL, which a leader must not wait for: the next attached thread starts it.
            self.is_spawn_wanted.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Whether the caller, which is attached, should start one more thread.
    pub fn take_spawn_request(&self) -> bool {
        if !self.is_spawn_wanted.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.lock();
        let is_wanted = self.is_spawn_wanted.swap(false, Ordering::Relaxed)
            && state.follower.is_none()
            && state.threads < self.max_threads();
        if is_wanted {
            state.threads += 1;
        }
        is_wanted
    }

    /// Whether another request may leave the event loop now: at most one thread with a request waits for the GIL.
    pub fn may_call(&self) -> bool {
        // SeqCst, against the swap in `on_attached`: at least one of the two sees the other.
        !self.is_gil_awaited.load(Ordering::SeqCst) && !self.has_to_wait() && self.has_follower()
    }

    /// When a request in the backlog will be admitted, if it has to wait for that.
    pub fn admits_at(&self) -> Option<Instant> {
        if self.backlog_len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let at = self.saturation.admits_next_at()?;
        let now = Instant::now();
        if at <= now {
            return None;
        }
        let samples_at = self.saturation.sample(now, processor_time());
        Some(
            self.saturation
                .admits_next_at()
                .map_or(now, |at| at.min(samples_at)),
        )
    }

    fn has_to_wait(&self) -> bool {
        self.saturation
            .admits_next_at()
            .is_some_and(|at| Instant::now() < at)
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.created_at).as_micros() as u64
    }

    /// The running calls.
    pub fn saturation(&self) -> &CpuSaturation {
        &self.saturation
    }

    /// A stream has sent a piece.
    pub fn record_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes with any progress: the call for which the event loop is free (0: it is led), and the progress of
    /// streams.
    pub fn progress(&self) -> (u64, u64) {
        (self.parking.call(), self.progress.load(Ordering::Relaxed))
    }

    /// A thread could not be started: no other is requested before `until`.
    pub fn pause_growth(&self, until: Instant) {
        self.may_grow_at
            .store(self.micros(until), Ordering::Relaxed);
    }

    /// The event loop is held again, by the thread that released it or by another one, which promotes that call.
    /// Returns true if the call was promoted.
    pub fn on_lead(&self) -> bool {
        let call = self.parking.call();
        let has_promoted = call != 0 && call != MY_CALL.get();
        // Whether that call waits or computes is known once this thread has the GIL.
        HAS_PROMOTED.set(has_promoted);
        self.parking.retake();
        has_promoted
    }

    /// The caller holds the event loop and is about to release it for a call. After that it calls
    /// [`ThreadPool::wake_follower_if_due`].
    ///
    /// `is_burst`: many other requests are ready.
    pub fn begin_call(&self, waits_for_gil: bool, is_burst: bool) {
        let call = self.last_call.load(Ordering::Relaxed) + 1;
        self.last_call.store(call, Ordering::Relaxed);
        MY_CALL.set(call);
        if self.is_single() {
            IS_BURST.set(is_burst);
            self.parking.release_without_follower(call);
            return;
        }
        if waits_for_gil {
            self.is_gil_awaited.store(true, Ordering::Relaxed);
        }
        IS_WAKE_DUE.set(self.parking.release(call));
    }

    /// Wakes the follower if it was in deep sleep when this thread released the event loop.
    pub fn wake_follower_if_due(&self) {
        if IS_WAKE_DUE.replace(false) {
            self.wake_follower();
        }
    }

    /// Wakes the follower from deep sleep.
    pub fn wake_follower(&self) {
        if let Some(follower) = &self.lock().follower {
            follower.unpark();
        }
    }

    /// The caller runs a request from the backlog: another thread has the event loop.
    pub fn begin_backlog_call(&self) {
        MY_CALL.set(0);
    }

    /// The caller has the GIL, possibly after a [`ThreadPool::forced_wait`]. Returns whether requests wait that could not be called
    /// before.
    pub fn on_attached(&self, waited: Duration, is_forced: bool, now: Instant) -> bool {
        if HAS_PROMOTED.replace(false) {
            if waited < CPU_BOUND_FROM {
                self.hand_off.record_promotion();
            } else {
                self.hand_off.record_cpu_bound();
            }
        }
        self.saturation.on_attached(is_forced, now);
        self.is_gil_awaited.swap(false, Ordering::SeqCst)
            && self.backlog_len.load(Ordering::SeqCst) > 0
    }

    /// Whether a complete response should wait for the end of the turn, to leave with others. With one thread only in
    /// a burst: it would wait for the next call, however long that is.
    pub fn defers_responses(&self) -> bool {
        self.is_still_leading() && (!self.is_single() || IS_BURST.get())
    }

    /// Whether the event loop is still free for this thread's call: then the thread may take it back.
    pub fn is_still_leading(&self) -> bool {
        let call = MY_CALL.get();
        call != 0 && self.parking.call() == call
    }

    /// Whether the event loop is still free for this thread's call, and a follower takes it when the call outlives a
    /// tick.
    pub fn is_watched(&self) -> bool {
        !self.is_single() && self.is_still_leading()
    }

    /// A call has taken this long without being promoted. Only called by the leader, one at a time.
    pub fn record_call_time(&self, taken: Duration) {
        self.hand_off.record_short_call(taken);
    }

    /// This thread's call is about to wait: the follower need not wait for the tick.
    pub fn promote_now(&self) {
        if !self.is_single() && self.is_still_leading() {
            self.promote.store(MY_CALL.get(), Ordering::SeqCst);
            self.wake_follower();
        }
    }

    /// The role of a thread that found the event loop taken.
    pub fn take_role(&self) -> Role {
        let mut state = self.lock();
        if state.threads > self.max_threads() && state.follower.is_some() {
            state.threads -= 1;
            return Role::End;
        }
        if !self.is_gil_awaited.load(Ordering::Relaxed)
            && let Some(exchange) = state.backlog.take(&self.discipline)
        {
            self.backlog_len
                .store(state.backlog.len(), Ordering::SeqCst);
            self.is_gil_awaited.store(true, Ordering::Relaxed);
            return Role::Run(exchange);
        }
        if state.follower.is_none() {
            self.set_follower(&mut state, Some(thread::current()));
            return Role::Follow;
        }
        state.parked.push(thread::current());
        Role::Park
    }

    /// Ends all threads.
    pub fn shut_down(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let state = self.lock();
        state
            .parked
            .iter()
            .chain(&state.follower)
            .for_each(Thread::unpark);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn set_follower(&self, state: &mut PoolState, thread: Option<Thread>) {
        self.has_follower_now
            .store(thread.is_some(), Ordering::Relaxed);
        state.follower = thread;
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Only an allocation can panic under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CPU time that this process has used so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
