//! The server under test: the supervisor with workers of a scripted behaviour, which serve no requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockgate_config::{AppSpec, Bind, Config, Endpoint};
use lockgate_observe::{Level, WorkerSlot};
use lockgate_supervisor::{
    Evaluation, EvaluationFailure, Fork, Hooks, LoadFailure, SettingsFailure, WorkerContext,
    WorkerControl, run,
};
use rustix::event::{EventfdFlags, eventfd};

use crate::server::{BIND, PIDFILE, WORKERS};

/// Writes a line with one system call: `eprintln!` takes several, so lines of several processes could mix.
macro_rules! say {
    ($($argument:tt)*) => {{
        let line = format!("{}\n", format_args!($($argument)*));
        // It fails only when the test no longer reads.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }};
}

/// Runs the supervisor; returns its exit code.
pub fn serve(behaviour: &str) -> i32 {
    let app = AppSpec::Module {
        module: "app".to_owned(),
        attribute: None,
    };
    let mut config = Config::with_defaults(app);
    config.workers = std::env::var(WORKERS).unwrap().parse().unwrap();
    config.bind = vec![Bind::parse(&std::env::var(BIND).unwrap()).unwrap()];
    config.pidfile = std::env::var_os(PIDFILE).map(Into::into);
    config.preload = behaviour.starts_with("fork server");
    config.timeout = matches!(behaviour, "stuck" | "silent").then(|| Duration::from_secs(1));
    config.graceful_timeout = if behaviour == "unresponsive" {
        Duration::from_millis(300)
    } else {
        Duration::from_secs(30)
    };
    if behaviour == "orphans" {
        // As PID 1 is.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    }
    run(
        &config,
        &mut TestHooks {
            behaviour: behaviour.to_owned(),
            config: config.clone(),
        },
        None,
    )
}

/// Starts a process in another process group that outlives its parent and then exits with a code that has a meaning for
/// workers.
fn leave_an_orphan() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "(sleep 0.2; exit 4) & echo orphan $! >&2; exit 3"]);
    let status = std::os::unix::process::CommandExt::process_group(&mut shell, 0).status();
    assert_eq!(status.unwrap().code(), Some(3));
}

/// Like an application that uses these signals differently.
fn ignore_signals() {
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1] {
        // SAFETY: the disposition of a signal of this process, which no other thread changes.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
}

struct TestHooks {
    behaviour: String,
    config: Config,
}

impl Hooks for TestHooks {
    fn fork(&mut self) -> io::Result<Fork> {
        // SAFETY: this process has one thread (the harness is our own main), so the child may continue as usual.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(Fork::Child),
            pid => Ok(Fork::Parent(pid.unsigned_abs())),
        }
    }

    fn preload(
        &mut self,
        _config: &Arc<Config>,
        _generation: u64,
        _listeners: &[(Endpoint, OwnedFd)],
        _note_new_identity: &dyn Fn() -> bool,
    ) -> Result<(), LoadFailure> {
        say!("fork server (pid {}) loads", std::process::id());
        match self.behaviour.as_str() {
            "fork server without application" => Err(LoadFailure {
                code: 4,
                text: "Traceback: app is not callable".to_owned(),
            }),
            "fork server dies" => std::process::abort(),
            _ => Ok(()),
        }
    }

    fn run_worker(&mut self, context: &mut WorkerContext) -> i32 {
        match self.behaviour.as_str() {
            // The first worker has the first slot and keeps it.
            "fails the second time" if context.slot > 0 => {
                context.boot_failed(4, "Traceback: app is not callable");
                return 4;
            }
            "boot failure" => {
                context.boot_failed(4, "Traceback: app is not callable");
                return 4;
            }
            "crash" => std::process::abort(),
            "no handlers" => ignore_signals(),
            // The application's import is slow, and orders do not wait for it.
            "slow import" | "slow import without handlers" => {
                if self.behaviour == "slow import without handlers" {
                    ignore_signals();
                }
                say!("{} imports", std::process::id());
                std::thread::sleep(Duration::from_secs(60));
            }
            "orphans" => leave_an_orphan(),
            // As daemons do; the supervisor must still see the worker's death.
            "own session" => drop(rustix::process::setsid()),
            _ => {}
        }
        let worker_slot = context.worker_slot.take().unwrap();
        if !context.ready() {
            return 0;
        }
        worker_slot.enter();
        say!("worker (pid {}) accepts", std::process::id());
        if self.behaviour == "silent" {
            std::thread::sleep(Duration::from_secs(60));
        }
        let worker: Arc<dyn WorkerControl> = Arc::new(TestWorker {
            behaviour: self.behaviour.clone(),
            worker_slot,
            is_finished: AtomicBool::new(false),
            finished: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
        });
        context.run(&worker)
    }

    fn evaluate_settings(&mut self) -> Option<Result<Evaluation, EvaluationFailure>> {
        let script = self.behaviour.strip_prefix("evaluation: ")?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let timeout = Duration::from_secs(3);
        Some(Evaluation::start(command, timeout, Instant::now()))
    }

    fn read_settings(
        &mut self,
        evaluated: Option<Result<String, EvaluationFailure>>,
    ) -> Result<Config, SettingsFailure> {
        match evaluated {
            None => {}
            Some(Ok(text)) => say!("settings: {}", text.trim()),
            Some(Err(failure)) => return Err(failure.to_string().into()),
        }
        Ok(self.config.clone())
    }

    fn exit_process(&mut self, code: i32) -> ! {
        // SAFETY: exits without running any other code of this process.
        unsafe { libc::_exit(code) }
    }

    fn log(&self, level: Level, message: &str) {
        say!("{level:?}: {message}");
    }

    fn reopen_logs(&mut self) {
        say!("supervisor reopens");
    }
}

struct TestWorker {
    behaviour: String,
    worker_slot: WorkerSlot,
    is_finished: AtomicBool,
    finished: OwnedFd,
}

impl TestWorker {
    fn finish(&self) {
        self.is_finished.store(true, Ordering::SeqCst);
        rustix::io::write(&self.finished, &1_u64.to_ne_bytes()).unwrap();
    }
}

impl WorkerControl for TestWorker {
    fn retire(&self) {
        say!("{} retires", std::process::id());
        self.finish();
    }

    fn drain(&self) {
        say!("{} drains", std::process::id());
        if !matches!(self.behaviour.as_str(), "long requests" | "unresponsive") {
            self.finish();
        }
    }

    fn stop(&self) {
        say!("{} stops", std::process::id());
        if self.behaviour != "unresponsive" {
            self.finish();
        }
    }

    fn reopen_logs(&self) {
        let siblings = self.worker_slot.siblings().count();
        say!("{} reopens beside {siblings}", std::process::id());
    }

    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::SeqCst)
    }

    fn is_stuck(&self, _longer_than: Duration) -> bool {
        self.behaviour == "stuck"
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.finished.as_fd())
    }

    fn interrupted(&self) {}
}
