//! Settings: the application to serve.

use std::path::PathBuf;

use crate::AppSpec;
use crate::setting::{Kind, Section, Setting, Shape};
use crate::written::{Complaint, Given, Written, quoted, quoted_list};

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
              alone or with `:attribute`. Given on the command line without a flag. \
              Without an attribute Lockgate looks for the usual names.",
        gunicorn: &["wsgi_app"],
        uwsgi: &["module", "wsgi", "wsgi-file", "mount"],
        read: |draft, given| {
            draft.app = Some(AppSpec::parse(&given.text()?)?);
            Ok(())
        },
        show: |draft| {
            draft
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
        read: |draft, given| {
            draft.config.root_path = root_path(&given.text()?)?;
            Ok(())
        },
        show: |draft| quoted(&draft.config.root_path),
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
        read: |draft, given| {
            draft.config.chdir = given.optional_path()?;
            Ok(())
        },
        show: |draft| path(&draft.config.chdir),
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
        read: |draft, given| {
            draft.config.pythonpath = given.items(',')?.into_iter().map(PathBuf::from).collect();
            Ok(())
        },
        show: |draft| quoted_list(draft.config.pythonpath.iter().map(|path| path.display())),
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
        read: |draft, given| {
            draft.config.env = assignments(given)?;
            Ok(())
        },
        show: |draft| {
            quoted_list(
                draft
                    .config
                    .env
                    .iter()
                    .map(|(key, value)| format!("{key}={value}")),
            )
        },
    },
];

fn root_path(text: &str) -> Result<String, Complaint> {
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

fn assignments(given: Given<'_>) -> Result<Vec<(String, String)>, Complaint> {
    let pairs = match given.written {
        Written::Table(table) => table
            .iter()
            .map(|(key, value)| match value {
                Written::Text(value) => Ok((key.clone(), value.clone())),
                value => Err(Complaint {
                    piece: Some(format!("{key} = {value}")),
                    demand: "the value of a variable must be text, in quotes".to_owned(),
                }),
            })
            .collect::<Result<Vec<_>, _>>()?,
        // A value may contain commas and, in a flag or the file, line feeds; only in a variable do line feeds separate
        // entries.
        Written::List(list) => list.iter().map(assignment).collect::<Result<Vec<_>, _>>()?,
        Written::Text(text) => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| assignment(&Written::Text(line.to_owned())))
            .collect::<Result<Vec<_>, _>>()?,
        _ => return Err("must be a list of \"KEY=VALUE\" or a table".into()),
    };
    for (key, value) in &pairs {
        // setenv(3) refuses these.
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(Complaint {
                piece: Some(quoted(key)),
                demand: "is no name for a variable".to_owned(),
            });
        }
    }
    Ok(pairs)
}

fn assignment(written: &Written) -> Result<(String, String), Complaint> {
    let pair = match written {
        Written::Text(text) => text.split_once('='),
        _ => None,
    };
    match pair {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err(Complaint {
            piece: Some(written.to_string()),
            demand: "must be KEY=VALUE".to_owned(),
        }),
    }
}
