//! Settings: HTTP/2.

use crate::kind::Kind;
use crate::raw_value::{RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "http2",
        section: Section::Http2,
        short: None,
        flags: &["http2"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Speak HTTP/2 beside HTTP/1.1. Over TLS the client chooses (ALPN); without TLS it must know in advance \
              that the server speaks HTTP/2 (prior knowledge), as proxies do.",
        gunicorn: &["http_protocols"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.http2.is_enabled = is_enabled(value)?;
            Ok(())
        },
        show: |builder| builder.config.http2.is_enabled.to_string(),
    },
    Setting {
        name: "http2_max_concurrent_streams",
        section: Section::Http2,
        short: None,
        flags: &["http2-max-concurrent-streams"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 65_536,
            auto: false,
        },
        doc: "Maximum number of requests of one HTTP/2 connection that are in progress at the same time. Further \
              ones are refused in a way that lets the client send them again. gunicorn's default is 100.",
        gunicorn: &["http2_max_concurrent_streams"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.http2.max_concurrent_streams = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.http2.max_concurrent_streams.to_string(),
    },
];

/// `true`, `false`, or gunicorn's list of protocols, such as `h2,h1`.
fn is_enabled(value: ValueReader<'_>) -> Result<bool, ValueError> {
    let names = match value.raw {
        RawValue::Text(_) | RawValue::List(_) if value.switch().is_err() => value.items(',')?,
        _ => return value.switch(),
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["h1"] => Ok(false),
        ["h1", "h2"] | ["h2", "h1"] => Ok(true),
        ["h2"] => Err("HTTP/1.1 is always spoken; write true, or h2,h1".into()),
        names if names.contains(&"h3") => {
            Err("HTTP/3 is not supported yet; write true, or h2,h1".into())
        }
        _ => Err("must be true or false, or gunicorn's h1 or h2,h1".into()),
    }
}
