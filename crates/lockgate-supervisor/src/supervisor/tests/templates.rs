//! Workers forked by a template: after it has loaded the application, or not at all.

use super::*;

const WHY: &str = "cannot import shop.wsgi\nTraceback";

fn not_loaded(slot: usize) -> Event {
    Event::NotLoaded {
        slot,
        code: 3,
        text: WHY.to_owned(),
    }
}

/// `workers` that serve, and a template that answers forks late from now on.
fn with_template(workers: usize) -> Script {
    let mut script = Script::serving(workers);
    script.forks_wait = true;
    script
}

#[test]
fn an_application_that_cannot_be_loaded_stops_the_first_boot_and_is_told_of_once() {
    let mut script = Script::new(rules(3));
    script.forks_wait = true;
    script.event(Event::Start);
    for slot in 0..3 {
        script.event(not_loaded(slot));
    }
    script.did(&["0 fork 0", "0 fork 1", "0 fork 2", "0 close", "0 exit 3"]);
    let told = script.logs.iter().filter(|line| line.contains("Traceback"));
    assert_eq!(told.count(), 1, "{:?}", script.logs);
}

#[test]
fn a_reload_whose_application_cannot_be_loaded_leaves_the_old_workers() {
    let mut script = with_template(2);
    script.asks(Request::Reload);
    for slot in [2, 3] {
        script.event(not_loaded(slot));
    }
    let begins = ["20 prepare", "20 fork 2 of next", "20 fork 3 of next"];
    script.did(&[&begins[..], &["20 discard"]].concat());
    let why = "reload failed: cannot import shop.wsgi;";
    assert!(script.logs.iter().any(|line| line.contains(why)));
    // The slots are free again, and the next attempt uses them.
    script.asks(Request::Reload);
    script.did(&begins);
}

#[test]
fn a_worker_that_comes_when_its_reload_has_failed_is_sent_away() {
    let mut script = with_template(2);
    script.asks(Request::Reload);
    script.event(Event::Forked { slot: 2, pid: 700 });
    script.exits(700, CRASH);
    script.event(Event::Forked { slot: 3, pid: 701 });
    script.did(&[
        "20 prepare",
        "20 fork 2 of next",
        "20 fork 3 of next",
        "20 discard",
        "20 stop 701",
    ]);
}

#[test]
fn a_worker_that_comes_too_late_and_ignores_its_stop_is_killed_and_its_place_is_free_again() {
    let mut script = with_template(2);
    script.asks(Request::Reload);
    script.event(Event::Forked { slot: 2, pid: 700 });
    script.exits(700, CRASH);
    script.event(Event::Forked { slot: 3, pid: 701 });
    script.forget();
    script.at(22.9);
    script.did(&[]);
    script.at(60.0);
    script.did(&["23 kill 701"]);
    script.exits(701, KILLED);
    script.asks(Request::Reload);
    script.did(&["60 prepare", "60 fork 2 of next", "60 fork 3 of next"]);
}

#[test]
fn a_stop_waits_for_workers_that_are_still_to_be_born_and_ends_them() {
    let mut script = Script::new(rules(2));
    script.forks_wait = true;
    script.event(Event::Start);
    script.asks(Request::Terminate);
    script.event(Event::Forked { slot: 0, pid: 700 });
    script.event(Event::ForkFailed {
        slot: 1,
        reason: "the template has gone".to_owned(),
    });
    script.did(&["0 fork 0", "0 fork 1", "0 close", "0 stop 700"]);
    script.exits(700, CLEAN);
    script.did(&["0 exit 0"]);
    let complaint = |line: &&String| line.contains("no process");
    assert_eq!(script.logs.iter().find(complaint), None);
}

#[test]
fn a_dead_worker_whose_successor_cannot_be_loaded_is_tried_again_later() {
    let mut script = with_template(2);
    script.exits(100, CRASH);
    script.event(not_loaded(0));
    script.did(&["20 fork 0"]);
    script.at(21.0);
    script.did(&["20.5 fork 0"]);
}

#[test]
fn workers_that_nobody_wants_any_more_are_not_missed() {
    let mut script = with_template(2);
    script.asks(Request::Reload);
    script.event(not_loaded(2));
    script.event(Event::ForkFailed {
        slot: 3,
        reason: "the template has gone".to_owned(),
    });
    let complaint = |line: &&String| line.contains("next attempt");
    assert_eq!(script.logs.iter().find(complaint), None);
}
