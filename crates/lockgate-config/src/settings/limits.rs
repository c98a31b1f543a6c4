//! Settings: limits on the size of a request, where its body is kept, and limits per client.

use super::application::path;
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list, size_text};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
const MOST_FIELDS: u64 = 32_768;
/// 1 PiB: far beyond any disk for bodies, and exact in every number type used on the way.
pub(super) const MOST_BODY: u64 = 1 << 50;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "limit_request_line",
        section: Section::Limits,
        short: None,
        flags: &["limit-request-line"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 64,
            most: MIB,
            zero: Ok("no limit but limit_request_head"),
        },
        doc: "Maximum size of the request line: method, target and version. A longer one gets 414. gunicorn's \
              default is 4094, and its real maximum is 8190.",
        gunicorn: &["limit_request_line"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.request_line = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.limits.request_line as u64),
    },
    Setting {
        name: "limit_request_fields",
        section: Section::Limits,
        short: None,
        flags: &["limit-request-fields"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 0,
            most: MOST_FIELDS,
            auto: false,
        },
        doc: "Maximum number of header fields in a request. More get 431. 0 means 32768, as in gunicorn.",
        gunicorn: &["limit_request_fields"],
        uwsgi: &["max-vars"],
        read: |builder, value| {
            let fields: u64 = value.number()?;
            let fields = if fields == 0 { MOST_FIELDS } else { fields };
            builder.config.limits.request_fields = usize::try_from(fields).unwrap_or(usize::MAX);
            Ok(())
        },
        show: |builder| builder.config.limits.request_fields.to_string(),
    },
    Setting {
        name: "limit_request_field_size",
        section: Section::Limits,
        short: None,
        flags: &["limit-request-field-size", "limit-request-field_size"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 64,
            most: MIB,
            zero: Ok("no limit but limit_request_head"),
        },
        doc: "Maximum size of a header field: name, value and line end. A larger one gets 431.",
        gunicorn: &["limit_request_field_size"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.request_field_size = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.limits.request_field_size as u64),
    },
    Setting {
        name: "limit_request_head",
        section: Section::Limits,
        short: None,
        flags: &["limit-request-head"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: KIB,
            most: 16 * MIB,
            zero: Err("a head cannot be unlimited; for large ones write 1MiB"),
        },
        doc: "Maximum size of a request's head: the request line and all header fields. A larger one gets 431.",
        gunicorn: &[],
        uwsgi: &["buffer-size"],
        read: |builder, value| {
            builder.config.limits.request_head = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.limits.request_head as u64),
    },
    Setting {
        name: "limit_request_body",
        section: Section::Limits,
        short: None,
        flags: &["limit-request-body"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 1,
            most: MOST_BODY,
            zero: Ok("unlimited"),
        },
        doc: "Maximum size of a request's body. A larger one gets 413. gunicorn has no such limit.",
        gunicorn: &[],
        uwsgi: &["limit-post"],
        read: |builder, value| {
            builder.config.limits.request_body = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.limits.request_body),
    },
    Setting {
        name: "limit_chunk_line",
        section: Section::Limits,
        short: None,
        flags: &["limit-chunk-line"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 16,
            most: 64 * KIB,
            zero: Err("a line cannot be unlimited; for long ones write 4K"),
        },
        doc: "Maximum length of a chunk-size line of a chunked body, extensions included. A longer one gets 400.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.chunk_line = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.limits.chunk_line as u64),
    },
    Setting {
        name: "limit_trailers",
        section: Section::Limits,
        short: None,
        flags: &["limit-trailers"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 2,
            most: 16 * MIB,
            zero: Err(
                "trailers cannot be unlimited; to refuse all write 2, the size of the empty line",
            ),
        },
        doc: "Maximum size of the trailer section of a chunked body: fields and the empty line. A larger one gets \
              431, as do more fields than `limit_request_fields` or a field larger than `limit_request_field_size`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.trailers = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.limits.trailers as u64),
    },
    Setting {
        name: "limit_requests_per_connection",
        section: Section::Limits,
        short: None,
        flags: &["limit-requests-per-connection"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 0,
            most: 1_000_000_000,
            auto: false,
        },
        doc: "Maximum number of requests on one connection; 0: unlimited. The response to the last one contains \
              `Connection: close`. Connections accumulate no state, so this is useful only if a proxy should \
              reconnect from time to time. nginx calls it keepalive_requests.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.requests_per_connection = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.limits.requests_per_connection.to_string(),
    },
    Setting {
        name: "limit_connections_per_address",
        section: Section::Limits,
        short: None,
        flags: &["limit-connections-per-address"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 0,
            most: 1_000_000,
            auto: false,
        },
        doc: "Maximum number of connections of one client address; 0: unlimited. Each worker counts separately. A \
              further connection gets 429 and is closed. An IPv6 client is identified by its /64 network. Unix \
              sockets, the proxies in `forwarded_allow_ips`, with `proxy_protocol` those in `proxy_allow_ips`, and the \
              web servers in `uwsgi_allow_ips` where the uwsgi protocol is spoken are not counted. Note that many users may share one address: a company, a school, a mobile network.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.connections_per_address = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.limits.connections_per_address.to_string(),
    },
    Setting {
        name: "stream_request_body",
        section: Section::Limits,
        short: None,
        flags: &["stream-request-body"],
        shape: Shape::List,
        kind: Kind::Text,
        doc: "Prefixes of the paths whose request bodies are streamed. The application is then called when the head of \
              the request is complete, and `wsgi.input` reads from the connection and waits for the client. A slow \
              client occupies a thread. Empty: the application is called when the whole body has arrived. Prefixes are \
              compared with the path as the client has sent it, percent-encoded. A list, as in `[\"/upload/\", \
              \"/git/\"]`; in flags and variables, items are separated by commas.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.stream_request_body = prefixes(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.stream_request_body),
    },
    Setting {
        name: "body_memory",
        section: Section::Limits,
        short: None,
        flags: &["body-memory"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 1,
            most: 1 << 30,
            zero: Ok("every body goes to disk"),
        },
        doc: "Size up to which a request's body is held in memory. A larger body is spooled to disk, in `spool_dir`, \
              until the request ends.",
        gunicorn: &[],
        uwsgi: &["post-buffering"],
        read: |builder, value| {
            builder.config.body_memory = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.body_memory as u64),
    },
    Setting {
        name: "body_memory_total",
        section: Section::Limits,
        short: None,
        flags: &["body-memory-total"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 1,
            most: 1 << 40,
            zero: Ok("only bodies up to 8 KiB are held in memory"),
        },
        doc: "Maximum memory of the bodies of all requests of one worker together. Bodies that are still being \
              received count. Beyond it a body is spooled to disk, in `spool_dir`, even if it is smaller than \
              `body_memory`. The first 8 KiB of each body are always held in memory.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.body_memory_total = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.body_memory_total as u64),
    },
    Setting {
        name: "spool_dir",
        section: Section::Limits,
        short: None,
        flags: &["spool-dir"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "Directory for request bodies that are spooled to disk. The files have no names and disappear when the \
              server exits. Empty: the system's directory for temporary files; if that directory is in memory \
              (tmpfs), set one on disk.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.spool_dir = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.spool_dir),
    },
];

/// Prefixes of paths, without a query.
pub(super) fn prefixes(value: ValueReader<'_>) -> Result<Vec<String>, ValueError> {
    let prefixes = value.items(',')?;
    let is_path = |prefix: &String| {
        prefix.starts_with('/')
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    };
    match prefixes.iter().find(|prefix| !is_path(prefix)) {
        Some(prefix) => Err(ValueError {
            line: None,
            piece: Some(quoted(prefix)),
            requirement: "must begin with a slash and contain no space, query, fragment or non-ASCII character: encode \
                          those as %XX"
                .to_owned(),
        }),
        None => Ok(prefixes),
    }
}
