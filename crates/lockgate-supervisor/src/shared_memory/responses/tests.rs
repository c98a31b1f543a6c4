//! The response cache over real memory, with processes that are killed while they write to it.

use super::*;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockgate_shm::responses::{EntryBuffer, Flight, FlightOutcome, NewEntry, Refused};

/// The variable that makes a copy of the test program a process that uses the cache: `PID FD SEED`.
const USER: &str = "LOCKGATE_TEST_RESPONSES";
/// How many processes are killed. `LOCKGATE_TEST_KILLS=1000 cargo test -p lockgate-supervisor responses` is the full run.
const KILLS: &str = "LOCKGATE_TEST_KILLS";
/// Keys of all processes; the memory has room for about half of their entries.
const KEYS: u64 = 300;

fn settings(memory: usize) -> CacheConfig {
    CacheConfig {
        memory,
        ..CacheConfig::default()
    }
}

#[test]
fn the_next_program_finds_the_cache_if_its_size_is_the_same() {
    let small = plan(&settings(1 << 20));
    let first = Region::create(&small).unwrap();
    let store = first.get().unwrap();
    insert(&store, 1, 7).unwrap();
    let memory = || first.memory().unwrap().try_clone_to_owned().unwrap();
    let again = Region::inherit(memory(), &small).unwrap().get().unwrap();
    assert_eq!(verify(&again), 1);
    for other in [2 << 20, 1 << 18] {
        assert!(Region::inherit(memory(), &plan(&settings(other))).is_none());
    }
}

#[test]
fn a_program_without_a_supervisor_has_a_cache() {
    let store = standalone_responses(&settings(1 << 20)).unwrap();
    insert(&store, 1, 1).unwrap();
    assert_eq!(verify(&store), 1);
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// For another process. What `next` gives is a later state of the same sequence: two processes would take the same steps.
fn seed_of_another(seed: &mut u64) -> u64 {
    next(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Some keys are longer than a block.
fn key(number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(50) { 1500 } else { 40 };
    let mut key = number.to_le_bytes().to_vec();
    key.resize(length, number as u8);
    key
}

/// What an entry must be: its length and all its bytes follow from its key and its version.
fn content(number: u64, version: u64) -> Vec<u8> {
    let mut seed = number ^ version.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = 16 + (next(&mut seed) % 4_000) as usize;
    let words = (0..length.div_ceil(8)).flat_map(|_| next(&mut seed).to_le_bytes());
    let mut bytes = [number.to_le_bytes(), version.to_le_bytes()].concat();
    bytes.extend(words);
    bytes.truncate(length);
    bytes
}

fn insert(store: &ResponseStore, number: u64, version: u64) -> Result<(), Refused> {
    let entry = NewEntry {
        key: &key(number),
        meta: &version.to_le_bytes(),
        body: &content(number, version),
        tags: &[tag(number), b"all"],
        expires: version,
    };
    store.insert(&entry, store.epoch(), 0).map(drop)
}

fn tag(number: u64) -> &'static [u8] {
    [&b"red"[..], b"green", b"blue"][(number % 3) as usize]
}

/// That an entry is what its key demands.
fn check(found_key: &[u8], entry: &EntryBuffer) {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let (number, version) = (word(found_key), word(&entry.meta));
    assert_eq!(key(number), found_key, "the key is torn");
    assert!(
        content(number, version) == entry.body,
        "the body is torn or another one's"
    );
    assert_eq!(entry.expires, version);
}

/// That all entries are what their keys demand, and are found by them; returns their number.
fn verify(store: &ResponseStore) -> u64 {
    let (mut number, mut keys) = (0, Vec::new());
    store.for_each(|found_key, _, entry| {
        check(found_key, entry);
        keys.push(found_key.to_vec());
    });
    let mut buffer = EntryBuffer::default();
    for found_key in &keys {
        if store.read(found_key, &mut buffer).is_some() {
            check(found_key, &buffer);
            number += 1;
        }
    }
    number
}

/// A random use of the cache.
fn step(store: &ResponseStore, seed: &mut u64, buffer: &mut EntryBuffer) {
    let (number, version) = (next(seed) % KEYS, next(seed));
    match next(seed) % 4000 {
        0 => assert!(store.purge_tag(tag(number)).is_ok()),
        1 => assert!(store.purge_all().is_ok()),
        2..100 => assert!(store.remove(&key(number)).is_ok()),
        100..200 => assert!(store.purge_key(&key(number)).is_ok()),
        200..400 => {
            let flight = store.begin_flight(&key(number), std::process::id(), 0);
            if let Flight::Leader(token) = flight.unwrap() {
                store.end_flight(token, FlightOutcome::Stored);
            }
        }
        400..1600 => {
            if store.read(&key(number), buffer).is_some() {
                check(&key(number), buffer);
            }
        }
        _ => match insert(store, number, version) {
            Ok(()) | Err(Refused::Purged) => {}
            Err(refused) => panic!("{refused}"),
        },
    }
}

/// Not a test: what the copies of this program do.
#[test]
fn uses_the_cache_until_it_is_killed() {
    let Ok(variable) = std::env::var(USER) else {
        return;
    };
    let numbers: Vec<u64> = variable
        .split(' ')
        .map(|text| text.parse().unwrap())
        .collect();
    let [pid, fd, mut seed] = numbers[..] else {
        panic!("{variable}")
    };
    // The same memory, through the descriptor of the process that made it.
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/fd/{fd}"))
        .unwrap();
    let plan = plan(&settings(1 << 19));
    let store = Region::inherit(memory.into(), &plan)
        .unwrap()
        .get()
        .unwrap();
    let mut buffer = EntryBuffer::default();
    // Longer than the test that kills it, which may itself be killed.
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        step(&store, &mut seed, &mut buffer);
    }
}

fn user(memory: BorrowedFd<'_>, seed: u64) -> Child {
    let numbers = format!("{} {} {seed}", std::process::id(), memory.as_raw_fd());
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "shared_memory::responses::tests::uses_the_cache_until_it_is_killed",
        ])
        .env(USER, numbers)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_are_killed_at_any_moment_spoil_no_entry_lose_no_lock_and_leak_no_space() {
    use std::os::unix::process::ExitStatusExt;
    let rounds = std::env::var(KILLS).map_or(40, |text| text.parse().unwrap());
    let region = Region::create(&plan(&settings(1 << 19))).unwrap();
    let (store, memory) = (region.get().unwrap(), region.memory().unwrap());
    let (mut seed, mut buffer) = (88_172_645_463_325_252, EntryBuffer::default());
    let mut users: Vec<Child> = (0..3)
        .map(|_| user(memory, seed_of_another(&mut seed)))
        .collect();
    let (mut entries, mut steps) = (0, 0);
    for round in 0..rounds {
        // Until the others have written, too; the number of writes is the random moment.
        let stored = store.counts().stored;
        let enough = next(&mut seed) % 300;
        while store.counts().stored < stored + enough {
            step(&store, &mut seed, &mut buffer);
            steps += 1;
        }
        let place = (next(&mut seed) % 3) as usize;
        let mut dead =
            std::mem::replace(&mut users[place], user(memory, seed_of_another(&mut seed)));
        let pid = dead.id();
        dead.kill().unwrap();
        let output = dead.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "{text}");
        // As the supervisor does; the cache has to work before that, too.
        if round % 2 == 0 {
            store.release_of_dead(pid);
        }
        entries += verify(&store);
    }
    for user in &mut users {
        user.kill().unwrap();
        user.wait().unwrap();
    }
    verify(&store);
    // All space can be used again, and the entries are found by their tags.
    let all = store.purge_tag(b"all").unwrap();
    let counts = store.counts();
    println!("{rounds} kills, {steps} steps, {entries} entries verified, {all} left; {counts:?}");
    assert_eq!((counts.entries, counts.bytes, counts.corrupt), (0, 0, 0));
    assert!(entries > rounds, "{entries} entries in {rounds} rounds");
    assert!(rounds < 500 || counts.recoveries > 10, "{counts:?}");
    for number in 0..KEYS {
        insert(&store, number, 1).unwrap();
    }
    assert!(store.counts().bytes > store.counts().capacity * 9 / 10);
    verify(&store);
}
