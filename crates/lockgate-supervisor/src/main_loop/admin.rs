//! Performs actions on the admin process: binding, forking, reaping and running it.

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_observe::Level;
use rustix::process::{geteuid, getppid};
use rustix::time::{ClockId, clock_gettime};

use super::{CANNOT_START, MainLoop};
use crate::admin_process::{AdminProcess, SILENCE};
use crate::birth::{CHILD_WITHOUT_SIGNALS, die_with_parent};
use crate::estate::Estate;
use crate::exit_watch::SharedDeadline;
use crate::mailbox::{Sender, mailbox};
use crate::operators::OperatorRequests;
use crate::order_thread::OrderThread;
use crate::orders::{Ear, orders};
use crate::signals::WorkerSignals;
use crate::sockets::Listener;
use crate::supervisor::Event;
use crate::worker_side::WorkerPost;
use crate::{Ending, Fork, Hooks};

/// Listens on the admin address, if one is configured. The error is the server's exit code.
pub(super) fn bind(
    config: &Config,
    estate: Option<&mut Estate>,
    hooks: &dyn Hooks,
) -> Result<Option<AdminProcess>, i32> {
    let has_workers = estate.is_some();
    let (present, predecessor) = match estate {
        Some(estate) => (std::mem::take(&mut estate.admin_listeners), estate.admin),
        None => (Vec::new(), None),
    };
    let admin = match AdminProcess::bind(config, present, predecessor, Instant::now(), hooks) {
        Ok(admin) => admin,
        // A serving site must not stop because its admin listener fails.
        Err(problem) if has_workers => {
            hooks.log(
                Level::Error,
                &format!("operators are not answered: {problem}"),
            );
            None
        }
        Err(problem) => {
            hooks.log(Level::Critical, &problem);
            return Err(CANNOT_START);
        }
    };
    for url in admin.iter().flat_map(AdminProcess::urls) {
        hooks.log(Level::Info, &format!("operators are answered at {url}"));
    }
    Ok(admin)
}

impl MainLoop {
    /// In the new process: its mailbox and its orders.
    pub(super) fn fork_admin(&mut self, hooks: &mut dyn Hooks) -> Option<(Sender, Ear)> {
        let now = Instant::now();
        let admin =
            (self.admin.as_mut()).filter(|admin| admin.fork_at().is_some_and(|at| at <= now))?;
        let pipes = mailbox().and_then(|mailbox| Ok((mailbox, orders()?)));
        match pipes.and_then(|pipes| Ok((hooks.fork()?, pipes))) {
            Ok((Fork::Parent(pid), ((receiver, _), (_, mouth)))) => {
                admin.note_forked(pid, receiver, mouth, now);
            }
            Ok((Fork::Child, ((_, sender), (ear, _)))) => return Some((sender, ear)),
            Err(error) => {
                let wait = admin.note_failed(now);
                let message = format!(
                    "no process could be made to answer operators: {error}; next attempt in {wait:?}"
                );
                hooks.log(Level::Error, &message);
            }
        }
        None
    }

    /// Requests that operators have made through the admin process. An admin process that is stopped or hangs is
    /// killed.
    pub(super) fn hear_admin(&mut self, hooks: &dyn Hooks) -> Vec<Event> {
        let Some(admin) = &mut self.admin else {
            return Vec::new();
        };
        let requests = admin.hear(Instant::now());
        if let Some(pid) = admin.end_silent(Instant::now()) {
            let message = format!(
                "the admin process (pid {pid}) has given no sign of life for {} s: it is killed and replaced",
                SILENCE.as_secs()
            );
            hooks.log(Level::Error, &message);
        }
        requests.into_iter().map(Event::Requested).collect()
    }

    /// Whether the dead child was the admin process.
    pub(super) fn bury_admin(&mut self, pid: u32, ending: Ending, hooks: &dyn Hooks) -> bool {
        let admin = self.admin.as_mut();
        let Some(wait) = admin.and_then(|admin| admin.bury(pid, Instant::now())) else {
            return false;
        };
        let message = format!(
            "the process that answers operators (pid {pid}) has ended: {ending}; another one follows in {:.1} s",
            wait.as_secs_f64()
        );
        hooks.log(Level::Warning, &message);
        true
    }
}

/// Runs the admin process; returns its exit code.
pub(super) fn live(main_loop: MainLoop, mailbox: Sender, ear: Ear, hooks: &mut dyn Hooks) -> i32 {
    // Another process of the workers' user must not be able to impersonate it (ptrace(2), proc(5)).
    let _elsewhere = set_undumpable();
    // Only the supervisor ends it: it ignores signals to the process group, as from a terminal.
    let (Ok(signals), Some(scoreboard)) = (WorkerSignals::quiet(), main_loop.scoreboard) else {
        return CHILD_WITHOUT_SIGNALS;
    };
    die_with_parent(true);
    if getppid() != main_loop.pid {
        return 0;
    }
    let MainLoop {
        supervisor,
        pid,
        signals: inherited,
        site,
        next,
        lifeline: (lifeline, writing_end),
        children,
        admin,
        pid_file,
        ..
    } = main_loop;
    let lifeline = Arc::new(lifeline);
    let (generation, config) = (site.generation, site.config.clone());
    let exit = SharedDeadline::new(config.graceful_timeout);
    let links = (ear, Arc::clone(&lifeline));
    let Ok(orders) = OrderThread::start(links, exit.clone(), signals.relay().clone()) else {
        return CHILD_WITHOUT_SIGNALS;
    };
    let mailbox = Arc::new(mailbox);
    drop((supervisor, inherited, writing_end, children, site, next));
    // It may outlive the supervisor by a moment, and must not keep a new one from starting.
    drop(pid_file);
    let (listeners, stacks) = admin.map_or_else(Default::default, AdminProcess::into_parts);
    let post = WorkerPost {
        slot: 0,
        listeners: listeners
            .into_iter()
            .filter_map(Listener::into_socket)
            .collect(),
        worker_slot: None,
        stacks,
        supervisor: pid,
        timeout: Some(SILENCE),
        generation,
        config,
        mailbox: Arc::clone(&mailbox),
        orders,
        lifeline,
        signals,
        exit,
        has_served: false,
    };
    // Before the process switches to the workers' user.
    let requests = OperatorRequests::new(mailbox, geteuid().as_raw());
    hooks.run_admin(post, scoreboard, requests)
}

#[cfg(target_os = "linux")]
fn set_undumpable() -> rustix::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

#[cfg(not(target_os = "linux"))]
fn set_undumpable() -> rustix::io::Result<()> {
    Ok(())
}

/// CLOCK_MONOTONIC, which all processes of a machine share.
pub(super) fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
