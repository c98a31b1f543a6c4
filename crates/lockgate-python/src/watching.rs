//! The watcher's process: one thread that watches the files of the application and requests reloads.
//!
//! It runs as the workers' user: it has to see what they see, and needs nothing of the supervisor's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockgate_observe::{GunicornEvent, Level};
use lockgate_supervisor::{OperatorRequests, Request, WorkerContext};
use lockgate_watch::{Host, Watcher};
use lockgate_worker::log::ErrorLog;

use crate::process::threads::RunningThreads;

/// Runs until the supervisor ends this process or has exited; returns the exit code. `read` are the files that the server
/// reads its settings from.
pub(crate) fn run(
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
    reports: OwnedFd,
    requests: OperatorRequests,
    read: &[PathBuf],
) -> io::Result<i32> {
    let running = RunningThreads::new(log);
    let watcher = Watcher::new(&context.config.reload, read);
    let process = Process {
        log: Arc::clone(log),
        requests,
        directory: std::env::current_dir().unwrap_or_default(),
    };
    running.spawn("watcher", move || watcher.run(reports, &process))?;
    Ok(context.run(&running.control()))
}

/// The process as the watcher sees it.
struct Process {
    log: Arc<ErrorLog>,
    requests: OperatorRequests,
    /// Files in it are named relative to it.
    directory: PathBuf,
}

impl Host for Process {
    fn write(&self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    fn reload(&self, changed: &[PathBuf]) {
        let Some(first) = changed.first() else {
            return;
        };
        let message = describe(changed, &self.directory);
        let event = GunicornEvent::Modified {
            file: first.display().to_string(),
            detail: message.clone(),
        };
        self.log.write_as(&event, Level::Info, &message);
        if let Err(error) = self.requests.send(Request::Reload, 1) {
            let message = format!("cannot request the reload: {error}");
            self.log.write(Level::Error, &message);
        }
    }
}

/// `reload: shop/views.py has changed`
fn describe(changed: &[PathBuf], directory: &Path) -> String {
    let name = |path: &PathBuf| {
        let relative = path.strip_prefix(directory).unwrap_or(path);
        relative.display().to_string()
    };
    match changed {
        [one] => format!("reload: {} has changed", name(one)),
        [one, other] => format!("reload: {} and {} have changed", name(one), name(other)),
        [one, rest @ ..] => format!(
            "reload: {} and {} other files have changed",
            name(one),
            rest.len()
        ),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_the_directory_of_the_server_have_relative_names() {
        let cases: &[(&[&str], &str)] = &[
            (&["/srv/shop/views.py"], "reload: shop/views.py has changed"),
            (&["/lib/a.py"], "reload: /lib/a.py has changed"),
            (&["/srv/a", "/srv/b"], "reload: a and b have changed"),
            (
                &["/srv/a", "/srv/b", "/srv/c"],
                "reload: a and 2 other files have changed",
            ),
        ];
        for (paths, expected) in cases {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            assert_eq!(describe(&paths, Path::new("/srv")), *expected);
        }
    }
}
