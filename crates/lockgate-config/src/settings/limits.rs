//! Settings: limits on the size of a request, where its body is kept, and limits per client.

use super::application::path;
use crate::kind::Kind;
use crate::notation::size_text;
use crate::setting::{Section, Setting, Shape};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

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
            zero: Err("a request line cannot be unlimited; for long ones write 64K"),
        },
        doc: "Largest request line: method, target and version. A longer one gets 414. \
              gunicorn's default is 4094, and 8190 is the most that it really allows.",
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
            least: 1,
            most: 32_768,
            auto: false,
        },
        doc: "How many header fields a request may have. More get 431.",
        gunicorn: &["limit_request_fields"],
        uwsgi: &["max-vars"],
        read: |builder, value| {
            builder.config.limits.request_fields = value.number()?;
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
            zero: Err("a header field cannot be unlimited; for long ones write 64K"),
        },
        doc: "Largest header field: name, value and line end. A longer one gets 431.",
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
        doc: "Largest head of a request: its request line and all its header fields together. A larger one gets 431.",
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
        // 1 PiB: far beyond any disk for bodies, and exact in every number type used on the way.
        kind: Kind::Size {
            least: 1,
            most: 1 << 50,
            zero: Ok("unlimited"),
        },
        doc: "Largest body of a request. A larger one gets 413. gunicorn has no such limit.",
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
        doc: "Longest line before a chunk of a chunked body: its size and its extensions. A longer one gets 400.",
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
        doc: "Largest trailer section of a chunked body: its fields and the empty line behind them. A larger one gets 431, \
              as do more fields than `limit_request_fields` or a field over `limit_request_field_size`.",
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
        doc: "How many requests one connection serves; 0: unlimited. The response to the last one says `Connection: \
              close`. Nothing gathers on a connection, so this is only for a proxy that should connect anew from time to \
              time. nginx calls it keepalive_requests.",
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
        doc: "How many connections one client address may hold; 0: unlimited. Each worker counts for itself. One more \
              gets 429 and is closed. An IPv6 client counts by its /64 network; unix sockets, the proxies in \
              `forwarded_allow_ips`, and with `proxy_protocol` those in `proxy_allow_ips`, are not counted. Mind that many \
              people may share one address: a company, a school, a mobile network.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.limits.connections_per_address = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.limits.connections_per_address.to_string(),
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
        doc: "How much of a request's body is held in memory. A larger body is kept on disk, in `spool_dir`, \
              until the request is done.",
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
        doc: "How much memory the bodies of all requests of one worker hold together. Bodies that are still arriving count. \
              A body that finds no room goes to disk, in `spool_dir`, although it is smaller than `body_memory`. The first \
              8 KiB of each body are always held in memory.",
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
        doc: "Directory for bodies that are too large for memory. Its files have no names and vanish with the server. \
              Empty: the system's directory for temporary files; where that is held in memory, name a directory on disk.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.spool_dir = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.spool_dir),
    },
];
