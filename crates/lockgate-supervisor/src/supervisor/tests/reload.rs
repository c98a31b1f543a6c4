//! Two generations at once, and workers that are replaced one at a time.

use super::*;

impl Script {
    /// `workers` that serve and have reported it, while two generations run; no actions recorded so far.
    pub(super) fn meeting(rules: Rules) -> Self {
        let mut script = Self::new(rules);
        script.event(Event::Start);
        script.serve(100..100 + rules.workers as u32);
        script.at(20.0);
        script.records_open_orders = true;
        script.forget();
        script
    }

    pub(super) fn ready(&mut self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            self.event(Event::Ready { pid });
        }
    }

    pub(super) fn serve(&mut self, pids: impl IntoIterator<Item = u32> + Clone) {
        self.ready(pids.clone());
        for pid in pids {
            self.event(Event::Serving { pid });
        }
    }
}

#[test]
fn a_new_generation_takes_over_when_all_its_workers_are_ready_and_the_old_one_is_retired_when_they_accept()
 {
    let mut script = Script::meeting(rules(2));
    script.request(Request::Reload);
    script.performed(&["20 prepare", "20 fork 2 of next", "20 fork 3 of next"]);
    script.at(22.0);
    script.ready([103]);
    script.performed(&[]);
    script.at(23.0);
    script.ready([102]);
    script.performed(&["23 move", "23 open 102", "23 open 103"]);
    script.event(Event::Serving { pid: 102 });
    script.performed(&[]);
    script.event(Event::Serving { pid: 103 });
    script.performed(&["23 retire 100", "23 retire 101"]);
    script.exits(100, CLEAN);
    script.exits(101, CLEAN);
    script.logged(&[
        "Info: reload: starting new workers beside the serving ones",
        "Info: worker 3 (pid 103) ready in 2.00 s",
        "Info: reload: 1 of 2 new workers are ready",
        "Info: worker 2 (pid 102) ready in 3.00 s",
        "Info: reload: 2 of 2 new workers are ready",
        "Info: reload: done in 3.00 s, 2 new workers serve",
        "Info: worker 0 (pid 100) stopped after 23.0 s of service",
        "Info: worker 1 (pid 101) stopped after 23.0 s of service",
    ]);
    // The next generation gets the first free slots, and a dead worker is replaced in its own generation.
    script.at(40.0);
    script.exits(103, KILLED);
    script.performed(&["40 fork 3"]);
    script.request(Request::Reload);
    script.performed(&["40 prepare", "40 fork 0 of next", "40 fork 1 of next"]);
}

#[test]
fn one_new_worker_that_fails_stops_all_new_ones_and_the_old_ones_continue() {
    for how in ["reports", "dies", "is late", "cannot be forked"] {
        let mut script = Script::meeting(rules(2));
        script.prepared = Some(Event::Prepared(Rules {
            boot_timeout: Some(Duration::from_secs(10)),
            ..rules(2)
        }));
        script.forks_fail = how == "cannot be forked";
        script.request(Request::Reload);
        if how == "cannot be forked" {
            script.performed(&[
                "20 prepare",
                "20 fork 2 of next",
                "20 fork 3 of next",
                "20 discard",
            ]);
            continue;
        }
        script.ready([102]);
        script.forget();
        match how {
            "reports" => script.fails(103, 3, "cannot import app\nTraceback"),
            "dies" => script.exits(103, KILLED),
            _ => {
                script.at(30.0);
                script.exits(103, CLEAN);
            }
        }
        let at = if how == "is late" { 30 } else { 20 };
        let mut expected = vec![format!("{at} stop 102")];
        if how == "is late" {
            expected.push(format!("{at} stop 103"));
        }
        expected.push(format!("{at} discard"));
        script.performed(&expected.iter().map(String::as_str).collect::<Vec<_>>());
        script.exits(102, CLEAN);
        let after = "the old workers continue to serve";
        match how {
            "reports" => script.logged(&[
                "Error: cannot import app\nTraceback",
                &format!("Error: reload failed: worker 3 (pid 103): cannot import app; {after}"),
            ]),
            "dies" => assert!(script.logs[0].starts_with(
                "Error: reload failed: worker 3 (pid 103) was killed by SIGKILL after 0.00 s"
            )),
            _ => script.logged(&[&format!(
                "Error: reload failed: worker 3 (pid 103) was not ready within 10.0 s (setting: boot_timeout); {after}"
            )]),
        }
        script.forget();
        script.at(300.0);
        script.performed(&[]);
    }
}

#[test]
fn a_traceback_that_all_new_workers_report_is_logged_once_in_each_reload() {
    let mut script = Script::meeting(rules(3));
    for first in [103, 106] {
        script.request(Request::Reload);
        for pid in first..first + 3 {
            script.fails(pid, 3, "Traceback: x");
        }
        let tracebacks = script
            .logs
            .iter()
            .filter(|line| *line == "Error: Traceback: x");
        assert_eq!(tracebacks.count(), 1, "{:#?}", script.logs);
        script.forget();
    }
}

#[test]
fn invalid_settings_make_no_new_generation() {
    let mut script = Script::meeting(rules(1));
    let reason = "lockgate.toml line 3: no".to_owned();
    script.prepared = Some(Event::PrepareFailed {
        reason,
        report: None,
    });
    script.request(Request::Reload);
    script.performed(&["20 prepare", "20 discard"]);
    script.logged(&[
        "Info: reload: starting new workers beside the serving ones",
        "Error: reload failed: lockgate.toml line 3: no; the old workers continue to serve",
    ]);
}

#[test]
fn a_reload_waits_for_another_reload_and_for_the_first_boot() {
    let mut script = Script::meeting(rules(1));
    for _ in 0..3 {
        script.request(Request::Reload);
    }
    script.performed(&["20 prepare", "20 fork 1 of next"]);
    script.serve([101]);
    script.performed(&[
        "20 move",
        "20 open 101",
        "20 retire 100",
        "20 prepare",
        "20 fork 2 of next",
    ]);
    script.serve([102]);
    script.performed(&["20 move", "20 open 102", "20 retire 101"]);

    let mut script = Script::booting(1);
    script.request(Request::Reload);
    script.at(5.0);
    script.ready([100]);
    script.performed(&["0 fork 0", "5 prepare", "5 fork 1 of next"]);
}

#[test]
fn a_stop_during_a_reload_ends_both_generations() {
    for (request, order) in [(Request::Terminate, "drain"), (Request::Interrupt, "stop")] {
        let mut script = Script::meeting(rules(1));
        script.request(Request::Reload);
        script.request(Request::Reload);
        script.forget();
        script.request(request);
        script.performed(&[
            "20 close",
            &format!("20 {order} 100"),
            &format!("20 {order} 101"),
        ]);
        script.fails(101, 3, "interrupted");
        script.exits(100, CLEAN);
        script.performed(&["20 exit 0"]);
    }
}

#[test]
fn a_death_in_the_old_generation_waits_for_the_reload_unless_it_was_the_last() {
    let mut script = Script::meeting(rules(2));
    script.request(Request::Reload);
    script.forget();
    script.exits(100, KILLED);
    script.at(30.0);
    script.performed(&[]);
    script.exits(101, KILLED);
    script.performed(&["30 fork 0", "30 fork 1"]);
    let mut script = Script::meeting(rules(2));
    script.request(Request::Reload);
    script.exits(100, KILLED);
    script.forget();
    // The reload fails: the worker that died before is replaced.
    script.exits(102, CRASH);
    script.performed(&["20 stop 103", "20 discard", "20 fork 0"]);
}

#[test]
fn a_resize_during_a_reload_takes_effect_after_it() {
    for (configured, asked, there) in [(1, Request::MoreWorkers, 2), (3, Request::FewerWorkers, 2)]
    {
        let mut script = Script::meeting(rules(1));
        script.prepared = Some(Event::Prepared(rules(configured)));
        script.request(Request::Reload);
        script.request(asked);
        let new = 101..101 + configured as u32;
        script.serve(new);
        assert_eq!(script.supervisor.wanted, there);
        assert_eq!(script.supervisor.serving().count(), there);
    }
}

#[test]
fn old_workers_that_do_not_finish_are_killed() {
    let mut script = Script::meeting(rules(1));
    script.request(Request::Reload);
    script.serve([101]);
    script.forget();
    script.at(60.0);
    script.performed(&["50 kill 100"]);
    script.exits(100, KILLED);
    script.at(100.0);
    script.performed(&[]);
}

#[test]
fn old_workers_are_retired_even_when_a_new_one_never_reports_that_it_accepts() {
    let mut script = Script::meeting(rules(1));
    script.request(Request::Reload);
    script.ready([101]);
    script.at(26.0);
    script.performed(&[
        "20 prepare",
        "20 fork 1 of next",
        "20 move",
        "20 open 101",
        "25 retire 100",
    ]);
}

#[test]
fn a_first_boot_that_takes_too_long_stops_the_server() {
    let mut script = Script::new(Rules {
        boot_timeout: Some(Duration::from_secs(5)),
        ..rules(2)
    });
    script.event(Event::Start);
    script.at(5.0);
    script.performed(&[
        "0 fork 0",
        "0 fork 1",
        "5 stop 100",
        "5 close",
        "5 stop 101",
    ]);
    script.exits(100, CLEAN);
    script.exits(101, CLEAN);
    script.performed(&["5 exit 3"]);
}

fn recycling(workers: usize) -> Rules {
    Rules {
        max_requests: 50,
        ..rules(workers)
    }
}

fn counted(pid: u32, requests: u64) -> Event {
    Event::Sampled {
        pid,
        requests,
        memory: 0,
    }
}

#[test]
fn a_worker_at_its_request_limit_is_retired_when_its_successor_accepts() {
    let mut script = Script::meeting(recycling(2));
    script.event(counted(101, 49));
    script.performed(&[]);
    script.event(counted(101, 51));
    script.event(counted(101, 60));
    script.performed(&["20 fork 2"]);
    script.at(25.0);
    script.ready([102]);
    script.performed(&["25 open 102"]);
    script.event(Event::Serving { pid: 102 });
    script.performed(&["25 retire 101"]);
    script.exits(101, CLEAN);
    script.performed(&[]);
    script.logged(&[
        "Info: worker 1 (pid 101) will be replaced: it has handled 51 requests (setting: max_requests)",
        "Info: worker 2 (pid 102) ready in 5.00 s",
        "Info: worker 1 (pid 101) stopped after 25.0 s of service",
    ]);
    assert_eq!(script.supervisor.serving().count(), 2);
}

#[test]
fn queued_workers_are_replaced_one_after_the_other() {
    let mut script = Script::meeting(recycling(3));
    for pid in [102, 100, 101] {
        script.event(counted(pid, 50));
    }
    let mut retired = Vec::new();
    for pid in 103..106 {
        let forks = script
            .performed
            .iter()
            .filter(|action| action.contains("fork"));
        assert_eq!(forks.count(), 1);
        script.forget();
        script.serve([pid]);
        retired.extend(
            script
                .performed
                .iter()
                .find(|action| action.contains("retire"))
                .cloned(),
        );
    }
    assert_eq!(retired, ["20 retire 102", "20 retire 100", "20 retire 101"]);
}

#[test]
fn a_successor_that_cannot_boot_is_retried_with_back_off_while_the_old_worker_serves() {
    let mut script = Script::meeting(recycling(1));
    script.event(counted(100, 50));
    for pid in 101..104 {
        script.fails(pid, 3, "no");
        script.at((script.now - script.start).as_secs_f64() + 2.0);
    }
    script.performed(&["20 fork 1", "20.5 fork 1", "23 fork 1", "26 fork 1"]);
    script.logged(&[
        "Info: worker 0 (pid 100) will be replaced: it has handled 50 requests (setting: max_requests)",
        "Error: no",
        "Error: cannot replace the worker with pid 100: worker 1 (pid 101): no; it continues to serve, next attempt in 0.50 s",
        "Error: cannot replace the worker with pid 100: worker 1 (pid 102): no; it continues to serve, next attempt in 1.00 s",
        "Error: cannot replace the worker with pid 100: worker 1 (pid 103): no; it continues to serve, next attempt in 2.00 s",
    ]);
}

#[test]
fn a_worker_that_dies_while_its_successor_boots_is_replaced_by_it() {
    let mut script = Script::meeting(recycling(1));
    script.event(counted(100, 50));
    script.exits(100, KILLED);
    script.serve([101]);
    script.performed(&["20 fork 1", "20 open 101"]);
    script.at(60.0);
    script.performed(&[]);
    assert_eq!(script.supervisor.serving().count(), 1);
}

#[test]
fn a_reload_cancels_a_replacement_and_makes_it_unnecessary() {
    let mut script = Script::meeting(recycling(1));
    script.event(counted(100, 50));
    script.request(Request::Reload);
    script.performed(&[
        "20 fork 1",
        "20 stop 101",
        "20 prepare",
        "20 fork 2 of next",
    ]);
    script.exits(101, CLEAN);
    script.serve([102]);
    script.performed(&["20 move", "20 open 102", "20 retire 100"]);
    script.at(60.0);
    script.performed(&["50 kill 100"]);
}

#[test]
fn a_replacement_that_a_failed_reload_has_interrupted_follows_it() {
    let mut script = Script::meeting(recycling(1));
    script.event(counted(100, 50));
    script.request(Request::Reload);
    script.exits(101, CLEAN);
    script.forget();
    script.fails(102, 3, "no");
    script.performed(&["20 discard", "20 fork 1"]);
}

#[test]
fn no_reload_begins_while_a_successor_takes_over() {
    let mut script = Script::meeting(recycling(1));
    script.event(counted(100, 50));
    script.ready([101]);
    script.request(Request::Reload);
    script.performed(&["20 fork 1", "20 open 101"]);
    script.event(Event::Serving { pid: 101 });
    script.performed(&["20 retire 100", "20 prepare", "20 fork 2 of next"]);
}

#[test]
fn a_queued_worker_that_died_or_is_stopping_gets_no_successor() {
    for is_dead in [true, false] {
        let mut script = Script::meeting(Rules {
            max_worker_memory_hard: 100,
            ..recycling(3)
        });
        // The first one is being replaced, the other two are queued.
        for pid in [100, 101, 102] {
            script.event(counted(pid, 50));
        }
        script.performed(&["20 fork 3"]);
        script.exits(101, KILLED);
        script.performed(&["20 fork 1"]);
        if is_dead {
            script.exits(102, KILLED);
            script.performed(&["20 fork 2"]);
        } else {
            script.event(Event::Sampled {
                pid: 102,
                requests: 50,
                memory: 101,
            });
            script.performed(&["20 retire 102", "20 fork 4"]);
        }
        script.serve([103]);
        script.performed(&["20 open 103", "20 retire 100"]);
        script.exits(100, CLEAN);
        script.at(40.0);
        let forks = script
            .performed
            .iter()
            .filter(|action| action.contains("fork"));
        assert_eq!(forks.count(), 0, "{:?}", script.performed);
    }
}

#[test]
fn no_retry_follows_when_the_worker_to_replace_has_died() {
    let mut script = Script::meeting(recycling(1));
    script.event(counted(100, 50));
    script.fails(101, 3, "no");
    script.exits(100, KILLED);
    script.serve([102]);
    script.forget();
    // No wake-ups, neither for past deadlines nor for future ones.
    script.at(60.0);
    assert_eq!(script.supervisor.next_deadline(), None);
    script.performed(&[]);
}

#[test]
fn a_removed_worker_gets_no_successor() {
    let mut script = Script::meeting(recycling(2));
    script.event(counted(100, 50));
    script.request(Request::FewerWorkers);
    script.performed(&["20 fork 2", "20 retire 100", "20 stop 102"]);
    assert_eq!(script.supervisor.serving().count(), 1);
}

#[test]
fn a_worker_that_exits_slowly_without_an_order_is_replaced_at_once_and_has_a_deadline() {
    let mut script = Script::meeting(recycling(2));
    script.event(Event::Exiting { pid: 100 });
    script.performed(&["20 retire 100", "20 fork 2"]);
    script.logged(&[
        "Warning: worker 0 (pid 100) exits, although no stop was requested; a replacement starts now",
    ]);
    script.at(50.0);
    script.performed(&["50 kill 100"]);
    // A worker that was ordered to stop is not reported.
    script.request(Request::Terminate);
    script.forget();
    script.event(Event::Exiting { pid: 101 });
    script.performed(&[]);
}

#[test]
fn age_and_a_stuck_thread_are_reasons_for_a_replacement() {
    let mut script = Script::meeting(Rules {
        max_worker_age: Some(Duration::from_secs(3600)),
        ..rules(1)
    });
    script.at(4000.0);
    script.performed(&["3600 fork 1"]);
    let mut script = Script::meeting(rules(1));
    script.event(Event::ReplaceWanted {
        pid: 100,
        reason: ReplaceReason::StuckThread,
    });
    script.performed(&["20 fork 1"]);
}

#[test]
fn jitter_makes_workers_differ_and_never_shortens() {
    let most = (100..140).map(|pid| {
        let mut script = Script::meeting(Rules {
            max_requests_jitter: 100,
            ..recycling(1)
        });
        script.next_pid = pid;
        script.exits(100, KILLED);
        script.serve([pid]);
        (0..=150)
            .find(|&requests| {
                script.event(counted(pid, requests));
                script
                    .logs
                    .iter()
                    .any(|line| line.contains("will be replaced"))
            })
            .unwrap()
    });
    let most: std::collections::BTreeSet<u64> = most.collect();
    assert!(
        most.len() > 20 && most.iter().all(|most| (50..=150).contains(most)),
        "{most:?}"
    );
}

/// A serving script whose reload waits for its settings.
fn preparing(workers: usize, drain_delay: Duration) -> Script {
    let mut script = Script::meeting(Rules {
        drain_delay,
        ..rules(workers)
    });
    script.prepared = None;
    script.request(Request::Reload);
    script.performed(&["20 prepare"]);
    script
}

fn prepared(workers: usize) -> Event {
    Event::Prepared(rules(workers))
}

#[test]
fn a_stop_while_settings_are_read_does_not_wait_for_them() {
    for request in [Request::Terminate, Request::Interrupt] {
        let mut script = preparing(1, Duration::ZERO);
        script.request(request);
        let order = if request == Request::Terminate {
            "20 drain 100"
        } else {
            "20 stop 100"
        };
        script.performed(&["20 close", order]);
        // The answer was already on its way.
        script.event(prepared(1));
        script.performed(&["20 discard"]);
        script.exits(100, CLEAN);
        script.performed(&["20 exit 0"]);
    }
    // The delay before a stop ends the reload too.
    let mut script = preparing(1, Duration::from_secs(5));
    script.request(Request::Terminate);
    script.performed(&["20 discard"]);
    script.event(prepared(1));
    script.performed(&["20 discard"]);
    script.at(25.0);
    script.performed(&["25 close", "25 drain 100"]);
}

#[test]
fn a_reload_while_settings_are_read_follows_and_reads_them_again() {
    let mut script = preparing(1, Duration::ZERO);
    script.request(Request::Reload);
    script.performed(&[]);
    script.event(prepared(1));
    script.performed(&["20 fork 1 of next"]);
    script.serve([101]);
    script.performed(&["20 move", "20 open 101", "20 retire 100", "20 prepare"]);
    script.event(Event::PrepareFailed {
        reason: "gunicorn.conf.py: ValueError".to_owned(),
        report: Some("gunicorn.conf.py\nTraceback\nValueError".to_owned()),
    });
    script.performed(&["20 discard"]);
    let errors = script.logs.iter().filter(|line| line.starts_with("Error"));
    assert_eq!(
        errors.collect::<Vec<_>>(),
        [
            "Error: reload: cannot evaluate the configuration gunicorn.conf.py\nTraceback\nValueError",
            "Error: reload failed: gunicorn.conf.py: ValueError; the old workers continue to serve",
        ]
    );
    assert_eq!(
        script.recorded.last(),
        Some(&ProgressEvent::ReloadFailed {
            why: "gunicorn.conf.py: ValueError\nTraceback\nValueError".to_owned()
        })
    );
}

#[test]
fn a_worker_that_dies_while_settings_are_read_is_replaced_at_once() {
    let mut script = preparing(2, Duration::ZERO);
    script.exits(101, KILLED);
    script.performed(&["20 fork 1"]);
    script.serve([102]);
    script.request(Request::MoreWorkers);
    script.performed(&["20 open 102"]);
    script.event(prepared(2));
    script.performed(&["20 fork 2 of next", "20 fork 3 of next"]);
    script.serve([103, 104]);
    script.performed(&[
        "20 move",
        "20 open 103",
        "20 open 104",
        "20 retire 100",
        "20 retire 102",
        "20 fork 4",
    ]);
}

#[test]
fn an_upgrade_waits_while_settings_are_read() {
    let mut script = preparing(1, Duration::ZERO);
    script.request(Request::Upgrade);
    script.performed(&[]);
    script.event(Event::PrepareFailed {
        reason: "a bad setting".to_owned(),
        report: None,
    });
    script.performed(&["20 discard", "20 try upgrade"]);
}
