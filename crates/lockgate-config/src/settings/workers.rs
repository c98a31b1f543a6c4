//! Settings: concurrency.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::kind::Kind;
use crate::notation::{duration_text, quoted};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};
use crate::{Threads, WorkerClass};

/// More CPUs than this are used by more workers.
const MOST_EVENT_LOOPS: u64 = 64;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "workers",
        section: Section::Workers,
        short: Some('w'),
        flags: &["workers"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 4096,
            auto: true,
        },
        doc: "Number of worker processes. `auto` is one per CPU that the server may use (CPU affinity and the quota \
              of its control group), but at most one per 128 MiB of memory; the log states how the number was \
              determined. If `workers` is not set, the variable WEB_CONCURRENCY is used. gunicorn's default is 1.",
        gunicorn: &["workers"],
        uwsgi: &["processes", "workers"],
        read: |builder, value| {
            builder.workers = count(value)?;
            Ok(())
        },
        show: |builder| shown(builder.workers),
    },
    Setting {
        name: "threads",
        section: Section::Workers,
        short: None,
        flags: &["threads"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 4096,
            auto: true,
        },
        doc: "Maximum number of threads in each worker that run the application. A worker starts with two threads \
              and adds one when all others are in calls that wait. `auto` allows 64 threads for all workers \
              together, but at least 4 in each: an application that holds one database connection per thread stays \
              below the 100 connections that PostgreSQL accepts by default. With 1, a worker runs one request at a \
              time. Requests that find no free thread wait; see `queue_size` and `queue_timeout`. gunicorn's default \
              is 1.",
        gunicorn: &["threads"],
        uwsgi: &["threads"],
        read: |builder, value| {
            builder.config.threads = count(value)?;
            Ok(())
        },
        show: |builder| shown(builder.config.threads),
    },
    Setting {
        name: "event_loops",
        section: Section::Workers,
        short: None,
        flags: &["event-loops"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: MOST_EVENT_LOOPS,
            auto: false,
        },
        doc: "Number of event loops in each worker. Each has its own connections, queue and `threads`, and accepts its \
              part of the connections; `queue_size` counts for each, and `body_memory_total` is divided among them. \
              More than one needs a free-threaded Python whose GIL is disabled, such as python3.14t: with the GIL, \
              event loops of one process would only wait for each other, and `workers` is what uses several CPUs.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.event_loops = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.event_loops.to_string(),
    },
    Setting {
        name: "worker_class",
        section: Section::Workers,
        short: Some('k'),
        flags: &["worker-class"],
        shape: Shape::Value,
        kind: Kind::Word(&["sync", "gthread", "gevent"]),
        doc: "gunicorn's class of workers. Lockgate has one kind of worker, so it means only how many threads there \
              are if `threads` is not set: one with `sync` and `gthread`, as in gunicorn, and `auto` with `gevent`. \
              Paths such as `gunicorn.workers.gthread.ThreadWorker` are accepted too. Empty: not set.",
        gunicorn: &["worker_class"],
        uwsgi: &[],
        read: |builder, value| {
            let text = value.optional_text()?;
            let class = text.as_deref().map(WorkerClass::parse).transpose()?;
            builder.config.gunicorn.worker_class = class;
            Ok(())
        },
        show: |builder| {
            let class = builder.config.gunicorn.worker_class;
            quoted(class.map(WorkerClass::name).unwrap_or_default())
        },
    },
    Setting {
        name: "thread_idle_timeout",
        section: Section::Workers,
        short: None,
        flags: &["thread-idle-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("threads do not end"),
        },
        doc: "Time after which an idle thread ends; two threads are always kept. Objects that the application keeps \
              per thread, such as a database connection, are closed within a few seconds after that. If this time is \
              shorter than the pause between two bursts of requests, each burst starts threads and opens connections \
              again.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let timeout = value.duration()?;
            builder.config.thread_idle_timeout = (timeout > Duration::ZERO).then_some(timeout);
            Ok(())
        },
        show: |builder| duration_text(builder.config.thread_idle_timeout.unwrap_or_default()),
    },
    Setting {
        name: "worker_connections",
        section: Section::Workers,
        short: None,
        flags: &["worker-connections"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 1_000_000,
            auto: false,
        },
        doc: "Maximum number of connections of one worker, idle ones included. At the limit, the connection that has \
              been idle longest is closed for a new client; if none is idle, new clients wait until a connection \
              ends. An idle connection costs a few hundred bytes and no thread. gunicorn's default is 1000.",
        gunicorn: &["worker_connections"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.worker_connections = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.worker_connections.to_string(),
    },
    Setting {
        name: "queue_size",
        section: Section::Workers,
        short: None,
        flags: &["queue-size"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 1_000_000,
            auto: false,
        },
        doc: "Maximum number of requests in one worker that wait for a thread. Further requests get 503 with \
              Retry-After immediately. This limits the memory that an overload costs; `queue_timeout` limits how \
              long clients wait. The kernel's queue of connections is `backlog`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.queue_size = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.queue_size.to_string(),
    },
    Setting {
        name: "queue_timeout",
        section: Section::Workers,
        short: None,
        flags: &["queue-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("no limit"),
        },
        doc: "Maximum time that a complete request waits for a thread. A request that waits longer gets 503 with \
              Retry-After and does not reach the application. Requests whose clients close the connection while they \
              wait are always dropped, with status 499 in the access log. Set it to the timeout of your clients or \
              of the proxy in front, minus the usual duration of a call. gunicorn has no such limit.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let timeout = value.duration()?;
            builder.config.queue_timeout = (timeout > Duration::ZERO).then_some(timeout);
            Ok(())
        },
        show: |builder| duration_text(builder.config.queue_timeout.unwrap_or_default()),
    },
];

fn count(value: ValueReader<'_>) -> Result<Threads, ValueError> {
    if value.is_auto() {
        return Ok(Threads::Auto);
    }
    value
        .number::<usize>()
        .map(|count| NonZeroUsize::new(count).map_or(Threads::Auto, Threads::Count))
}

fn shown(count: Threads) -> String {
    match count {
        Threads::Auto => quoted("auto"),
        Threads::Count(count) => count.to_string(),
    }
}
