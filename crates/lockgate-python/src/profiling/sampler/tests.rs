//! Samples of processes that are made for these tests.

mod process;

use std::cell::Cell;

use super::*;
use crate::profiling::code_cache::MOST_CODES;
use crate::profiling::frames::RawFrame;
use crate::profiling::layout::tests::published;
use crate::profiling::memory::Part;
use crate::profiling::threads::MOST_THREADS;
use process::{FakeProcess, FakeThreads};

const VERSIONS: [(u8, u8); 6] = [(3, 10), (3, 11), (3, 12), (3, 13), (3, 14), (3, 15)];
const MAIN: u64 = 0x8000_0000;
const VIEW: u64 = 0x8100_0000;

/// A table in which the instructions from 0 to 7 have the first line, and later ones the line after it.
fn table(layout: &Layout) -> &'static [u8] {
    match layout.code.lines {
        super::super::layout::LineFormat::Deltas => &[16, 0, 200, 1],
        super::super::layout::LineFormat::Locations => {
            &[0x80 | 10 << 3 | 7, 0, 0, 0x80 | 11 << 3 | 7, 0, 0]
        }
    }
}

struct Case {
    layout: Layout,
    process: FakeProcess,
    threads: FakeThreads,
}

impl Case {
    fn new(version: (u8, u8)) -> Self {
        let layout = Layout::of(version, &published(version.1)).unwrap();
        let process = FakeProcess::new(&layout);
        process.put_code(&layout, MAIN, ("main", "/srv/app.py", 10, table(&layout)));
        process.put_code(
            &layout,
            VIEW,
            ("Café.größe", "/srv/名前.py", 20, table(&layout)),
        );
        Self {
            layout,
            process,
            threads: FakeThreads::default(),
        }
    }

    fn set(&self, tid: u64, cpu: u64, activity: Activity) {
        let state = (Duration::from_millis(cpu), activity);
        self.threads.threads.borrow_mut().insert(tid, state);
    }

    fn sampler(&self) -> Sampler<&FakeProcess, &FakeThreads> {
        let target = FakeProcess::target(self.layout);
        Sampler::new(&self.process, &self.threads, target)
    }

    /// One round: TID, stack and activity of each thread, and how many failed.
    fn round(&self) -> (Vec<(u64, Vec<String>, Activity)>, u64) {
        let mut stacks = Stacks::default();
        let round = round(&mut self.sampler(), &mut stacks);
        let threads = round.threads.into_iter().map(|thread| {
            let stack = shown(&stacks, thread.stack);
            (thread.tid, stack, thread.activity)
        });
        (threads.collect(), round.failed)
    }
}

fn round(sampler: &mut Sampler<&FakeProcess, &FakeThreads>, stacks: &mut Stacks) -> Round {
    sampler.round(stacks, &HashMap::new(), Duration::from_millis(9))
}

fn shown(stacks: &Stacks, stack: StackId) -> Vec<String> {
    let frames = stacks.frames(stack);
    frames
        .map(|frame| format!("{} {}:{}", frame.function, frame.file, frame.line))
        .collect()
}

#[test]
fn a_stack_has_names_and_lines_in_every_version() {
    for version in VERSIONS {
        let case = Case::new(version);
        let threads: [(u32, &[(u64, i64)]); 3] = [
            (70, &[(VIEW, 9), (MAIN, 2)]),
            (71, &[]),
            (72, &[(MAIN, -1)]),
        ];
        case.process.put_threads(&case.layout, &threads);
        for tid in [70, 71, 72] {
            case.set(tid, 5, Activity::Lock);
        }
        let view = vec![
            "Café.größe /srv/名前.py:21".to_owned(),
            "main /srv/app.py:10".to_owned(),
        ];
        let main = vec!["main /srv/app.py:10".to_owned()];
        let expected = vec![(70, view, Activity::Lock), (72, main, Activity::Lock)];
        assert_eq!(case.round(), (expected, 0), "{version:?}");
    }
}

#[test]
fn a_thread_that_has_not_run_is_not_read_again() {
    let case = Case::new((3, 11));
    case.process
        .put_threads(&case.layout, &[(70, &[(VIEW, 9), (MAIN, 2)])]);
    case.set(70, 5, Activity::Sleep);
    let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
    let first = round(&mut sampler, &mut stacks);
    let reads = case.process.reads();
    let second = round(&mut sampler, &mut stacks);
    assert_eq!(second.threads, first.threads);
    assert_eq!(case.process.reads(), reads + 1, "the list of threads");
    // Now it has run for 3 ms, and then for nearly all of the interval.
    case.process
        .put_threads(&case.layout, &[(70, &[(MAIN, 8)])]);
    for (cpu, used, activity) in [(8, 3, Activity::Sleep), (18, 10, Activity::Running)] {
        case.set(70, cpu, Activity::Sleep);
        let round = round(&mut sampler, &mut stacks);
        let thread = &round.threads[0];
        assert_eq!(shown(&stacks, thread.stack), ["main /srv/app.py:11"]);
        assert_eq!(
            (thread.cpu, &thread.activity),
            (Duration::from_millis(used), &activity)
        );
    }
}

#[test]
fn threads_that_start_and_end_are_followed() {
    let case = Case::new((3, 12));
    let frames: &[(u64, i64)] = &[(MAIN, 2)];
    let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
    for tids in [&[70u32][..], &[70, 71, 72], &[72], &[], &[73, 74]] {
        let threads: Vec<(u32, &[(u64, i64)])> = tids.iter().map(|tid| (*tid, frames)).collect();
        case.process.put_threads(&case.layout, &threads);
        for tid in tids {
            case.set((*tid).into(), 1, Activity::Sleep);
        }
        let round = round(&mut sampler, &mut stacks);
        let seen: Vec<u64> = round.threads.iter().map(|thread| thread.tid).collect();
        let expected: Vec<u64> = tids.iter().map(|tid| (*tid).into()).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn another_code_object_at_the_same_address_is_noticed() {
    for version in VERSIONS {
        let case = Case::new(version);
        case.process
            .put_threads(&case.layout, &[(70, &[(MAIN, 2)])]);
        let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
        for number in 0..5 {
            case.set(70, number, Activity::Sleep);
            let name = format!("f{number}");
            let file = format!("<template {number}>");
            case.process
                .put_code(&case.layout, MAIN, (&name, &file, 10, table(&case.layout)));
            let round = round(&mut sampler, &mut stacks);
            let stack = shown(&stacks, round.threads[0].stack);
            assert_eq!(stack, [format!("{name} {file}:10")], "{version:?}");
        }
    }
}

#[test]
fn callers_that_stay_are_looked_at_in_some_rounds() {
    for version in VERSIONS {
        let case = Case::new(version);
        let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
        for number in 1..=LOOKED_AT_EVERY {
            // The view runs on, and its caller stays.
            let view = (VIEW, (number % 16).cast_signed());
            let stack: &[(u64, i64)] = &[view, (MAIN, 2)];
            case.process.put_threads(&case.layout, &[(70, stack)]);
            case.set(70, number, Activity::Sleep);
            let round = round(&mut sampler, &mut stacks);
            let seen = round.threads.first().map(|thread| thread.stack);
            match seen {
                Some(stack) => assert_eq!(shown(&stacks, stack)[1], "main /srv/app.py:10"),
                None => assert_eq!(number, LOOKED_AT_EVERY, "{version:?}"),
            }
            assert_eq!(round.failed, u64::from(number == LOOKED_AT_EVERY));
            case.process.unmap(MAIN);
        }
    }
}

#[test]
fn a_thread_that_has_run_since_its_state_was_read_is_read_where_it_is_now() {
    for version in VERSIONS {
        let case = Case::new(version);
        let stack: &[(u64, i64)] = &[(VIEW, 9), (MAIN, 2)];
        case.process.put_threads(&case.layout, &[(70, stack)]);
        let target = FakeProcess::target(case.layout);
        let mut list = ThreadList::new(case.layout, target.runtime, target.tid_offset);
        let state = list.read(&&case.process).unwrap()[0];
        let (mut elsewhere, mut another) = (state, state);
        elsewhere.current = 0xdead_0000;
        elsewhere.chunk = (0xbad_0000, 0xbad_0100);
        another.ident = 7;
        for (state, expected) in [
            (state, Ok(2)),
            (elsewhere, Ok(2)),
            (another, Err(Unreadable::Memory)),
        ] {
            let mut raw = RawStack::default();
            let read = FrameReader::default().read(&&case.process, &case.layout, &state, &mut raw);
            assert_eq!(read.map(|()| raw.frames.len()), expected, "{version:?}");
        }
    }
}

/// A process whose first thread calls and returns whenever its memory is read.
struct Restless<'a> {
    process: &'a FakeProcess,
    /// Where the thread state has the address of the address of the most recent frame, and two such addresses.
    place: u64,
    controls: [u64; 2],
    reads: Cell<usize>,
}

impl Memory for Restless<'_> {
    fn read_parts(&self, parts: &mut [Part<'_>]) {
        self.process.read_parts(parts);
        self.reads.set(self.reads.get() + 1);
        let control = self.controls[self.reads.get() % 2];
        self.process.put_word(self.place, control);
    }
}

#[test]
fn a_thread_that_never_rests_is_read_all_the_same() {
    for version in [(3, 11), (3, 12)] {
        let case = Case::new(version);
        let stack: &[(u64, i64)] = &[(VIEW, 9), (MAIN, 2)];
        case.process.put_threads(&case.layout, &[(70, stack)]);
        let target = FakeProcess::target(case.layout);
        let mut list = ThreadList::new(case.layout, target.runtime, target.tid_offset);
        let mut state = list.read(&&case.process).unwrap()[0];
        let CurrentFrame::Indirect { at, frame } = case.layout.thread.current else {
            panic!("{version:?}");
        };
        // In memory that the thread has anyway.
        let other = state.ident + 96;
        let current = FakeProcess::frame(&case.layout, 0);
        case.process.put_word(other + frame as u64, current);
        let memory = Restless {
            process: &case.process,
            place: state.address + at as u64,
            controls: [state.current, other],
            reads: Cell::new(0),
        };
        state.current = other;
        let mut raw = RawStack::default();
        let read = FrameReader::default().read(&memory, &case.layout, &state, &mut raw);
        assert_eq!((read, raw.frames.len()), (Ok(()), 2), "{version:?}");
        assert_eq!(memory.reads.get(), 4, "the first copies are not trusted");
    }
}

#[test]
fn a_deep_stack_is_cut_at_its_callers() {
    for version in VERSIONS {
        let case = Case::new(version);
        let deep = [&[(VIEW, 9)][..], &vec![(MAIN, 2); 600]].concat();
        case.process.put_threads(&case.layout, &[(70, &deep)]);
        case.set(70, 1, Activity::Sleep);
        let (threads, failed) = case.round();
        let stack = &threads[0].1;
        assert_eq!((stack.len(), failed), (MOST_FRAMES, 0), "{version:?}");
        assert_eq!(stack[0], "Café.größe /srv/名前.py:21");
        assert_eq!(stack[MOST_FRAMES - 1], "… :0");
    }
}

#[test]
fn what_is_no_stack_fails_and_harms_nothing() {
    type Damage = fn(&Case);
    let damages: [(&str, Damage); 8] = [
        ("a frame that calls itself", |case| {
            let previous = FakeProcess::frame(&case.layout, 1) + case.layout.frame.previous as u64;
            case.process
                .put_word(previous, FakeProcess::frame(&case.layout, 0));
        }),
        ("a caller that is not mapped", |case| {
            let previous = FakeProcess::frame(&case.layout, 1) + case.layout.frame.previous as u64;
            case.process.put_word(previous, 0xdead_0000_0000_0000);
        }),
        ("code that is no code", |case| {
            case.process.put_word(MAIN + 8, 0x7777);
        }),
        ("code that is not mapped", |case| case.process.unmap(MAIN)),
        ("a name that is not mapped", |case| {
            case.process
                .put_word(MAIN + case.layout.code.name as u64, u64::MAX);
        }),
        ("a name without end", |case| {
            case.process.put_word(MAIN + 0x1000 + 16, u64::MAX);
        }),
        ("a name of no width", |case| {
            case.process.put_bytes(MAIN + 0x1000 + 32, &[0x60 | 3 << 2]);
        }),
        ("a line table without end", |case| {
            case.process.put_word(MAIN + 0x8000 + 16, u64::MAX);
        }),
    ];
    for version in VERSIONS {
        for (what, damage) in damages {
            let case = Case::new(version);
            let threads: [(u32, &[(u64, i64)]); 2] =
                [(70, &[(VIEW, 9), (MAIN, 2)]), (71, &[(VIEW, 0)])];
            case.process.put_threads(&case.layout, &threads);
            case.set(70, 1, Activity::Sleep);
            case.set(71, 1, Activity::Sleep);
            damage(&case);
            let (threads, failed) = case.round();
            assert_eq!((threads.len(), failed), (1, 1), "{version:?}: {what}");
            assert_eq!(threads[0].0, 71, "{version:?}: {what}");
        }
    }
}

#[test]
fn a_list_of_threads_that_does_not_end_is_given_up() {
    let case = Case::new((3, 13));
    let frames: &[(u64, i64)] = &[(MAIN, 2)];
    case.process
        .put_threads(&case.layout, &[(70, frames), (71, frames)]);
    // The second one is followed by the first one.
    let next = 0x4100_0000 + case.layout.thread.next as u64;
    case.process.put_word(next, 0x4000_0000);
    assert_eq!(case.round(), (vec![], 1));
}

#[test]
fn a_thread_that_stays_is_looked_at_again() {
    let case = Case::new((3, 11));
    case.process
        .put_threads(&case.layout, &[(70, &[(MAIN, 2)])]);
    let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
    for (cpu, expected) in [
        (1, Activity::Waiting),
        (1, Activity::Waiting),
        (1, Activity::Lock),
        (1, Activity::Lock),
        (2, Activity::Gil),
    ] {
        case.set(70, cpu, Activity::Waiting);
        let round = round(&mut sampler, &mut stacks);
        assert_eq!(round.threads[0].activity, expected);
    }
}

#[test]
fn a_full_cache_of_code_loses_nothing_of_the_stack_that_is_read() {
    let case = Case::new((3, 12));
    let frame = |index: usize| RawFrame {
        code: 0x1_0000_0000 + index as u64 * 0x1_0000,
        instruction: 0,
    };
    let mut codes = CodeCache::new(case.layout, FakeProcess::target(case.layout).code_class);
    let memory = &case.process;
    for index in 0..MOST_CODES + 1 {
        let function = ("f", "/srv/app.py", 1, table(&case.layout));
        memory.put_code(&case.layout, frame(index).code, function);
    }
    let known: Vec<RawFrame> = (0..MOST_CODES - 1).map(frame).collect();
    for some in known.chunks(500) {
        codes.learn(&memory, some).unwrap();
    }
    // The last place is left, and two of these have none.
    let stack = [0, MOST_CODES - 1, MOST_CODES].map(frame);
    codes.learn(&memory, &stack).unwrap();
    for frame in &stack {
        assert!(codes.of(frame).is_some(), "{:#x}", frame.code);
    }
}

#[test]
fn code_that_is_freed_while_it_is_read_is_no_code() {
    let case = Case::new((3, 14));
    let stack = [RawFrame {
        code: MAIN,
        instruction: 0,
    }];
    // How many references an object has, or the next free place, or none.
    for (first_word, expected) in [
        (1, Ok(())),
        (0xffff_ffff, Ok(())),
        (0x0004_0000_c000_0000, Ok(())),
        (0, Err(Unreadable::NotCode)),
        (0x7f3a_2b1c_0640, Err(Unreadable::NotCode)),
    ] {
        let mut codes = CodeCache::new(case.layout, FakeProcess::target(case.layout).code_class);
        case.process.put_word(MAIN, first_word);
        let learned = codes.learn(&&case.process, &stack);
        assert_eq!(learned, expected, "{first_word:#x}");
    }
}

#[test]
fn a_thread_in_two_interpreters_is_one_thread() {
    for version in VERSIONS {
        let case = Case::new(version);
        let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
        let main: &[(u64, i64)] = &[(MAIN, 2)];
        let view: &[(u64, i64)] = &[(VIEW, 0)];
        // It enters the other interpreter, leaves it, and calls it.
        for (cpu, used, states, expected) in [
            (5, 0, [main, &[]], "main /srv/app.py:10"),
            (8, 3, [&[], view], "Café.größe /srv/名前.py:20"),
            (12, 4, [main, &[]], "main /srv/app.py:10"),
            (14, 2, [main, view], "Café.größe /srv/名前.py:20"),
        ] {
            let threads = states.map(|stack| (70, stack));
            case.process.put_threads(&case.layout, &threads);
            // Both have the control block of the first one.
            let ident = 0x4100_0000 + case.layout.thread.ident as u64;
            case.process.put_word(ident, 0x4001_0000);
            case.set(70, cpu, Activity::Lock);
            let round = round(&mut sampler, &mut stacks);
            let seen: Vec<_> = (round.threads.iter())
                .map(|thread| (shown(&stacks, thread.stack), thread.cpu))
                .collect();
            let used = Duration::from_millis(used);
            assert_eq!(seen, [(vec![expected.to_owned()], used)], "{version:?}");
        }
    }
}

#[test]
fn of_many_threads_some_are_sampled_and_the_others_counted() {
    for version in VERSIONS {
        let case = Case::new(version);
        // Behind all of the threads.
        let far = 0x100_0000_0000;
        let function = ("main", "/srv/app.py", 10, table(&case.layout));
        case.process.put_code(&case.layout, far, function);
        let stack: &[(u64, i64)] = &[(far, 2)];
        let tids = 1..MOST_THREADS as u32 + 8;
        let threads: Vec<(u32, &[(u64, i64)])> = tids.clone().map(|tid| (tid, stack)).collect();
        case.process.put_threads(&case.layout, &threads);
        for tid in tids {
            case.set(tid.into(), 1, Activity::Sleep);
        }
        let (mut sampler, mut stacks) = (case.sampler(), Stacks::default());
        for _ in 0..2 {
            let round = round(&mut sampler, &mut stacks);
            assert_eq!((round.threads.len(), round.failed), (MOST_THREADS, 7));
        }
    }
}

#[test]
fn the_main_interpreter_is_sampled_however_many_others_there_are() {
    for version in VERSIONS {
        let case = Case::new(version);
        case.process
            .put_threads(&case.layout, &[(70, &[(MAIN, 2)])]);
        case.process.put_interpreters(&case.layout, 40);
        case.set(70, 1, Activity::Sleep);
        let (threads, failed) = case.round();
        let seen: Vec<u64> = threads.iter().map(|thread| thread.0).collect();
        assert_eq!((seen, failed), (vec![70], 0), "{version:?}");
    }
}
