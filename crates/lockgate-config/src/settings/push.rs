//! Settings: held connections and publishing.

use super::application::path;
use super::limits::{MIB, prefixes};
use crate::RedisAddress;
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list, size_text};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "push",
        section: Section::Push,
        short: None,
        flags: &["push"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Hold responses that have the header `Grip-Hold`, and deliver published messages to them. The application \
              publishes with `lockgate.publish`. A held connection occupies no thread. The headers are those of GRIP, as in Pushpin. If off, they are sent \
              to the client like others. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.push.is_enabled = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.push.is_enabled.to_string(),
    },
    Setting {
        name: "push_memory",
        section: Section::Push,
        short: None,
        flags: &["push-memory"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: MIB,
            most: 64 * 1024 * MIB,
            zero: Err("to hold no connections, write push = false"),
        },
        doc: "Size of the broadcast log. It is memory that all workers share, and has the latest messages of all channels. New messages overwrite the oldest ones. A client that reconnects gets the messages that it has \
              missed from there, as far back as they reach. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.push.memory = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.push.memory as u64),
    },
    Setting {
        name: "push_message_limit",
        section: Section::Push,
        short: None,
        flags: &["push-message-limit"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 1024,
            most: 1024 * MIB,
            zero: Err("a message cannot be unlimited; for large ones write 1MiB"),
        },
        doc: "Maximum size of a published message, with its channel and all its formats. A larger one is refused. At \
              most a quarter of `push_memory`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.push.message_limit = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.push.message_limit as u64),
    },
    Setting {
        name: "push_channels",
        section: Section::Push,
        short: None,
        flags: &["push-channels"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 1,
            most: 10_000,
            auto: false,
        },
        doc: "Maximum number of channels of one held response. With more the response is not held, and the client gets \
              500.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.push.channels = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.push.channels.to_string(),
    },
    Setting {
        name: "push_redis",
        section: Section::Push,
        short: None,
        flags: &["push-redis"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "URL of a Redis server, through which several hosts publish to each other's connections. It needs Redis 5 or \
              later. An example is `redis://:PASSWORD@10.0.0.5:6379/0`; `rediss://` is for TLS. Empty: messages are delivered to connections \
              of this server only. The password is shown as `***`. In a flag other users of the host can read it; use \
              the file or the variable.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let text = value.optional_text()?;
            let parsed = text.map(|text| RedisAddress::parse(&text));
            builder.config.push.redis = parsed.transpose()?;
            Ok(())
        },
        show: |builder| {
            let address = builder.config.push.redis.as_ref();
            quoted(&address.map(ToString::to_string).unwrap_or_default())
        },
    },
    Setting {
        name: "grip_key_file",
        section: Section::Push,
        short: None,
        flags: &["grip-key-file"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File of the key of GRIP's signatures. The server signs its requests to the application with it (`Grip-Sig`), \
              and clients that publish over HTTP may sign theirs. The first line has at least 32 characters, or `base64:` and at least 32 \
              bytes in base64. Empty: the application cannot check the signature. The key itself is no setting, because flags and variables are \
              visible to others. For the admin listener a change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.push.grip_key_file = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.push.grip_key_file),
    },
    Setting {
        name: "websocket_over_http",
        section: Section::Push,
        short: None,
        flags: &["websocket-over-http"],
        shape: Shape::List,
        kind: Kind::Text,
        doc: "Prefixes of the paths whose WebSockets the server holds itself. The application gets their events as \
              requests of the type `application/websocket-events` (WebSocket-over-HTTP, as in Pushpin), and needs no \
              thread between them. On other paths the application takes the connection over. Needs `push`. Prefixes are \
              compared as in `stream_request_body`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.push.websocket_over_http = prefixes(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.push.websocket_over_http),
    },
];
