//! Settings: timeouts and minimum rates.

use std::time::Duration;

use crate::kind::Kind;
use crate::notation::{duration_text, quoted, size_text};
use crate::raw_value::ValueError;
use crate::setting::{Section, Setting, Shape};

/// For timeouts that guard against clients: without one, a silent client holds its connection for ever.
const NO_ZERO: Kind = Kind::Duration {
    zero: Err("a client could keep its connection open forever; for a long time write 1h"),
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
        doc: "Maximum time from the complete request to the end of its response. Time spent waiting for a thread \
              counts, a slow upload does not. At the deadline the client gets 504, or its connection is closed if \
              the response has begun; the error log shows the request and the stack of its thread; and \
              `lockgate.RequestTimeout` is raised in the application. If the call still runs 5 s later, the worker \
              is replaced after its other requests have finished. A request that gets no thread in time gets 503 and \
              does not reach the application. An application can read and extend its own deadline: \
              `environ[\"lockgate.deadline\"]`. There is no default, because only the application determines how \
              long requests may take; for an interactive site, 60s is a good start.",
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
            zero: Ok("disabled"),
        },
        doc: "Time after which a running call is logged as a warning. The message contains the request, its duration \
              so far, and the stack of its thread. It is repeated each time the duration has doubled.",
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
        doc: "Maximum time for which a worker with `threads = 1` may make no progress. A call that neither returns \
              nor streams blocks every client of that worker, so the worker is killed and replaced, as by gunicorn. \
              With more threads such a call blocks no other client and is not ended, unless it keeps the GIL and other \
              requests have waited for it for this time; `request_timeout` limits every request in any case. With one \
              thread, set `timeout` a few seconds longer than `request_timeout`; otherwise the worker is killed before \
              the request is interrupted.",
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
            zero: Ok("running requests are aborted at once"),
        },
        doc: "Maximum time for a worker to finish when it is asked to stop. It finishes its requests, then the \
              threads, executors and exit functions of the application. What still runs after that is aborted.",
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
        doc: "Time for which the server continues to serve after it was asked to stop (TERM). During this time \
              `readiness_path`, and `/readyz` of the admin listener, return 503, so that load balancers can remove \
              the server: in Kubernetes, endpoints are removed some seconds after the signal. `graceful_timeout` \
              begins afterwards. A second TERM ends the delay; INT and QUIT skip it.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.drain_delay = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.drain_delay),
    },
    Setting {
        name: "readiness_path",
        section: Section::Deadlines,
        short: None,
        flags: &["readiness-path"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Path at which load balancers ask whether the server is ready, such as `/readyz`. The server itself \
              answers on every address of `bind`: 200 while it serves, 503 from the moment on when it is asked to \
              stop, also during `drain_delay`. It also answers while all threads are in calls (with `threads = 1` \
              after the call), during maintenance and without authentication, to GET and HEAD with exactly this path \
              and any `Host`. Empty: the application answers all paths.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.readiness_path = readiness_path(value.text()?)?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.readiness_path.clone().unwrap_or_default()),
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
        doc: "Time for which an idle connection is kept open for the next request. Set it longer than the idle \
              timeout of the proxy in front; otherwise the proxy occasionally sends a request on a connection that \
              is being closed. gunicorn's default is 2.",
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
        doc: "Maximum time from the first byte of a request's head to its last. A slower client gets 408.",
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
        doc: "Maximum time without data while a request's body is received. After that the client gets 408. The \
              total time of an upload is not limited as long as it keeps to `body_min_rate`.",
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
        doc: "Minimum rate at which a client sends a request's body, in bytes per second. A client may fall behind \
              by `body_timeout`; if it falls further behind, it gets 408. This ends connections that are kept open \
              by a byte now and then.",
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
        doc: "Maximum time for which a client reads nothing of a response that is ready for it. After that its \
              connection is closed. The total time of a download is not limited as long as it keeps to \
              `write_min_rate`.",
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
        doc: "Minimum rate at which a client reads a response, in bytes per second. A client may fall behind by \
              `write_timeout`; if it falls further behind, its connection is closed. Only time in which the send \
              buffer was full counts, not time in which the application produced nothing.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.write_min_rate = value.size()?;
            Ok(())
        },
        show: |builder| size_text(u64::from(builder.config.write_min_rate)),
    },
];

fn readiness_path(text: String) -> Result<Option<String>, ValueError> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
    match text.as_str() {
        "" => Ok(None),
        _ if text.starts_with('/') && !text.starts_with("//") && text.bytes().all(is_plain) => Ok(Some(text)),
        _ => Err("must be a path as requests contain it, such as /readyz: ASCII, beginning with one slash, without ? \
                  and #"
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readiness_path_is_what_a_request_contains() {
        for (text, is_fit) in [
            ("/", true),
            ("/readyz", true),
            ("/-/ready%20", true),
            ("readyz", false),
            ("//evil.test", false),
            ("/a?b", false),
            ("/a#b", false),
            ("/bereit für", false),
        ] {
            let read = readiness_path(text.to_owned());
            assert_eq!(read.is_ok_and(|path| path.is_some()), is_fit, "{text}");
        }
        assert_eq!(readiness_path(String::new()), Ok(None));
    }
}
