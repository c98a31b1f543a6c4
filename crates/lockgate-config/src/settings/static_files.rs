//! Settings: static files.

use super::limits::MIB;
use super::static_mounts::{sources, sources_text};
use crate::kind::Kind;
use crate::notation::{duration_text, size_text};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "static",
        section: Section::StaticFiles,
        short: None,
        flags: &["static"],
        shape: Shape::List,
        kind: Kind::StaticMount,
        doc: "Directories whose files are served without the application. `/static=DIR` serves the files of `DIR` at \
              paths that begin with `/static/`; several directories with one path are searched in their order. \
              `auto` serves those that the application has declared: Django's `STATIC_ROOT`, Flask's static folders \
              and the files of WhiteNoise. In the file, a table has further keys: `index`, the file that is served \
              for a directory (`index.html`; empty: none); `immutable`, patterns of the names of files that never \
              change, such as `*.????????.*`; `max_age`, how long clients may reuse the others; `headers`, a table of further fields of the responses; `internal`, to serve \
              files only by `X-Accel-Redirect` and `X-Sendfile`; and `fallthrough`, whether requests for missing \
              files go on to the application (`true`) or get 404. Several paths are separated by commas in the \
              variable.",
        gunicorn: &[],
        uwsgi: &["static-map", "static-map2", "check-static"],
        read: |builder, value| {
            builder.config.static_files.sources = sources(value)?;
            Ok(())
        },
        show: |builder| sources_text(&builder.config.static_files.sources),
    },
    Setting {
        name: "static_open_files",
        section: Section::StaticFiles,
        short: None,
        flags: &["static-open-files"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 0,
            most: 1_000_000,
            auto: false,
        },
        doc: "Maximum number of static files that each worker keeps open between requests. 0: none.",
        gunicorn: &[],
        uwsgi: &["static-cache-paths"],
        read: |builder, value| {
            builder.config.static_files.open_files = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.static_files.open_files.to_string(),
    },
    Setting {
        name: "static_memory",
        section: Section::StaticFiles,
        short: None,
        flags: &["static-memory"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 64 * 1024,
            most: 16 * 1024 * MIB,
            zero: Ok("files are always read from disk"),
        },
        doc: "Memory of each worker for small static files. They are sent from there while `static_valid` and the \
              file's state on disk permit it.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.static_files.memory = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.static_files.memory as u64),
    },
    Setting {
        name: "static_valid",
        section: Section::StaticFiles,
        short: None,
        flags: &["static-valid"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("each request looks at the file"),
        },
        doc: "How long a worker uses a static file without a look at its state on disk.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.static_files.valid = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.static_files.valid),
    },
];
