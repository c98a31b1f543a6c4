//! A server in its own process group, with its log and its cleanup. Dropping the value kills all of its processes.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

pub const BEHAVIOUR: &str = "LOCKGATE_TEST_BEHAVIOUR";
pub const WORKERS: &str = "LOCKGATE_TEST_WORKERS";
pub const BIND: &str = "LOCKGATE_TEST_BIND";
pub const PIDFILE: &str = "LOCKGATE_TEST_PIDFILE";

/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    child: Child,
    lines: Receiver<String>,
    pub log: Vec<String>,
}

pub struct Start {
    command: Command,
}

/// A server to be started, with `workers` of this behaviour.
pub fn start(behaviour: &str, workers: usize) -> Start {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(BEHAVIOUR, behaviour)
        .env(WORKERS, workers.to_string())
        .env(BIND, "127.0.0.1:0");
    Start { command }
}

impl Start {
    pub fn bind(mut self, address: &str) -> Self {
        self.command.env(BIND, address);
        self
    }

    pub fn pidfile(mut self, path: &std::path::Path) -> Self {
        self.command.env(PIDFILE, path);
        self
    }

    pub fn stdin(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.command.stdin(Stdio::from(socket.into()));
        self
    }

    pub fn run(mut self) -> Server {
        let mut child = self
            .command
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Server {
            child,
            lines,
            log: Vec::new(),
        }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that contains this; earlier lines are skipped.
    #[track_caller]
    pub fn line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(reason) => panic!("{reason}: no line with {part:?} in {:#?}", self.log),
            }
        }
    }

    /// Checks for a line that contains this, which may have been read already.
    #[track_caller]
    pub fn has_said(&mut self, part: &str) {
        if !self.log.iter().any(|line| line.contains(part)) {
            self.line(part);
        }
    }

    /// Waits until the next worker is ready and serves; returns its pid.
    #[track_caller]
    pub fn ready(&mut self) -> u32 {
        pid_in(&self.line(") accepts"))
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits for the supervisor to exit and for every process that holds its log to close it; returns the exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(
                Instant::now() < deadline,
                "the server does not exit: {:#?}",
                self.log
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        self.rest();
        code
    }

    /// Waits until no process has the log open any more.
    #[track_caller]
    pub fn rest(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("a process still has the log open: {:#?}", self.log)
                }
            }
        }
    }

    /// How many lines of the log so far contain this.
    pub fn count(&self, part: &str) -> usize {
        self.log.iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // No such group: all processes have exited already.
        let _gone = kill_process_group(group, Signal::KILL);
        let _reaped = self.child.wait();
    }
}

pub fn send(pid: u32, signal: Signal) {
    kill_process(number(pid), signal).unwrap();
}

pub fn is_alive(pid: u32) -> bool {
    test_kill_process(number(pid)).is_ok()
}

/// The number after `(pid ` in a line.
#[track_caller]
pub fn pid_in(line: &str) -> u32 {
    let (_, rest) = line.split_once("(pid ").unwrap();
    rest.split_once(')').unwrap().0.parse().unwrap()
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}
