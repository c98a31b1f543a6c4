//! The store over real memory, with processes that are killed while they use it.

use super::*;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockgate_shm::Cache;

/// The variable that makes a copy of the test program a process that uses the store: `PID FD SEED`.
const USER: &str = "LOCKGATE_TEST_STORE";
const KEYS: u64 = 40;

fn settings() -> UwsgiConfig {
    let cache = |name: &str, spans_blocks, when_full| UwsgiCacheConfig {
        name: name.to_owned(),
        items: 16,
        blocks: 32,
        block_size: 512,
        key_size: 64,
        spans_blocks,
        when_full,
        initial_number: 0,
    };
    UwsgiConfig {
        module: true,
        caches: vec![
            cache("evicting", true, WhenFull::Evict),
            cache("refusing", false, WhenFull::Refuse),
        ],
        ..UwsgiConfig::default()
    }
}

/// A value that shows when it is torn: its length and all its bytes follow from its number.
fn value(number: u64, most: usize) -> Vec<u8> {
    let length = 16 + (number as usize).wrapping_mul(37) % (most - 16);
    let mut value = number.to_le_bytes().to_vec();
    value.resize(length, number as u8);
    value
}

fn is_whole(bytes: &[u8], most: usize) -> bool {
    let number = bytes.get(..8).and_then(|number| number.try_into().ok());
    number.is_some_and(|number| value(u64::from_le_bytes(number), most) == bytes)
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

fn caches(store: &Store) -> [(Cache, usize); 2] {
    [
        (store.cache("evicting").unwrap(), 1500),
        (store.cache("refusing").unwrap(), 500),
    ]
}

/// Uses both caches for one step; panics when it sees a torn entry.
fn step(store: &Store, state: &mut u64) {
    let number = next(state);
    for (cache, most) in caches(store) {
        let key = (next(state) % KEYS).to_le_bytes();
        let table = cache.lock().unwrap();
        match number % 8 {
            0..4 => {
                let _full = table.replace(&key, &value(number, most), 0, 1);
            }
            4 => drop(table.remove(&key, 1)),
            5 if number.is_multiple_of(97) => table.clear(),
            _ => {
                if let Some(found) = table.get(&key, 1) {
                    assert!(is_whole(&found.value, most), "torn: {:?}", found.value);
                }
            }
        }
    }
}

/// Not a test: what the copies of this program do.
#[test]
fn uses_the_store_until_it_is_killed() {
    let Ok(variable) = std::env::var(USER) else {
        return;
    };
    let numbers: Vec<u64> = variable
        .split(' ')
        .map(|text| text.parse().unwrap())
        .collect();
    let [pid, fd, seed] = numbers[..] else {
        panic!("{variable}")
    };
    // The same memory, through the descriptor of the process that made it.
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/fd/{fd}"))
        .unwrap();
    let region = Region::inherit(memory.into(), &plan(&settings())).unwrap();
    let store = region.get().unwrap();
    let mut state = seed;
    // Longer than the test that kills it, which may itself be killed.
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        step(&store, &mut state);
    }
}

fn user(memory: BorrowedFd<'_>, seed: u64) -> Child {
    let numbers = format!("{} {} {seed}", std::process::id(), memory.as_raw_fd());
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "shared_memory::store::tests::uses_the_store_until_it_is_killed",
        ])
        .env(USER, numbers)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_are_killed_at_any_moment_block_no_other_and_leave_no_torn_entry() {
    use std::os::unix::process::ExitStatusExt;
    let region = Region::create(&plan(&settings())).unwrap();
    let (store, memory) = (region.get().unwrap(), region.memory().unwrap());
    let mut seed = 88_172_645_463_325_252;
    let mut users: Vec<Child> = (0..3)
        .map(|_| user(memory, seed_of_another(&mut seed)))
        .collect();
    let until = Instant::now() + Duration::from_secs(4);
    let (mut steps, mut killed) = (0_u64, 0);
    while Instant::now() < until {
        let place = (next(&mut seed) % 3) as usize;
        // Between two kills this process works, too; the number of its steps is the random moment.
        for _ in 0..next(&mut seed) % 4000 {
            step(&store, &mut seed);
            steps += 1;
        }
        let mut dead =
            std::mem::replace(&mut users[place], user(memory, seed_of_another(&mut seed)));
        dead.kill().unwrap();
        let output = dead.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "{text}");
        killed += 1;
    }
    for user in &mut users {
        user.kill().unwrap();
        user.wait().unwrap();
    }
    for (cache, most) in caches(&store) {
        let table = cache.lock().unwrap();
        for key in table.keys(1) {
            assert!(is_whole(&table.get(&key, 1).unwrap().value, most));
        }
        assert_eq!(table.counts().items, table.keys(1).len() as u64);
    }
    assert!(steps > 1000 && killed > 5, "{steps} steps, {killed} kills");
}

#[test]
fn the_next_program_finds_the_store_if_its_plan_is_the_same() {
    let region = Region::create(&plan(&settings())).unwrap();
    let again = |config: &UwsgiConfig| {
        let memory = region.memory().unwrap().try_clone_to_owned().unwrap();
        Region::inherit(memory, &plan(config)).and_then(|region| region.get())
    };
    let cache = |store: &Store| store.cache("refusing").unwrap().lock().unwrap();
    let store = region.get().unwrap();
    cache(&store).insert(b"key", b"value", 0, 0).unwrap();
    let found = again(&settings()).unwrap();
    assert_eq!(cache(&found).get(b"key", 0).unwrap().value, b"value");
    let other = UwsgiConfig {
        locks: 5,
        ..settings()
    };
    assert!(again(&other).is_none());
    let larger = UwsgiConfig {
        caches: vec![UwsgiCacheConfig {
            items: 10_000,
            blocks: 10_000,
            ..settings().caches.remove(0)
        }],
        ..settings()
    };
    assert!(again(&larger).is_none());
}
