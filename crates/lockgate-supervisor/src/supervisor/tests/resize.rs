//! More and fewer workers, by signal.

use super::*;

#[test]
fn an_added_worker_gets_a_new_slot_and_the_oldest_one_is_removed_first() {
    let mut script = Script::serving(1);
    script.request(Request::MoreWorkers);
    script.at(21.0);
    script.event(Event::Ready { pid: 101 });
    script.request(Request::FewerWorkers);
    script.performed(&["20 fork 1", "21 retire 100"]);
    script.exits(100, CLEAN);
    script.at(60.0);
    script.performed(&[]);
    script.logged(&[
        "Info: number of workers increased to 2",
        "Info: worker 1 (pid 101) ready in 1.00 s",
        "Info: all 2 workers are ready",
        "Info: number of workers decreased to 1",
        "Info: worker 0 (pid 100) stopped after 21.0 s of service",
    ]);
    script.request(Request::FewerWorkers);
    script.performed(&[]);
    script.logged(&["Info: number of workers unchanged: 1 is the minimum"]);
}

#[test]
fn requests_of_one_command_that_change_nothing_are_logged_once() {
    let unchanged = "Info: number of workers unchanged: 1 is the minimum";
    let mut script = Script::serving(1);
    for _ in 0..5 {
        script.request(Request::FewerWorkers);
    }
    script.logged(&[unchanged]);
    script.at(21.0);
    script.request(Request::FewerWorkers);
    script.logged(&[unchanged]);
    script.at(22.0);
    script.request(Request::Reload);
    for _ in 0..3 {
        script.request(Request::MoreWorkers);
    }
    script.logged(&[
        "Info: reload: starting new workers beside the serving ones",
        "Info: the number of workers will change after the reload in progress",
    ]);
}

#[test]
fn a_slot_is_reused_only_after_its_worker_has_exited() {
    let mut script = Script::serving(2);
    script.request(Request::FewerWorkers);
    script.at(21.0);
    script.request(Request::MoreWorkers);
    script.performed(&["20 retire 100", "21 fork 2"]);
    script.at(22.0);
    script.exits(100, CLEAN);
    script.request(Request::MoreWorkers);
    script.performed(&["22 fork 0"]);
}

#[test]
fn a_removed_worker_that_does_not_exit_is_killed() {
    let mut script = Script::serving(3);
    script.request(Request::FewerWorkers);
    script.request(Request::FewerWorkers);
    script.at(60.0);
    script.performed(&[
        "20 retire 100",
        "20 retire 101",
        "50 kill 100",
        "50 kill 101",
    ]);
    script.exits(100, KILLED);
    script.exits(101, KILLED);
    script.at(70.0);
    script.performed(&[]);
}

#[test]
fn many_resizes_end_with_the_right_number_of_workers() {
    let mut script = Script::serving(2);
    for _ in 0..5 {
        script.request(Request::MoreWorkers);
    }
    for _ in 0..4 {
        script.request(Request::FewerWorkers);
    }
    script.performed(&[
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
    script.performed(&["20.5 fork 2"]);
}

#[test]
fn hooks_learn_of_resizes_and_of_reloads_before_workers_are_forked() {
    let mut script = Script::serving(2);
    script.request(Request::MoreWorkers);
    script.request(Request::FewerWorkers);
    script.request(Request::FewerWorkers);
    // One is the minimum.
    script.request(Request::FewerWorkers);
    assert_eq!(script.announced, ["2 to 3", "3 to 2", "2 to 1"]);
    script.announced.clear();
    // A setting that has not changed keeps the number of the operator.
    script.request(Request::Reload);
    script.request(Request::MoreWorkers);
    assert_eq!(script.announced, ["reload with 1"]);
    script.fails(103, 3, "no");
    assert_eq!(script.announced, ["reload with 1", "1 to 2"]);
    let actions = script
        .supervisor
        .on(Event::Requested(Request::MoreWorkers), script.now);
    let position = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
    let announced = position(|action| matches!(action, Action::AnnounceResize { .. }));
    assert!(announced < position(|action| matches!(action, Action::Fork { .. })));
}
