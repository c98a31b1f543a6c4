//! Settings: how workers start, and when they are replaced.

use std::path::PathBuf;
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
        doc: "Paths that each new worker requests from its application before it serves. The application is called \
              as for a GET request to `localhost`, and the response is discarded. If the application responds with a \
              status of 500 or more, or raises an exception, the worker is rejected: the server does not start, or \
              the reload fails and the old workers stay. A list, as in `[\"/healthz\", \"/?page=2\"]`; in flags and \
              variables, items are separated by commas.",
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
        doc: "Maximum time for a new worker to become ready. It includes the import of the application and `warmup`. \
              A worker that takes longer is ended, as if its import had failed.",
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
        doc: "Load the application once for all workers (Linux only). A separate process, the fork server, imports it \
              and forks the workers, which share its memory and start within milliseconds. A reload starts a new \
              fork server, which loads the new code. Threads and connections opened by an import do not survive the \
              fork; the log lists them.",
        gunicorn: &["preload_app"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.preload = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.preload.to_string(),
    },
    Setting {
        name: "reload",
        section: Section::Renewal,
        short: None,
        flags: &["reload"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Reload when a file of the application changes, for development. A side process watches the files of all \
              imported modules, new modules beside them, the configuration file and `reload_extra_files`. A change \
              has the effect of SIGHUP: listening sockets stay open, the old workers serve until the new ones have \
              loaded the application, and continue to if it cannot be loaded.",
        gunicorn: &["reload"],
        uwsgi: &["py-autoreload"],
        read: |builder, value| {
            builder.config.reload.is_enabled = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.reload.is_enabled.to_string(),
    },
    Setting {
        name: "reload_extra_files",
        section: Section::Renewal,
        short: None,
        flags: &["reload-extra-files", "reload-extra-file"],
        shape: Shape::List,
        kind: Kind::Path,
        doc: "Further files that `reload` watches, such as templates. Paths, directories with all that is below them, \
              and patterns, as in `[\"templates/**/*.html\", \"settings.ini\"]`. `*`, `?` and `[a-z]` match within a \
              name, `**` any directories. Backup and temporary files of editors are ignored, and so are hidden \
              directories, `__pycache__` and `node_modules`. A list; in flags and variables, items are separated by \
              commas.",
        gunicorn: &["reload_extra_files"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.reload.extra_files =
                value.items(',')?.into_iter().map(PathBuf::from).collect();
            Ok(())
        },
        show: |builder| {
            let files = &builder.config.reload.extra_files;
            quoted_list(files.iter().map(|path| path.display()))
        },
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
        doc: "Time for which old and new workers serve side by side after a reload. When all new workers are ready, \
              they begin to accept connections, and the old ones continue to. If the error rate of the new workers \
              exceeds that of the old ones by more than `canary_max_error_increase`, or if a new worker dies, the \
              reload is rolled back: the new workers are stopped and the old ones stay. Otherwise the old workers \
              are stopped at the end of the period. It must be set before the reload to which it applies, because \
              workers count their responses only if it is set.",
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
        doc: "Maximum increase of the error rate of new workers during `canary_period`. Errors are responses with a \
              status of 500 or more, and responses that the application aborted. With `5%`, new workers with 7% of \
              errors are rolled back if the old ones have 1%, but not if they have 3%. The rates are compared once \
              the new workers have sent at least 20 responses.",
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
        doc: "Number of requests after which a worker is replaced; 0: never. The replacement is ready before the old \
              worker stops accepting connections, and workers are replaced one at a time. A worker therefore serves \
              somewhat more requests than that: those that arrive while its replacement starts.",
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
        doc: "Maximum number that is added to `max_requests`, different for each worker. Workers are replaced one at \
              a time in any case.",
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
            zero: Ok("no limit"),
        },
        doc: "Age at which a worker is replaced, in the same way as by `max_requests`.",
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
        doc: "Memory above which a worker is replaced, in the same way as by `max_requests`. The replacement is \
              ready first. `worker_memory_measure` selects how memory is measured; it is measured once per second \
              (Linux only).",
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
        doc: "Memory above which a worker is stopped without waiting for a replacement. It stops accepting \
              connections, has `graceful_timeout` to finish its requests, and a new worker is started immediately. \
              This keeps a worker that grows faster than its replacement starts from exhausting the host's memory. \
              It must be greater than `max_worker_memory`, and is measured in the same way.",
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
        doc: "How memory is measured for `max_worker_memory` and `max_worker_memory_hard`. `rss` is the resident set \
              size: pages shared by workers count in full in each of them. `pss` is the proportional set size: a \
              page shared by four processes counts as a quarter in each. To determine it the kernel has to walk the \
              whole address space, so it is read every 5 seconds, and only if the resident set size exceeds the \
              limit. If it cannot be read, the resident set size is used, and a warning is logged.",
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
    zero: "no limit",
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
            line: None,
            piece: Some(quoted(target)),
            requirement: "must begin with a slash and contain no space, fragment or non-ASCII character: encode those as %XX"
                .to_owned(),
        }),
        None => Ok(targets),
    }
}
