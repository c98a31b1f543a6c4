//! Settings that say how workers begin, and when new ones take their place.

use std::time::Duration;

use crate::setting::{Kind, Section, Setting, Shape};
use crate::written::{Complaint, Given, duration_text, quoted, quoted_list, size_text};

/// Less than this is no Python process.
const LEAST_MEMORY: u64 = 16 << 20;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "warmup",
        section: Section::Renewal,
        short: None,
        flags: &["warmup"],
        shape: Shape::List,
        kind: Kind::Text,
        doc: "Paths that each new worker asks its application for before it serves. The application is called as for a \
              GET request of `localhost`, and its answer goes nowhere. A worker whose application answers with 500 or \
              more, or raises, is no good: the server does not start, or the reload fails and the old workers stay. \
              A list, as in `[\"/healthz\", \"/?page=2\"]`; in one text they are separated by commas.",
        gunicorn: &[],
        uwsgi: &[],
        read: |draft, given| {
            draft.config.warmup = targets(given)?;
            Ok(())
        },
        show: |draft| quoted_list(&draft.config.warmup),
    },
    Setting {
        name: "boot_timeout",
        section: Section::Renewal,
        short: None,
        flags: &["boot-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("no limit"),
        },
        doc: "How long a new worker may take to be ready. Importing the application and `warmup` count together. One that \
              takes longer is ended, as if its import had failed.",
        gunicorn: &[],
        uwsgi: &[],
        read: |draft, given| {
            let timeout = given.duration()?;
            draft.config.boot_timeout = (timeout > Duration::ZERO).then_some(timeout);
            Ok(())
        },
        show: |draft| duration_text(draft.config.boot_timeout.unwrap_or_default()),
    },
    Setting {
        name: "preload",
        section: Section::Renewal,
        short: None,
        flags: &["preload"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Load the application once for all workers (Linux only). A process of its own, the template, imports it and \
              makes the workers by fork, so that they share its memory and are there in milliseconds. A reload makes a new \
              template, and so loads the new code. Threads and connections that an import opens do not survive the fork \
              unharmed: the log names them.",
        gunicorn: &["preload_app"],
        uwsgi: &[],
        read: |draft, given| {
            draft.config.preload = given.switch()?;
            Ok(())
        },
        show: |draft| draft.config.preload.to_string(),
    },
    Setting {
        name: "max_requests",
        section: Section::Renewal,
        short: None,
        flags: &["max-requests"],
        shape: Shape::Value,
        kind: NUMBER,
        doc: "After how many requests a worker is replaced by a new one; 0: never. The new one is ready before the old \
              one stops accepting, and workers are replaced one at a time. So a worker serves somewhat more than that: \
              as many as come while its replacement boots.",
        gunicorn: &["max_requests"],
        uwsgi: &["max-requests"],
        read: |draft, given| {
            draft.config.max_requests = given.number()?;
            Ok(())
        },
        show: |draft| draft.config.max_requests.to_string(),
    },
    Setting {
        name: "max_requests_jitter",
        section: Section::Renewal,
        short: None,
        flags: &["max-requests-jitter"],
        shape: Shape::Value,
        kind: NUMBER,
        doc: "By how many requests more, at most, `max_requests` differs from worker to worker. Workers are replaced one \
              at a time in any case.",
        gunicorn: &["max_requests_jitter"],
        uwsgi: &["max-requests-delta"],
        read: |draft, given| {
            draft.config.max_requests_jitter = given.number()?;
            Ok(())
        },
        show: |draft| draft.config.max_requests_jitter.to_string(),
    },
    Setting {
        name: "max_worker_age",
        section: Section::Renewal,
        short: None,
        flags: &["max-worker-age"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("for ever"),
        },
        doc: "How long a worker serves before it is replaced by a new one, as by `max_requests`.",
        gunicorn: &[],
        uwsgi: &["max-worker-lifetime"],
        read: |draft, given| {
            let age = given.duration()?;
            draft.config.max_worker_age = (age > Duration::ZERO).then_some(age);
            Ok(())
        },
        show: |draft| duration_text(draft.config.max_worker_age.unwrap_or_default()),
    },
    Setting {
        name: "max_worker_memory",
        section: Section::Renewal,
        short: None,
        flags: &["max-worker-memory"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: LEAST_MEMORY,
            most: 1 << 50,
            zero: Ok("however much"),
        },
        doc: "A worker that holds more memory is replaced by a new one, as by `max_requests`. It is the resident set \
              of its process, looked at once a second (Linux only); pages that workers share count in each.",
        gunicorn: &[],
        uwsgi: &["reload-on-rss", "evil-reload-on-rss"],
        read: |draft, given| {
            draft.config.max_worker_memory = given.size()?;
            Ok(())
        },
        show: |draft| size_text(draft.config.max_worker_memory),
    },
];

const NUMBER: Kind = Kind::Number {
    least: 0,
    most: 1_000_000_000,
    auto: false,
};

/// What can stand in a request line as it is (RFC 9112 §3.2.1).
fn targets(given: Given<'_>) -> Result<Vec<String>, Complaint> {
    let targets = given.items(',')?;
    match targets.iter().find(|target| {
        !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    }) {
        Some(target) => Err(Complaint {
            piece: Some(quoted(target)),
            demand: "must begin with a slash and have no space, fragment or letter beyond ASCII in it: write those as %XX"
                .to_owned(),
        }),
        None => Ok(targets),
    }
}
