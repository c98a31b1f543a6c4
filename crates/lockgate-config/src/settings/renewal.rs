//! Settings: how workers start, and when they are replaced.

use std::time::Duration;

use crate::MemoryMeasure;
use crate::kind::Kind;
use crate::memory::percent_words;
use crate::notation::{duration_text, quoted, quoted_list};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

/// Every Python process needs more than this.
pub(crate) const LEAST_MEMORY: u64 = 16 << 20;

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
        read: |builder, value| {
            builder.config.warmup = targets(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.warmup),
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
        read: |builder, value| {
            let timeout = value.duration()?;
            builder.config.boot_timeout = (timeout > Duration::ZERO).then_some(timeout);
            Ok(())
        },
        show: |builder| duration_text(builder.config.boot_timeout.unwrap_or_default()),
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
        read: |builder, value| {
            builder.config.preload = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.preload.to_string(),
    },
    Setting {
        name: "canary_period",
        section: Section::Renewal,
        short: None,
        flags: &["canary-period"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("new workers take over when all of them are ready"),
        },
        doc: "How long old workers answer beside new ones, so that errors roll a reload back. When all new \
              workers are ready they begin to accept, and the old ones go on accepting behind them: two versions answer \
              side by side for so long. When more of the new ones' responses are errors than `canary_max_error_increase` allows, or one of \
              them dies, the new ones leave, the old ones stay, and the reload has failed. Otherwise the old ones leave \
              at the end. Set it before the reload that it is to watch: the workers that serve have to count.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let watch = value.duration()?;
            builder.config.canary_period = (watch > Duration::ZERO).then_some(watch);
            Ok(())
        },
        show: |builder| duration_text(builder.config.canary_period.unwrap_or_default()),
    },
    Setting {
        name: "canary_max_error_increase",
        section: Section::Renewal,
        short: None,
        flags: &["canary-max-error-increase"],
        shape: Shape::Value,
        kind: Kind::Percentage,
        doc: "By how much new workers' share of errors may exceed the old ones' in `canary_period`. Errors are \
              responses with 500 or more, and those that the application broke off. With `5%`, new workers that fail in \
              7 of 100 are rolled back when the old ones fail in 1 of 100, and are not when those fail in 3. At least \
              20 responses of the new workers have to be there.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.canary_max_error_increase = value.percentage()?;
            Ok(())
        },
        show: |builder| quoted(&percent_words(builder.config.canary_max_error_increase)),
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
        read: |builder, value| {
            builder.config.max_requests = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.max_requests.to_string(),
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
        read: |builder, value| {
            builder.config.max_requests_jitter = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.max_requests_jitter.to_string(),
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
        read: |builder, value| {
            let age = value.duration()?;
            builder.config.max_worker_age = (age > Duration::ZERO).then_some(age);
            Ok(())
        },
        show: |builder| duration_text(builder.config.max_worker_age.unwrap_or_default()),
    },
    Setting {
        name: "max_worker_memory",
        section: Section::Renewal,
        short: None,
        flags: &["max-worker-memory"],
        shape: Shape::Value,
        kind: MEMORY,
        doc: "A worker that holds more memory is replaced by a new one, as by `max_requests`. The new one is ready first. \
              What counts says `worker_memory_measure`; it is looked at once a second (Linux only).",
        gunicorn: &[],
        uwsgi: &["reload-on-rss"],
        read: |builder, value| {
            builder.max_worker_memory = value.memory()?;
            Ok(())
        },
        show: |builder| builder.max_worker_memory.text(),
    },
    Setting {
        name: "max_worker_memory_hard",
        section: Section::Renewal,
        short: None,
        flags: &["max-worker-memory-hard"],
        shape: Shape::Value,
        kind: MEMORY,
        doc: "A worker that holds more memory is ended, even when no replacement is ready. It accepts nothing more, has \
              `graceful_timeout` to finish what it has, and a new one is made at once. So a worker that grows faster than \
              replacements boot does not take the host's memory from the others. It must be more than \
              `max_worker_memory`, and is measured in the same way.",
        gunicorn: &[],
        uwsgi: &["evil-reload-on-rss"],
        read: |builder, value| {
            builder.max_worker_memory_hard = value.memory()?;
            Ok(())
        },
        show: |builder| builder.max_worker_memory_hard.text(),
    },
    Setting {
        name: "worker_memory_measure",
        section: Section::Renewal,
        short: None,
        flags: &["worker-memory-measure"],
        shape: Shape::Value,
        kind: Kind::Word(&["rss", "pss"]),
        doc: "What counts for `max_worker_memory` and `max_worker_memory_hard`. `rss` is the resident set of the process: \
              pages that workers share count in each of them. `pss` is the proportional set, in which a page that four \
              processes share counts a quarter in each. The kernel has to walk through the whole process for it, so it is \
              looked at every 5 seconds, and only where the resident set is over the limit; where it cannot be read, the \
              resident set counts, and a warning says so.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            let mut all = MemoryMeasure::ALL.into_iter();
            match all.find(|measure| measure.name() == word) {
                Some(measure) => builder.config.worker_memory_measure = measure,
                None => return Err("must be rss or pss".into()),
            }
            Ok(())
        },
        show: |builder| quoted(builder.config.worker_memory_measure.name()),
    },
];

const MEMORY: Kind = Kind::Memory {
    least: LEAST_MEMORY,
    zero: "however much",
};

const NUMBER: Kind = Kind::Number {
    least: 0,
    most: 1_000_000_000,
    auto: false,
};

/// Bytes that a request line may contain unencoded (RFC 9112 §3.2.1).
fn targets(value: ValueReader<'_>) -> Result<Vec<String>, ValueError> {
    let targets = value.items(',')?;
    match targets.iter().find(|target| {
        !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    }) {
        Some(target) => Err(ValueError {
            piece: Some(quoted(target)),
            requirement: "must begin with a slash and have no space, fragment or letter beyond ASCII in it: write those as %XX"
                .to_owned(),
        }),
        None => Ok(targets),
    }
}
