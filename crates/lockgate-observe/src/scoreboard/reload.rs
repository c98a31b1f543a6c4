//! The state of the last reload, for the command that requested it and waits. Written by the supervisor only, read by
//! any process.
//!
//! Invariant: [`Scoreboard::reload`] returns values of a single moment: a version protects the words, as in an entry.
//! Reloads are numbered, so that a command can tell its own from earlier ones.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Scoreboard;

// The words of the region.
const VERSION: usize = 0;
const STATE: usize = 1;
const BEGUN: usize = 2;
const ENDED: usize = 3;
const FAILED: usize = 4;
const READY: usize = 5;
const WANTED: usize = 6;
const BEGAN_AT: usize = 7;
const TOOK: usize = 8;
const WHY_LENGTH: usize = 9;
const FAILURES: usize = 10;
const WHY: usize = 16;
/// Bytes of a reason that are kept.
const WHY_BYTES: usize = 16 * 1024;
/// Of a longer reason, this much of the beginning, which says what failed; the end of a traceback says why.
const WHY_HEAD: usize = 2 * 1024;
const GAP: &[u8] = b"\n[...]\n";

/// Words of the region.
pub(super) const WORDS: usize = WHY + WHY_BYTES / 8;

/// How often a reader tries; the writer needs microseconds.
const ATTEMPTS: u32 = 1000;

/// The progress of a reload, or its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReloadState {
    /// There has been none.
    #[default]
    Never,
    /// Settings are read, and new workers start.
    Booting,
    /// The new workers begin to accept.
    Moving,
    /// The new workers have taken over.
    Done,
    /// It failed, and the old workers serve.
    Failed,
}

impl ReloadState {
    /// Every state, in the order of their numbers on the scoreboard.
    const ALL: [Self; 5] = [
        Self::Never,
        Self::Booting,
        Self::Moving,
        Self::Done,
        Self::Failed,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Booting => "booting",
            Self::Moving => "moving",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// The current reload, or the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadView {
    /// Its progress, or its result.
    pub state: ReloadState,
    /// How many reloads have begun, this one included.
    pub begun: u64,
    /// How many have ended.
    pub ended: u64,
    /// The number of the last one that failed; 0: none.
    pub failed: u64,
    /// How many have failed.
    pub failures: u64,
    /// New workers that are ready.
    pub ready: u64,
    /// New workers that are expected; 0 until the settings are read.
    pub wanted: u64,
    /// When it began: nanoseconds of the monotonic clock.
    pub began_at: u64,
    /// Duration of the last finished reload in nanoseconds.
    pub took: u64,
    /// Why the last failed reload failed, with the traceback if there is one.
    pub why: Vec<u8>,
}

impl Scoreboard {
    /// A reload starts.
    pub fn record_reload_begun(self, now: u64) {
        self.write_reload(ReloadState::Booting, |words| {
            let begun = &words[BEGUN];
            begun.store(begun.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            words[BEGAN_AT].store(now, Ordering::Relaxed);
            words[READY].store(0, Ordering::Relaxed);
            words[WANTED].store(0, Ordering::Relaxed);
        });
    }

    /// `ready` of the `wanted` new workers are ready.
    pub fn record_reload_ready(self, ready: usize, wanted: usize) {
        self.write_reload(ReloadState::Booting, |words| {
            words[READY].store(ready as u64, Ordering::Relaxed);
            words[WANTED].store(wanted as u64, Ordering::Relaxed);
        });
    }

    /// The new workers may accept connections.
    pub fn record_reload_moving(self) {
        self.write_reload(ReloadState::Moving, |_| {});
    }

    /// The new workers have taken over.
    pub fn record_reload_done(self, now: u64) {
        self.write_reload(ReloadState::Done, |words| end(words, now));
    }

    /// The reload has failed. The middle of a very long reason is omitted.
    pub fn record_reload_failed(self, why: &str, now: u64) {
        self.write_reload(ReloadState::Failed, |words| {
            end(words, now);
            let number = words[BEGUN].load(Ordering::Relaxed);
            words[FAILED].store(number, Ordering::Relaxed);
            let failures = &words[FAILURES];
            failures.store(failures.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let why = shortened(why.as_bytes());
            words[WHY_LENGTH].store(why.len() as u64, Ordering::Relaxed);
            for (word, bytes) in words[WHY..].iter().zip(why.chunks(8)) {
                let mut whole = [0; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
            }
        });
    }

    /// The current reload, or the last one.
    pub fn reload(self) -> ReloadView {
        let Some(words) = self.reload_words() else {
            return ReloadView::default();
        };
        (0..ATTEMPTS).find_map(|_| read(words)).unwrap_or_default()
    }

    fn write_reload(self, state: ReloadState, write: impl FnOnce(&[AtomicU64; WORDS])) {
        let Some(words) = self.reload_words() else {
            return;
        };
        let version = words[VERSION].load(Ordering::Relaxed);
        words[VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        words[STATE].store(state as u64, Ordering::Relaxed);
        write(words);
        words[VERSION].store(version.wrapping_add(2), Ordering::Release);
    }

    fn reload_words(self) -> Option<&'static [AtomicU64; WORDS]> {
        self.words.get(super::RELOAD..)?.first_chunk()
    }
}

fn end(words: &[AtomicU64; WORDS], now: u64) {
    let begun = words[BEGUN].load(Ordering::Relaxed);
    words[ENDED].store(begun, Ordering::Relaxed);
    let began_at = words[BEGAN_AT].load(Ordering::Relaxed);
    words[TOOK].store(now.saturating_sub(began_at), Ordering::Relaxed);
}

fn read(words: &[AtomicU64; WORDS]) -> Option<ReloadView> {
    let version = words[VERSION].load(Ordering::Acquire);
    let word = |index: usize| words[index].load(Ordering::Relaxed);
    let length = usize::try_from(word(WHY_LENGTH))
        .unwrap_or(0)
        .min(WHY_BYTES);
    let mut why: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|index| word(WHY + index).to_le_bytes())
        .collect();
    why.truncate(length);
    let state = usize::try_from(word(STATE)).ok();
    let view = ReloadView {
        state: state
            .and_then(|state| ReloadState::ALL.get(state).copied())
            .unwrap_or_default(),
        begun: word(BEGUN),
        ended: word(ENDED),
        failed: word(FAILED),
        failures: word(FAILURES),
        ready: word(READY),
        wanted: word(WANTED),
        began_at: word(BEGAN_AT),
        took: word(TOOK),
        why,
    };
    fence(Ordering::Acquire);
    (version.is_multiple_of(2) && word(VERSION) == version).then_some(view)
}

fn shortened(why: &[u8]) -> Vec<u8> {
    if why.len() <= WHY_BYTES {
        return why.to_vec();
    }
    let tail = WHY_BYTES - WHY_HEAD - GAP.len();
    let mut kept = why[..WHY_HEAD].to_vec();
    kept.extend_from_slice(GAP);
    kept.extend_from_slice(&why[why.len() - tail..]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scoreboard() -> Scoreboard {
        Scoreboard::new(Vec::leak(
            (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect(),
        ))
    }

    #[test]
    fn a_reload_is_counted_and_its_steps_are_recorded() {
        let scoreboard = scoreboard();
        assert_eq!(scoreboard.reload(), ReloadView::default());
        scoreboard.record_reload_begun(100);
        scoreboard.record_reload_ready(1, 3);
        let view = scoreboard.reload();
        assert_eq!(
            (view.state, view.begun, view.ended),
            (ReloadState::Booting, 1, 0)
        );
        assert_eq!((view.ready, view.wanted, view.began_at), (1, 3, 100));
        assert_eq!(view.took, 0);
        scoreboard.record_reload_moving();
        assert_eq!(scoreboard.reload().state, ReloadState::Moving);
        scoreboard.record_reload_done(900);
        let view = scoreboard.reload();
        assert_eq!((view.state, view.ended), (ReloadState::Done, 1));
        assert_eq!((view.took, view.failed), (800, 0));
        scoreboard.record_reload_begun(1000);
        let view = scoreboard.reload();
        assert_eq!((view.begun, view.ended, view.wanted), (2, 1, 0));
        assert_eq!(view.took, 800, "of the previous reload");
    }

    #[test]
    fn the_reason_of_the_last_failure_is_kept_at_any_length() {
        let scoreboard = scoreboard();
        let long = format!("the first line\n{}\nthe last line", "x".repeat(40_000));
        for why in ["", "é", "12345678", "a reason of some length", &long] {
            scoreboard.record_reload_begun(1);
            scoreboard.record_reload_failed(why, 2);
            scoreboard.record_reload_begun(3);
            scoreboard.record_reload_done(4);
            let view = scoreboard.reload();
            assert_eq!(
                (view.state, view.failed),
                (ReloadState::Done, view.begun - 1)
            );
            if why.len() <= WHY_BYTES {
                assert_eq!(view.why, why.as_bytes());
            } else {
                assert_eq!(view.why.len(), WHY_BYTES);
                assert!(view.why.starts_with(b"the first line\n"));
                assert!(view.why.ends_with(b"x\nthe last line"));
            }
        }
    }

    #[test]
    fn a_scoreboard_without_the_region_records_nothing() {
        let scoreboard = Scoreboard::new(&[]);
        scoreboard.record_reload_failed("why", 1);
        assert_eq!(scoreboard.reload(), ReloadView::default());
    }

    #[test]
    fn every_state_has_its_number_and_name() {
        for (index, state) in ReloadState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
        let names: std::collections::BTreeSet<_> = ReloadState::ALL.map(ReloadState::name).into();
        assert_eq!(names.len(), ReloadState::ALL.len());
    }

    /// Each failure has a text of one letter, so that a mixture of two is detected.
    #[test]
    fn a_reader_never_sees_a_mixture_of_two_reloads() {
        let scoreboard = scoreboard();
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                for round in 0..20_000_u64 {
                    scoreboard.record_reload_begun(round);
                    let letter = char::from(b'a' + (round % 26) as u8);
                    scoreboard.record_reload_failed(
                        &letter.to_string().repeat(1 + round as usize % 50),
                        round,
                    );
                }
            });
            while !writer.is_finished() {
                let view = scoreboard.reload();
                if view.state == ReloadState::Failed {
                    assert_eq!(view.failed, view.began_at + 1);
                    assert_eq!(view.why.len() as u64, 1 + view.began_at % 50);
                    let letter = b'a' + (view.began_at % 26) as u8;
                    assert!(view.why.iter().all(|byte| *byte == letter), "{view:?}");
                }
            }
        });
    }
}
