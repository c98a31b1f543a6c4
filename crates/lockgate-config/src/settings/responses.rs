//! Settings: headers that the server adds to responses, and how responses are sent.

use crate::kind::Kind;
use crate::notation::quoted;
use crate::raw_value::ValueError;
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "server_header",
        section: Section::Responses,
        short: None,
        flags: &["server-header"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Value of the `Server` response header. Empty: the header is not sent. A header set by the application \
              is not changed.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let value = value.optional_text()?;
            // RFC 9110 §5.5, and ASCII only: a product name needs no more.
            let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if value
                .as_ref()
                .is_some_and(|value| !value.bytes().all(is_visible))
            {
                return Err(ValueError::from("must be printable ASCII"));
            }
            builder.config.server_header = value;
            Ok(())
        },
        show: |builder| quoted(builder.config.server_header.as_deref().unwrap_or_default()),
    },
    Setting {
        name: "sendfile",
        section: Section::Responses,
        short: None,
        flags: &["sendfile"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Send files that the application returns through `wsgi.file_wrapper` with sendfile(2). Disable it if \
              the file system does not support it.",
        gunicorn: &["sendfile"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.sendfile = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.sendfile.to_string(),
    },
];
