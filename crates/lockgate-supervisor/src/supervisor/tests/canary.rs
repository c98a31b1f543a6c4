//! The canary period: a new generation answers beside the old one before it takes over.

use super::*;

/// A reload of two workers; the new ones, 102 and 103, are in a canary period of 10 s that began at 20 s.
fn canary() -> Script {
    let rules = Rules {
        canary_period: Some(Duration::from_secs(10)),
        ..rules(2)
    };
    let mut script = Script::meeting(rules);
    // Counts already on the scoreboard belong to another worker.
    script.counts = vec![
        of(100, 7000, 900),
        of(101, 0, 0),
        of(102, 50, 50),
        of(103, 0, 0),
    ];
    script.request(Request::Reload);
    script.serve([102, 103]);
    script.performed(&[
        "20 prepare",
        "20 fork 2 of next",
        "20 fork 3 of next",
        "20 open 102",
        "20 open 103",
        // The new workers accept and get new connections first.
        "20 giveway 100",
        "20 giveway 101",
    ]);
    script.forget();
    script
}

fn of(pid: u32, all: u64, failed: u64) -> Responses {
    Responses { pid, all, failed }
}

fn passes(script: &mut Script) {
    script.at(30.0);
    script.performed(&["30 move", "30 retire 100", "30 retire 101"]);
}

#[test]
fn a_new_generation_without_errors_takes_over_after_the_canary_period() {
    let mut script = canary();
    script.counts = vec![of(100, 7100, 903), of(102, 150, 52), of(103, 0, 0)];
    script.at(29.5);
    script.performed(&[]);
    passes(&mut script);
    assert!(
        script.logs.contains(
            &"Info: reload: the canary period has passed after 10.0 s; errors of the new workers: 2.0 % of 100 responses; of the old ones: 3.0 % of 100 responses"
                .to_owned()
        ),
        "{:#?}",
        script.logs
    );
    assert!(
        script
            .logs
            .last()
            .unwrap()
            .starts_with("Info: reload: done in 10.0 s")
    );
    // From here on they are replaced like any serving worker.
    script.forget();
    script.exits(102, KILLED);
    script.performed(&["30 fork 2"]);
}

#[test]
fn a_new_generation_with_too_many_errors_is_rolled_back_at_once() {
    let mut script = canary();
    script.at(22.0);
    script.counts = vec![
        of(100, 7100, 901),
        of(101, 100, 1),
        of(102, 80, 53),
        of(103, 20, 1),
    ];
    script.at(22.3);
    script.performed(&["22.25 retire 102", "22.25 retire 103", "22.25 discard"]);
    script.logged(&[
        "Error: reload failed: errors of the new workers: 8.0 % of 50 responses; of the old ones: 1.0 % of 200 responses (setting: canary_max_error_increase = 5%): rolled back; the old workers continue to serve",
    ]);
    script.forget();
    script.exits(102, CLEAN);
    script.exits(103, CLEAN);
    script.at(100.0);
    script.performed(&[]);
    assert_eq!(script.supervisor.serving().count(), 2);
}

#[test]
fn too_few_responses_give_no_verdict() {
    let mut script = canary();
    script.counts = vec![of(100, 7100, 900), of(102, 69, 69)];
    passes(&mut script);
}

#[test]
fn old_workers_without_traffic_count_as_free_of_errors() {
    let mut script = canary();
    script.counts = vec![of(100, 7000, 900), of(102, 70, 52)];
    script.at(20.5);
    script.performed(&["20.25 retire 102", "20.25 retire 103", "20.25 discard"]);
}

#[test]
fn a_new_worker_that_dies_rolls_back() {
    let mut script = canary();
    script.exits(103, KILLED);
    script.performed(&["20 retire 102", "20 discard"]);
    assert!(script.logs[0].starts_with("Error: worker 3 (pid 103) was killed by SIGKILL"));
    assert_eq!(
        script.logs[1],
        "Error: reload failed: worker 3 (pid 103) has died during the canary period (setting: canary_period); the old workers continue to serve"
    );
    script.forget();
    script.exits(102, CLEAN);
    script.at(100.0);
    script.performed(&[]);
}

#[test]
fn a_new_worker_over_the_hard_limit_of_memory_rolls_back() {
    let mut script = canary();
    script.supervisor.rules.max_worker_memory_hard = 100;
    script.event(Event::Sampled {
        pid: 102,
        requests: 1,
        memory: 101,
    });
    script.performed(&["20 retire 102", "20 retire 103", "20 discard"]);
}

#[test]
fn an_old_worker_that_dies_is_not_replaced_and_its_responses_count() {
    let mut script = canary();
    script.counts = vec![of(100, 7000, 900), of(101, 100, 50), of(102, 50, 50)];
    script.at(21.0);
    script.exits(101, KILLED);
    script.counts = vec![of(100, 7000, 900), of(102, 150, 90)];
    script.at(25.0);
    script.performed(&[]);
    // After a rollback for another reason, it is replaced.
    script.exits(102, KILLED);
    script.performed(&["25 retire 103", "25 discard", "25 fork 1"]);
}

#[test]
fn when_all_old_workers_have_died_the_new_ones_take_over() {
    let mut script = canary();
    script.exits(100, KILLED);
    script.performed(&[]);
    script.exits(101, KILLED);
    script.performed(&["20 move"]);
    script.at(100.0);
    script.performed(&[]);
    assert_eq!(script.supervisor.serving().count(), 2);
}

#[test]
fn old_workers_that_are_killed_and_not_yet_dead_do_not_serve() {
    let mut script = canary();
    script.supervisor.rules.timeout = Some(Duration::from_secs(5));
    for pid in [100, 101] {
        script.event(Event::Stuck { pid });
    }
    for second in 20..=21 {
        script.at(f64::from(second));
        for pid in [102, 103] {
            script.event(Event::Heartbeat { pid });
        }
    }
    script.performed(&[
        "20 abort 100",
        "20 abort 101",
        "21 kill 100",
        "21 kill 101",
        "21 move",
    ]);
}

#[test]
fn old_workers_give_way_when_all_new_ones_accept_and_only_once() {
    let mut script = Script::meeting(Rules {
        canary_period: Some(Duration::from_secs(10)),
        ..rules(2)
    });
    script.request(Request::Reload);
    script.ready([102, 103]);
    script.forget();
    script.event(Event::Serving { pid: 102 });
    script.at(21.0);
    script.performed(&[]);
    script.event(Event::Serving { pid: 103 });
    script.at(25.0);
    script.performed(&["21 giveway 100", "21 giveway 101"]);
}

#[test]
fn resizes_wait_for_the_end_of_the_canary_period_and_a_stop_ends_both_generations() {
    let mut script = canary();
    script.request(Request::Reload);
    script.request(Request::MoreWorkers);
    script.performed(&[]);
    script.at(30.0);
    script.performed(&[
        "30 move",
        "30 retire 100",
        "30 retire 101",
        "30 prepare",
        "30 fork 4",
        "30 fork 5 of next",
        "30 fork 6 of next",
        "30 fork 7 of next",
    ]);
    let mut script = canary();
    script.request(Request::Terminate);
    script.performed(&[
        "20 close",
        "20 drain 100",
        "20 drain 101",
        "20 drain 102",
        "20 drain 103",
    ]);
    script.at(40.0);
    for pid in 100..104 {
        script.exits(pid, CLEAN);
    }
    assert_eq!(script.performed.last().unwrap(), "40 exit 0");
}

#[test]
fn a_canary_period_needs_old_workers_that_were_started_with_it() {
    let mut script = Script::meeting(rules(1));
    script.prepared = Some(Event::Prepared(Rules {
        canary_period: Some(Duration::from_secs(10)),
        ..rules(1)
    }));
    script.request(Request::Reload);
    script.serve([101]);
    script.performed(&[
        "20 prepare",
        "20 fork 1 of next",
        "20 move",
        "20 open 101",
        "20 retire 100",
    ]);
    assert!(
        script
            .logs
            .iter()
            .any(|line| line.contains("no canary period"))
    );
}
