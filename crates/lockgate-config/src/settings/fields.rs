//! Edits of header fields, and error pages: tables of names and values.

use std::path::PathBuf;

use super::tables::{TableKind, inline, key};
use crate::FieldEdit;
use crate::notation::quoted;
use crate::raw_value::{Entry, RawValue, ValueError, one_line};

/// Fields of requests that say which message this is; changing them would change how it is read.
const OWN_REQUEST_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Fields of responses that the server sets, or that say how the message is read.
const OWN_RESPONSE_FIELDS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "host",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const EDITS: TableKind = TableKind {
    what: "headers",
    identity: &[],
    example: "{ \"X-Frame-Options\" = \"DENY\", \"X-Debug\" = false }, where false removes a header",
};
const PAGES: TableKind = TableKind {
    what: "error pages",
    identity: &[],
    example: "{ 503 = \"errors/503.html\" }",
};

/// Edits of the fields of requests.
pub(super) fn request(raw: &RawValue) -> Result<Vec<FieldEdit>, ValueError> {
    edits(raw, OWN_REQUEST_FIELDS)
}

/// Edits of the fields of responses.
pub(super) fn response(raw: &RawValue) -> Result<Vec<FieldEdit>, ValueError> {
    edits(raw, OWN_RESPONSE_FIELDS)
}

/// As a table, or as texts `NAME=VALUE`, in which an empty value stands for removal.
fn edits(raw: &RawValue, own: &[&str]) -> Result<Vec<FieldEdit>, ValueError> {
    let given = pairs(raw, &EDITS, |value| match value {
        "" => RawValue::Boolean(false),
        value => RawValue::Text(value.to_owned()),
    })?;
    let given = RawValue::Table(given);
    let table = EDITS.table(&given)?;
    let mut edits: Vec<FieldEdit> = Vec::new();
    for entry in table.entries {
        let edit = edit(&entry.key, &entry.value, own)
            .map_err(|error| table.refuse(entry, error.into()))?;
        let is_same = |other: &FieldEdit| other.name.eq_ignore_ascii_case(&edit.name);
        if edits.iter().any(is_same) {
            return Err(table.refuse(entry, "must have each header once".into()));
        }
        edits.push(edit);
    }
    Ok(edits)
}

fn edit(name: &str, value: &RawValue, own: &[&str]) -> Result<FieldEdit, String> {
    if !is_token(name) {
        return Err("must have the name of a header".to_owned());
    }
    if own.contains(&name.to_ascii_lowercase().as_str()) {
        let instead = match name.eq_ignore_ascii_case("server") {
            true => "; its value for all responses is the setting server_header",
            false => "",
        };
        return Err(format!(
            "must not change {name}, which the server sets or reads{instead}"
        ));
    }
    let value = match value {
        RawValue::Boolean(false) => None,
        RawValue::Boolean(true) => {
            return Err("must be text, or false to remove the header".to_owned());
        }
        value => Some(one_line(value).map_err(|error| error.requirement)?),
    };
    let value = value.map(|value| value.trim().to_owned());
    match value.as_deref() {
        Some(_) if name.eq_ignore_ascii_case("set-cookie") => {
            Err("must be false: a cookie would take the place of the application's".to_owned())
        }
        Some("") => Err("must not be empty; to remove the header write false".to_owned()),
        // RFC 9110 §5.5: other characters have no meaning that all recipients agree on.
        Some(value) if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Err("must be printable ASCII".to_owned())
        }
        _ => Ok(FieldEdit {
            name: name.to_owned(),
            value,
        }),
    }
}

/// Edits as they are written in the file.
pub(super) fn edits_text(edits: &[FieldEdit]) -> String {
    let pairs: Vec<String> = edits
        .iter()
        .map(|edit| {
            let value = edit.value.as_deref();
            let value = value.map_or_else(|| "false".to_owned(), quoted);
            format!("{} = {value}", key(&edit.name))
        })
        .collect();
    inline(&pairs)
}

/// Error pages, as a table or as texts `STATUS=FILE`.
pub(super) fn error_pages(raw: &RawValue) -> Result<Vec<(u16, PathBuf)>, ValueError> {
    let given = pairs(raw, &PAGES, |value| RawValue::Text(value.to_owned()))?;
    let given = RawValue::Table(given);
    let table = PAGES.table(&given)?;
    let mut pages: Vec<(u16, PathBuf)> = Vec::new();
    for entry in table.entries {
        let refuse = |error: ValueError| table.refuse(entry, error);
        let is_number = entry.key.len() == 3 && entry.key.bytes().all(|byte| byte.is_ascii_digit());
        let status = entry.key.parse().ok().filter(|_| is_number);
        let status = status
            .filter(|status| (400..=599).contains(status))
            .ok_or_else(|| refuse("must have a status from 400 to 599".into()))?;
        let RawValue::Text(_) = entry.value else {
            return Err(refuse("must be the path of a file".into()));
        };
        let file = one_line(&entry.value).map_err(refuse)?;
        if file.trim().is_empty() {
            return Err(refuse("must be the path of a file".into()));
        }
        if pages.iter().any(|(other, _)| *other == status) {
            return Err(refuse("must have each status once".into()));
        }
        pages.push((status, PathBuf::from(file)));
    }
    Ok(pages)
}

/// Error pages as they are written in the file.
pub(super) fn pages_text(pages: &[(u16, PathBuf)]) -> String {
    let pairs: Vec<String> = pages
        .iter()
        .map(|(status, file)| format!("{status} = {}", quoted(&file.display().to_string())))
        .collect();
    inline(&pairs)
}

/// `token` of RFC 9110 §5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// The entries of a table, or of texts `NAME=VALUE`; in one text they are separated by line feeds.
fn pairs(
    raw: &RawValue,
    kind: &TableKind,
    value: impl Fn(&str) -> RawValue,
) -> Result<Vec<Entry>, ValueError> {
    let texts = match raw {
        RawValue::Table(entries) => return Ok(entries.clone()),
        // A value may contain commas, so only line feeds separate them in a variable.
        RawValue::Text(text) => text
            .lines()
            .map(|line| RawValue::Text(line.to_owned()))
            .collect(),
        RawValue::List(items) => items.clone(),
        _ => return kind.table(raw).map(|table| table.entries.to_vec()),
    };
    let mut entries = Vec::new();
    for text in texts {
        let RawValue::Text(text) = &text else {
            return kind.table(&text).map(|table| table.entries.to_vec());
        };
        if text.trim().is_empty() {
            continue;
        }
        let Some((name, written)) = text.split_once('=') else {
            return Err(ValueError {
                line: None,
                piece: Some(quoted(text.trim())),
                requirement: format!(
                    "must be NAME=VALUE, or in the file a table such as {}",
                    kind.example
                ),
            });
        };
        entries.push(Entry {
            key: name.trim().to_owned(),
            value: value(written.trim()),
            line: None,
        });
    }
    Ok(entries)
}
