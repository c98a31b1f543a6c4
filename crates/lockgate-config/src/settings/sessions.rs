//! Settings: sessions.

use std::path::PathBuf;
use std::time::Duration;

use super::fields::is_token;
use super::tables::{Table, TableKind, inline};
use crate::kind::Kind;
use crate::notation::{duration_text, quoted};
use crate::raw_value::{Entry, RawValue, ValueError, ValueReader, one_line};
use crate::setting::{Section, Setting, Shape};
use crate::{SameSite, SecretSource, SessionConfig, SessionCookie, SessionSecret, SessionStore};

pub(super) const SETTINGS: &[Setting] = &[Setting {
    name: "session",
    section: Section::Sessions,
    short: None,
    flags: &["session"],
    shape: Shape::Value,
    kind: Kind::Special {
        placeholder: "STORE",
        accepts: "`cookie`, `sqlite:PATH`, `redis://HOST:PORT/DATABASE`, `redis+unix:///PATH?db=N`, or in the file a table with `store`, `secret_file` or `secret`, `idle`, `absolute`, `store_timeout`, `persistent`, `name`, `path`, `domain`, `secure`, `http_only`, `same_site`; or `false`",
    },
    doc: "Sessions for the applications. Each is wrapped in `lockgate.sessions.SessionMiddleware`, and its requests have a \
          mapping at `environ[\"lockgate.session\"]`. `store` is where the content is: `cookie` (sealed, by default), a \
          file of SQLite for one host, or Redis for several. The secret that seals the cookies is the first line of \
          `secret_file`; further lines are earlier secrets, which still open. Without `secret_file` the server makes a \
          secret, in `session_secret` in STATE_DIRECTORY or `lockgate/session_secret` in XDG_DATA_HOME, otherwise in `/var/lib/lockgate`; \
          several hosts need the same one. `idle` is how long a session is valid after its last use (a day), and `absolute` \
          how long at all (14 days); 0 is no limit. `store_timeout` is how long a request may wait for the store (250 ms). The others are those \
          of the cookie. Secrets and passwords are shown as `***`.",
    gunicorn: &[],
    uwsgi: &[],
    read: |builder, value| {
        builder.config.session = session(value.raw)?;
        Ok(())
    },
    show: |builder| text(builder.config.session.as_ref()),
}];

const TABLE: TableKind = TableKind {
    what: "a session",
    identity: &[],
    example: "[session] with store = \"redis://cache:6379/1\"",
};
const KEYS: &[(&str, &str)] = &[
    ("store", "store"),
    ("secret_file", "secret_file"),
    ("secret", "secret"),
    ("idle", "idle"),
    ("absolute", "absolute"),
    ("store_timeout", "store_timeout"),
    ("persistent", "persistent"),
    ("name", "name"),
    ("path", "path"),
    ("domain", "domain"),
    ("secure", "secure"),
    ("http_only", "http_only"),
    ("same_site", "same_site"),
    ("secrets", "secret"),
    ("idle_lifetime", "idle"),
    ("idle_timeout", "idle"),
    ("absolute_lifetime", "absolute"),
    ("max_age", "absolute"),
    ("cookie", "name"),
    ("cookie_name", "name"),
];
/// What stands for a secret.
const HIDDEN: &str = "\"***\"";

/// `None`: there are no sessions.
fn session(raw: &RawValue) -> Result<Option<SessionConfig>, ValueError> {
    match raw {
        RawValue::Boolean(is_on) => Ok(is_on.then(SessionConfig::default)),
        RawValue::Text(_) => {
            let text = one_line(raw)?;
            let kind = Kind::Switch;
            match (text.trim(), (ValueReader { kind: &kind, raw }).switch()) {
                ("", _) | (_, Ok(false)) => Ok(None),
                (_, Ok(true)) => Ok(Some(SessionConfig::default())),
                (text, Err(_)) => Ok(Some(SessionConfig {
                    store: SessionStore::parse(text)?,
                    ..SessionConfig::default()
                })),
            }
        }
        _ => from_table(&TABLE.table(raw)?).map(Some),
    }
}

fn from_table(table: &Table<'_>) -> Result<SessionConfig, ValueError> {
    let mut session = SessionConfig::default();
    let mut given = Vec::new();
    for entry in table.entries {
        let refuse = |error: ValueError| table.refuse(entry, error);
        let raw = &entry.value;
        match entry.key.as_str() {
            "store" => {
                let text = one_line(raw).map_err(refuse)?;
                session.store = SessionStore::parse(text.trim()).map_err(refuse)?;
            }
            "secret_file" => {
                given.push(entry);
                session.source = SecretSource::File(file(raw).map_err(refuse)?);
            }
            "secret" => {
                given.push(entry);
                session.source = SecretSource::Configuration;
                session.secrets =
                    secrets(raw).map_err(|requirement| hidden(table, entry, requirement))?;
            }
            "store_timeout" => {
                let zero = Err("a request cannot wait without a limit; write 10s");
                session.store_timeout = duration(raw, zero).map_err(refuse)?;
            }
            "idle" => session.idle = lifetime(raw).map_err(refuse)?,
            "absolute" => session.absolute = lifetime(raw).map_err(refuse)?,
            "persistent" => session.is_persistent = switch(raw).map_err(refuse)?,
            _ => {
                let is_known = cookie(&mut session.cookie, entry).map_err(refuse)?;
                if !is_known {
                    // It may be a secret under another name.
                    let error = table.unknown(entry, KEYS);
                    return Err(hidden(table, entry, error.requirement));
                }
            }
        }
    }
    match given.as_slice() {
        [_, second, ..] => Err(hidden(
            table,
            second,
            "is one of secret and secret_file; remove the other".to_owned(),
        )),
        _ => Ok(session),
    }
}

/// An error about a value that is not shown.
fn hidden(table: &Table<'_>, entry: &Entry, requirement: String) -> ValueError {
    table.refuse(
        entry,
        ValueError {
            line: None,
            piece: Some(HIDDEN.to_owned()),
            requirement,
        },
    )
}

fn secrets(raw: &RawValue) -> Result<Vec<SessionSecret>, String> {
    let items = match raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let secrets = items.iter().map(|item| match item {
        RawValue::Text(text) => SessionSecret::new(text.clone()),
        _ => Err("must be text or a list of texts".to_owned()),
    });
    let secrets: Vec<SessionSecret> = secrets.collect::<Result<_, _>>()?;
    match secrets.is_empty() {
        true => Err("must have a secret".to_owned()),
        false => Ok(secrets),
    }
}

/// Whether the key is one of the cookie.
fn cookie(cookie: &mut SessionCookie, entry: &Entry) -> Result<bool, ValueError> {
    let raw = &entry.value;
    match entry.key.as_str() {
        "name" => {
            let name = one_line(raw)?;
            if !is_token(&name) {
                return Err("must be the name of a cookie".into());
            }
            if ["__host-", "__secure-"]
                .iter()
                .any(|prefix| name.to_ascii_lowercase().starts_with(prefix))
            {
                return Err("must have no prefix: the server adds it over HTTPS".into());
            }
            cookie.name = name;
        }
        "path" => {
            cookie.path = attribute(raw)?;
            if !cookie.path.starts_with('/') {
                return Err("must begin with a slash".into());
            }
        }
        "domain" => {
            let domain = attribute(raw)?;
            let name = domain.strip_prefix('.').unwrap_or(&domain);
            crate::acme::parse_domain(name)?;
            cookie.domain = Some(name.to_owned());
        }
        "secure" => cookie.secure = Some(switch(raw)?),
        "http_only" => cookie.http_only = switch(raw)?,
        "same_site" => cookie.same_site = same_site(raw)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// RFC 6265 §4.1.1: what an attribute of a cookie has.
fn attribute(raw: &RawValue) -> Result<String, ValueError> {
    let text = one_line(raw)?;
    match text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
    {
        true => Ok(text),
        false => Err("must be printable ASCII without a semicolon".into()),
    }
}

fn same_site(raw: &RawValue) -> Result<Option<SameSite>, ValueError> {
    let word = match raw {
        RawValue::Boolean(false) => return Ok(None),
        RawValue::Text(text) => text.trim(),
        _ => "",
    };
    let found = SameSite::ALL
        .into_iter()
        .find(|value| value.name().eq_ignore_ascii_case(word));
    found
        .map(Some)
        .ok_or_else(|| "must be Strict, Lax or None, or false to send no SameSite".into())
}

fn file(raw: &RawValue) -> Result<PathBuf, ValueError> {
    match raw {
        RawValue::Text(text) if !text.trim().is_empty() => Ok(PathBuf::from(one_line(raw)?)),
        _ => Err("must be the path of a file".into()),
    }
}

fn switch(raw: &RawValue) -> Result<bool, ValueError> {
    let kind = Kind::Switch;
    ValueReader { kind: &kind, raw }.switch()
}

fn duration(
    raw: &RawValue,
    zero: Result<&'static str, &'static str>,
) -> Result<Duration, ValueError> {
    let kind = Kind::Duration { zero };
    ValueReader { kind: &kind, raw }.duration()
}

fn lifetime(raw: &RawValue) -> Result<Option<Duration>, ValueError> {
    let time = duration(raw, Ok("no limit"))?;
    match time.subsec_nanos() {
        0 => Ok((!time.is_zero()).then_some(time)),
        _ => Err("must be whole seconds, as in Max-Age".into()),
    }
}

fn text(session: Option<&SessionConfig>) -> String {
    let Some(session) = session else {
        return "false".to_owned();
    };
    let default = SessionConfig::default();
    let mut pairs = vec![format!("store = {}", quoted(&session.store.to_string()))];
    match &session.source {
        SecretSource::Configuration => pairs.push(format!("secret = {HIDDEN}")),
        SecretSource::File(path) => {
            pairs.push(format!(
                "secret_file = {}",
                quoted(&path.display().to_string())
            ));
        }
        SecretSource::OwnFile(_) => {}
    }
    for (key, time, usual) in [
        ("idle", session.idle, default.idle),
        ("absolute", session.absolute, default.absolute),
        (
            "store_timeout",
            Some(session.store_timeout),
            Some(default.store_timeout),
        ),
    ] {
        if time != usual {
            pairs.push(format!(
                "{key} = {}",
                duration_text(time.unwrap_or_default())
            ));
        }
    }
    if session.is_persistent {
        pairs.push("persistent = true".to_owned());
    }
    let (cookie, usual) = (&session.cookie, default.cookie);
    if cookie.name != usual.name {
        pairs.push(format!("name = {}", quoted(&cookie.name)));
    }
    if cookie.path != usual.path {
        pairs.push(format!("path = {}", quoted(&cookie.path)));
    }
    pairs.extend(
        cookie
            .domain
            .as_ref()
            .map(|domain| format!("domain = {}", quoted(domain))),
    );
    pairs.extend(cookie.secure.map(|secure| format!("secure = {secure}")));
    if !cookie.http_only {
        pairs.push("http_only = false".to_owned());
    }
    if cookie.same_site != usual.same_site {
        pairs.push(match cookie.same_site {
            Some(value) => format!("same_site = {}", quoted(value.name())),
            None => "same_site = false".to_owned(),
        });
    }
    inline(&pairs)
}
