//! The events of the hook process, as JSON, with the state of the server that hooks see.

use std::collections::{BTreeMap, HashMap};

use lockgate_config::{ConfSource, Config, HookName};
use serde_json::{Value, json};

/// A longer configuration is read from its file again: an event must fit in the socket's buffer.
const LONGEST_TEXT: usize = 64 << 10;

/// A worker: the number of the fork, counted from 1 (gunicorn's `age`), and its process once it is forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HookWorker {
    pub(crate) age: u64,
    pub(crate) pid: Option<u32>,
}

/// Numbers of workers, for `nworkers_changed`; `old` is `None` at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resize {
    pub(crate) new: usize,
    pub(crate) old: Option<usize>,
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HookEvent<'a> {
    /// The process is new: it executes the configuration.
    Start(&'a Config),
    /// The settings of a reload are prepared: it executes the configuration again.
    Reload(&'a Config),
    /// That reload has failed: the hooks of this configuration count again.
    Restore(&'a Config),
    /// That reload has succeeded.
    Commit,
    /// Run a hook.
    Hook(HookName),
    /// Run `pre_fork` or `child_exit`.
    Worker(HookName, HookWorker),
    /// Run `nworkers_changed`.
    Resized(Resize),
    /// Report that everything before is done.
    Answer,
    /// Run `on_exit`, and exit.
    Exit,
}

/// What hooks see of the server.
#[derive(Debug, Default)]
pub(crate) struct ServerState {
    pub(crate) wanted: usize,
    /// How many workers were forked.
    forks: u64,
    /// Workers that are being forked, by slot.
    booting: HashMap<usize, u64>,
    /// Their ages by pid.
    workers: BTreeMap<u32, u64>,
}

impl ServerState {
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// A worker is about to be forked.
    pub(crate) fn on_forking(&mut self, slot: usize) -> HookWorker {
        self.forks += 1;
        self.booting.insert(slot, self.forks);
        HookWorker {
            age: self.forks,
            pid: None,
        }
    }

    /// The fork in this slot has succeeded.
    pub(crate) fn on_forked(&mut self, slot: usize, pid: u32) {
        let age = self.booting.remove(&slot).unwrap_or_else(|| {
            self.forks += 1;
            self.forks
        });
        self.workers.insert(pid, age);
    }

    /// A worker has exited.
    pub(crate) fn on_exited(&mut self, pid: u32) -> Option<HookWorker> {
        let age = self.workers.remove(&pid)?;
        Some(HookWorker {
            age,
            pid: Some(pid),
        })
    }

    /// The event as JSON.
    pub(crate) fn encode(&self, event: HookEvent<'_>) -> String {
        let mut object = match event {
            HookEvent::Start(config) => configuration("start", config),
            HookEvent::Reload(config) => configuration("reload", config),
            HookEvent::Restore(config) => configuration("restore", config),
            HookEvent::Commit => json!({"event": "commit"}),
            HookEvent::Hook(hook) => json!({"event": "hook", "name": hook.name()}),
            HookEvent::Worker(hook, worker) => json!({
                "event": "hook", "name": hook.name(), "worker": [worker.pid, worker.age],
            }),
            HookEvent::Resized(Resize { new, old }) => json!({
                "event": "hook", "name": HookName::NworkersChanged.name(), "new": new, "old": old,
            }),
            HookEvent::Answer => json!({"event": "answer"}),
            HookEvent::Exit => json!({"event": "exit"}),
        };
        let workers: Vec<Value> = (self.workers.iter())
            .map(|(pid, age)| json!([pid, age]))
            .collect();
        if let Some(object) = object.as_object_mut() {
            object.insert("num_workers".to_owned(), self.wanted.into());
            object.insert("workers".to_owned(), workers.into());
        }
        object.to_string()
    }
}

fn configuration(event: &str, config: &Config) -> Value {
    let source = config.gunicorn.conf.as_ref().map(|conf| match conf {
        ConfSource::File(path) => format!("file:{}", path.display()),
        ConfSource::Module(module) => format!("python:{module}"),
    });
    // It is JSON; anything else would be a fault of the server, without consequences here.
    let cfg: Value = serde_json::from_str(&lockgate_config::cfg(config)).unwrap_or_default();
    let text = config.gunicorn.conf_text.as_ref();
    let text = text.filter(|text| text.len() <= LONGEST_TEXT);
    json!({"event": event, "source": source, "text": text, "cfg": cfg})
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::AppSpec;

    #[test]
    fn an_event_has_its_arguments_and_the_state_of_the_server() {
        let mut config = Config::with_defaults(AppSpec::parse("app:app").unwrap());
        config.gunicorn.conf = Some(ConfSource::File("/srv/gunicorn.conf.py".into()));
        config.gunicorn.conf_text = Some("x = 1".to_owned());
        let mut state = ServerState::new(2);
        let forking = state.on_forking(0);
        let check = |state: &ServerState, event: HookEvent<'_>, expected: Value| {
            let object: Value = serde_json::from_str(&state.encode(event)).unwrap();
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(&object[key], value, "{key} in {object}");
            }
        };
        let fork = HookEvent::Worker(HookName::PreFork, forking);
        check(
            &state,
            fork,
            json!({"event": "hook", "name": "pre_fork", "worker": [null, 1], "workers": []}),
        );
        state.on_forked(0, 70);
        // Of the previous program.
        state.on_forked(1, 60);
        let at_start = HookEvent::Start(&config);
        let source = "file:/srv/gunicorn.conf.py";
        check(
            &state,
            at_start,
            json!({
                "event": "start", "source": source, "text": "x = 1", "workers": [[60, 2], [70, 1]],
            }),
        );
        config.gunicorn.conf_text = Some("#".repeat(LONGEST_TEXT + 1));
        let at_reload = HookEvent::Reload(&config);
        check(&state, at_reload, json!({"source": source, "text": null}));
        let exited = state.on_exited(70).unwrap();
        check(
            &state,
            HookEvent::Worker(HookName::ChildExit, exited),
            json!({"name": "child_exit", "worker": [70, 1], "workers": [[60, 2]]}),
        );
        assert_eq!(state.on_exited(70), None);
        state.wanted = 3;
        let resize = Resize { new: 3, old: None };
        check(
            &state,
            HookEvent::Resized(resize),
            json!({"name": "nworkers_changed", "new": 3, "old": null, "num_workers": 3}),
        );
    }
}
