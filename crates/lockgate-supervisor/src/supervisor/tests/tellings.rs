//! Status reports to the service manager, and their times.

use super::*;

#[test]
fn ready_is_told_when_all_of_the_first_workers_are() {
    let mut script = Script::booting(2);
    script.told(&["booting: 0 of 2 workers are ready"]);
    script.event(Event::Ready { pid: 101 });
    script.told(&["booting: 1 of 2 workers are ready"]);
    script.at(1.0);
    script.event(Event::Ready { pid: 100 });
    script.told(&["2 workers serve"]);
    script.event(Event::Heartbeat { pid: 100 });
    script.told(&[]);
    assert!(matches!(
        script.supervisor.on(Event::Tick, script.now).as_slice(),
        []
    ));
}

#[test]
fn readiness_waits_for_a_first_worker_that_had_to_be_made_again() {
    let mut script = Script::booting(2);
    script.event(Event::Ready { pid: 100 });
    script.forget();
    script.exits(101, CRASH);
    script.told(&[]);
    script.at(5.0);
    script.event(Event::Ready { pid: 102 });
    script.told(&["2 workers serve"]);
}

#[test]
fn a_first_boot_that_fails_is_never_told_as_ready() {
    let mut script = Script::booting(2);
    script.forget();
    script.fails(100, 3, "no such module");
    script.exits(101, CLEAN);
    script.told(&["stopping: the application did not start (exit code 3)"]);
    assert!(!script.told.iter().any(|told| told.contains("serve")));
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let mut script = Script::serving(2);
    script.asks(Request::Reload);
    script.told(&["reload: new workers are made", "reload: 0 of 2 are ready"]);
    script.event(Event::Ready { pid: 102 });
    script.told(&["reload: 1 of 2 are ready"]);
    script.event(Event::Ready { pid: 103 });
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    script.told(&["2 workers serve", "2 workers serve"]);
}

#[test]
fn a_reload_that_fails_is_told_with_its_reason_which_stays_until_something_changes() {
    let mut script = Script::serving(2);
    script.asks(Request::Reload);
    script.forget();
    script.fails(102, 3, "cannot import shop\nTraceback");
    script.exits(103, CLEAN);
    script.told(&[
        "reload failed: worker 2 (pid 102): cannot import shop; the workers that served before go on",
    ]);
    script.exits(100, CRASH);
    script.told(&["1 of 2 workers serve"]);
    let mut script = Script::serving(2);
    script.prepared = Event::NotPrepared {
        reason: "bind is wrong".to_owned(),
    };
    script.asks(Request::Reload);
    script.told(&[
        "reload: new workers are made",
        "reload failed: bind is wrong; the workers that served before go on",
    ]);
}

#[test]
fn a_reload_before_the_server_is_ready_is_told_as_booting_and_its_end_as_ready() {
    let mut script = Script::booting(2);
    script.event(Event::Ready { pid: 100 });
    script.forget();
    script.asks(Request::Reload);
    script.event(Event::Ready { pid: 102 });
    script.told(&[]);
    script.event(Event::Ready { pid: 103 });
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    assert_eq!(
        script.told.last().map(String::as_str),
        Some("2 workers serve")
    );
}

#[test]
fn the_server_is_alive_while_it_boots_or_has_a_worker() {
    let mut script = Script::new(rules(1));
    assert!(script.supervisor.is_alive());
    script.event(Event::Start);
    script.event(Event::Ready { pid: 100 });
    assert!(script.supervisor.is_alive());
    script.forks_fail = true;
    script.exits(100, CRASH);
    assert!(
        !script.supervisor.is_alive(),
        "no worker, and none can be made"
    );
}
