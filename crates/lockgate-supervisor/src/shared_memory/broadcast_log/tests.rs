//! The log over real memory, with processes that are killed while they append to it.

use super::*;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockgate_shm::{Cursor, Read};

/// The variable that makes a copy of the test program a process that uses the log: `PID FD SEED`.
const USER: &str = "LOCKGATE_TEST_LOG";

fn settings(memory: usize) -> PushConfig {
    PushConfig {
        is_enabled: true,
        memory,
        ..PushConfig::default()
    }
}

#[test]
fn the_next_program_finds_the_log_if_its_size_is_the_same() {
    let small = plan(&settings(1 << 20));
    let first = Region::create(&small).unwrap();
    let log = first.get().unwrap();
    log.append(b"news", b"1", b"hello", 7).unwrap();
    let memory = || first.memory().unwrap().try_clone_to_owned().unwrap();
    let again = Region::inherit(memory(), &small).unwrap().get().unwrap();
    let (mut cursor, mut record) = (again.oldest(), Vec::new());
    let read = again.read(&mut cursor, &mut record);
    let expected = Read::Record {
        sequence: 1,
        time: 7,
    };
    assert_eq!((read, record.as_slice()), (expected, b"hello".as_slice()));
    for other in [2 << 20, 1 << 19] {
        assert!(Region::inherit(memory(), &plan(&settings(other))).is_none());
    }
}

#[test]
fn a_program_without_a_supervisor_has_a_log() {
    let log = standalone_broadcast_log(&settings(1 << 20)).unwrap();
    assert_eq!(log.append(b"a", b"", b"x", 0), Ok(1));
    assert_eq!(log.append(b"a", b"", b"y", 0), Ok(2));
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A record that shows when it is torn: its length and all its bytes follow from its writer and its number.
fn record(writer: u64, number: u64) -> Vec<u8> {
    let mut seed = writer ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = 16 + (next(&mut seed) % 600) as usize;
    let mut record = [writer.to_le_bytes(), number.to_le_bytes()].concat();
    record.resize(length, seed as u8);
    record
}

/// The writer and the number of a record that is whole.
fn checked(bytes: &[u8]) -> (u64, u64) {
    let word = |start: usize| u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap());
    assert_eq!(record(word(0), word(8)), bytes, "torn");
    (word(0), word(8))
}

/// A reader of all records.
struct Reader {
    log: Log,
    cursor: Cursor,
    bytes: Vec<u8>,
    last: u64,
    /// The last number of each writer.
    numbers: HashMap<u64, u64>,
    overruns: u64,
}

impl Reader {
    fn new(log: Log) -> Self {
        Self {
            log,
            cursor: log.head(),
            bytes: Vec::new(),
            last: 0,
            numbers: HashMap::new(),
            overruns: 0,
        }
    }

    /// Reads a record if there is one. Each is whole, and none of the log or of a writer is missing before it.
    fn read(&mut self) -> bool {
        match self.log.read(&mut self.cursor, &mut self.bytes) {
            Read::UpToDate => return false,
            Read::Overrun => {
                self.overruns += 1;
                self.last = 0;
                self.numbers.clear();
            }
            Read::Record { sequence, time } => {
                let (writer, number) = checked(&self.bytes);
                assert_eq!(time, number);
                assert!(sequence == self.last + 1 || self.last == 0);
                self.last = sequence;
                if let Some(before) = self.numbers.insert(writer, number) {
                    assert_eq!(number, before + 1, "a record of {writer} is missing");
                }
            }
        }
        true
    }
}

/// Appends a record of a writer. It finds it, and the one before it, by their ids.
fn append(log: &Log, writer: u64, number: u64) {
    let channel = writer.to_le_bytes();
    let bytes = record(writer, number);
    log.append(&channel, &number.to_le_bytes(), &bytes, number)
        .unwrap();
    if let Some(before) = number.checked_sub(1)
        && let Some(found) = log.after(&channel, &before.to_le_bytes())
    {
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].record, bytes);
    }
}

/// Not a test: what the copies of this program do.
#[test]
fn uses_the_log_until_it_is_killed() {
    let Ok(variable) = std::env::var(USER) else {
        return;
    };
    let numbers: Vec<u64> = variable
        .split(' ')
        .map(|text| text.parse().unwrap())
        .collect();
    let [pid, fd, writer] = numbers[..] else {
        panic!("{variable}")
    };
    // The same memory, through the descriptor of the process that made it.
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/fd/{fd}"))
        .unwrap();
    let plan = plan(&settings(1 << 22));
    let log = Region::inherit(memory.into(), &plan)
        .unwrap()
        .get()
        .unwrap();
    let mut reader = Reader::new(log);
    // Longer than the test that kills it, which may itself be killed.
    let until = Instant::now() + Duration::from_secs(60);
    let mut number = 0;
    while Instant::now() < until {
        append(&log, writer, number);
        number += 1;
        while reader.read() {}
    }
}

fn user(memory: BorrowedFd<'_>, writer: u64) -> Child {
    let numbers = format!("{} {} {writer}", std::process::id(), memory.as_raw_fd());
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "shared_memory::broadcast_log::tests::uses_the_log_until_it_is_killed",
        ])
        .env(USER, numbers)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_are_killed_at_any_moment_block_no_other_and_lose_no_record_of_another() {
    use std::os::unix::process::ExitStatusExt;
    let region = Region::create(&plan(&settings(1 << 22))).unwrap();
    let (log, memory) = (region.get().unwrap(), region.memory().unwrap());
    let mut seed = 88_172_645_463_325_252;
    let mut users: Vec<Child> = (0..3).map(|_| user(memory, next(&mut seed))).collect();
    let mut reader = Reader::new(log);
    let (writer, mut number) = (1, 0);
    let (mut reads, mut killed) = (0_u64, 0);
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        // Between two kills this process works, too; the number of its reads is the random moment.
        for _ in 0..next(&mut seed) % 3000 {
            while !reader.read() && !log.wait(&reader.cursor, Duration::from_millis(5)) {
                append(&log, writer, number);
                number += 1;
            }
            reads += 1;
        }
        append(&log, writer, number);
        number += 1;
        let place = (next(&mut seed) % 3) as usize;
        let mut dead = std::mem::replace(&mut users[place], user(memory, next(&mut seed)));
        dead.kill().unwrap();
        let output = dead.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "{text}");
        killed += 1;
        // As the supervisor does; the log has to work before that, too.
        if killed % 2 == 0 {
            log.release_if_dead();
        }
    }
    for user in &mut users {
        user.kill().unwrap();
        user.wait().unwrap();
    }
    append(&log, writer, number);
    while reader.read() {}
    println!(
        "{reads} reads, {killed} kills, {} overruns",
        reader.overruns
    );
    assert!(reads > 1000 && killed > 5, "{reads} reads, {killed} kills");
}
