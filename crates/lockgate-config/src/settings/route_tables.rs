//! The tables `[[mount]]` and `[[route]]`.

use std::path::PathBuf;

use super::application::assignments;
use super::places::{host, host_text, path_text, route_path};
use super::route_rules;
use super::tables::{Table, TableKind, inline};
use crate::kind::Kind;
use crate::notation::quoted;
use crate::raw_value::{RawValue, ValueError, ValueReader, one_line};
use crate::{AppSpec, HostPattern, MountedApp, RouteConfig, RouteRules};

const MOUNT: TableKind = TableKind {
    what: "a mount",
    identity: &["host", "path"],
    example: "[[mount]] with path = \"/admin\" and app = \"shop.admin:app\"",
};
const ROUTE: TableKind = TableKind {
    what: "a route",
    identity: &["host", "path"],
    example: "[[route]] with path = \"/reports\" and threads = \"25%\"",
};
const PLACE_KEYS: [(&str, &str); 2] = [("path", "path"), ("host", "host")];
const MOUNT_KEYS: [(&str, &str); 7] = [
    ("app", "app"),
    ("chdir", "chdir"),
    ("env", "env"),
    ("session", "session"),
    ("module", "app"),
    ("application", "app"),
    ("environ", "env"),
];

/// Reads `mount`.
pub(super) fn mounts(value: ValueReader<'_>) -> Result<Vec<RouteConfig>, ValueError> {
    all(&MOUNT, value, mount)
}

/// Reads `route`.
pub(super) fn routes(value: ValueReader<'_>) -> Result<Vec<RouteConfig>, ValueError> {
    all(&ROUTE, value, route)
}

/// These mounts or routes as they are written in the file.
pub(super) fn texts<'a>(routes: impl Iterator<Item = &'a RouteConfig>) -> String {
    let tables: Vec<String> = routes.map(text).collect();
    format!("[{}]", tables.join(", "))
}

fn all(
    kind: &TableKind,
    value: ValueReader<'_>,
    read: fn(&Table<'_>) -> Result<RouteConfig, ValueError>,
) -> Result<Vec<RouteConfig>, ValueError> {
    let mut routes: Vec<RouteConfig> = Vec::new();
    for table in kind.tables(value.raw)? {
        let route = read(&table)?;
        let is_same =
            |other: &RouteConfig| (&other.host, &other.path) == (&route.host, &route.path);
        if routes.iter().any(is_same) {
            return Err(table.place("has the same host and path as an earlier one; remove one"));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn mount(table: &Table<'_>) -> Result<RouteConfig, ValueError> {
    let (mut app, mut chdir, mut env) = (None, None, Vec::new());
    let mut has_session = true;
    let mut place = Place::default();
    let mut rules = RouteRules::default();
    for entry in table.entries {
        let refuse = |error: ValueError| table.refuse(entry, error);
        let raw = &entry.value;
        match entry.key.as_str() {
            "app" => {
                let text = one_line(raw).map_err(refuse)?;
                app = Some(AppSpec::parse(&text).map_err(|error| refuse(error.into()))?);
            }
            "chdir" => {
                let RawValue::Text(_) = raw else {
                    return Err(refuse("must be a directory".into()));
                };
                let text = one_line(raw).map_err(refuse)?;
                chdir = (!text.trim().is_empty()).then(|| PathBuf::from(text));
            }
            "env" => {
                let kind = Kind::Assignment;
                env = assignments(ValueReader { kind: &kind, raw }).map_err(refuse)?;
                if let Some((name, _)) = env.iter().find(|(name, _)| is_of_request(name)) {
                    let requirement = format!(
                        "{name} is a key that each request sets in the environ of the application"
                    );
                    return Err(refuse(requirement.into()));
                }
            }
            "session" => {
                let kind = Kind::Switch;
                let value = ValueReader { kind: &kind, raw };
                has_session = value.switch().map_err(refuse)?;
            }
            _ if place.read(entry.key.as_str(), raw).map_err(refuse)? => {}
            _ => match route_rules::read(&mut rules, table, entry) {
                Some(outcome) => outcome?,
                None => {
                    let keys = [&PLACE_KEYS[..], &MOUNT_KEYS[..], route_rules::KEYS].concat();
                    return Err(table.unknown(entry, &keys));
                }
            },
        }
    }
    let (host, path) = place.complete(table)?;
    let app = app.ok_or_else(|| {
        table.place("needs app, such as app = \"shop.admin:app\"; rules without an application are a [[route]]")
    })?;
    if host == HostPattern::Any && path.is_empty() {
        return Err(
            table.place("is for all requests, as the app of the server; set that one instead")
        );
    }
    Ok(RouteConfig {
        host,
        path,
        mount: Some(MountedApp {
            chdir,
            env,
            has_session,
            ..MountedApp::new(app)
        }),
        rules,
    })
}

/// Whether a key of the environ has a value of the request (RFC 3875 §4.1, PEP 3333): the application would get that of
/// the mount in its place.
fn is_of_request(name: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        "SSL_",
        "HTTP_",
        "REQUEST_",
        "CONTENT_",
        "SERVER_",
        "wsgi.",
        "lockgate.",
    ];
    const NAMES: [&str; 9] = [
        "AUTH_TYPE",
        "HTTPS",
        "REMOTE_USER",
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "RAW_URI",
        "REMOTE_ADDR",
        "REMOTE_PORT",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn route(table: &Table<'_>) -> Result<RouteConfig, ValueError> {
    let mut place = Place::default();
    let mut rules = RouteRules::default();
    for entry in table.entries {
        let refuse = |error: ValueError| table.refuse(entry, error);
        match entry.key.as_str() {
            "app" | "chdir" | "env" | "session" => {
                return Err(refuse("is a key of a [[mount]], not of a [[route]]".into()));
            }
            key if place.read(key, &entry.value).map_err(refuse)? => {}
            _ => match route_rules::read(&mut rules, table, entry) {
                Some(outcome) => outcome?,
                None => {
                    let keys = [&PLACE_KEYS[..], route_rules::KEYS].concat();
                    return Err(table.unknown(entry, &keys));
                }
            },
        }
    }
    let (host, path) = place.complete(table)?;
    if rules == RouteRules::default() {
        return Err(table.place("has no rule, such as allow = [\"10.0.0.0/8\"]"));
    }
    Ok(RouteConfig {
        host,
        path,
        mount: None,
        rules,
    })
}

/// Where a route holds, while its table is read.
#[derive(Default)]
struct Place {
    host: Option<HostPattern>,
    path: Option<String>,
}

impl Place {
    /// Whether the key is one of a place.
    fn read(&mut self, key: &str, raw: &RawValue) -> Result<bool, ValueError> {
        match key {
            "path" => self.path = Some(route_path(raw)?),
            "host" => self.host = Some(host(one_line(raw)?.trim())?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn complete(self, table: &Table<'_>) -> Result<(HostPattern, String), ValueError> {
        match (self.host, self.path) {
            (None, None) => Err(table.place("needs a path, such as path = \"/admin\", or a host")),
            (host, path) => Ok((host.unwrap_or_default(), path.unwrap_or_default())),
        }
    }
}

fn text(route: &RouteConfig) -> String {
    let mut pairs = Vec::new();
    if route.host != HostPattern::Any {
        pairs.push(format!("host = {}", quoted(&host_text(&route.host))));
    }
    if !route.path.is_empty() || route.host == HostPattern::Any {
        pairs.push(format!("path = {}", quoted(path_text(&route.path))));
    }
    if let Some(mount) = &route.mount {
        pairs.push(format!("app = {}", quoted(&mount.app.to_string())));
        let chdir = mount.chdir.as_ref();
        pairs
            .extend(chdir.map(|chdir| format!("chdir = {}", quoted(&chdir.display().to_string()))));
        if !mount.env.is_empty() {
            pairs.push(format!("env = {}", route_rules::pairs_text(&mount.env)));
        }
        if !mount.has_session {
            pairs.push("session = false".to_owned());
        }
    }
    pairs.extend(route_rules::texts(&route.rules));
    inline(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_no_name_that_requests_set() {
        for (name, expected) in [
            ("SCRIPT_NAME", true),
            ("HTTP_PROXY", true),
            ("wsgi.input", true),
            ("REMOTE_ADDR", true),
            ("lockgate.session", true),
            ("http_proxy", false),
            ("REMOTE_USER", true),
            ("DATABASE_URL", false),
            ("SCRIPT_NAMES", false),
        ] {
            assert_eq!(is_of_request(name), expected, "{name}");
        }
    }
}
