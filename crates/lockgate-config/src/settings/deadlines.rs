//! Settings: timeouts and minimum rates.

use std::time::Duration;

use crate::kind::Kind;
use crate::notation::{duration_text, size_text};
use crate::setting::{Section, Setting, Shape};

/// For timeouts that guard against clients: without one, a silent client holds its connection for ever.
const NO_ZERO: Kind = Kind::Duration {
    zero: Err("a client could hold its connection for ever; for a long time write 1h"),
};

/// Bytes per second. Kestrel and IIS require 240, Apache's mod_reqtimeout 500; the slowest line in practical use, a
/// satellite telephone with 2,400 bit/s, delivers 300.
const RATE: Kind = Kind::Size {
    least: 1,
    most: 1 << 20,
    zero: Ok("no minimum"),
};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "request_timeout",
        section: Section::Deadlines,
        short: None,
        flags: &["request-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("no deadline"),
        },
        doc: "How long a request may take, from the moment when it was there in full. So waiting for a thread counts, \
              and a slow upload does not. At its deadline the client gets 504, or its connection is cut if the response has \
              begun; the error log tells the request and where its code stands; and `lockgate.RequestTimeout` is raised \
              there. Only if the call is still running 5 s later is the worker replaced, after its other requests. A request \
              that finds no thread in time gets 503 and is never run. An application can read and extend its own deadline: \
              `environ[\"lockgate.deadline\"]`. There is none unless you set one, because only you know which of your \
              requests are meant to be long; for a site that people look at, 60s is a good start.",
        gunicorn: &[],
        uwsgi: &["harakiri"],
        read: |builder, value| {
            let timeout = value.duration()?;
            builder.config.request_timeout = (timeout > Duration::ZERO).then_some(timeout);
            Ok(())
        },
        show: |builder| duration_text(builder.config.request_timeout.unwrap_or_default()),
    },
    Setting {
        name: "slow_request",
        section: Section::Deadlines,
        short: None,
        flags: &["slow-request"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("no record"),
        },
        doc: "A call that takes longer than this leaves a warning in the error log. It tells the \
              request, how long it took, and where its code stood when it became slow, and each time that its age had \
              doubled.",
        gunicorn: &[],
        uwsgi: &["log-slow"],
        read: |builder, value| {
            let threshold = value.duration()?;
            builder.config.slow_request = (threshold > Duration::ZERO).then_some(threshold);
            Ok(())
        },
        show: |builder| duration_text(builder.config.slow_request.unwrap_or_default()),
    },
    Setting {
        name: "timeout",
        section: Section::Deadlines,
        short: Some('t'),
        flags: &["timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("no deadline"),
        },
        doc: "How long a worker with `threads = 1` may stand still. A call that neither ends nor streams for so long \
              holds up every client of that worker, so the worker is ended and replaced, as by gunicorn. With more \
              threads such a call holds up nobody else and is left alone: `request_timeout` bounds each request, whatever the \
              threads. With one thread keep `timeout` a few seconds longer than `request_timeout`, or the worker is ended \
              before the request is interrupted.",
        gunicorn: &["timeout"],
        uwsgi: &[],
        read: |builder, value| {
            let timeout = value.duration()?;
            builder.config.timeout = (timeout > Duration::ZERO).then_some(timeout);
            Ok(())
        },
        show: |builder| duration_text(builder.config.timeout.unwrap_or_default()),
    },
    Setting {
        name: "graceful_timeout",
        section: Section::Deadlines,
        short: None,
        flags: &["graceful-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("running requests are not waited for"),
        },
        doc: "How long a worker that was asked to stop may take to finish. It finishes its requests, then the threads, \
              executors and exit functions of the application. What still runs then is cut off.",
        gunicorn: &["graceful_timeout"],
        uwsgi: &["worker-reload-mercy", "reload-mercy"],
        read: |builder, value| {
            builder.config.graceful_timeout = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.graceful_timeout),
    },
    Setting {
        name: "drain_delay",
        section: Section::Deadlines,
        short: None,
        flags: &["drain-delay"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("draining begins at once"),
        },
        doc: "How long the server goes on serving as before when it is asked to stop (TERM). Meanwhile `/readyz` of the admin listener \
              answers 503, so that whoever sends clients here has time to send them elsewhere: in Kubernetes, \
              endpoints are removed some seconds after the signal. `graceful_timeout` begins afterwards. A second TERM \
              ends the delay; INT and QUIT have none.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.drain_delay = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.drain_delay),
    },
    Setting {
        name: "keep_alive",
        section: Section::Deadlines,
        short: None,
        flags: &["keep-alive"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("a connection is closed after its first response"),
        },
        doc: "How long an idle connection is kept for the next request. Make it longer than the idle time of the proxy in \
              front, or the proxy will now and then send a request into a connection that is just closing. \
              gunicorn's default is 2.",
        gunicorn: &["keepalive"],
        uwsgi: &["http-keepalive"],
        read: |builder, value| {
            builder.config.keep_alive = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.keep_alive),
    },
    Setting {
        name: "head_timeout",
        section: Section::Deadlines,
        short: None,
        flags: &["head-timeout"],
        shape: Shape::Value,
        kind: NO_ZERO,
        doc: "How long a client may take to send the head of a request, from its first byte to its last. \
              A slower one gets 408.",
        gunicorn: &[],
        uwsgi: &["http-timeout", "http-headers-timeout"],
        read: |builder, value| {
            builder.config.head_timeout = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.head_timeout),
    },
    Setting {
        name: "body_timeout",
        section: Section::Deadlines,
        short: None,
        flags: &["body-timeout"],
        shape: Shape::Value,
        kind: NO_ZERO,
        doc: "How long a client may be silent while it sends the body of a request. After that it gets 408. A long \
              upload that keeps coming, at `body_min_rate` or faster, is not touched.",
        gunicorn: &[],
        uwsgi: &["socket-timeout"],
        read: |builder, value| {
            builder.config.body_timeout = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.body_timeout),
    },
    Setting {
        name: "body_min_rate",
        section: Section::Deadlines,
        short: None,
        flags: &["body-min-rate"],
        shape: Shape::Value,
        kind: RATE,
        doc: "Bytes that a client has to send each second of the body of a request. It may fall behind \
              by as much as `body_timeout`; one that falls further behind gets 408. So a byte now and then holds no \
              connection.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.body_min_rate = value.size()?;
            Ok(())
        },
        show: |builder| size_text(u64::from(builder.config.body_min_rate)),
    },
    Setting {
        name: "write_timeout",
        section: Section::Deadlines,
        short: None,
        flags: &["write-timeout"],
        shape: Shape::Value,
        kind: NO_ZERO,
        doc: "How long a client may read nothing of a response that waits for it. After that its connection is closed. A \
              long download that keeps going, at `write_min_rate` or faster, is not touched.",
        gunicorn: &[],
        uwsgi: &["socket-send-timeout"],
        read: |builder, value| {
            builder.config.write_timeout = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.write_timeout),
    },
    Setting {
        name: "write_min_rate",
        section: Section::Deadlines,
        short: None,
        flags: &["write-min-rate"],
        shape: Shape::Value,
        kind: RATE,
        doc: "Bytes that a client has to read each second of a response that waits for it. It may fall \
              behind by as much as `write_timeout`; the connection of one that falls further behind is closed. Only \
              time in which the client's line was full counts, never that in which the application produced nothing.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.write_min_rate = value.size()?;
            Ok(())
        },
        show: |builder| size_text(u64::from(builder.config.write_min_rate)),
    },
];
