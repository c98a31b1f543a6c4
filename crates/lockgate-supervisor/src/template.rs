//! A template (fork server) as the supervisor sees it: the process that has loaded the application and forks workers,
//! its pending requests, its end.
//!
//! Invariant: every requested worker is either reported as born, or given up when the template has exited.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::mailbox::{Message, Receiver, Sender, mailbox};
use crate::orders::{Ear, Mouth, orders};
use crate::requests::Asker;

/// How long a template that has loaded the application may take to fork a worker where `boot_timeout` sets no limit. A
/// fork takes milliseconds, but fork hooks of the application or of a library may hang.
const FORK_PATIENCE: Duration = Duration::from_secs(10);

/// How long a killed template may take to exit before the workers are ordered to drain; usually some milliseconds.
const DEATH: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Template {
    pid: u32,
    born: Instant,
    /// How long it may take to load, and then to fork a worker (setting: boot_timeout); `None`: no limit is set.
    boot_timeout: Option<Duration>,
    /// While a request is unanswered: the time of its last message, or of the request if that is later.
    owes_since: Instant,
    is_loaded: bool,
    mailbox: Receiver,
    asker: Asker,
    expected: Vec<Expected>,
}

/// A requested worker.
pub(crate) struct Expected {
    pub(crate) slot: usize,
    pub(crate) mailbox: Receiver,
    pub(crate) orders: Mouth,
    /// The worker's ends of the pipes, until they are sent to the template.
    ends: Option<(Sender, Ear)>,
}

/// A message from a template.
pub(crate) enum News {
    /// The application is loaded.
    Loaded,
    /// The application cannot be loaded: no worker will be forked.
    Failed { code: i32, text: String },
    /// A worker was forked.
    Born { pid: u32, worker: Expected },
    /// A fork has failed.
    NotBorn { slot: usize, reason: String },
}

impl Template {
    /// A process that was just forked.
    pub(crate) fn new(
        pid: u32,
        mailbox: Receiver,
        asker: Asker,
        boot_timeout: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            pid,
            born: now,
            boot_timeout,
            owes_since: now,
            is_loaded: false,
            mailbox,
            asker,
            expected: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// The descriptor to poll, besides the time of [`answer_by`](Self::answer_by).
    pub(crate) fn mailbox(&self) -> &Receiver {
        &self.mailbox
    }

    /// The deadline for loading the application or for a requested fork, if one applies.
    pub(crate) fn answer_by(&self) -> Option<Instant> {
        let owes = !self.is_loaded || !self.expected.is_empty();
        let patience = self.patience().filter(|_| owes)?;
        Some(self.owes_since + patience)
    }

    /// How long the current step may take.
    fn patience(&self) -> Option<Duration> {
        match self.is_loaded {
            true => Some(self.boot_timeout.unwrap_or(FORK_PATIENCE)),
            false => self.boot_timeout,
        }
    }

    /// What it has not done in time, for the log.
    pub(crate) fn lateness(&self) -> String {
        let what = match self.is_loaded {
            false => "loaded the application",
            true => "made a worker",
        };
        let seconds = self.patience().unwrap_or_default().as_secs_f64();
        let setting = match self.boot_timeout {
            Some(_) => "setting: boot_timeout",
            None => "does a hook of os.register_at_fork hang?",
        };
        let pid = self.pid;
        format!("the template (pid {pid}) has not {what} within {seconds:.2} s ({setting})")
    }

    /// Requests a worker for this slot, forked now or when the application is loaded.
    ///
    /// # Errors
    /// When no pipes can be created, or the template has died.
    pub(crate) fn want(&mut self, slot: usize, now: Instant) -> io::Result<()> {
        let ((mailbox, sender), (ear, orders)) = (mailbox()?, orders()?);
        let mut worker = Expected {
            slot,
            mailbox,
            orders,
            ends: Some((sender, ear)),
        };
        if self.is_loaded {
            worker.ask(&self.asker)?;
            if self.expected.is_empty() {
                self.owes_since = now;
            }
        }
        self.expected.push(worker);
        Ok(())
    }

    /// The messages since the last call.
    pub(crate) fn hear(&mut self, now: Instant) -> Vec<News> {
        let messages = self.mailbox.read();
        if !messages.is_empty() {
            self.owes_since = now;
        }
        messages
            .into_iter()
            .flat_map(|message| self.understand(message))
            .collect()
    }

    fn understand(&mut self, message: Message) -> Vec<News> {
        match message {
            Message::Ready => {
                self.is_loaded = true;
                let mut news = vec![News::Loaded];
                let refused = |worker: &mut Expected| match worker.ask(&self.asker) {
                    Ok(()) => None,
                    Err(error) => Some(News::NotBorn {
                        slot: worker.slot,
                        reason: error.to_string(),
                    }),
                };
                news.extend(self.expected.iter_mut().filter_map(refused));
                self.expected.retain(|worker| worker.ends.is_none());
                news
            }
            Message::BootFailed { code, text } => vec![News::Failed { code, text }],
            Message::Born { slot, pid } => self
                .take(slot)
                .map(|worker| News::Born { pid, worker })
                .into_iter()
                .collect(),
            // A failure may be reported twice, by the process whose fork failed and by the template; it counts once.
            Message::NotBorn { slot, text: reason } => self
                .take(slot)
                .map(|_| News::NotBorn { slot, reason })
                .into_iter()
                .collect(),
            Message::Serving
            | Message::Heartbeat
            | Message::Stuck
            | Message::StuckThread
            | Message::Exiting
            | Message::Requested { .. } => Vec::new(),
        }
    }

    fn take(&mut self, slot: usize) -> Option<Expected> {
        let place = self
            .expected
            .iter()
            .position(|worker| worker.slot == slot && worker.ends.is_none())?;
        Some(self.expected.swap_remove(place))
    }

    /// Returns the slots of pending requests, which will not be answered any more.
    pub(crate) fn give_up(&mut self) -> Vec<usize> {
        self.expected.drain(..).map(|worker| worker.slot).collect()
    }

    /// Kills the process. It holds no state, and SIGKILL cannot be caught.
    pub(crate) fn end(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It has not been reaped, so the pid is still its own.
            let _dead_already = kill_process(pid, Signal::KILL);
        }
    }
}

/// Waits until a killed process has closed its descriptors. Its listening sockets must not stay open after the draining
/// workers have closed theirs: the kernel would reset connections that arrive meanwhile.
pub(crate) fn wait_until_dead(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let give_up_at = Instant::now() + DEATH;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // It is reaped later with all other children.
    while let Ok(None) = waitid(WaitId::Pid(pid), options) {
        if Instant::now() >= give_up_at {
            return;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

impl Expected {
    /// Sends the worker's pipe ends to the template.
    fn ask(&mut self, asker: &Asker) -> io::Result<()> {
        let Some((sender, ear)) = &self.ends else {
            return Ok(());
        };
        asker.ask(self.slot, sender, ear)?;
        self.ends = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::requests;

    #[test]
    fn workers_are_asked_for_once_the_application_is_loaded_and_told_of_once() {
        let (receiver, says) = mailbox().unwrap();
        let (asker, asked) = requests().unwrap();
        let now = Instant::now();
        let mut template = Template::new(77, receiver, asker, Some(Duration::from_secs(5)), now);
        template.want(4, now).unwrap();
        assert!(asked.next().unwrap().is_none());
        assert_eq!(template.answer_by(), Some(now + Duration::from_secs(5)));
        says.send(&Message::Born { slot: 4, pid: 1 });
        assert!(template.hear(now).is_empty(), "nobody was asked yet");
        says.send(&Message::Ready);
        assert!(matches!(template.hear(now).as_slice(), [News::Loaded]));
        assert!(template.is_loaded());
        let later = now + Duration::from_secs(60);
        template.want(9, later).unwrap();
        // Its last answer restarts the timeout, so the request that was made first is not late yet.
        assert_eq!(template.answer_by(), Some(now + Duration::from_secs(5)));
        let slots = [(); 2].map(|()| asked.next().unwrap().unwrap().slot);
        assert_eq!(slots, [4, 9]);
        for _ in 0..2 {
            says.send(&Message::NotBorn {
                slot: 9,
                text: "full".to_owned(),
            });
        }
        says.send(&Message::Born { slot: 4, pid: 123 });
        let news = template.hear(now);
        assert!(matches!(
            news.as_slice(),
            [
                News::NotBorn { slot: 9, .. },
                News::Born {
                    pid: 123,
                    worker: Expected { slot: 4, .. }
                }
            ]
        ));
        assert!(template.give_up().is_empty());
    }

    #[test]
    fn without_a_boot_timeout_loading_has_no_limit_and_a_fork_has_one() {
        let (receiver, says) = mailbox().unwrap();
        let (asker, _asked) = requests().unwrap();
        let now = Instant::now();
        let mut template = Template::new(77, receiver, asker, None, now);
        template.want(4, now).unwrap();
        assert_eq!(template.answer_by(), None);
        says.send(&Message::Ready);
        let loaded = now + Duration::from_secs(3600);
        template.hear(loaded);
        assert_eq!(template.answer_by(), Some(loaded + FORK_PATIENCE));
        let said = template.lateness();
        assert!(said.contains("not made a worker within 10.00 s"), "{said}");
        says.send(&Message::Born { slot: 4, pid: 123 });
        template.hear(loaded);
        assert_eq!(template.answer_by(), None, "it owes nothing");
    }

    #[test]
    fn whoever_was_asked_for_is_given_up_with_the_template() {
        let (receiver, says) = mailbox().unwrap();
        let (asker, asked) = requests().unwrap();
        let now = Instant::now();
        let mut template = Template::new(77, receiver, asker, None, now);
        template.want(1, now).unwrap();
        template.want(2, now).unwrap();
        drop(asked);
        says.send(&Message::Ready);
        let news = template.hear(now);
        assert_eq!(news.len(), 3, "loaded, and two that could not be asked for");
        assert!(template.give_up().is_empty());
        assert!(template.want(3, now).is_err());
        assert!(template.give_up().is_empty());
    }
}
