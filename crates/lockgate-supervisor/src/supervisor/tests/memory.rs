//! Workers over their memory limits.

use super::*;

const MIB: u64 = 1 << 20;

fn bounded(workers: usize) -> Script {
    Script::meeting(Rules {
        max_worker_memory: 100 * MIB,
        max_worker_memory_hard: 200 * MIB,
        ..rules(workers)
    })
}

fn sampled(pid: u32, mebibytes: u64) -> Event {
    Event::Sampled {
        pid,
        requests: 7,
        memory: mebibytes * MIB,
    }
}

#[test]
fn over_the_soft_limit_a_worker_serves_until_its_successor_does() {
    let mut script = bounded(1);
    script.event(sampled(100, 100));
    script.performed(&[]);
    script.event(sampled(100, 101));
    script.performed(&["20 fork 1"]);
    script.serve([101]);
    script.performed(&["20 open 101", "20 retire 100"]);
    script.logged(&[
        "Info: worker 0 (pid 100) will be replaced: it uses 101 MiB of memory, more than 100 MiB (setting: max_worker_memory)",
        "Info: worker 1 (pid 101) ready in 0.00 s",
    ]);
}

#[test]
fn over_the_hard_limit_a_worker_is_retired_at_once_and_replaced() {
    let mut script = bounded(2);
    script.event(sampled(101, 0));
    script.performed(&[]);
    script.event(sampled(101, 201));
    script.event(sampled(101, 220));
    script.performed(&["20 retire 101", "20 fork 2"]);
    script.logged(&[
        "Warning: worker 1 (pid 101) uses 201 MiB of memory, more than 200 MiB (setting: max_worker_memory_hard): retired, with 30.0 s to finish its requests; a replacement starts now",
    ]);
    script.serve([102]);
    script.performed(&["20 open 102"]);
    assert_eq!(script.supervisor.serving().count(), 2);
    script.at(60.0);
    script.performed(&["50 kill 101"]);
    script.exits(101, KILLED);
    script.at(90.0);
    script.performed(&[]);
}

#[test]
fn over_the_hard_limit_a_booting_successor_takes_over() {
    let mut script = bounded(1);
    script.event(sampled(100, 150));
    script.performed(&["20 fork 1"]);
    script.event(sampled(100, 250));
    script.performed(&["20 retire 100"]);
    script.exits(100, CLEAN);
    script.serve([101]);
    script.performed(&["20 open 101"]);
    script.at(60.0);
    script.performed(&[]);
    assert_eq!(script.supervisor.serving().count(), 1);
}

#[test]
fn workers_that_keep_exceeding_the_hard_limit_are_replaced_with_back_off() {
    let mut script = bounded(1);
    let mut now = 20.0;
    for pid in 100..104 {
        script.event(sampled(pid, 250));
        now += 2.0;
        script.at(now);
        script.exits(pid, CLEAN);
        script.serve([pid + 1]);
        now += 0.5;
        script.at(now);
    }
    let forks = script
        .performed
        .iter()
        .filter(|action| action.contains("fork"));
    let forks: Vec<&str> = forks.map(String::as_str).collect();
    assert_eq!(
        forks,
        ["20 fork 1", "23 fork 0", "26 fork 1", "29.5 fork 0"]
    );
}

#[test]
fn during_a_reload_the_new_generation_replaces_a_worker_over_the_hard_limit() {
    let mut script = bounded(2);
    script.request(Request::Reload);
    script.forget();
    script.event(sampled(100, 250));
    script.performed(&["20 retire 100"]);
    assert!(script.logs[0].ends_with("; the reload in progress replaces it"));
    script.event(sampled(101, 250));
    // No other worker serves.
    script.performed(&["20 retire 101", "20 fork 4", "20 fork 5"]);
}
