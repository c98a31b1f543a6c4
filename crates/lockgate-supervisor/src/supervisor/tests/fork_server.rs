//! Workers forked by a template: after it has loaded the application, or not at all.

use super::*;

const WHY: &str = "cannot import shop.wsgi\nTraceback";

fn load_failed(slot: usize) -> Event {
    Event::LoadFailed {
        slot,
        code: 3,
        text: WHY.to_owned(),
    }
}

/// `workers` that serve, and a template that answers forks late from now on.
fn with_fork_server(workers: usize) -> Script {
    let mut script = Script::serving(workers);
    script.forks_wait = true;
    script
}

#[test]
fn an_application_that_cannot_be_loaded_stops_the_first_boot_and_is_logged_once() {
    let mut script = Script::new(rules(3));
    script.forks_wait = true;
    script.event(Event::Start);
    for slot in 0..3 {
        script.event(load_failed(slot));
    }
    script.performed(&["0 fork 0", "0 fork 1", "0 fork 2", "0 close", "0 exit 3"]);
    let reported = script.logs.iter().filter(|line| line.contains("Traceback"));
    assert_eq!(reported.count(), 1, "{:?}", script.logs);
}

#[test]
fn a_reload_whose_application_cannot_be_loaded_leaves_the_old_workers() {
    let mut script = with_fork_server(2);
    script.request(Request::Reload);
    for slot in [2, 3] {
        script.event(load_failed(slot));
    }
    let begins = ["20 prepare", "20 fork 2 of next", "20 fork 3 of next"];
    script.performed(&[&begins[..], &["20 discard"]].concat());
    let why = "reload failed: cannot import shop.wsgi;";
    assert!(script.logs.iter().any(|line| line.contains(why)));
    // The slots are free again, and the next attempt uses them.
    script.request(Request::Reload);
    script.performed(&begins);
}

#[test]
fn a_worker_that_is_forked_after_its_reload_has_failed_is_stopped() {
    let mut script = with_fork_server(2);
    script.request(Request::Reload);
    script.event(Event::Forked { slot: 2, pid: 700 });
    script.exits(700, CRASH);
    script.event(Event::Forked { slot: 3, pid: 701 });
    script.performed(&[
        "20 prepare",
        "20 fork 2 of next",
        "20 fork 3 of next",
        "20 discard",
        "20 stop 701",
    ]);
}

#[test]
fn a_worker_that_is_forked_too_late_and_ignores_the_stop_is_killed_and_its_slot_is_freed() {
    let mut script = with_fork_server(2);
    script.request(Request::Reload);
    script.event(Event::Forked { slot: 2, pid: 700 });
    script.exits(700, CRASH);
    script.event(Event::Forked { slot: 3, pid: 701 });
    script.forget();
    script.at(22.9);
    script.performed(&[]);
    script.at(60.0);
    script.performed(&["23 kill 701"]);
    script.exits(701, KILLED);
    script.request(Request::Reload);
    script.performed(&["60 prepare", "60 fork 2 of next", "60 fork 3 of next"]);
}

#[test]
fn a_stop_waits_for_pending_forks_and_stops_their_workers() {
    let mut script = Script::new(rules(2));
    script.forks_wait = true;
    script.event(Event::Start);
    script.request(Request::Terminate);
    script.event(Event::Forked { slot: 0, pid: 700 });
    script.event(Event::ForkFailed {
        slot: 1,
        reason: "the fork server has exited".to_owned(),
    });
    script.performed(&["0 fork 0", "0 fork 1", "0 close", "0 stop 700"]);
    script.exits(700, CLEAN);
    script.performed(&["0 exit 0"]);
    let message = |line: &&String| line.contains("cannot fork");
    assert_eq!(script.logs.iter().find(message), None);
}

#[test]
fn a_dead_worker_whose_successor_cannot_be_loaded_is_tried_again_later() {
    let mut script = with_fork_server(2);
    script.exits(100, CRASH);
    script.event(load_failed(0));
    script.performed(&["20 fork 0"]);
    script.at(21.0);
    script.performed(&["20.5 fork 0"]);
}

#[test]
fn failed_forks_of_unwanted_workers_are_not_logged() {
    let mut script = with_fork_server(2);
    script.request(Request::Reload);
    script.event(load_failed(2));
    script.event(Event::ForkFailed {
        slot: 3,
        reason: "the fork server has exited".to_owned(),
    });
    let message = |line: &&String| line.contains("next attempt");
    assert_eq!(script.logs.iter().find(message), None);
}
