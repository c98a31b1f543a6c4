//! Tests of the state machine: scripts of events with virtual time, and the expected actions.

use std::time::Duration;

use super::*;
use crate::ExitStatus;

mod boot;
mod canary;
mod fork_server;
mod gunicorn;
mod liveness;
mod memory;
mod progress;
mod reload;
mod resize;
mod status;
mod stopping;
mod upgrade;

const CRASH: ExitStatus = ExitStatus::Code(7);
const CLEAN: ExitStatus = ExitStatus::Code(0);
const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    dumped_core: false,
};
const ABORTED: ExitStatus = ExitStatus::Signal {
    number: 6,
    dumped_core: false,
};

/// Rules without limits, except for the graceful timeout.
fn rules(workers: usize) -> Rules {
    Rules {
        workers,
        timeout: None,
        graceful_timeout: Duration::from_secs(30),
        drain_delay: Duration::ZERO,
        boot_timeout: None,
        canary_period: None,
        canary_max_error_increase: 500,
        max_requests: 0,
        max_requests_jitter: 0,
        max_worker_age: None,
        max_worker_memory: 0,
        max_worker_memory_hard: 0,
    }
}

/// A supervisor with a clock, and forks that succeed at once: pids are 100, 101, …
struct Script {
    supervisor: Supervisor,
    start: Instant,
    now: Instant,
    next_pid: u32,
    forks_fail: bool,
    /// The test answers forks, like a fork server that has to load the application first.
    forks_wait: bool,
    /// The answer to [`Action::Prepare`]; `None`: the test answers it, like a configuration that is being evaluated.
    prepared: Option<Event>,
    counts: Vec<Responses>,
    records_open_orders: bool,
    performed: Vec<String>,
    logs: Vec<String>,
    /// The log in gunicorn's words.
    gunicorn_logs: Vec<String>,
    reported: Vec<String>,
    recorded: Vec<ProgressEvent>,
    announced: Vec<String>,
}

impl Script {
    fn new(rules: Rules) -> Self {
        let start = Instant::now();
        let supervisor = Supervisor::new(rules);
        let (performed, logs) = (Vec::new(), Vec::new());
        Self {
            supervisor,
            start,
            now: start,
            next_pid: 100,
            forks_fail: false,
            forks_wait: false,
            prepared: Some(Event::Prepared(rules)),
            counts: Vec::new(),
            records_open_orders: false,
            performed,
            logs,
            gunicorn_logs: Vec::new(),
            recorded: Vec::new(),
            announced: Vec::new(),
            reported: Vec::new(),
        }
    }

    /// `workers` processes that are booting, at time 0.
    fn booting(workers: usize) -> Self {
        let mut script = Self::new(rules(workers));
        script.event(Event::Start);
        script
    }

    /// `workers` processes that serve, at time 20, when their slots have a clean record; no actions recorded so far.
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
                    Action::Fork { slot, .. } if !self.forks_wait => answers.push(self.fork(slot)),
                    Action::Prepare => answers.extend(self.prepared.clone()),
                    Action::CountResponses => answers.push(Event::Counted(self.counts.clone())),
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
        self.note_for_gunicorn(action);
        let text = match action {
            Action::Fork {
                slot,
                generation: Generation::Present,
            } => format!("fork {slot}"),
            Action::Fork { slot, .. } => format!("fork {slot} of next"),
            Action::Prepare => "prepare".to_owned(),
            // The tests of these actions record them.
            Action::AnnounceResize { new, old } => {
                return self.announced.push(format!("{old} to {new}"));
            }
            Action::AnnounceReload { workers } => {
                return self.announced.push(format!("reload with {workers}"));
            }
            // So frequent that it would hide everything else.
            Action::CountResponses => return,
            Action::SwitchOver => "move".to_owned(),
            Action::Discard => "discard".to_owned(),
            // Every serving worker gets this order; its time only matters while two generations run.
            Action::Send {
                order: Order::Open, ..
            } if !self.records_open_orders => return,
            Action::Send { pid, order } => format!("{order:?} {pid}").to_lowercase(),
            Action::CloseListeners => "close".to_owned(),
            Action::ReopenLogs => "reopen".to_owned(),
            Action::TryUpgrade => "try upgrade".to_owned(),
            Action::Upgrade(handover) => {
                let workers = handover.workers.iter();
                let leaving = workers.filter(|worker| worker.is_leaving);
                let leaving: Vec<u32> = leaving.map(|worker| worker.pid).collect();
                format!("upgrade with {}, leaving {leaving:?}", handover.wanted)
            }
            Action::Record(ProgressEvent::WorkerExited(_)) => return,
            Action::Record(fact) => return self.recorded.push(fact.clone()),
            Action::Exit { code } => format!("exit {code}"),
            Action::Log {
                level: Level::Debug,
                ..
            } => return,
            Action::ReportStatus(status) => return self.reported.push(status.to_string()),
            Action::LogForGunicorn(_) => return,
            Action::Log { level, message, .. } => {
                return self.logs.push(format!("{level:?}: {message}"));
            }
        };
        let seconds = (self.now - self.start).as_secs_f64();
        self.performed.push(format!("{seconds} {text}"));
    }

    fn note_for_gunicorn(&mut self, action: &Action) {
        let lines = match action {
            Action::LogForGunicorn(event)
            | Action::Log {
                gunicorn: Some(event),
                ..
            } => event.lines(),
            Action::Log { level, message, .. } => vec![(*level, message.clone())],
            _ => return,
        };
        let shown = lines.iter().filter(|(level, _)| *level != Level::Debug);
        (self.gunicorn_logs).extend(shown.map(|(level, text)| format!("{level:?}: {text}")));
    }

    /// Advances time to this many seconds after the start, waking at every deadline on the way.
    fn at(&mut self, seconds: f64) {
        let until = self.start + Duration::from_secs_f64(seconds);
        while let Some(deadline) = self
            .supervisor
            .next_deadline()
            .filter(|deadline| *deadline <= until)
        {
            assert!(
                deadline > self.now,
                "a deadline that stays in the past makes the main loop spin"
            );
            self.now = deadline;
            self.event(Event::Tick);
        }
        self.now = until;
    }

    fn request(&mut self, request: Request) {
        self.event(Event::Requested(request));
    }

    fn exits(&mut self, pid: u32, exit_status: ExitStatus) {
        self.event(Event::Exited {
            pid,
            exit_status,
            memory_ran_out: None,
            in_flight: Vec::new(),
        });
    }

    fn fails(&mut self, pid: u32, code: i32, text: &str) {
        self.event(Event::BootFailed {
            pid,
            code,
            text: text.to_owned(),
        });
        self.exits(pid, ExitStatus::Code(code));
    }

    fn accepting(&mut self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            self.event(Event::Serving { pid });
        }
    }

    fn all_beat(&mut self) {
        for pid in 100..self.next_pid {
            self.event(Event::Heartbeat { pid });
        }
    }

    fn forget(&mut self) {
        self.performed.clear();
        self.logs.clear();
        self.gunicorn_logs.clear();
        self.reported.clear();
    }

    /// The actions since the last call, each with its second.
    #[track_caller]
    fn performed(&mut self, expected: &[&str]) {
        assert_eq!(
            std::mem::take(&mut self.performed),
            expected,
            "log: {:#?}",
            self.logs
        );
    }

    /// The status reports since the last call.
    #[track_caller]
    fn reported(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.reported), expected);
    }

    /// The log lines since the last call, above the debug level.
    #[track_caller]
    fn logged(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.logs), expected);
    }
}

#[test]
fn a_graceful_stop_waits_for_the_workers() {
    let mut script = Script::serving(2);
    script.request(Request::Terminate);
    script.performed(&["20 close", "20 drain 100", "20 drain 101"]);
    script.at(25.0);
    script.exits(101, CLEAN);
    script.performed(&[]);
    script.at(49.9);
    script.exits(100, CLEAN);
    script.performed(&["49.9 exit 0"]);
    script.logged(&[
        "Info: stopping: workers finish their requests, for at most 30.0 s (setting: graceful_timeout)",
        "Info: worker 1 (pid 101) stopped after 25.0 s of service",
        "Info: worker 0 (pid 100) stopped after 49.9 s of service",
        "Info: stopped",
    ]);
}

#[test]
fn a_graceful_stop_kills_and_names_workers_that_have_not_finished() {
    let mut script = Script::serving(3);
    script.request(Request::Terminate);
    script.exits(101, CLEAN);
    script.forget();
    script.at(50.0);
    script.performed(&["50 kill 100", "50 kill 102"]);
    script.exits(100, KILLED);
    script.exits(102, KILLED);
    script.performed(&["50 exit 0"]);
    script.logged(&[
        "Warning: killing the remaining workers (setting: graceful_timeout = 30.0 s): worker 0 (pid 100), worker 2 (pid 102)",
        "Info: worker 0 (pid 100) was killed by the supervisor after 50.0 s: it had not stopped in time",
        "Info: worker 2 (pid 102) was killed by the supervisor after 50.0 s: it had not stopped in time",
        "Info: stopped",
    ]);
}

#[test]
fn a_quick_stop_kills_after_three_seconds_and_exits_after_five_more() {
    for request in [Request::Interrupt, Request::Quit] {
        let mut script = Script::serving(1);
        script.request(request);
        script.at(60.0);
        script.performed(&["20 close", "20 stop 100", "23 kill 100", "28 exit 0"]);
        assert_eq!(script.supervisor.next_deadline(), None);
    }
}

#[test]
fn a_second_request_makes_a_graceful_stop_quick_and_a_third_one_kills() {
    for second in [Request::Terminate, Request::Interrupt, Request::Quit] {
        let mut script = Script::serving(1);
        script.request(Request::Terminate);
        script.at(25.0);
        script.request(second);
        script.performed(&["20 close", "20 drain 100", "25 stop 100"]);
        script.at(26.0);
        script.request(Request::Terminate);
        script.performed(&["26 kill 100"]);
        script.request(Request::Terminate);
        script.exits(100, KILLED);
        script.performed(&["26 exit 0"]);
    }
}

#[test]
fn a_quick_stop_after_a_graceful_one_has_its_own_deadline() {
    let mut script = Script::serving(1);
    script.request(Request::Terminate);
    script.at(49.0);
    script.request(Request::Terminate);
    script.at(55.0);
    script.performed(&["20 close", "20 drain 100", "49 stop 100", "52 kill 100"]);
}

#[test]
fn three_interrupts_kill_and_two_do_not() {
    let mut script = Script::serving(1);
    script.request(Request::Interrupt);
    script.at(21.0);
    script.request(Request::Interrupt);
    script.performed(&["20 close", "20 stop 100"]);
    script.at(22.0);
    script.request(Request::Interrupt);
    script.performed(&["22 kill 100"]);
}

#[test]
fn a_repeated_signal_within_100_ms_counts_once() {
    let mut script = Script::serving(1);
    script.request(Request::Terminate);
    script.at(20.05);
    script.request(Request::Terminate);
    script.performed(&["20 close", "20 drain 100"]);
    script.at(20.2);
    script.request(Request::Terminate);
    script.performed(&["20.2 stop 100"]);
}

#[test]
fn a_stop_during_the_first_boot_exits_with_zero() {
    for (request, order) in [(Request::Terminate, "drain"), (Request::Interrupt, "stop")] {
        let mut script = Script::booting(2);
        script.event(Event::Ready { pid: 100 });
        script.forget();
        script.request(request);
        script.performed(&[
            "0 close",
            &format!("0 {order} 100"),
            &format!("0 {order} 101"),
        ]);
        script.fails(101, 3, "interrupted import");
        script.exits(100, CLEAN);
        script.performed(&["0 exit 0"]);
    }
}

#[test]
fn a_stop_without_any_worker_exits_at_once_and_forks_no_more() {
    let mut script = Script::serving(1);
    script.exits(100, CRASH);
    script.exits(101, CRASH);
    script.request(Request::Terminate);
    script.performed(&["20 fork 0", "20 close", "20 exit 0"]);
    script.at(60.0);
    script.performed(&[]);
}

#[test]
fn a_failed_fork_is_retried_with_back_off() {
    let mut script = Script::serving(1);
    script.forks_fail = true;
    script.exits(100, KILLED);
    script.at(24.0);
    script.forks_fail = false;
    script.at(60.0);
    script.performed(&[
        "20 fork 0",
        "20.5 fork 0",
        "21.5 fork 0",
        "23.5 fork 0",
        "27.5 fork 0",
    ]);
}

#[test]
fn a_failed_fork_during_the_first_boot_does_not_stop_the_server() {
    let mut script = Script::new(Rules {
        graceful_timeout: Duration::ZERO,
        ..rules(1)
    });
    script.forks_fail = true;
    script.event(Event::Start);
    script.forks_fail = false;
    script.at(10.0);
    script.performed(&["0 fork 0", "0.5 fork 0"]);
    script.logged(&["Error: cannot fork worker 0: no memory; next attempt in 0.50 s"]);
}

#[test]
fn all_processes_reopen_their_log_files() {
    let mut script = Script::serving(2);
    script.request(Request::ReopenLogs);
    script.performed(&["20 reopen", "20 reopenlogs 100", "20 reopenlogs 101"]);
}

#[test]
fn a_new_terminal_size_is_ignored() {
    let mut script = Script::serving(1);
    script.request(Request::WindowChange);
    script.performed(&[]);
    script.logged(&[]);
}

#[test]
fn a_graceful_timeout_of_zero_kills_at_once() {
    let mut script = Script::serving(1);
    script.supervisor.rules.graceful_timeout = Duration::ZERO;
    script.request(Request::Terminate);
    script.performed(&["20 close", "20 drain 100", "20 kill 100"]);
}

#[test]
fn a_stop_waits_for_a_worker_that_was_aborted_before() {
    let mut script = Script::serving_with(1, Some(Duration::from_secs(5)));
    script.event(Event::Stuck { pid: 100 });
    script.request(Request::Terminate);
    script.at(21.0);
    script.exits(100, KILLED);
    script.performed(&["20 abort 100", "20 close", "21 kill 100", "21 exit 0"]);
}
