//! Settings: the application to serve.

use std::path::PathBuf;

use crate::AppSpec;
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list};
use crate::raw_value::{RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "app",
        section: Section::Application,
        short: None,
        flags: &[],
        shape: Shape::Argument,
        kind: Kind::Application,
        doc: "The WSGI application to serve. It is `module:attribute`, where the attribute may be a dotted path or a \
              factory with its arguments as Python literals, as in `shop:create_app(debug=True)`; or a Python file, \
              alone or with `:attribute`. ValueReader on the command line without a flag. \
              Without an attribute Lockgate looks for the usual names.",
        gunicorn: &["wsgi_app"],
        uwsgi: &["module", "wsgi", "wsgi-file", "mount"],
        read: |builder, value| {
            builder.app = Some(AppSpec::parse(&value.text()?)?);
            Ok(())
        },
        show: |builder| {
            builder
                .app
                .as_ref()
                .map_or_else(|| quoted(""), |app| quoted(&app.to_string()))
        },
    },
    Setting {
        name: "root_path",
        section: Section::Application,
        short: None,
        flags: &["root-path"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Path below which a proxy publishes the application, such as `/shop`. It becomes SCRIPT_NAME, so that the \
              application's links begin with it. It is cut off the path if the path begins with it; any other path counts as cut \
              by the proxy. As with gunicorn, the variable SCRIPT_NAME gives it too, in `env` or in the environment. \
              Empty: the root.",
        gunicorn: &["root_path"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.root_path = root_path(&value.text()?)?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.root_path),
    },
    Setting {
        name: "chdir",
        section: Section::Application,
        short: None,
        flags: &["chdir"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "Directory to change to before the application is imported. It also becomes the first directory that \
              Python looks for modules in. Empty: the directory that the server was started in.",
        gunicorn: &["chdir"],
        uwsgi: &["chdir"],
        read: |builder, value| {
            builder.config.chdir = value.optional_path()?;
            Ok(())
        },
        show: |builder| path(&builder.config.chdir),
    },
    Setting {
        name: "pythonpath",
        section: Section::Application,
        short: None,
        flags: &["pythonpath"],
        shape: Shape::List,
        kind: Kind::Path,
        doc: "Directories that Python looks for modules in before all others. \
              A list; in one text they are separated by commas.",
        gunicorn: &["pythonpath"],
        uwsgi: &["pythonpath", "python-path", "pp"],
        read: |builder, value| {
            builder.config.pythonpath = value.items(',')?.into_iter().map(PathBuf::from).collect();
            Ok(())
        },
        show: |builder| quoted_list(builder.config.pythonpath.iter().map(|path| path.display())),
    },
    Setting {
        name: "env",
        section: Section::Application,
        short: Some('e'),
        flags: &["env"],
        shape: Shape::List,
        kind: Kind::Assignment,
        doc: "Variables put into the environment of the application, each as `KEY=VALUE`. The flag may be given several \
              times; the file also takes a table, as in `env = { DJANGO_SETTINGS_MODULE = \"shop.settings\" }`; the \
              variable LOCKGATE_ENV takes one assignment per line.",
        gunicorn: &["raw_env"],
        uwsgi: &["env"],
        read: |builder, value| {
            builder.config.env = assignments(value)?;
            Ok(())
        },
        show: |builder| {
            quoted_list(
                builder
                    .config
                    .env
                    .iter()
                    .map(|(key, value)| format!("{key}={value}")),
            )
        },
    },
];

fn root_path(text: &str) -> Result<String, ValueError> {
    let path = text.trim().trim_end_matches('/');
    let is_plain = |character: char| !character.is_control() && !"?#\\".contains(character);
    match path {
        "" => Ok(String::new()),
        _ if path.starts_with('/') && !path.starts_with("//") && path.chars().all(is_plain) => {
            Ok(path.to_owned())
        }
        _ => Err("must be a path that begins with one slash, such as /shop".into()),
    }
}

/// A path as written in the file; the empty text for none.
pub(super) fn path(path: &Option<PathBuf>) -> String {
    quoted(
        &path
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
    )
}

fn assignments(value: ValueReader<'_>) -> Result<Vec<(String, String)>, ValueError> {
    let pairs = match value.raw {
        RawValue::Table(table) => table
            .iter()
            .map(|(key, value)| match value {
                RawValue::Text(value) => Ok((key.clone(), value.clone())),
                value => Err(ValueError {
                    piece: Some(format!("{key} = {value}")),
                    requirement: "the value of a variable must be text, in quotes".to_owned(),
                }),
            })
            .collect::<Result<Vec<_>, _>>()?,
        // A value may contain commas and, in a flag or the file, line feeds; only in a variable do line feeds separate
        // entries.
        RawValue::List(list) => list.iter().map(assignment).collect::<Result<Vec<_>, _>>()?,
        RawValue::Text(text) => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| assignment(&RawValue::Text(line.to_owned())))
            .collect::<Result<Vec<_>, _>>()?,
        _ => return Err("must be a list of \"KEY=VALUE\" or a table".into()),
    };
    for (key, value) in &pairs {
        // setenv(3) refuses these.
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(ValueError {
                piece: Some(quoted(key)),
                requirement: "is no name for a variable".to_owned(),
            });
        }
    }
    Ok(pairs)
}

fn assignment(raw: &RawValue) -> Result<(String, String), ValueError> {
    let pair = match raw {
        RawValue::Text(text) => text.split_once('='),
        _ => None,
    };
    match pair {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err(ValueError {
            piece: Some(raw.to_string()),
            requirement: "must be KEY=VALUE".to_owned(),
        }),
    }
}
