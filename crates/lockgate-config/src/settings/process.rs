//! Settings: the process as the operating system sees it.

use super::application::path;
use crate::kind::Kind;
use crate::notation::quoted;
use crate::raw_value::{RawValue, ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "user",
        section: Section::Process,
        short: Some('u'),
        flags: &["user"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "User that the workers run as, by name or number. Only root can change it. Unix sockets and new log \
              files are owned by this user. A number without an entry in the password database requires `group`. \
              Empty: the user that started the server; a warning is logged if that is root.",
        gunicorn: &["user"],
        uwsgi: &["uid"],
        read: |builder, value| {
            builder.config.user = account(value)?;
            Ok(())
        },
        show: |builder| quoted(builder.config.user.as_deref().unwrap_or_default()),
    },
    Setting {
        name: "group",
        section: Section::Process,
        short: Some('g'),
        flags: &["group"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Group that the workers run as, by name or number. Only root can change it. Empty: the group of the \
              server.",
        gunicorn: &["group"],
        uwsgi: &["gid"],
        read: |builder, value| {
            builder.config.group = account(value)?;
            Ok(())
        },
        show: |builder| quoted(builder.config.group.as_deref().unwrap_or_default()),
    },
    Setting {
        name: "umask",
        section: Section::Process,
        short: Some('m'),
        flags: &["umask"],
        shape: Shape::Value,
        kind: Kind::Mode,
        doc: "File mode creation mask, in octal. Empty: inherited, and unix sockets are accessible to owner and \
              group only (mode 660); gunicorn's default is 0, which makes them writable by all users.",
        gunicorn: &["umask"],
        uwsgi: &["umask"],
        read: |builder, value| {
            builder.config.umask = mode(value)?;
            Ok(())
        },
        show: |builder| {
            quoted(
                &builder
                    .config
                    .umask
                    .map(|mode| format!("{mode:04o}"))
                    .unwrap_or_default(),
            )
        },
    },
    Setting {
        name: "pid",
        section: Section::Process,
        short: Some('p'),
        flags: &["pid"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File for the process id of the supervisor. It is locked until the server begins to drain: a second \
              server with the same file is refused, and the content that a dead process has left does not matter. \
              A name that is a number, as in `-p 8000`, is refused, because a port is meant: that is `--bind`. Empty: \
              none.",
        gunicorn: &["pidfile"],
        uwsgi: &["pidfile"],
        read: |builder, value| {
            let file = value.optional_path()?;
            let name = file.as_ref().and_then(|file| file.to_str());
            if let Some(port) = name.and_then(|name| name.parse::<u16>().ok()) {
                return Err(format!(
                    "must be the path of a file: for a port, write --bind 127.0.0.1:{port}; for a file with this name, \
                     ./{port}"
                )
                .into());
            }
            builder.config.pidfile = file;
            Ok(())
        },
        show: |builder| path(&builder.config.pidfile),
    },
    Setting {
        name: "name",
        section: Section::Process,
        short: Some('n'),
        flags: &["name"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Name of the server in process listings. In the short name (`ps -o comm`, 15 bytes) the supervisor has \
              this name, the others are `NAME-w0` (a worker), `NAME-fork` (the fork server) and `NAME-admin`. If the \
              package setproctitle is installed, the command line is `NAME: worker 0 [app:app]`. Empty: lockgate.",
        gunicorn: &["proc_name"],
        uwsgi: &["procname", "procname-master"],
        read: |builder, value| {
            builder.config.proc_name = value.optional_text()?;
            Ok(())
        },
        show: |builder| quoted(builder.config.proc_name.as_deref().unwrap_or_default()),
    },
];

fn account(value: ValueReader<'_>) -> Result<Option<String>, ValueError> {
    let account = value.optional_text()?;
    if account
        .as_ref()
        .is_some_and(|name| name.contains([':', '/', ' ', ',']))
    {
        return Err("must be one name or number".into());
    }
    Ok(account)
}

/// Only unambiguous octal: gunicorn reads `22` as decimal, chmod(1) as octal.
fn mode(value: ValueReader<'_>) -> Result<Option<u32>, ValueError> {
    const REQUIREMENT: &str =
        "must be octal with a leading zero, from \"0\" to \"0777\", such as \"022\"";
    let mode = match value.raw {
        RawValue::Text(text) if text.trim().is_empty() => return Ok(None),
        RawValue::Text(text) => {
            let text = text.trim();
            let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
            let is_octal = |digits: &&str| digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            match digits.filter(is_octal) {
                Some("") if text == "0" => Some(0),
                Some(digits) => u32::from_str_radix(digits, 8).ok(),
                None => None,
            }
        }
        RawValue::Integer { value, radix } if *radix == 8 || *value == 0 => {
            u32::try_from(*value).ok()
        }
        _ => None,
    };
    match mode {
        Some(mode) if mode <= 0o777 => Ok(Some(mode)),
        _ => Err(REQUIREMENT.into()),
    }
}
