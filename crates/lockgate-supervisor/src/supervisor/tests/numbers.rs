//! More and fewer workers, by signal.

use super::*;

#[test]
fn more_workers_get_new_slots_and_fewer_drain_the_last() {
    let mut script = Script::serving(1);
    script.asks(Request::MoreWorkers);
    script.event(Event::Ready { pid: 101 });
    script.asks(Request::FewerWorkers);
    script.did(&["20 fork 1", "20 retire 101"]);
    script.exits(101, CLEAN);
    script.at(60.0);
    script.did(&[]);
    script.said(&[
        "Info: one worker more: 2 are wanted",
        "Info: worker 1 (pid 101) ready in 0.00 s",
        "Info: all 2 workers are ready",
        "Info: one worker less: 1 wanted",
        "Info: worker 1 (pid 101) stopped after 0.00 s of service",
    ]);
    script.asks(Request::FewerWorkers);
    script.did(&[]);
    script.said(&["Info: one worker is the least: nothing changes"]);
}

#[test]
fn a_slot_is_given_again_only_when_its_last_worker_has_left() {
    let mut script = Script::serving(2);
    script.asks(Request::FewerWorkers);
    script.at(21.0);
    script.asks(Request::MoreWorkers);
    script.did(&["20 retire 101", "21 fork 2"]);
    script.at(22.0);
    script.exits(101, CLEAN);
    script.asks(Request::MoreWorkers);
    script.did(&["22 fork 1"]);
}

#[test]
fn a_worker_that_is_not_wanted_and_does_not_leave_is_killed() {
    let mut script = Script::serving(3);
    script.asks(Request::FewerWorkers);
    script.asks(Request::FewerWorkers);
    script.at(60.0);
    script.did(&[
        "20 retire 102",
        "20 retire 101",
        "50 kill 101",
        "50 kill 102",
    ]);
    script.exits(101, KILLED);
    script.exits(102, KILLED);
    script.at(70.0);
    script.did(&[]);
}

#[test]
fn a_storm_of_wishes_for_more_and_fewer_workers_ends_with_the_right_number() {
    let mut script = Script::serving(2);
    for _ in 0..5 {
        script.asks(Request::MoreWorkers);
    }
    for _ in 0..4 {
        script.asks(Request::FewerWorkers);
    }
    script.did(&[
        "20 fork 2",
        "20 fork 3",
        "20 fork 4",
        "20 fork 5",
        "20 fork 6",
        "20 drain 106",
        "20 drain 105",
        "20 drain 104",
        "20 drain 103",
    ]);
    for pid in 103..=106 {
        script.exits(pid, CLEAN);
    }
    script.exits(102, CRASH);
    script.at(21.0);
    script.did(&["20.5 fork 2"]);
}
