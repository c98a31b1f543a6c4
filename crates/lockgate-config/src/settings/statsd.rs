//! Settings: metrics that are sent to statsd.

use crate::kind::Kind;
use crate::notation::quoted;
use crate::raw_value::ValueError;
use crate::setting::{Section, Setting, Shape};
use crate::statsd::StatsdAddress;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "statsd_host",
        section: Section::Statsd,
        short: None,
        flags: &["statsd-host"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Send metrics to this statsd server. `HOST:PORT` is sent to over UDP, the port is 8125 by default; \
              `unix://PATH` is a datagram socket. Metrics have gunicorn's names and are sent once a second. None if empty.",
        gunicorn: &["statsd_host"],
        uwsgi: &["stats-push"],
        read: |builder, value| {
            builder.config.statsd.address =
                match value.optional_text()? {
                    None => None,
                    Some(text) => Some(StatsdAddress::parse(&text).ok_or_else(|| {
                        ValueError::from("must be HOST, HOST:PORT or unix://PATH")
                    })?),
                };
            Ok(())
        },
        show: |builder| {
            let address = builder.config.statsd.address.as_ref();
            quoted(&address.map(ToString::to_string).unwrap_or_default())
        },
    },
    Setting {
        name: "statsd_prefix",
        section: Section::Statsd,
        short: None,
        flags: &["statsd-prefix"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Begin the name of each metric with this prefix and a dot.",
        gunicorn: &["statsd_prefix"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.statsd.prefix = metric_text(value.optional_text()?)?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.statsd.prefix),
    },
    Setting {
        name: "dogstatsd_tags",
        section: Section::Statsd,
        short: None,
        flags: &["dogstatsd-tags"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Add these tags of DogStatsD to each metric, separated by commas. Only servers that know DogStatsD's \
              extension accept them.",
        gunicorn: &["dogstatsd_tags"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.statsd.tags = metric_text(value.optional_text()?)?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.statsd.tags),
    },
    Setting {
        name: "enable_backlog_metric",
        section: Section::Statsd,
        short: None,
        flags: &["enable-backlog-metric"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Send the number of connections that wait for accept, on Linux. It is a DogStatsD histogram, as in \
              gunicorn.",
        gunicorn: &["enable_backlog_metric"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.statsd.has_backlog = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.statsd.has_backlog.to_string(),
    },
];

fn metric_text(text: Option<String>) -> Result<String, ValueError> {
    let text = text.unwrap_or_default();
    if text.contains('|') || !text.is_ascii() {
        return Err(ValueError::from("must be ASCII without the character |"));
    }
    Ok(text)
}
