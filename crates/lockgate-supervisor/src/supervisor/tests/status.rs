//! Status reports to the service manager, and their times.

use super::*;

#[test]
fn readiness_is_reported_when_all_first_workers_are_ready() {
    let mut script = Script::booting(2);
    script.reported(&["booting: 0 of 2 workers are ready"]);
    script.event(Event::Ready { pid: 101 });
    script.reported(&["booting: 1 of 2 workers are ready"]);
    script.at(1.0);
    script.event(Event::Ready { pid: 100 });
    script.reported(&["2 workers serve"]);
    script.event(Event::Heartbeat { pid: 100 });
    script.reported(&[]);
    assert!(matches!(
        script.supervisor.on(Event::Tick, script.now).as_slice(),
        []
    ));
}

#[test]
fn readiness_waits_for_a_first_worker_that_was_forked_again() {
    let mut script = Script::booting(2);
    script.event(Event::Ready { pid: 100 });
    script.forget();
    script.exits(101, CRASH);
    script.reported(&[]);
    script.at(5.0);
    script.event(Event::Ready { pid: 102 });
    script.reported(&["2 workers serve"]);
}

#[test]
fn a_failed_first_boot_is_never_reported_as_ready() {
    let mut script = Script::booting(2);
    script.forget();
    script.fails(100, 3, "no such module");
    script.exits(101, CLEAN);
    script.reported(&["stopping: the application did not start (exit code 3)"]);
    assert!(
        !script
            .reported
            .iter()
            .any(|reported| reported.contains("serve"))
    );
}

#[test]
fn a_reload_is_reported_from_beginning_to_end() {
    let mut script = Script::serving(2);
    script.request(Request::Reload);
    script.reported(&[
        "reload: starting new workers",
        "reload: 0 of 2 new workers are ready",
    ]);
    script.event(Event::Ready { pid: 102 });
    script.reported(&["reload: 1 of 2 new workers are ready"]);
    script.event(Event::Ready { pid: 103 });
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    script.reported(&["2 workers serve", "2 workers serve"]);
}

#[test]
fn a_failed_reload_is_reported_with_its_reason_until_something_changes() {
    let mut script = Script::serving(2);
    script.request(Request::Reload);
    script.forget();
    script.fails(102, 3, "cannot import shop\nTraceback");
    script.exits(103, CLEAN);
    script.reported(&[
        "reload failed: worker 2 (pid 102): cannot import shop; the old workers continue to serve",
    ]);
    script.exits(100, CRASH);
    script.reported(&["1 of 2 workers serve"]);
    let mut script = Script::serving(2);
    script.prepared = Some(Event::PrepareFailed {
        reason: "bind is wrong".to_owned(),
        report: None,
    });
    script.request(Request::Reload);
    script.reported(&[
        "reload: starting new workers",
        "reload failed: bind is wrong; the old workers continue to serve",
    ]);
}

#[test]
fn a_reload_before_readiness_is_reported_as_booting_and_its_end_as_ready() {
    let mut script = Script::booting(2);
    script.event(Event::Ready { pid: 100 });
    script.forget();
    script.request(Request::Reload);
    script.event(Event::Ready { pid: 102 });
    script.reported(&[]);
    script.event(Event::Ready { pid: 103 });
    for pid in [102, 103] {
        script.event(Event::Serving { pid });
    }
    assert_eq!(
        script.reported.last().map(String::as_str),
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
        "no worker, and none can be forked"
    );
}
