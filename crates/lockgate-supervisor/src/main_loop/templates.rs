//! Child processes that the application's import has started in a template. Its workers may use them, so they are
//! killed after the last of these workers.

use std::collections::{HashMap, HashSet};

use lockgate_observe::Level;

use super::{Child, MainLoop};
use crate::Hooks;
use crate::descendants::Descendants;
use crate::site::Site;

/// See the module.
pub(super) struct LeftByTemplate {
    template: u32,
    children: Descendants,
    users: HashSet<u32>,
}

impl LeftByTemplate {
    /// Must be called before the template of this site is ended: later its children cannot be found.
    pub(super) fn of(site: &Site, workers: &HashMap<u32, Child>) -> Option<Self> {
        let template = site.template.as_ref()?.pid();
        let children = Descendants::of(template);
        (!children.is_empty()).then(|| Self {
            template,
            children,
            users: (workers.iter())
                .filter(|(_, worker)| worker.template == Some(template))
                .map(|(pid, _)| *pid)
                .collect(),
        })
    }
}

impl MainLoop {
    /// Kills those that no worker uses any more.
    pub(super) fn end_template_children(&mut self, hooks: &dyn Hooks) {
        let alive = &self.children;
        let is_unused =
            |left: &mut LeftByTemplate| !left.users.iter().any(|pid| alive.contains_key(pid));
        for left in self.left_by_templates.extract_if(.., is_unused) {
            if let Some(summary) = left.children.end() {
                let message = format!("the template (pid {}): {summary}", left.template);
                hooks.log(Level::Info, &message);
            }
        }
    }
}
