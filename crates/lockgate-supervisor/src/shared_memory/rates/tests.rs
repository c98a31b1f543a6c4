//! The table of rate limits over real memory, with processes that are killed while they count.

use super::*;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockgate_shm::rates::{Decision, GcraRate, RatedKey, ShownKey};

/// The variable that makes a copy of the test program a process that counts: `PID FD SLOT SEED`.
const USER: &str = "LOCKGATE_TEST_RATES";
/// How many processes are killed. `LOCKGATE_TEST_KILLS=1000 cargo test -p lockgate-supervisor rates` is the full run.
const KILLS: &str = "LOCKGATE_TEST_KILLS";
/// Keys that stay limited all the time.
const LIMITED: u64 = 8;
const BURST: u64 = 5;
const SECOND: u64 = 1_000_000_000;

fn settings(memory: usize) -> RateLimitsConfig {
    RateLimitsConfig {
        memory,
        ..RateLimitsConfig::default()
    }
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// For another process. What `next` gives is a later state of the same sequence: processes would count the same keys one
/// after the other, which fills whole sets with keys at their limit, and then one of them is evicted.
fn seed_of_another(seed: &mut u64) -> u64 {
    next(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

fn key(rates: &Rates, number: u64) -> RatedKey {
    let burst = NonZeroU32::new(BURST as u32).unwrap();
    RatedKey {
        hash: rates.key_hash(1, &number.to_le_bytes()),
        rate: GcraRate::new(burst, Duration::from_secs(86_400), burst),
        scope: 1,
        shown: ShownKey::Hash,
    }
}

#[test]
fn the_next_program_finds_the_counts_if_the_size_is_the_same() {
    let small = plan(&settings(1 << 18));
    let first = Region::create(&small).unwrap();
    let rates = first.get().unwrap();
    let known = key(&rates, 1);
    for _ in 0..BURST {
        assert_eq!(rates.count(&known, SECOND, false), Decision::Allowed);
    }
    let memory = || first.memory().unwrap().try_clone_to_owned().unwrap();
    let again = Region::inherit(memory(), &small).unwrap().get().unwrap();
    // The seed is the same, and so are the hashes.
    assert_ne!(
        again.count(&key(&again, 1), SECOND, false),
        Decision::Allowed
    );
    for other in [1 << 19, 1 << 17] {
        assert!(Region::inherit(memory(), &plan(&settings(other))).is_none());
    }
}

/// A random use of the table: all count the limited keys, evict others, and hold places.
fn step(rates: &Rates, slot: usize, seed: &mut u64) {
    let number = next(seed);
    if number.is_multiple_of(4) {
        rates.count(&key(rates, number % LIMITED), SECOND, true);
    } else {
        rates.count(&key(rates, LIMITED + number % 100_000), SECOND, true);
    }
    let held = rates.key_hash(2, &(number % 3).to_le_bytes());
    let places: Vec<_> = (0..number % 4)
        .filter_map(|_| rates.acquire(held, slot, 6))
        .collect();
    assert!(
        rates.in_flight(held) <= 6 + 3,
        "what is refused is seen for a moment"
    );
    places.into_iter().for_each(|place| rates.release(place));
    if number.is_multiple_of(64) {
        rates.record_refusal(&key(rates, number % LIMITED), SECOND);
        rates.take_local(100, SECOND, &mut Vec::new());
    }
}

/// Not a test: what the copies of this program do.
#[test]
fn counts_until_it_is_killed() {
    let Ok(variable) = std::env::var(USER) else {
        return;
    };
    let numbers: Vec<u64> = (variable.split(' '))
        .map(|text| text.parse().unwrap())
        .collect();
    let [pid, fd, slot, mut seed] = numbers[..] else {
        panic!("{variable}")
    };
    // The same memory, through the descriptor of the process that made it.
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/fd/{fd}"))
        .unwrap();
    let plan = plan(&settings(1 << 18));
    let rates = Region::inherit(memory.into(), &plan)
        .unwrap()
        .get()
        .unwrap();
    let slot = slot as usize;
    rates.enter(slot, std::process::id());
    // Longer than the test that kills it, which may itself be killed.
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        step(&rates, slot, &mut seed);
    }
}

fn user(memory: BorrowedFd<'_>, slot: usize, seed: u64) -> Child {
    let (pid, fd) = (std::process::id(), memory.as_raw_fd());
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "shared_memory::rates::tests::counts_until_it_is_killed",
        ])
        .env(USER, format!("{pid} {fd} {slot} {seed}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_are_killed_at_any_moment_leave_no_place_taken_and_no_limited_key_free() {
    use std::os::unix::process::ExitStatusExt;
    let rounds = std::env::var(KILLS).map_or(40, |text| text.parse().unwrap());
    let region = Region::create(&plan(&settings(1 << 18))).unwrap();
    let (rates, memory) = (region.get().unwrap(), region.memory().unwrap());
    let mut seed = 88_172_645_463_325_252;
    // All of them are limited before the others begin.
    for number in 0..LIMITED {
        let limited = key(&rates, number);
        let allowed =
            (0..100).filter(|_| rates.count(&limited, SECOND, false) == Decision::Allowed);
        assert_eq!(allowed.count() as u64, BURST);
    }
    rates.enter(3, std::process::id());
    let mut users: Vec<Child> = (0..3)
        .map(|slot| user(memory, slot, seed_of_another(&mut seed)))
        .collect();
    for _ in 0..rounds {
        // Until the others have evicted some keys, too; their number is the random moment.
        let evicted = rates.counts().evicted;
        let enough = 20_000 + next(&mut seed) % 1_000;
        while rates.counts().evicted < evicted + enough {
            step(&rates, 3, &mut seed);
        }
        let slot = (next(&mut seed) % 3) as usize;
        let mut dead = std::mem::replace(
            &mut users[slot],
            user(memory, slot, seed_of_another(&mut seed)),
        );
        let pid = dead.id();
        dead.kill().unwrap();
        let output = dead.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "{text}");
        rates.release_of_dead(pid);
        for number in 0..LIMITED {
            assert_ne!(
                rates.examine(&key(&rates, number), SECOND),
                Decision::Allowed,
                "{number}"
            );
        }
    }
    for mut user in users {
        let pid = user.id();
        user.kill().unwrap();
        user.wait().unwrap();
        rates.release_of_dead(pid);
    }
    for number in 0..3_u64 {
        let held = rates.key_hash(2, &number.to_le_bytes());
        assert_eq!(rates.in_flight(held), 0, "{number}");
    }
    let counts = rates.counts();
    println!("{rounds} kills; {counts:?}");
    assert_eq!(counts.uncounted, 0);
}
