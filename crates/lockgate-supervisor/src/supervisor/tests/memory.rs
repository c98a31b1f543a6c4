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

fn weighed(pid: u32, mebibytes: u64) -> Event {
    Event::Measured {
        pid,
        requests: 7,
        memory: mebibytes * MIB,
    }
}

#[test]
fn over_the_soft_limit_a_worker_serves_until_its_successor_does() {
    let mut script = bounded(1);
    script.event(weighed(100, 100));
    script.did(&[]);
    script.event(weighed(100, 101));
    script.did(&["20 fork 1"]);
    script.serve([101]);
    script.did(&["20 open 101", "20 retire 100"]);
    script.said(&[
        "Info: worker 0 (pid 100) is to be replaced: it holds 101 MiB of memory and may hold 100 (setting: max_worker_memory)",
        "Info: worker 1 (pid 101) ready in 0.00 s",
    ]);
}

#[test]
fn over_the_hard_limit_a_worker_leaves_at_once_and_another_is_made() {
    let mut script = bounded(2);
    script.event(weighed(101, 0));
    script.did(&[]);
    script.event(weighed(101, 201));
    script.event(weighed(101, 220));
    script.did(&["20 retire 101", "20 fork 2"]);
    script.said(&[
        "Warning: worker 1 (pid 101) holds 201 MiB of memory and may hold 200 (setting: max_worker_memory_hard): it accepts nothing more and has 30.0 s to finish; another one is made at once",
    ]);
    script.serve([102]);
    script.did(&["20 open 102"]);
    assert_eq!(script.supervisor.serving().count(), 2);
    script.at(60.0);
    script.did(&["50 kill 101"]);
    script.exits(101, KILLED);
    script.at(90.0);
    script.did(&[]);
}

#[test]
fn over_the_hard_limit_a_successor_that_boots_takes_the_place() {
    let mut script = bounded(1);
    script.event(weighed(100, 150));
    script.did(&["20 fork 1"]);
    script.event(weighed(100, 250));
    script.did(&["20 retire 100"]);
    script.exits(100, CLEAN);
    script.serve([101]);
    script.did(&["20 open 101"]);
    script.at(60.0);
    script.did(&[]);
    assert_eq!(script.supervisor.serving().count(), 1);
}

#[test]
fn workers_that_are_over_the_hard_limit_again_and_again_are_made_ever_more_slowly() {
    let mut script = bounded(1);
    let mut now = 20.0;
    for pid in 100..104 {
        script.event(weighed(pid, 250));
        now += 2.0;
        script.at(now);
        script.exits(pid, CLEAN);
        script.serve([pid + 1]);
        now += 0.5;
        script.at(now);
    }
    let forks = script.deeds.iter().filter(|deed| deed.contains("fork"));
    let forks: Vec<&str> = forks.map(String::as_str).collect();
    assert_eq!(
        forks,
        ["20 fork 1", "23 fork 0", "26 fork 1", "29.5 fork 0"]
    );
}

#[test]
fn during_a_reload_the_new_generation_replaces_what_is_over_the_hard_limit() {
    let mut script = bounded(2);
    script.asks(Request::Reload);
    script.forget();
    script.event(weighed(100, 250));
    script.did(&["20 retire 100"]);
    assert!(script.logs[0].ends_with("; the reload that goes on replaces it"));
    script.event(weighed(101, 250));
    // No other worker serves.
    script.did(&["20 retire 101", "20 fork 4", "20 fork 5"]);
}
