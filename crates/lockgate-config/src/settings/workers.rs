//! Settings: concurrency.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::Threads;
use crate::kind::Kind;
use crate::notation::{duration_text, quoted};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

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
        doc: "Number of worker processes. `auto` is one for each processor that the server may use (its affinity, and the \
              quota of its control group), but no more than one for each 128 MiB of memory; the log says how it came to \
              its number. When nothing else gives the number, the variable WEB_CONCURRENCY does. gunicorn's default is 1.",
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
        doc: "Number of threads in each worker that run the application. A worker starts with two threads and adds one when \
              all others are in calls that wait. `auto` allows 64 threads for all workers together, and at least 4 in each: \
              an application that holds one database connection per thread stays below the 100 connections that PostgreSQL \
              accepts by default. With 1, requests of one worker run strictly one after another. Requests that find \
              no thread wait, see `queue_size` and `queue_timeout`. gunicorn's default is 1.",
        gunicorn: &["threads"],
        uwsgi: &["threads"],
        read: |builder, value| {
            builder.config.threads = count(value)?;
            Ok(())
        },
        show: |builder| shown(builder.config.threads),
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
        doc: "How long a thread may be idle before it ends; two threads always stay. What the application keeps for each \
              thread, such as a database connection, is closed within a few seconds after that. With a time shorter \
              than the pause between two bursts of requests, each burst starts threads and opens connections again.",
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
        doc: "How many connections one worker holds at a time, idle ones included. At the limit the kept connection that was \
              idle longest is closed for a new client; where none is idle, new clients wait until one ends. An idle connection costs a few hundred bytes and no thread. gunicorn's default is 1000.",
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
        doc: "How many requests may wait for a thread in one worker. A request that finds so many others waiting gets 503 \
              with Retry-After at once. It bounds what an overload costs in memory; how long clients wait is `queue_timeout`. \
              The kernel's queue of connections is `backlog`.",
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
        doc: "How long a request may wait for a thread, from its last byte on. One that waits longer gets 503 with \
              Retry-After and never reaches the application. Requests whose clients leave while they wait are dropped in any \
              case, with 499 in the access log. Set it to what your clients or the proxy in front wait for at most, less the \
              time of a usual call. gunicorn has no such limit.",
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
