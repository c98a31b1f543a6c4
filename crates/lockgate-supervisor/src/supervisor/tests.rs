//! Scripts of events with a clock of their own, and what the supervisor wants done.

use std::time::Duration;

use super::*;
use crate::Ending;

mod generations;
mod memory;
mod watch;

const CRASH: Ending = Ending::Code(7);
const CLEAN: Ending = Ending::Code(0);
const KILLED: Ending = Ending::Signal {
    number: 9,
    dumped_core: false,
};
const ABORTED: Ending = Ending::Signal {
    number: 6,
    dumped_core: false,
};

/// Nothing is limited but what is asked to leave.
fn rules(workers: usize) -> Rules {
    Rules {
        workers,
        timeout: None,
        graceful_timeout: Duration::from_secs(30),
        boot_timeout: None,
        reload_watch: None,
        reload_watch_errors: 500,
        max_requests: 0,
        max_requests_jitter: 0,
        max_worker_age: None,
        max_worker_memory: 0,
        max_worker_memory_hard: 0,
    }
}

/// A supervisor, its clock, and hands that fork at once: process ids are 100, 101, …
struct Script {
    supervisor: Supervisor,
    start: Instant,
    now: Instant,
    next_pid: u32,
    forks_fail: bool,
    prepared: Event,
    counts: Vec<Responses>,
    shows_openings: bool,
    deeds: Vec<String>,
    logs: Vec<String>,
}

impl Script {
    fn new(rules: Rules) -> Self {
        let start = Instant::now();
        let supervisor = Supervisor::new(rules);
        let (deeds, logs) = (Vec::new(), Vec::new());
        Self {
            supervisor,
            start,
            now: start,
            next_pid: 100,
            forks_fail: false,
            prepared: Event::Prepared(rules),
            counts: Vec::new(),
            shows_openings: false,
            deeds,
            logs,
        }
    }

    /// `workers` processes that are booting, at time 0.
    fn booting(workers: usize) -> Self {
        let mut script = Self::new(rules(workers));
        script.event(Event::Start);
        script
    }

    /// `workers` processes that serve, at time 20, when their slots have a clean record; nothing noted so far.
    fn serving(workers: usize) -> Self {
        Self::serving_with(workers, None)
    }

    fn serving_with(workers: usize, timeout: Option<Duration>) -> Self {
        let mut script = Self::booting(workers);
        script.supervisor.rules.timeout = timeout;
        for pid in 100..100 + workers as u32 {
            script.event(Event::Ready { pid });
        }
        for second in 1..=20 {
            script.at(f64::from(second));
            script.all_beat();
        }
        script.forget();
        script
    }

    fn event(&mut self, event: Event) {
        let mut actions = self.supervisor.on(event, self.now);
        while !actions.is_empty() {
            let mut answers = Vec::new();
            for action in actions {
                self.note(&action);
                match action {
                    Action::Fork { slot, .. } => answers.push(self.fork(slot)),
                    Action::Prepare => answers.push(self.prepared.clone()),
                    Action::Count => answers.push(Event::Counted(self.counts.clone())),
                    _ => {}
                }
            }
            actions = answers
                .into_iter()
                .flat_map(|answer| self.supervisor.on(answer, self.now))
                .collect();
        }
    }

    fn fork(&mut self, slot: usize) -> Event {
        if self.forks_fail {
            return Event::ForkFailed {
                slot,
                reason: "no memory".to_owned(),
            };
        }
        self.next_pid += 1;
        Event::Forked {
            slot,
            pid: self.next_pid - 1,
        }
    }

    fn note(&mut self, action: &Action) {
        let deed = match action {
            Action::Fork {
                slot,
                generation: Generation::Present,
            } => format!("fork {slot}"),
            Action::Fork { slot, .. } => format!("fork {slot} of next"),
            Action::Prepare => "prepare".to_owned(),
            // Made so often that it would hide everything else.
            Action::Count => return,
            Action::Move => "move".to_owned(),
            Action::Discard => "discard".to_owned(),
            // Every worker that serves is told; only where two generations meet does it matter when.
            Action::Send {
                order: Order::Open, ..
            } if !self.shows_openings => return,
            Action::Send { pid, order } => format!("{order:?} {pid}").to_lowercase(),
            Action::CloseListeners => "close".to_owned(),
            Action::ReopenLogs => "reopen".to_owned(),
            Action::Exit { code } => format!("exit {code}"),
            Action::Log {
                level: Level::Debug,
                ..
            } => return,
            Action::Log { level, message } => {
                return self.logs.push(format!("{level:?}: {message}"));
            }
        };
        let seconds = (self.now - self.start).as_secs_f64();
        self.deeds.push(format!("{seconds} {deed}"));
    }

    /// Lets time pass up to so many seconds after the start, waking at every deadline on the way.
    fn at(&mut self, seconds: f64) {
        let until = self.start + Duration::from_secs_f64(seconds);
        while let Some(deadline) = self
            .supervisor
            .next_deadline()
            .filter(|deadline| *deadline <= until)
        {
            assert!(
                deadline > self.now,
                "a deadline that is not kept makes the main loop spin"
            );
            self.now = deadline;
            self.event(Event::Tick);
        }
        self.now = until;
    }

    fn asks(&mut self, request: Request) {
        self.event(Event::Requested(request));
    }

    fn exits(&mut self, pid: u32, ending: Ending) {
        self.event(Event::Exited {
            pid,
            ending,
            memory_ran_out: None,
            unfinished: Vec::new(),
        });
    }

    fn fails(&mut self, pid: u32, code: i32, text: &str) {
        self.event(Event::BootFailed {
            pid,
            code,
            text: text.to_owned(),
        });
        self.exits(pid, Ending::Code(code));
    }

    fn all_beat(&mut self) {
        for pid in 100..self.next_pid {
            self.event(Event::Heartbeat { pid });
        }
    }

    fn forget(&mut self) {
        self.deeds.clear();
        self.logs.clear();
    }

    /// What has been done since the last call, each with its second.
    #[track_caller]
    fn did(&mut self, expected: &[&str]) {
        assert_eq!(
            std::mem::take(&mut self.deeds),
            expected,
            "log: {:#?}",
            self.logs
        );
    }

    /// What has been logged since the last call, above the level of debugging.
    #[track_caller]
    fn said(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.logs), expected);
    }
}

#[test]
fn the_server_boots_its_workers_and_says_when_all_are_ready() {
    let mut script = Script::booting(2);
    script.did(&["0 fork 0", "0 fork 1"]);
    script.at(0.21);
    script.event(Event::Ready { pid: 101 });
    script.at(12.5);
    script.event(Event::Ready { pid: 100 });
    script.did(&[]);
    script.said(&[
        "Info: worker 1 (pid 101) ready in 0.21 s",
        "Info: worker 0 (pid 100) ready in 12.5 s",
        "Info: all 2 workers are ready",
    ]);
    assert_eq!(
        script.supervisor.next_deadline(),
        None,
        "an idle server sleeps"
    );
}

#[test]
fn a_first_boot_that_fails_stops_the_server_with_the_code_of_the_failure() {
    for code in [3, 4] {
        let mut script = Script::booting(8);
        script.forget();
        // All eight say the same; the first one is heard, and every order of what follows ends alike.
        script.event(Event::BootFailed {
            pid: 103,
            code,
            text: "No module named 'app'".to_owned(),
        });
        script.did(&[
            "0 close",
            "0 stop 100",
            "0 stop 101",
            "0 stop 102",
            "0 stop 104",
            "0 stop 105",
            "0 stop 106",
            "0 stop 107",
        ]);
        script.event(Event::BootFailed {
            pid: 100,
            code: 4,
            text: "No module named 'app'".to_owned(),
        });
        script.exits(100, Ending::Code(4));
        script.exits(101, CLEAN);
        script.fails(102, 3, "No module named 'app'");
        script.exits(103, Ending::Code(code));
        script.exits(
            104,
            Ending::Signal {
                number: 2,
                dumped_core: false,
            },
        );
        script.exits(105, Ending::Code(1));
        script.exits(106, CLEAN);
        script.did(&[]);
        script.exits(107, CLEAN);
        script.did(&[&format!("0 exit {code}")]);
        script.said(&[
            "Error: No module named 'app'",
            &format!("Error: stopping: the application did not start (exit code {code})"),
            "Info: stopped",
        ]);
    }
}

#[test]
fn a_first_boot_that_dies_without_a_word_stops_the_server_too() {
    let mut script = Script::booting(2);
    script.at(0.5);
    script.exits(
        101,
        Ending::Signal {
            number: 11,
            dumped_core: false,
        },
    );
    script.exits(100, CLEAN);
    script.did(&[
        "0 fork 0",
        "0 fork 1",
        "0.5 close",
        "0.5 stop 100",
        "0.5 exit 3",
    ]);
    script.said(&[
        "Error: worker 1 (pid 101) was killed by SIGSEGV after 0.50 s, before it was ready",
        "Error: stopping: the application did not start (exit code 3)",
        "Info: stopped",
    ]);
}

#[test]
fn a_worker_that_will_not_leave_a_failed_boot_is_killed() {
    let mut script = Script::booting(2);
    script.fails(100, 3, "x");
    script.forget();
    script.at(10.0);
    script.did(&["3 kill 101", "8 exit 3"]);
}

#[test]
fn a_boot_that_fails_later_is_tried_ever_more_slowly_while_the_others_serve() {
    let mut script = Script::serving(2);
    script.exits(101, KILLED);
    script.did(&["20 fork 1"]);
    script.forget();
    for (pid, text) in [
        (102, "no module"),
        (103, "no module"),
        (104, "syntax error"),
    ] {
        script.fails(pid, 3, text);
        script.at((script.now - script.start).as_secs_f64() + 4.0);
    }
    script.did(&["20.5 fork 1", "25 fork 1", "30 fork 1"]);
    script.said(&[
        "Error: no module",
        "Info: worker 1 (pid 102) exited with code 3 after 0.00 s, after its failed start; it is replaced in 0.50 s",
        "Info: worker 1 (pid 103) exited with code 3 after 3.50 s, after its failed start; it is replaced in 1.00 s",
        "Error: syntax error",
        "Info: worker 1 (pid 104) exited with code 3 after 3.00 s, after its failed start; it is replaced in 2.00 s",
    ]);
}

#[test]
fn a_worker_that_keeps_dying_is_restarted_ever_more_slowly() {
    let mut script = Script::serving(1);
    let mut waits = Vec::new();
    for pid in 100..108 {
        let died = (script.now - script.start).as_secs_f64();
        script.exits(pid, CRASH);
        script.at(died + 40.0);
        let forked: Vec<f64> = script
            .deeds
            .drain(..)
            .map(|deed| deed.split(' ').next().unwrap().parse().unwrap())
            .collect();
        waits.push(forked.iter().map(|at| at - died).collect::<Vec<_>>());
        // The next one is ready for no more than 2 s.
        script.event(Event::Ready { pid: pid + 1 });
        script.at(died + 42.0);
    }
    assert_eq!(
        waits,
        [[0.0], [0.5], [1.0], [2.0], [4.0], [8.0], [16.0], [30.0]]
    );
}

#[test]
fn ten_healthy_seconds_clear_the_record() {
    for (served, wait) in [(9.9, 2.0), (10.0, 0.0)] {
        let mut script = Script::serving(1);
        for pid in 100..103 {
            script.exits(pid, CRASH);
            script.at((script.now - script.start).as_secs_f64() + 5.0);
        }
        script.event(Event::Ready { pid: 103 });
        script.at((script.now - script.start).as_secs_f64() + served);
        script.forget();
        let died = script.now;
        script.exits(103, CRASH);
        script.at((script.now - script.start).as_secs_f64() + 5.0);
        script.did(&[&format!(
            "{} fork 0",
            (died - script.start).as_secs_f64() + wait
        )]);
    }
}

#[test]
fn a_worker_that_has_served_is_replaced_at_once_in_its_slot() {
    let mut script = Script::serving(3);
    script.exits(101, KILLED);
    script.did(&["20 fork 1"]);
    script.said(&[
        "Error: worker 1 (pid 101) was killed by SIGKILL after 20.0 s: not by this supervisor; \
         the kernel's OOM killer or an operator did it; it is replaced at once",
    ]);
}

#[test]
fn exit_codes_three_and_four_of_a_worker_that_served_do_not_stop_the_server() {
    let mut script = Script::serving(1);
    script.exits(100, Ending::Code(3));
    script.did(&["20 fork 0"]);
}

#[test]
fn strangers_that_die_are_nobodys_business() {
    for code in [0, 3, 4] {
        let mut script = Script::booting(1);
        script.forget();
        script.exits(4711, Ending::Code(code));
        script.did(&[]);
        script.said(&[]);
    }
}

#[test]
fn a_graceful_stop_waits_for_the_workers() {
    let mut script = Script::serving(2);
    script.asks(Request::Terminate);
    script.did(&["20 close", "20 drain 100", "20 drain 101"]);
    script.at(25.0);
    script.exits(101, CLEAN);
    script.did(&[]);
    script.at(49.9);
    script.exits(100, CLEAN);
    script.did(&["49.9 exit 0"]);
    script.said(&[
        "Info: stopping: workers finish what they have begun, for at most 30.0 s",
        "Info: worker 1 (pid 101) left after 25.0 s",
        "Info: worker 0 (pid 100) left after 49.9 s",
        "Info: stopped",
    ]);
}

#[test]
fn a_graceful_stop_kills_and_names_who_has_not_finished() {
    let mut script = Script::serving(3);
    script.asks(Request::Terminate);
    script.exits(101, CLEAN);
    script.forget();
    script.at(50.0);
    script.did(&["50 kill 100", "50 kill 102"]);
    script.exits(100, KILLED);
    script.exits(102, KILLED);
    script.did(&["50 exit 0"]);
    script.said(&[
        "Warning: killing the workers that are left, they had 30.0 s to finish: worker 0 (pid 100), worker 2 (pid 102)",
        "Info: worker 0 (pid 100) was killed by this supervisor after 50.0 s: it had not finished in time",
        "Info: worker 2 (pid 102) was killed by this supervisor after 50.0 s: it had not finished in time",
        "Info: stopped",
    ]);
}

#[test]
fn a_quick_stop_kills_after_three_seconds_and_leaves_after_five_more() {
    for request in [Request::Interrupt, Request::Quit] {
        let mut script = Script::serving(1);
        script.asks(request);
        script.at(60.0);
        script.did(&["20 close", "20 stop 100", "23 kill 100", "28 exit 0"]);
        assert_eq!(script.supervisor.next_deadline(), None);
    }
}

#[test]
fn a_second_signal_makes_a_graceful_stop_quick_and_a_third_one_kills() {
    for second in [Request::Terminate, Request::Interrupt, Request::Quit] {
        let mut script = Script::serving(1);
        script.asks(Request::Terminate);
        script.at(25.0);
        script.asks(second);
        script.did(&["20 close", "20 drain 100", "25 stop 100"]);
        script.at(26.0);
        script.asks(Request::Terminate);
        script.did(&["26 kill 100"]);
        script.asks(Request::Terminate);
        script.exits(100, KILLED);
        script.did(&["26 exit 0"]);
    }
}

#[test]
fn a_quick_stop_after_a_graceful_one_has_its_own_deadline() {
    let mut script = Script::serving(1);
    script.asks(Request::Terminate);
    script.at(49.0);
    script.asks(Request::Terminate);
    script.at(55.0);
    script.did(&["20 close", "20 drain 100", "49 stop 100", "52 kill 100"]);
}

#[test]
fn three_interrupts_kill_and_two_do_not() {
    let mut script = Script::serving(1);
    script.asks(Request::Interrupt);
    script.at(21.0);
    script.asks(Request::Interrupt);
    script.did(&["20 close", "20 stop 100"]);
    script.at(22.0);
    script.asks(Request::Interrupt);
    script.did(&["22 kill 100"]);
}

#[test]
fn the_echo_of_a_signal_is_no_second_wish() {
    let mut script = Script::serving(1);
    script.asks(Request::Terminate);
    script.at(20.05);
    script.asks(Request::Terminate);
    script.did(&["20 close", "20 drain 100"]);
    script.at(20.2);
    script.asks(Request::Terminate);
    script.did(&["20.2 stop 100"]);
}

#[test]
fn a_stop_during_the_first_boot_exits_with_zero() {
    for (request, order) in [(Request::Terminate, "drain"), (Request::Interrupt, "stop")] {
        let mut script = Script::booting(2);
        script.event(Event::Ready { pid: 100 });
        script.forget();
        script.asks(request);
        script.did(&[
            "0 close",
            &format!("0 {order} 100"),
            &format!("0 {order} 101"),
        ]);
        script.fails(101, 3, "interrupted import");
        script.exits(100, CLEAN);
        script.did(&["0 exit 0"]);
    }
}

#[test]
fn a_stop_without_any_worker_exits_at_once_and_forks_no_more() {
    let mut script = Script::serving(1);
    script.exits(100, CRASH);
    script.exits(101, CRASH);
    script.asks(Request::Terminate);
    script.did(&["20 fork 0", "20 close", "20 exit 0"]);
    script.at(60.0);
    script.did(&[]);
}

#[test]
fn more_workers_get_new_slots_and_fewer_drain_the_last() {
    let mut script = Script::serving(1);
    script.asks(Request::MoreWorkers);
    script.event(Event::Ready { pid: 101 });
    script.asks(Request::FewerWorkers);
    script.did(&["20 fork 1", "20 drain 101"]);
    script.exits(101, CLEAN);
    script.at(60.0);
    script.did(&[]);
    script.said(&[
        "Info: one worker more: 2 are wanted",
        "Info: worker 1 (pid 101) ready in 0.00 s",
        "Info: all 2 workers are ready",
        "Info: one worker less: 1 wanted",
        "Info: worker 1 (pid 101) left after 0.00 s",
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
    script.did(&["20 drain 101", "21 fork 2"]);
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
    script.did(&["20 drain 102", "20 drain 101", "50 kill 101", "50 kill 102"]);
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

#[test]
fn a_silent_worker_is_aborted_then_killed_and_replaced() {
    let mut script = Script::serving_with(2, Some(Duration::from_secs(5)));
    for second in 21..=27 {
        script.at(f64::from(second));
        script.event(Event::Heartbeat { pid: 100 });
    }
    script.did(&["25 abort 101", "26 kill 101"]);
    script.exits(101, KILLED);
    script.did(&["27 fork 1"]);
    script.said(&[
        "Error: worker 1 (pid 101) has given no sign of life for 5.00 s (setting: timeout): it is ended and replaced",
        "Warning: worker 1 (pid 101) has not left in time: it is killed",
        "Info: worker 1 (pid 101) was killed by this supervisor after 27.0 s: it had not answered in time; it is replaced at once",
    ]);
}

#[test]
fn a_worker_that_says_it_is_held_up_is_ended_at_once() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.event(Event::Stuck { pid: 100 });
    script.event(Event::Stuck { pid: 100 });
    script.at(20.25);
    script.exits(100, ABORTED);
    script.did(&["20 abort 100", "20.25 fork 0"]);
}

#[test]
fn without_a_timeout_and_while_booting_silence_means_nothing() {
    let mut script = Script::serving(1);
    script.event(Event::Stuck { pid: 100 });
    script.at(4000.0);
    script.did(&[]);
    let timeout = Some(Duration::from_secs(5));
    let mut script = Script::new(Rules {
        timeout,
        ..rules(1)
    });
    script.event(Event::Start);
    script.at(4000.0);
    script.did(&["0 fork 0"]);
}

#[test]
fn a_stop_suspends_the_timeout() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.asks(Request::Terminate);
    script.at(60.0);
    script.did(&["20 close", "20 drain 100", "50 kill 100", "55 exit 0"]);
}

#[test]
fn a_supervisor_that_was_itself_stopped_starts_counting_anew() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    // A frozen container: nobody ran for a minute, and the supervisor happens to wake first.
    script.now += Duration::from_secs(60);
    script.event(Event::Tick);
    script.at(84.0);
    script.did(&[]);
    script.at(90.0);
    script.did(&["85 abort 100", "86 kill 100"]);
}

#[test]
fn a_fork_that_fails_is_tried_again_ever_more_slowly() {
    let mut script = Script::serving(1);
    script.forks_fail = true;
    script.exits(100, KILLED);
    script.at(24.0);
    script.forks_fail = false;
    script.at(60.0);
    script.did(&[
        "20 fork 0",
        "20.5 fork 0",
        "21.5 fork 0",
        "23.5 fork 0",
        "27.5 fork 0",
    ]);
}

#[test]
fn a_fork_that_fails_during_the_first_boot_does_not_stop_the_server() {
    let mut script = Script::new(Rules {
        graceful_timeout: Duration::ZERO,
        ..rules(1)
    });
    script.forks_fail = true;
    script.event(Event::Start);
    script.forks_fail = false;
    script.at(10.0);
    script.did(&["0 fork 0", "0.5 fork 0"]);
    script
        .said(&["Error: no process could be made for worker 0: no memory; next attempt in 0.50 s"]);
}

#[test]
fn log_files_are_opened_again_by_everyone() {
    let mut script = Script::serving(2);
    script.asks(Request::ReopenLogs);
    script.did(&["20 reopen", "20 reopenlogs 100", "20 reopenlogs 101"]);
}

#[test]
fn signals_without_a_meaning_yet_change_nothing() {
    let mut script = Script::serving(1);
    for request in [Request::Upgrade, Request::WindowChange] {
        script.asks(request);
    }
    script.did(&[]);
    script.said(&[]);
}

#[test]
fn a_graceful_timeout_of_zero_kills_at_once() {
    let mut script = Script::serving(1);
    script.supervisor.rules.graceful_timeout = Duration::ZERO;
    script.asks(Request::Terminate);
    script.did(&["20 close", "20 drain 100", "20 kill 100"]);
}

#[test]
fn a_worker_that_is_dying_when_the_stop_comes_is_waited_for() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.event(Event::Stuck { pid: 100 });
    script.asks(Request::Terminate);
    script.at(21.0);
    script.exits(100, KILLED);
    script.did(&["20 abort 100", "20 close", "21 kill 100", "21 exit 0"]);
}
