//! Forks workers: directly from the supervisor, or through a template where `preload` is set.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use lockgate_observe::Level;
use rustix::process::getpid;

use super::{Child, Done, MainLoop, Outcome};
use crate::birth::Birth;
use crate::mailbox::mailbox;
use crate::orders::orders;
use crate::requests::requests;
use crate::site::Site;
use crate::supervisor::{Event, Generation};
use crate::template::{News, Template};
use crate::template_side::TemplateBirth;
use crate::{Ending, Fork, Hooks};

/// The exit code of a template that dies while loading the application without reporting a reason.
const UNEXPLAINED: i32 = 3;

impl MainLoop {
    pub(super) fn fork(
        &mut self,
        slot: usize,
        generation: Generation,
        hooks: &mut dyn Hooks,
    ) -> Done {
        let site = match (generation, &mut self.next) {
            (Generation::Next, Some(next)) => next,
            _ => &mut self.site,
        };
        let made = match site.config.preload {
            true => ask_template(site, slot, generation, hooks),
            false => self.fork_worker(slot, generation, hooks),
        };
        made.unwrap_or_else(|error| {
            Done::Answers(vec![Event::ForkFailed {
                slot,
                reason: error.to_string(),
            }])
        })
    }

    fn fork_worker(
        &mut self,
        slot: usize,
        generation: Generation,
        hooks: &mut dyn Hooks,
    ) -> io::Result<Done> {
        let ((mailbox, sender), (ear, orders)) = (mailbox()?, orders()?);
        Ok(match hooks.fork()? {
            Fork::Parent(pid) => {
                let child = Child {
                    slot,
                    mailbox,
                    orders,
                    template: None,
                };
                self.children.insert(pid, child);
                Done::Answers(vec![Event::Forked { slot, pid }])
            }
            Fork::Child => Done::Leave(Outcome::Child(Birth {
                slot,
                generation,
                sender,
                ear,
            })),
        })
    }

    /// Handles messages from templates.
    pub(super) fn hear_templates(&mut self, events: &mut VecDeque<Event>, hooks: &dyn Hooks) {
        let Self {
            site,
            next,
            children,
            ..
        } = self;
        for site in [Some(site), next.as_mut()].into_iter().flatten() {
            let Some(template) = &mut site.template else {
                continue;
            };
            let mut failure = None;
            for news in template.hear(Instant::now()) {
                match news {
                    News::Loaded => {
                        let message = format!(
                            "the template (pid {}) has loaded the application in {:.2} s; workers are made of it",
                            template.pid(),
                            template.born().elapsed().as_secs_f64()
                        );
                        hooks.log(Level::Info, &message);
                    }
                    News::Born { pid, worker } => {
                        let slot = worker.slot;
                        let child = Child {
                            slot,
                            mailbox: worker.mailbox,
                            orders: worker.orders,
                            template: Some(template.pid()),
                        };
                        children.insert(pid, child);
                        events.push_back(Event::Forked { slot, pid });
                    }
                    News::NotBorn { slot, reason } => {
                        events.push_back(Event::ForkFailed { slot, reason });
                    }
                    News::Failed { code, text } => failure = Some((code, text)),
                }
            }
            if let Some((code, text)) = failure {
                events.extend(not_loaded(template, code, &text));
                // It exits by itself and is no longer this site's template.
                site.template = None;
            }
        }
    }

    /// Kills templates that have not loaded the application in time or cannot fork a worker: fork hooks of the
    /// application or of a library may hang.
    pub(super) fn end_late_templates(&mut self, events: &mut VecDeque<Event>) {
        let now = Instant::now();
        for site in [Some(&mut self.site), self.next.as_mut()]
            .into_iter()
            .flatten()
        {
            let late = site
                .template
                .take_if(|template| template.answer_by().is_some_and(|by| by <= now));
            if let Some(mut template) = late {
                template.end();
                let text = template.lateness();
                events.extend(not_loaded(&mut template, UNEXPLAINED, &text));
            }
        }
    }

    /// Whether the dead child was a template; the worker requests that are lost with it.
    pub(super) fn bury_template(
        &mut self,
        pid: u32,
        ending: Ending,
        events: &mut VecDeque<Event>,
        hooks: &dyn Hooks,
    ) -> bool {
        let dead = [Some(&mut self.site), self.next.as_mut()]
            .into_iter()
            .flatten()
            .find_map(|site| site.template.take_if(|template| template.pid() == pid));
        let Some(mut template) = dead else {
            return false;
        };
        if template.is_loaded() {
            let message = format!(
                "the template (pid {pid}) {ending}: the next worker that is made has the application loaded anew"
            );
            hooks.log(Level::Warning, &message);
            events.extend(given_up(&mut template));
        } else {
            let text =
                format!("the template (pid {pid}) {ending} before it had loaded the application");
            events.extend(not_loaded(&mut template, UNEXPLAINED, &text));
        }
        true
    }
}

impl Site {
    /// No more workers are forked for this site; returns the requests that were still pending.
    pub(super) fn end_template(&mut self) -> Vec<Event> {
        let Some(mut template) = self.template.take() else {
            return Vec::new();
        };
        template.end();
        given_up(&mut template)
    }
}

fn ask_template(
    site: &mut Site,
    slot: usize,
    generation: Generation,
    hooks: &mut dyn Hooks,
) -> io::Result<Done> {
    let template = match &mut site.template {
        Some(template) => template,
        None => {
            adopt_orphans()?;
            let ((receiver, mailbox), (asker, asked)) = (mailbox()?, requests()?);
            let pid = match hooks.fork()? {
                Fork::Parent(pid) => pid,
                Fork::Child => {
                    return Ok(Done::Leave(Outcome::Template(TemplateBirth {
                        generation,
                        mailbox,
                        asked,
                    })));
                }
            };
            let now = Instant::now();
            let template = Template::new(pid, receiver, asker, site.config.boot_timeout, now);
            site.template.insert(template)
        }
    };
    template.want(slot, Instant::now())?;
    Ok(Done::Answers(Vec::new()))
}

/// Makes this process the subreaper: orphans, such as workers forked by a template, become its children.
#[cfg(target_os = "linux")]
fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(getpid()))?)
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "preload needs Linux",
    ))
}

fn not_loaded(template: &mut Template, code: i32, text: &str) -> Vec<Event> {
    let slots = template.give_up().into_iter();
    slots
        .map(|slot| Event::NotLoaded {
            slot,
            code,
            text: text.to_owned(),
        })
        .collect()
}

fn given_up(template: &mut Template) -> Vec<Event> {
    let slots = template.give_up().into_iter();
    slots
        .map(|slot| Event::ForkFailed {
            slot,
            reason: "the template has gone".to_owned(),
        })
        .collect()
}
