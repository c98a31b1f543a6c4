//! Upgrades: when the other version is tried, when it takes over, and what it does then.

use super::*;

fn failed() -> Event {
    Event::UpgradeFailed {
        reason: "no such program".to_owned(),
    }
}

/// A worker that has served for an hour.
fn known(slot: usize, pid: u32, is_leaving: bool) -> Known {
    Known {
        slot,
        pid,
        served: Duration::from_secs(3600),
        is_leaving,
    }
}

#[test]
fn the_program_on_disk_is_tried_and_then_goes_on() {
    let mut script = Script::serving(2);
    script.accepting([100, 101]);
    script.asks(Request::Upgrade);
    script.did(&["20 try upgrade"]);
    // Once is enough.
    script.asks(Request::Upgrade);
    script.did(&[]);
    script.event(Event::UpgradeTried);
    script.did(&["20 upgrade with 2, leaving []"]);
}

#[test]
fn a_program_that_cannot_go_on_changes_nothing_and_can_be_tried_again() {
    let mut script = Script::serving(2);
    script.accepting([100, 101]);
    script.asks(Request::Upgrade);
    script.event(failed());
    script.did(&["20 try upgrade"]);
    script.said(&[
        "Info: upgrade: the program on disk is tried",
        "Error: upgrade failed: no such program; the server goes on unchanged",
    ]);
    script.asks(Request::Upgrade);
    script.event(Event::UpgradeTried);
    // exec(2) came back.
    script.event(failed());
    script.did(&["20 try upgrade", "20 upgrade with 2, leaving []"]);
    script.asks(Request::Reload);
    script.did(&["20 prepare", "20 fork 2 of next", "20 fork 3 of next"]);
}

#[test]
fn an_upgrade_waits_for_workers_that_come_and_go_and_reloads_wait_for_it() {
    let mut script = Script::serving(2);
    script.accepting([100, 101]);
    script.asks(Request::Reload);
    script.asks(Request::Upgrade);
    script.did(&["20 prepare", "20 fork 2 of next", "20 fork 3 of next"]);
    script.event(Event::Ready { pid: 102 });
    script.event(Event::Ready { pid: 103 });
    script.accepting([102, 103]);
    script.did(&[
        "20 move",
        "20 retire 100",
        "20 retire 101",
        "20 try upgrade",
    ]);
    script.asks(Request::Reload);
    script.did(&[]);
    // The new version replaces a worker that has died, but it must know of one that is booting.
    script.asks(Request::MoreWorkers);
    script.did(&["20 fork 4"]);
    script.event(Event::UpgradeTried);
    script.event(Event::Ready { pid: 104 });
    script.exits(102, CRASH);
    script.did(&[]);
    script.accepting([104]);
    script.did(&["20 upgrade with 3, leaving [100, 101]"]);
}

#[test]
fn a_stop_forgets_the_upgrade() {
    let mut script = Script::serving(1);
    script.accepting([100]);
    script.asks(Request::Upgrade);
    script.asks(Request::Terminate);
    script.event(Event::UpgradeTried);
    script.exits(100, CLEAN);
    script.did(&["20 try upgrade", "20 close", "20 drain 100", "20 exit 0"]);
}

#[test]
fn whoever_goes_on_reloads_and_keeps_the_workers_when_that_fails() {
    let mut script = Script::new(rules(5));
    script.next_pid = 200;
    script.event(Event::Resumed(Inherited {
        wanted: 2,
        workers: 1,
        children: vec![
            known(0, 100, false),
            known(3, 101, false),
            known(1, 102, true),
        ],
    }));
    // The setting has changed, so its number counts.
    script.did(&[
        "0 prepare",
        "0 fork 2 of next",
        "0 fork 4 of next",
        "0 fork 5 of next",
        "0 fork 6 of next",
        "0 fork 7 of next",
    ]);
    script.exits(102, CLEAN);
    script.fails(201, 3, "cannot import");
    script.did(&[
        "0 stop 200",
        "0 stop 202",
        "0 stop 203",
        "0 stop 204",
        "0 discard",
    ]);
    // A worker of the previous version dies: its replacement runs the version on disk.
    script.exits(101, CRASH);
    script.at(1.0);
    script.did(&["0 fork 3"]);
}

#[test]
fn a_worker_that_was_asked_to_leave_by_the_version_before_has_its_time() {
    let mut script = Script::new(rules(1));
    script.next_pid = 200;
    script.event(Event::Resumed(Inherited {
        wanted: 1,
        workers: 1,
        children: vec![known(0, 100, false), known(1, 101, true)],
    }));
    script.at(29.0);
    script.did(&["0 prepare", "0 fork 2 of next"]);
    script.at(31.0);
    script.did(&["30 kill 101"]);
}

#[test]
fn workers_are_as_old_as_they_were() {
    let mut script = Script::new(Rules {
        max_worker_age: Some(Duration::from_secs(3700)),
        ..rules(1)
    });
    script.next_pid = 200;
    script.prepared = Event::NotPrepared {
        reason: "a bad setting".to_owned(),
    };
    script.event(Event::Resumed(Inherited {
        wanted: 1,
        workers: 1,
        children: vec![known(0, 100, false)],
    }));
    script.at(99.0);
    script.did(&["0 prepare", "0 discard"]);
    script.at(101.0);
    script.did(&["100 fork 1"]);
    script.exits(100, CRASH);
    assert!(script.logs.last().unwrap().contains("after 3701 s"));
}
