//! Upgrades: when the other version is tried, when it takes over, and what it does then.

use super::*;

fn failed() -> Event {
    Event::UpgradeFailed {
        reason: "no such program".to_owned(),
    }
}

/// A worker that has served for an hour.
fn snapshot(slot: usize, pid: u32, is_leaving: bool) -> WorkerSnapshot {
    WorkerSnapshot {
        slot,
        pid,
        served: Duration::from_secs(3600),
        is_leaving,
    }
}

#[test]
fn an_upgrade_follows_a_successful_trial() {
    let mut script = Script::serving(2);
    script.accepting([100, 101]);
    script.request(Request::Upgrade);
    script.performed(&["20 try upgrade"]);
    // Once is enough.
    script.request(Request::Upgrade);
    script.performed(&[]);
    script.event(Event::UpgradeTried);
    script.performed(&["20 upgrade with 2, leaving []"]);
}

#[test]
fn a_failed_upgrade_changes_nothing_and_can_be_repeated() {
    let mut script = Script::serving(2);
    script.accepting([100, 101]);
    script.request(Request::Upgrade);
    script.event(failed());
    script.performed(&["20 try upgrade"]);
    script.logged(&[
        "Info: upgrade: trying the program on disk",
        "Error: upgrade failed: no such program; the running version continues",
    ]);
    script.request(Request::Upgrade);
    script.event(Event::UpgradeTried);
    // exec(2) has failed.
    script.event(failed());
    script.performed(&["20 try upgrade", "20 upgrade with 2, leaving []"]);
    script.request(Request::Reload);
    script.performed(&["20 prepare", "20 fork 2 of next", "20 fork 3 of next"]);
}

#[test]
fn an_upgrade_waits_for_starting_and_stopping_workers_and_reloads_wait_for_it() {
    let mut script = Script::serving(2);
    script.accepting([100, 101]);
    script.request(Request::Reload);
    script.request(Request::Upgrade);
    script.performed(&["20 prepare", "20 fork 2 of next", "20 fork 3 of next"]);
    script.event(Event::Ready { pid: 102 });
    script.event(Event::Ready { pid: 103 });
    script.accepting([102, 103]);
    script.performed(&[
        "20 move",
        "20 retire 100",
        "20 retire 101",
        "20 try upgrade",
    ]);
    script.request(Request::Reload);
    script.performed(&[]);
    // The new version replaces a worker that has died, but it cannot take over one that is booting.
    script.request(Request::MoreWorkers);
    script.performed(&["20 fork 4"]);
    script.event(Event::UpgradeTried);
    script.event(Event::Ready { pid: 104 });
    script.exits(102, CRASH);
    script.performed(&[]);
    script.accepting([104]);
    script.performed(&["20 upgrade with 3, leaving [100, 101]"]);
}

#[test]
fn a_stop_cancels_the_upgrade() {
    let mut script = Script::serving(1);
    script.accepting([100]);
    script.request(Request::Upgrade);
    script.request(Request::Terminate);
    script.event(Event::UpgradeTried);
    script.exits(100, CLEAN);
    script.performed(&["20 try upgrade", "20 close", "20 drain 100", "20 exit 0"]);
}

#[test]
fn the_next_version_reloads_and_keeps_the_inherited_workers_when_that_fails() {
    let mut script = Script::new(rules(5));
    script.next_pid = 200;
    script.event(Event::Resumed(WorkerHandover {
        wanted: 2,
        setting: 1,
        workers: vec![
            snapshot(0, 100, false),
            snapshot(3, 101, false),
            snapshot(1, 102, true),
        ],
    }));
    // The setting has changed, so its number counts.
    script.performed(&[
        "0 prepare",
        "0 fork 2 of next",
        "0 fork 4 of next",
        "0 fork 5 of next",
        "0 fork 6 of next",
        "0 fork 7 of next",
    ]);
    script.exits(102, CLEAN);
    script.fails(201, 3, "cannot import");
    script.performed(&[
        "0 stop 200",
        "0 stop 202",
        "0 stop 203",
        "0 stop 204",
        "0 discard",
    ]);
    // A worker of the previous version dies: its replacement runs the version on disk.
    script.exits(101, CRASH);
    script.at(1.0);
    script.performed(&["0 fork 3"]);
}

#[test]
fn a_worker_that_the_previous_version_has_stopped_keeps_its_graceful_timeout() {
    let mut script = Script::new(rules(1));
    script.next_pid = 200;
    script.event(Event::Resumed(WorkerHandover {
        wanted: 1,
        setting: 1,
        workers: vec![snapshot(0, 100, false), snapshot(1, 101, true)],
    }));
    script.at(29.0);
    script.performed(&["0 prepare", "0 fork 2 of next"]);
    script.at(31.0);
    script.performed(&["30 kill 101"]);
}

#[test]
fn inherited_workers_keep_their_age() {
    let mut script = Script::new(Rules {
        max_worker_age: Some(Duration::from_secs(3700)),
        ..rules(1)
    });
    script.next_pid = 200;
    script.prepared = Some(Event::PrepareFailed {
        reason: "a bad setting".to_owned(),
        report: None,
    });
    script.event(Event::Resumed(WorkerHandover {
        wanted: 1,
        setting: 1,
        workers: vec![snapshot(0, 100, false)],
    }));
    script.at(99.0);
    script.performed(&["0 prepare", "0 discard"]);
    script.at(101.0);
    script.performed(&["100 fork 1"]);
    script.exits(100, CRASH);
    assert!(script.logs.last().unwrap().contains("after 3701 s"));
}
