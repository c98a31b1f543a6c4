//! Settings: compression of responses.

use super::limits::MIB;
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list, size_text};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "compress",
        section: Section::Compression,
        short: None,
        flags: &["compress"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Compress responses of the application and static files. The client's `Accept-Encoding` chooses the \
              coding: zstd, br or gzip, in this order if the client prefers none. A response that has a \
              `Content-Encoding`, or `no-transform` in its `Cache-Control`, is sent as it is. Pieces of a stream \
              are sent as soon as the application gives them.",
        gunicorn: &[],
        uwsgi: &["http-auto-gzip"],
        read: |builder, value| {
            builder.config.compress.is_enabled = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.compress.is_enabled.to_string(),
    },
    Setting {
        name: "compress_types",
        section: Section::Compression,
        short: None,
        flags: &["compress-types"],
        shape: Shape::List,
        kind: Kind::Text,
        doc: "Media types of the responses that are compressed. A `*` stands for any characters, as in `text/*` and \
              `application/*+json`. Parameters of the response's type, such as its charset, are not compared.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.compress.types = media_types(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.compress.types),
    },
    Setting {
        name: "compress_min_size",
        section: Section::Compression,
        short: None,
        flags: &["compress-min-size"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 1,
            most: 1024 * MIB,
            zero: Ok("there is no minimum"),
        },
        doc: "Minimum size of a body that is compressed. A body whose length is not known beforehand is compressed \
              whatever its size is.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.compress.min_size = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.compress.min_size as u64),
    },
    Setting {
        name: "compress_jitter",
        section: Section::Compression,
        short: None,
        flags: &["compress-jitter"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Vary the length of compressed responses at random. An attacker could otherwise learn a secret from it \
              (BREACH). This concerns responses over TLS to requests with `Cookie` or `Authorization`.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.compress.jitter = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.compress.jitter.to_string(),
    },
];

fn media_types(value: ValueReader<'_>) -> Result<Vec<String>, ValueError> {
    let mut types = value.items(',')?;
    for media_type in &mut types {
        media_type.make_ascii_lowercase();
        let is_part = |part: &str| {
            let is_allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte);
            !part.is_empty() && part.bytes().all(is_allowed)
        };
        let is_type = match media_type.split_once('/') {
            Some((kind, name)) => is_part(kind) && is_part(name),
            None => media_type == "*",
        };
        if !is_type {
            return Err(ValueError {
                line: None,
                piece: Some(quoted(media_type)),
                requirement:
                    "must be a media type without parameters, such as text/html, text/* or *"
                        .to_owned(),
            });
        }
    }
    Ok(types)
}
