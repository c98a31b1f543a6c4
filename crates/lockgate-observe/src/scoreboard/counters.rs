//! Counters of one worker for the operator: responses, bytes, times, losses.
//!
//! Invariant: counters only grow, even when workers of a slot die: a successor continues where its predecessor stopped,
//! so that sums over all slots never fall.
//!
//! Most responses are counted by the leader (the thread that runs the event loop). There is one leader at a
//! time, so its counters need no locked instruction; other threads have separate counters, and readers add both.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{BOUNDS, BUCKETS, FIRST_WAIT, bucket};
use super::thread_entry::{ENTRIES, ENTRY, ThreadEntry};

// The words of the counters. The first eight are written once per turn of the event loop.
const PID: usize = 0;
const STARTED: usize = 1;
const WAITING: usize = 2;
const RECEIVED: usize = 3;
const THREADS: usize = 4;
const UPGRADED: usize = 5;
const HELD: usize = 6;
/// Offset of the leader's counters.
const LED: usize = 8;
/// Offset of the other threads' counters, on separate cache lines.
const AMONG_OTHERS: usize = LED + TALLY.next_multiple_of(8);
const LOSSES: usize = AMONG_OTHERS + TALLY;
/// Requests that waited for a thread, by queue time; negligible waits are not counted here.
const WAITS: usize = LOSSES + Loss::ALL.len();
/// TLS handshakes by result.
const HANDSHAKES: usize = WAITS + BUCKETS;
/// Published messages that were written to held requests.
const DELIVERED: usize = HANDSHAKES + HandshakeResult::ALL.len();
/// Held requests that the server has ended, by reason.
const HELD_ENDS: usize = DELIVERED + 1;
/// Words of the counters.
pub(super) const COUNTERS: usize = (HELD_ENDS + HeldEnd::ALL.len()).next_multiple_of(8);

// The words of a tally.
const CLASSES: usize = 0;
const SENT: usize = 5;
const DURATIONS: usize = 6;
const DURATION: usize = DURATIONS + BUCKETS;
const TALLY: usize = DURATION + 1;

/// This many calls that have taken their connection over keep their entry: WebSockets may be far more than the other
/// requests, which must be shown.
const UPGRADED_ENTRIES: usize = 64;

/// The counters of one worker. A copy refers to the same words.
#[derive(Debug, Clone, Copy)]
pub struct WorkerCounters {
    words: &'static [AtomicU64; COUNTERS],
    entries: &'static [AtomicU64],
}

/// A response that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Bytes sent for it, including its head.
    pub bytes: u64,
    /// Nanoseconds from when its request was ready; `None` when the application never saw the request.
    pub duration: Option<u64>,
}

/// Why a request did not get the application's complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The client left before the response was complete.
    ClientGone,
    /// The client read the response too slowly.
    ClientTooSlow,
    /// The application failed in the middle of its response.
    Aborted,
    /// The queue was full.
    QueueFull,
    /// It waited for a thread for too long.
    QueueTimeout,
    /// It ran for too long.
    RequestTimeout,
}

impl Loss {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::ClientGone,
        Self::ClientTooSlow,
        Self::Aborted,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::RequestTimeout,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::ClientTooSlow => "client_too_slow",
            Self::Aborted => "aborted",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::RequestTimeout => "request_timeout",
        }
    }
}

/// How a TLS handshake has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeResult {
    /// A new session has begun.
    Full,
    /// An earlier session continues.
    Resumed,
    /// There is no session.
    Failed,
}

impl HandshakeResult {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Full, Self::Resumed, Self::Failed];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
        }
    }
}

/// Why the server has ended a held request that has missed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldEnd {
    /// The client read too slowly.
    ClientTooSlow,
    /// The broadcast log has overwritten messages that its worker had yet to deliver.
    Overrun,
}

impl HeldEnd {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::ClientTooSlow, Self::Overrun];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientTooSlow => "client_too_slow",
            Self::Overrun => "overrun",
        }
    }
}

/// Sums, over the counters of one worker or several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Responses by the first digit of their status, 1 to 5.
    pub classes: [u64; 5],
    /// Bytes read from clients.
    pub received: u64,
    /// Bytes of finished responses that were sent.
    pub sent: u64,
    /// Requests that the application answered, by duration; see [`BOUNDS`].
    pub durations: [u64; BUCKETS],
    /// The sum of these durations in nanoseconds.
    pub duration: u64,
    /// In the order of [`Loss::ALL`].
    pub losses: [u64; Loss::ALL.len()],
    /// Requests that a thread has taken, by queue time. All waits up to `BOUNDS[FIRST_WAIT]` are in that bucket.
    pub waits: [u64; BUCKETS],
    /// The sum of their queue times in nanoseconds.
    pub waited: u64,
    /// TLS handshakes, in the order of [`HandshakeResult::ALL`].
    pub handshakes: [u64; HandshakeResult::ALL.len()],
    /// Published messages that were written to held requests, each once for each request.
    pub delivered: u64,
    /// Held requests that the server has ended, in the order of [`HeldEnd::ALL`].
    pub held_ends: [u64; HeldEnd::ALL.len()],
}

impl Totals {
    /// Adds the sums of `other`.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.classes[..], &other.classes[..]),
            (&mut self.durations[..], &other.durations[..]),
            (&mut self.losses[..], &other.losses[..]),
            (&mut self.waits[..], &other.waits[..]),
            (&mut self.handshakes[..], &other.handshakes[..]),
            (&mut self.held_ends[..], &other.held_ends[..]),
        ];
        for (sums, numbers) in pairs {
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum = sum.wrapping_add(*number);
            }
        }
        self.received = self.received.wrapping_add(other.received);
        self.sent = self.sent.wrapping_add(other.sent);
        self.duration = self.duration.wrapping_add(other.duration);
        self.waited = self.waited.wrapping_add(other.waited);
        self.delivered = self.delivered.wrapping_add(other.delivered);
    }

    /// All responses.
    pub fn responses(&self) -> u64 {
        self.classes.iter().sum()
    }
}

impl WorkerCounters {
    pub(super) fn over(words: &'static [AtomicU64]) -> Option<Self> {
        let (words, entries) = words.split_first_chunk::<COUNTERS>()?;
        Some(Self { words, entries })
    }

    /// A worker starts: its process id, and nanoseconds of the monotonic clock. Its predecessor's activity is cleared,
    /// its counters stay.
    pub fn open(&self, pid: u32, now: u64) {
        self.close();
        self.set(WAITING, 0);
        self.set(UPGRADED, 0);
        self.set(HELD, 0);
        self.set(STARTED, now);
        self.set(PID, pid.into());
    }

    /// The worker is dead.
    pub(super) fn close(&self) {
        self.set(PID, 0);
        self.entries().for_each(|entry| entry.release());
    }

    /// Counts bytes read since the last call. For the leader only.
    #[inline]
    pub fn record_received(&self, bytes: u64) {
        self.grow(RECEIVED, bytes);
    }

    /// Records how many requests the worker may run at once.
    pub fn record_threads(&self, threads: u64) {
        self.set(THREADS, threads);
    }

    /// The thread of this entry has taken a request that waited for `waited` nanoseconds. Most did not wait: then only
    /// words of the thread's own entry are written.
    #[inline]
    pub fn record_taken(&self, entry: ThreadEntry, waited: u64) {
        entry.record_taken(waited);
        if waited > BOUNDS[FIRST_WAIT].0 {
            // After the total, so that a reader that sees this count also sees that one.
            self.words[WAITS + bucket(waited)].fetch_add(1, Ordering::Release);
        }
    }

    /// Counts a TLS handshake. For the leader only.
    pub fn record_handshake(&self, result: HandshakeResult) {
        self.grow(HANDSHAKES + result as usize, 1);
    }

    /// Records how many requests are held. For the leader only.
    #[inline]
    pub fn record_held(&self, held: u64) {
        self.set(HELD, held);
    }

    /// Counts messages that were written to held requests since the last call. For the leader only.
    #[inline]
    pub fn record_delivered(&self, messages: u64) {
        self.grow(DELIVERED, messages);
    }

    /// Counts a held request that is ended. For the leader only.
    pub fn record_held_end(&self, reason: HeldEnd) {
        self.grow(HELD_ENDS + reason as usize, 1);
    }

    /// Records how many requests wait for a thread. For the leader only.
    #[inline]
    pub fn record_waiting(&self, waiting: u64) {
        self.set(WAITING, waiting);
    }

    /// A call has taken its connection over; `entry` is that of its thread. Returns whether the thread keeps it.
    pub fn begin_upgraded(&self, entry: Option<ThreadEntry>) -> bool {
        self.words[UPGRADED].fetch_add(1, Ordering::Relaxed);
        let Some(entry) = entry else { return false };
        let shown = self.entries().filter(|entry| entry.is_upgraded()).count();
        match shown < UPGRADED_ENTRIES {
            true => entry.upgrade(),
            false => entry.release(),
        }
        shown < UPGRADED_ENTRIES
    }

    /// Such a call has ended.
    pub fn end_upgraded(&self) {
        self.words[UPGRADED].fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a response that was sent. For the leader only.
    #[inline]
    pub fn record_response(&self, response: Response) {
        self.count(LED, response, |index, by| self.grow(index, by));
    }

    /// Counts a response that was sent, in whole or in part. For any thread.
    pub fn record_response_among_others(&self, response: Response) {
        self.count(AMONG_OTHERS, response, |index, by| {
            self.words[index].fetch_add(by, Ordering::Relaxed);
        });
    }

    /// Counts bytes sent for a response that will stay incomplete. For any thread.
    pub fn record_loss(&self, loss: Loss, bytes: u64) {
        self.words[LOSSES + loss as usize].fetch_add(1, Ordering::Relaxed);
        self.record_sent(bytes);
    }

    /// Counts bytes sent for a request whose loss is already counted.
    pub fn record_sent(&self, bytes: u64) {
        self.words[AMONG_OTHERS + SENT].fetch_add(bytes, Ordering::Relaxed);
    }

    #[inline]
    fn count(&self, tally: usize, response: Response, add: impl Fn(usize, u64)) {
        // A status has three digits (RFC 9110 §15), and the encoder refuses any other.
        let class = usize::from(response.status / 100).clamp(1, 5) - 1;
        add(tally + CLASSES + class, 1);
        add(tally + SENT, response.bytes);
        if let Some(duration) = response.duration {
            add(tally + DURATIONS + bucket(duration), 1);
            add(tally + DURATION, duration);
        }
    }

    /// Claims an entry for a thread that will run requests, by its kernel TID and its identifier in the application's
    /// language; `None` if no entry is free.
    pub fn claim(&self, thread: u64, ident: u64) -> Option<ThreadEntry> {
        self.entries().find(|entry| entry.claim(thread, ident))
    }

    pub(super) fn pid(&self) -> u64 {
        self.words[PID].load(Ordering::Relaxed)
    }

    pub(super) fn started(&self) -> u64 {
        self.words[STARTED].load(Ordering::Relaxed)
    }

    pub(super) fn threads(&self) -> u64 {
        self.words[THREADS].load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> u64 {
        self.words[WAITING].load(Ordering::Relaxed)
    }

    pub(super) fn upgraded(&self) -> u64 {
        self.words[UPGRADED].load(Ordering::Relaxed)
    }

    pub(super) fn held(&self) -> u64 {
        self.words[HELD].load(Ordering::Relaxed)
    }

    /// What the workers of this slot have counted.
    pub(super) fn totals(&self) -> Totals {
        let word = |index: usize| self.words[index].load(Ordering::Relaxed);
        let both = |index: usize| word(LED + index).wrapping_add(word(AMONG_OTHERS + index));
        // Read before the total.
        let mut waits: [u64; BUCKETS] =
            std::array::from_fn(|bucket| self.words[WAITS + bucket].load(Ordering::Acquire));
        let (taken, waited) = self
            .entries()
            .map(ThreadEntry::taken)
            .fold((0, 0), |sum, entry| {
                (
                    u64::wrapping_add(sum.0, entry.0),
                    u64::wrapping_add(sum.1, entry.1),
                )
            });
        waits[FIRST_WAIT] = taken.saturating_sub(waits.iter().sum());
        Totals {
            waits,
            waited,
            classes: std::array::from_fn(|class| both(CLASSES + class)),
            received: word(RECEIVED),
            sent: both(SENT),
            durations: std::array::from_fn(|bucket| both(DURATIONS + bucket)),
            duration: both(DURATION),
            losses: std::array::from_fn(|loss| word(LOSSES + loss)),
            handshakes: std::array::from_fn(|result| word(HANDSHAKES + result)),
            delivered: word(DELIVERED),
            held_ends: std::array::from_fn(|reason| word(HELD_ENDS + reason)),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = ThreadEntry> + use<> {
        self.entries
            .as_chunks::<ENTRY>()
            .0
            .iter()
            .take(ENTRIES)
            .map(ThreadEntry::over)
    }

    #[inline]
    fn set(&self, index: usize, value: u64) {
        self.words[index].store(value, Ordering::Relaxed);
    }

    /// Only one thread adds to this word at a time.
    #[inline]
    fn grow(&self, index: usize, by: u64) {
        let word = &self.words[index];
        word.store(
            word.load(Ordering::Relaxed).wrapping_add(by),
            Ordering::Relaxed,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> WorkerCounters {
        let words: Vec<AtomicU64> = (0..COUNTERS + ENTRY * ENTRIES)
            .map(|_| AtomicU64::new(0))
            .collect();
        WorkerCounters::over(Vec::leak(words)).unwrap()
    }

    fn response(status: u16, duration: Option<u64>) -> Response {
        Response {
            status,
            bytes: 100,
            duration,
        }
    }

    #[test]
    fn the_leaders_responses_and_those_of_other_threads_add_up() {
        let counters = counters();
        for (status, duration) in [(200, 50_000), (304, 200_000), (500, 70_000_000_000)] {
            counters.record_response(response(status, Some(duration)));
            counters.record_response_among_others(response(status, Some(duration)));
        }
        counters.record_response(response(400, None));
        let totals = counters.totals();
        assert_eq!(totals.classes, [0, 2, 2, 1, 2]);
        assert_eq!((totals.responses(), totals.sent), (7, 700));
        assert_eq!(totals.durations.iter().sum::<u64>(), 6, "400 never ran");
        assert_eq!((totals.durations[0], totals.durations[1]), (2, 2));
        assert_eq!(totals.durations[BUCKETS - 1], 2);
        assert_eq!(totals.duration, 2 * 70_000_250_000);
    }

    #[test]
    fn waits_are_counted_by_length_across_successive_workers() {
        let counters = counters();
        for pid in [7, 8] {
            counters.open(pid, 0);
            for thread in [1, 2] {
                let entry = counters.claim(thread, 0).unwrap();
                for waited in [0, 999_999, 1_000_000, 1_000_001, 3_000_000, 90_000_000_000] {
                    counters.record_taken(entry, waited);
                }
            }
        }
        let totals = counters.totals();
        assert_eq!(totals.waits.iter().sum::<u64>(), 24);
        assert_eq!(totals.waits[..FIRST_WAIT], [0; FIRST_WAIT]);
        assert_eq!(totals.waits[FIRST_WAIT..][..3], [12, 4, 4]);
        assert_eq!(totals.waits[BUCKETS - 1], 4);
        assert_eq!(totals.waited, 4 * 90_006_000_000);
    }

    #[test]
    fn threads_that_count_at_the_same_time_lose_nothing() {
        let counters = counters();
        std::thread::scope(|scope| {
            for loss in Loss::ALL {
                scope.spawn(move || {
                    for _ in 0..1000 {
                        counters.record_response_among_others(response(200, Some(1)));
                        counters.record_loss(loss, 3);
                    }
                });
            }
        });
        let totals = counters.totals();
        assert_eq!(totals.losses, [1000; Loss::ALL.len()]);
        assert_eq!(totals.classes[1], 6000);
        assert_eq!(totals.sent, 6000 * 103);
    }

    #[test]
    fn a_successor_continues_the_counts_and_clears_the_running_requests() {
        let counters = counters();
        counters.open(7, 5);
        assert!(counters.claim(70, 0).is_some());
        counters.record_waiting(3);
        counters.record_held(4);
        counters.record_delivered(5);
        counters.record_held_end(HeldEnd::Overrun);
        counters.record_received(11);
        counters.record_response(response(200, Some(1)));
        assert_eq!(counters.held(), 4);
        counters.open(8, 9);
        assert_eq!(counters.held(), 0);
        counters.record_delivered(2);
        counters.record_held_end(HeldEnd::Overrun);
        assert_eq!(counters.totals().delivered, 7);
        assert_eq!(counters.totals().held_ends, [0, 2]);
        assert_eq!(
            (counters.pid(), counters.started(), counters.waiting()),
            (8, 9, 0)
        );
        assert!(counters.entries().all(|entry| entry.read().is_none()));
        counters.record_received(11);
        assert_eq!(counters.totals().received, 22);
        assert_eq!(counters.totals().classes[1], 1);
    }

    #[test]
    fn calls_with_a_connection_of_their_own_leave_entries_to_the_others() {
        let counters = counters();
        counters.open(7, 5);
        let kept = (1..=1000)
            .map(|thread| counters.claim(thread, 0))
            .filter(|entry| counters.begin_upgraded(*entry))
            .count();
        assert_eq!((counters.upgraded(), kept), (1000, UPGRADED_ENTRIES));
        let others = std::iter::from_fn(|| counters.claim(1, 0)).count();
        assert_eq!(others, ENTRIES - UPGRADED_ENTRIES);
        counters.end_upgraded();
        assert_eq!(counters.upgraded(), 999);
        counters.open(8, 9);
        assert_eq!(counters.upgraded(), 0);
    }

    #[test]
    fn every_loss_has_its_own_word_and_name() {
        for (index, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, index);
        }
        let names: std::collections::BTreeSet<_> = Loss::ALL.map(Loss::name).into();
        assert_eq!(names.len(), Loss::ALL.len());
        for (index, reason) in HeldEnd::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        for (index, result) in HandshakeResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
    }
}
