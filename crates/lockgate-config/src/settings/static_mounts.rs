//! The value of `static`: `auto`, texts `/PATH=DIR`, or tables.

use std::path::PathBuf;
use std::time::Duration;

use super::places::{path as path_of, path_text};
use crate::kind::Kind;
use crate::notation::{duration_text, quoted, quoted_list};
use crate::raw_value::{Entry, RawValue, ValueError, ValueReader, one_line};
use crate::{StaticMount, StaticSources};

const KEYS: &str = "path, dir, dirs, index, immutable, max_age, headers, internal and fallthrough";
/// Fields that the server sets, or that are about the connection.
const OWN_FIELDS: [&str; 14] = [
    "accept-ranges",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "server",
    "trailer",
    "transfer-encoding",
    "vary",
];
const FORM: &str = "must be /PATH=DIR, such as /static=assets, or auto";

/// Reads the value.
pub(super) fn sources(value: ValueReader<'_>) -> Result<StaticSources, ValueError> {
    let (mut mounts, mut is_auto) = (Vec::new(), false);
    for item in items(value.raw)? {
        match item {
            Item::Table(table) => add_table(&mut mounts, table)?,
            Item::Text(text) if text.eq_ignore_ascii_case("auto") => is_auto = true,
            Item::Text(text) => add_text(&mut mounts, &text).map_err(|error| ValueError {
                piece: error.piece.or_else(|| Some(quoted(&text))),
                ..error
            })?,
        }
    }
    match (mounts.is_empty(), is_auto) {
        (true, false) => Ok(StaticSources::Off),
        (true, true) => Ok(StaticSources::Auto),
        (false, false) => Ok(StaticSources::List(mounts)),
        (false, true) => Err("must be auto or a list of paths, not both".into()),
    }
}

/// The value as it is written in the file.
pub(super) fn sources_text(sources: &StaticSources) -> String {
    match sources {
        StaticSources::Off => "[]".to_owned(),
        StaticSources::Auto => quoted("auto"),
        StaticSources::List(mounts) => {
            let tables: Vec<String> = mounts.iter().map(table_text).collect();
            format!("[{}]", tables.join(", "))
        }
    }
}

enum Item<'a> {
    Text(String),
    Table(&'a [Entry]),
}

fn items(raw: &RawValue) -> Result<Vec<Item<'_>>, ValueError> {
    let raw = match raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut items = Vec::new();
    for item in raw {
        match item {
            RawValue::Table(table) => items.push(Item::Table(table)),
            RawValue::Text(text) => {
                let pieces = one_line(&RawValue::Text(text.clone()))?;
                let pieces = pieces.split(',').map(str::trim);
                items.extend(
                    pieces
                        .filter(|piece| !piece.is_empty())
                        .map(|piece| Item::Text(piece.to_owned())),
                );
            }
            other => {
                return Err(ValueError {
                    line: None,
                    piece: Some(other.to_string()),
                    requirement: format!("{FORM}, or a table {{ path = …, dir = … }}"),
                });
            }
        }
    }
    Ok(items)
}

/// As in uWSGI, a path may be given with several directories.
fn add_text(mounts: &mut Vec<StaticMount>, text: &str) -> Result<(), ValueError> {
    let (path, dir) = text.split_once('=').ok_or(FORM)?;
    let (path, dir) = (path_of(path.trim())?, dir.trim());
    if dir.is_empty() {
        return Err(FORM.into());
    }
    match mounts.iter_mut().find(|mount| mount.path == path) {
        Some(mount) => mount.dirs.push(PathBuf::from(dir)),
        None => mounts.push(StaticMount::new(path, vec![PathBuf::from(dir)])),
    }
    Ok(())
}

fn add_table(mounts: &mut Vec<StaticMount>, table: &[Entry]) -> Result<(), ValueError> {
    let mut path = None;
    let mut mount = StaticMount::new(String::new(), Vec::new());
    let mut has_dir_and_dirs = [false; 2];
    for Entry {
        key,
        value: raw,
        line,
    } in table
    {
        // The error names the key, as the setting alone does not say which part of the table is meant.
        let refuse = |error: ValueError| ValueError {
            line: error.line.or(*line),
            piece: Some(format!(
                "{key} = {}",
                error.piece.unwrap_or_else(|| raw.to_string())
            )),
            requirement: error.requirement,
        };
        let reader = |kind| ValueReader { kind, raw };
        match key.as_str() {
            "path" => {
                let text = one_line(raw).map_err(refuse)?;
                path = Some(path_of(text.trim()).map_err(refuse)?);
            }
            "dir" => {
                has_dir_and_dirs[0] = true;
                mount.dirs = vec![directory(raw).map_err(refuse)?];
            }
            "dirs" => {
                has_dir_and_dirs[1] = true;
                mount.dirs = texts(raw, directory).map_err(refuse)?;
            }
            "index" => mount.index = index(raw).map_err(refuse)?,
            "immutable" => mount.immutable = texts(raw, pattern).map_err(refuse)?,
            "max_age" => mount.max_age = Some(max_age(raw).map_err(refuse)?),
            "headers" => mount.headers = headers(raw)?,
            "internal" => mount.internal = reader(&Kind::Switch).switch().map_err(refuse)?,
            "fallthrough" => mount.fallthrough = reader(&Kind::Switch).switch().map_err(refuse)?,
            _ => {
                return Err(refuse(
                    format!("is an unknown key of a static path; the keys are {KEYS}").into(),
                ));
            }
        }
    }
    let path = path.ok_or_else(|| incomplete(table, "needs a path, such as path = \"/static\""))?;
    if has_dir_and_dirs == [true, true] {
        return Err(incomplete(table, "must have dir or dirs, not both"));
    }
    if mount.dirs.is_empty() {
        return Err(incomplete(
            table,
            "needs a directory, such as dir = \"assets\"",
        ));
    }
    if mounts.iter().any(|other| other.path == path) {
        return Err(ValueError {
            line: None,
            piece: Some(format!("path = {}", quoted(path_text(&path)))),
            requirement: "is given twice; write several directories as dirs = [\"…\", \"…\"]"
                .to_owned(),
        });
    }
    mounts.push(StaticMount { path, ..mount });
    Ok(())
}

fn incomplete(table: &[Entry], requirement: &str) -> ValueError {
    let entries: Vec<String> = table
        .iter()
        .map(|entry| format!("{} = {}", entry.key, entry.value))
        .collect();
    ValueError {
        line: table.first().and_then(|entry| entry.line),
        piece: Some(format!("{{ {} }}", entries.join(", "))),
        requirement: requirement.to_owned(),
    }
}

fn directory(raw: &RawValue) -> Result<PathBuf, ValueError> {
    let text = match raw {
        RawValue::Text(_) => one_line(raw)?,
        _ => return Err("must be text".into()),
    };
    match text.trim().is_empty() {
        true => Err("must be a directory; for the working directory write \".\"".into()),
        false => Ok(PathBuf::from(text)),
    }
}

fn index(raw: &RawValue) -> Result<Option<String>, ValueError> {
    let name = match raw {
        RawValue::Boolean(false) => String::new(),
        _ => one_line(raw)?.trim().to_owned(),
    };
    match name.contains('/') || matches!(name.as_str(), "." | "..") {
        true => Err("must be the name of a file, or empty".into()),
        false => Ok((!name.is_empty()).then_some(name)),
    }
}

fn pattern(raw: &RawValue) -> Result<String, ValueError> {
    let text = one_line(raw)?;
    if text.is_empty() || text.contains('/') {
        return Err(
            "must be a pattern of a file's name, such as *.????????.*, without a directory".into(),
        );
    }
    let (mut rest, unclosed) = (text.as_str(), "has a [ without a ]");
    while let Some((_, class)) = rest.split_once('[') {
        // A ] at the start of a class is one of its characters.
        let start = class.trim_start_matches(['!', '^']);
        let content = start.strip_prefix(']').unwrap_or(start);
        (_, rest) = content.split_once(']').ok_or(unclosed)?;
    }
    Ok(text)
}

fn max_age(raw: &RawValue) -> Result<Duration, ValueError> {
    let kind = Kind::Duration {
        zero: Ok("clients ask each time"),
    };
    let age = ValueReader { kind: &kind, raw }.duration()?;
    match age.subsec_nanos() {
        0 => Ok(age),
        _ => Err("must be whole seconds, as in Cache-Control".into()),
    }
}

/// Fields as a table.
fn headers(raw: &RawValue) -> Result<Vec<(String, String)>, ValueError> {
    let refuse = |piece: String, requirement: &str| ValueError {
        line: None,
        piece: Some(format!("headers = {piece}")),
        requirement: requirement.to_owned(),
    };
    let RawValue::Table(table) = raw else {
        let requirement = "must be a table such as { \"Access-Control-Allow-Origin\" = \"*\" }";
        return Err(refuse(raw.to_string(), requirement));
    };
    let mut headers: Vec<(String, String)> = Vec::new();
    for Entry {
        key: name, value, ..
    } in table
    {
        let refuse =
            |requirement: &str| refuse(format!("{{ {} = {value} }}", quoted(name)), requirement);
        let value = one_line(value).map_err(|error| refuse(&error.requirement))?;
        let value = value.trim();
        // RFC 9110 §5.6.2 and §5.5.
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(refuse("must have the name of a header field"));
        }
        if value.is_empty() || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(refuse("must have a value of printable ASCII"));
        }
        if OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(refuse(
                "must not have a field that the server sets; Cache-Control follows from immutable and max_age",
            ));
        }
        if headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return Err(refuse("must have each field once"));
        }
        headers.push((name.clone(), value.to_owned()));
    }
    Ok(headers)
}

/// One value, or a list of them.
fn texts<T>(
    raw: &RawValue,
    read: impl Fn(&RawValue) -> Result<T, ValueError>,
) -> Result<Vec<T>, ValueError> {
    let items = match raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let read = |item: &RawValue| {
        read(item).map_err(|error| ValueError {
            piece: error.piece.or_else(|| Some(item.to_string())),
            ..error
        })
    };
    items.iter().map(read).collect()
}

fn table_text(mount: &StaticMount) -> String {
    let mut keys = vec![format!("path = {}", quoted(path_text(&mount.path)))];
    keys.push(match mount.dirs.as_slice() {
        [dir] => format!("dir = {}", quoted(&dir.display().to_string())),
        dirs => format!(
            "dirs = {}",
            quoted_list(dirs.iter().map(|dir| dir.display()))
        ),
    });
    if mount.index.as_deref() != Some(StaticMount::DEFAULT_INDEX) {
        let index = mount.index.as_deref().unwrap_or_default();
        keys.push(format!("index = {}", quoted(index)));
    }
    match mount.immutable.as_slice() {
        [] => {}
        [pattern] => keys.push(format!("immutable = {}", quoted(pattern))),
        patterns => keys.push(format!("immutable = {}", quoted_list(patterns))),
    }
    keys.extend(
        mount
            .max_age
            .map(|age| format!("max_age = {}", duration_text(age))),
    );
    if !mount.headers.is_empty() {
        let fields = mount.headers.iter();
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
            .collect();
        keys.push(format!("headers = {{ {} }}", fields.join(", ")));
    }
    if mount.internal {
        keys.push("internal = true".to_owned());
    }
    if !mount.fallthrough {
        keys.push("fallthrough = false".to_owned());
    }
    format!("{{ {} }}", keys.join(", "))
}
