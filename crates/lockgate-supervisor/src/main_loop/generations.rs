//! Performs the actions of a reload: prepares, activates or discards the settings and sockets of the next generation.

use lockgate_observe::Level;

use super::MainLoop;
use super::templates::LeftByTemplate;
use crate::Hooks;
use crate::measures::Measures;
use crate::supervisor::Event;
use crate::template::{Template, wait_until_dead};

impl MainLoop {
    /// Reads the settings again and binds new addresses.
    pub(super) fn prepare(&mut self, hooks: &mut dyn Hooks) -> Event {
        let config = match hooks.read_settings() {
            Ok(config) => config,
            Err(reason) => return Event::NotPrepared { reason },
        };
        match self.site.next(config, hooks.worker_identity()) {
            Ok((next, unchanged)) => {
                if !unchanged.is_empty() {
                    let names = unchanged.join(", ");
                    hooks.log(
                        Level::Warning,
                        &format!(
                            "{names}: what has changed counts after a restart, not after a reload"
                        ),
                    );
                }
                for listener in &next.listeners {
                    if !self
                        .site
                        .listeners
                        .iter()
                        .any(|kept| kept.is_same(listener))
                    {
                        hooks.log(Level::Info, &format!("listening at {}", listener.url()));
                    }
                }
                let rules = next.rules();
                self.next = Some(next);
                Event::Prepared(rules)
            }
            Err(failure) => Event::NotPrepared {
                reason: failure.to_string(),
            },
        }
    }

    /// Makes the prepared site the present one; returns the pending forks of the previous one as failed.
    pub(super) fn move_on(&mut self, hooks: &mut dyn Hooks) -> Vec<Event> {
        let Some(next) = self.next.take() else {
            return Vec::new();
        };
        self.measures = Measures::new(&next.rules(), next.config.worker_memory_measure);
        hooks.adopt(&next.config, next.generation);
        let mut left = std::mem::replace(&mut self.site, next);
        self.left_by_templates
            .extend(LeftByTemplate::of(&left, &self.children));
        let given_up = left.end_template();
        left.leave_to(&self.site);
        given_up
    }

    /// Discards the prepared site.
    pub(super) fn discard(&mut self) -> Vec<Event> {
        let Some(mut next) = self.next.take() else {
            return Vec::new();
        };
        self.left_by_templates
            .extend(LeftByTemplate::of(&next, &self.children));
        let given_up = next.end_template();
        next.leave_to(&self.site);
        given_up
    }

    /// Server stop: closes the listening sockets in every process other than the workers.
    pub(super) fn close_listeners(&mut self) -> Vec<Event> {
        self.end_trial();
        if let Some(pid_file) = &self.pid_file {
            pid_file.release();
        }
        let mut given_up = Vec::new();
        let sites = [Some(&mut self.site), self.next.as_mut()];
        for site in sites.into_iter().flatten() {
            self.left_by_templates
                .extend(LeftByTemplate::of(site, &self.children));
            // The template holds the sockets as well.
            let template = site.template.as_ref().map(Template::pid);
            given_up.extend(site.end_template());
            template.into_iter().for_each(wait_until_dead);
            for listener in &mut site.listeners {
                listener.close();
            }
        }
        given_up
    }
}
