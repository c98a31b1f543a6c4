//! Settings: the identity of requests.

use std::time::Duration;

use super::access::http_url;
use crate::identity::TRACES;
use crate::kind::Kind;
use crate::memory::percent_words;
use crate::notation::{duration_text, quoted};
use crate::raw_value::{RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "request_id",
        section: Section::Identity,
        short: None,
        flags: &["request-id"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Give each request an id. It is that of `X-Request-Id` if a proxy in `forwarded_allow_ips` sends it, and \
              otherwise made by the server. It is in the logs, in `lockgate top`, in the environ, and in the \
              response.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.identity.request_id = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.identity.request_id.to_string(),
    },
    Setting {
        name: "request_start",
        section: Section::Identity,
        short: None,
        flags: &["request-start"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Count the time since `X-Request-Start` into the time in the queue. Only the field of a proxy in \
              `forwarded_allow_ips` counts, and the proxy has to set it in every request: one that passes the fields \
              of clients on lets each client choose the time.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.identity.request_start = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.identity.request_start.to_string(),
    },
    Setting {
        name: "trace",
        section: Section::Identity,
        short: None,
        flags: &["trace"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Give each request a place in a trace (W3C Trace Context). The `traceparent` of a proxy in \
              `forwarded_allow_ips` is continued; a missing or malformed one starts a new trace. The application gets \
              it under the same name. On with `otlp`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.identity.trace = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.identity.trace.to_string(),
    },
    Setting {
        name: "otlp",
        section: Section::Identity,
        short: None,
        flags: &["otlp"],
        shape: Shape::Value,
        kind: Kind::Special {
            placeholder: "URL",
            accepts: "URL that begins with `http://`, or empty",
        },
        doc: "URL of an OpenTelemetry collector, which gets a span of each request. Spans are sent by OTLP over HTTP, for \
              example to `http://127.0.0.1:4318/v1/traces`. The path is `/v1/traces` if it has none. No request waits for it: \
              a process of its own sends them, and spans are dropped while the collector does not take them. Empty: no spans.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let (host, port, path) = match value.optional_text()? {
                None => Default::default(),
                Some(text) => collector(&text)?,
            };
            let otlp = &mut builder.otlp;
            (otlp.host, otlp.port, otlp.path) = (host, port, path);
            Ok(())
        },
        show: |builder| {
            let otlp = &builder.otlp;
            let host = match otlp.host.contains(':') {
                true => format!("[{}]", otlp.host),
                false => otlp.host.clone(),
            };
            match host.is_empty() {
                true => quoted(""),
                false => quoted(&format!("http://{host}:{}{}", otlp.port, otlp.path)),
            }
        },
    },
    Setting {
        name: "otlp_sample",
        section: Section::Identity,
        short: None,
        flags: &["otlp-sample"],
        shape: Shape::Value,
        kind: Kind::Percentage,
        doc: "Share of traces whose spans are sent. It counts for traces that begin here; the `traceparent` of a proxy \
              says whether its trace is sampled.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.otlp.sample = value.percentage()?;
            Ok(())
        },
        show: |builder| quoted(&percent_words(builder.otlp.sample)),
    },
    Setting {
        name: "otlp_service",
        section: Section::Identity,
        short: None,
        flags: &["otlp-service"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Name of the service in what `otlp` sends (`service.name`).",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let name = value.optional_text()?;
            builder.otlp.service = name.ok_or("must be the name of a service, such as shop")?;
            Ok(())
        },
        show: |builder| quoted(&builder.otlp.service),
    },
    Setting {
        name: "otlp_interval",
        section: Section::Identity,
        short: None,
        flags: &["otlp-interval"],
        shape: Shape::Value,
        kind: Kind::Interval {
            least: Duration::from_millis(100),
            most: Duration::from_secs(60),
        },
        doc: "How long spans and log lines are collected before they are sent together.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.otlp.interval = interval(value)?;
            Ok(())
        },
        show: |builder| duration_text(builder.otlp.interval),
    },
    Setting {
        name: "otlp_metrics",
        section: Section::Identity,
        short: None,
        flags: &["otlp-metrics"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Send the metrics of the server to the collector of `otlp` as well. Their path has `/v1/metrics` in place of `/v1/traces`. \
              They are those of the admin listener, which is not needed for it.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.otlp.metrics = value.switch()?;
            Ok(())
        },
        show: |builder| builder.otlp.metrics.to_string(),
    },
    Setting {
        name: "otlp_metrics_interval",
        section: Section::Identity,
        short: None,
        flags: &["otlp-metrics-interval"],
        shape: Shape::Value,
        kind: Kind::Interval {
            least: Duration::from_secs(1),
            most: Duration::from_secs(3600),
        },
        doc: "How often `otlp_metrics` sends the metrics.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.otlp.metrics_interval = interval(value)?;
            Ok(())
        },
        show: |builder| duration_text(builder.otlp.metrics_interval),
    },
    Setting {
        name: "otlp_logs",
        section: Section::Identity,
        short: None,
        flags: &["otlp-logs"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Send the lines of the error log to the collector of `otlp` as well. Their path has `/v1/logs` in place of \
              `/v1/traces`. They are written to `error_logfile` as before.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.otlp.logs = value.switch()?;
            Ok(())
        },
        show: |builder| builder.otlp.logs.to_string(),
    },
];

fn collector(text: &str) -> Result<(String, u16, String), ValueError> {
    let refuse = |requirement: &str| ValueError {
        line: None,
        piece: Some(quoted(text)),
        requirement: requirement.to_owned(),
    };
    if text.starts_with("https://") {
        return Err(refuse(
            "must begin with http://; run a collector on this host, which forwards spans over TLS",
        ));
    }
    let (host, port, path) = http_url(text)
        .filter(|(_, _, path)| {
            path.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        })
        .ok_or_else(|| refuse("must be a URL such as http://127.0.0.1:4318/v1/traces"))?;
    let path = match path.as_str() {
        "/" => TRACES.to_owned(),
        _ => path,
    };
    Ok((host, port, path))
}

fn interval(value: ValueReader<'_>) -> Result<Duration, ValueError> {
    match value.raw {
        RawValue::Boolean(_) => Err("must be a time, such as 5s".into()),
        _ => value.interval(),
    }
}
