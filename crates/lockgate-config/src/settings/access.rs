//! Settings: who may come.

use std::path::PathBuf;
use std::time::Duration;

use super::fields::is_token;
use super::places::host;
use super::tables::{TableKind, inline};
use crate::kind::Kind;
use crate::notation::{duration_text, quoted, quoted_list};
use crate::raw_value::{RawValue, ValueError, ValueReader, one_line};
use crate::setting::{Section, Setting, Shape};
use crate::{
    AddressRule, BasicAuth, CertificateRule, ForwardAuthConfig, ForwardAuthUrl, Networks,
    RouteRules, ServiceAddress,
};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "allow",
        section: Section::Access,
        short: None,
        flags: &["allow"],
        shape: Shape::List,
        kind: Kind::Network,
        doc: "Addresses of clients that may come; all others get 403. Behind a proxy the address is the one that the \
              proxy names, see `forwarded_allow_ips`. Empty: all. A `[[route]]` or `[[mount]]` that has `allow` or \
              `deny` replaces both of them.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let networks = networks(value.raw)?;
            let is_set = networks != Networks::default();
            let rules = &mut builder.config.routes.server;
            set_addresses(rules, |rule| rule.allow = is_set.then_some(networks));
            Ok(())
        },
        show: |builder| {
            let rule = builder.config.routes.server.addresses.as_ref();
            let allow = rule.and_then(|rule| rule.allow.as_ref());
            quoted_list(allow.into_iter().flat_map(Networks::texts))
        },
    },
    Setting {
        name: "deny",
        section: Section::Access,
        short: None,
        flags: &["deny"],
        shape: Shape::List,
        kind: Kind::Network,
        doc: "Addresses of clients that get 403, even if `allow` has them.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let networks = networks(value.raw)?;
            let rules = &mut builder.config.routes.server;
            set_addresses(rules, |rule| rule.deny = networks);
            Ok(())
        },
        show: |builder| {
            let rule = builder.config.routes.server.addresses.as_ref();
            quoted_list(rule.into_iter().flat_map(|rule| rule.deny.texts()))
        },
    },
    Setting {
        name: "basic_auth",
        section: Section::Access,
        short: None,
        flags: &["basic-auth"],
        shape: Shape::Value,
        kind: Kind::Special {
            placeholder: "FILE",
            accepts: "path, or in the file a table `{ users = FILE, realm = TEXT }`, or `false`",
        },
        doc: "File of users that must give their passwords (HTTP Basic). It has lines `name:hash` with hashes of bcrypt \
              or argon2id, which `lockgate hash-password` makes. Clients without a valid password get 401. The user \
              becomes REMOTE_USER. `false`: no password is asked for, also in a `[[route]]` inside of one that asks.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.server.basic_auth = basic_auth(value.raw)?.map(Some);
            Ok(())
        },
        show: |builder| {
            let rule = builder.config.routes.server.basic_auth.as_ref();
            basic_auth_text(rule.and_then(Option::as_ref))
        },
    },
    Setting {
        name: "forward_auth",
        section: Section::Access,
        short: None,
        flags: &["forward-auth"],
        shape: Shape::Value,
        kind: Kind::Special {
            placeholder: "URL",
            accepts: "`http://HOST:PORT/PATH` or `unix:SOCKET:/PATH`, or in the file a table `{ url = …, copy = […], timeout = … }`, or `false`",
        },
        doc: "URL of a service that decides about each request. It gets the head of the request. After its 2xx the \
              request passes, with the headers in `copy` from its response; what a client sends under these names is \
              removed on all paths. Other responses go to the client. `timeout` is how long a request waits for it \
              (5 s); then the client gets 504. `false`: no service is asked.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.server.forward_auth = forward_auth(value.raw)?.map(Some);
            Ok(())
        },
        show: |builder| {
            let rule = builder.config.routes.server.forward_auth.as_ref();
            forward_auth_text(rule.and_then(Option::as_ref))
        },
    },
    Setting {
        name: "client_certificate",
        section: Section::Access,
        short: None,
        flags: &["client-certificate"],
        shape: Shape::Switch,
        kind: Kind::Special {
            placeholder: "BOOL",
            accepts: "`true` or `false`, or in the file a table `{ names = […], groups = […] }`",
        },
        doc: "Whether requests need a client certificate; those without get 403. With `names` its common name, and with \
              `groups` one of its organizational units must be in the list. Needs `cert_reqs` and `ca_certs`. With \
              `cert_reqs = \"optional\"` some routes can require a certificate and others not.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let rule = client_certificate(value.raw)?;
            builder.config.routes.server.client_certificate = rule.map(Some);
            Ok(())
        },
        show: |builder| {
            let rule = builder.config.routes.server.client_certificate.as_ref();
            client_certificate_text(rule.and_then(Option::as_ref))
        },
    },
];

const BASIC_AUTH: TableKind = TableKind {
    what: "basic_auth",
    identity: &[],
    example: "{ users = \"/etc/shop/users\" }",
};
const FORWARD_AUTH: TableKind = TableKind {
    what: "forward_auth",
    identity: &[],
    example: "{ url = \"http://127.0.0.1:9091/verify\" }",
};
const CLIENT_CERTIFICATE: TableKind = TableKind {
    what: "client_certificate",
    identity: &[],
    example: "{ names = [\"…\"] } or { groups = [\"…\"] }",
};
const DEFAULT_REALM: &str = "restricted";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Fields that no answer about a user has: they frame or route the request, or are what the client identifies itself
/// with, and would be removed from what clients send.
const NOT_COPIED: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
];

pub(super) fn networks(raw: &RawValue) -> Result<Networks, ValueError> {
    let kind = Kind::Network;
    super::proxies::networks(ValueReader { kind: &kind, raw })
}

fn set_addresses(rules: &mut RouteRules, set: impl FnOnce(&mut AddressRule)) {
    let mut rule = rules.addresses.take().unwrap_or_default();
    set(&mut rule);
    rules.addresses = (rule != AddressRule::default()).then_some(rule);
}

/// Text that is not blank; `None` for `false` and for blank text.
fn text_or_off(raw: &RawValue) -> Result<Option<String>, ValueError> {
    match raw {
        RawValue::Boolean(false) => Ok(None),
        RawValue::Text(_) => {
            let text = one_line(raw)?;
            let text = text.trim();
            let is_off = text.is_empty() || text.eq_ignore_ascii_case("false");
            Ok((!is_off).then(|| text.to_owned()))
        }
        _ => Err("must be text, a table or false".into()),
    }
}

/// A file of users; `None` for `false`.
pub(super) fn basic_auth(raw: &RawValue) -> Result<Option<BasicAuth>, ValueError> {
    let RawValue::Table(_) = raw else {
        let users = text_or_off(raw)?;
        return Ok(users.map(|users| BasicAuth {
            users: PathBuf::from(users),
            realm: DEFAULT_REALM.to_owned(),
        }));
    };
    let table = BASIC_AUTH.table(raw)?;
    let (mut users, mut realm) = (None, DEFAULT_REALM.to_owned());
    for entry in table.entries {
        let refuse = |error| table.refuse(entry, error);
        match entry.key.as_str() {
            "users" => match &entry.value {
                RawValue::Text(text) if !text.trim().is_empty() => {
                    users = Some(PathBuf::from(one_line(&entry.value).map_err(refuse)?));
                }
                _ => return Err(refuse("must be the path of a file".into())),
            },
            "realm" => {
                realm = one_line(&entry.value).map_err(refuse)?;
                // RFC 7235 §2.2: a quoted string, and clients differ about escapes and other characters.
                let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
                if realm.is_empty() || !realm.bytes().all(is_plain) {
                    return Err(refuse("must be printable ASCII without \" and \\".into()));
                }
            }
            _ => {
                let keys = [("users", "users"), ("realm", "realm"), ("file", "users")];
                return Err(table.unknown(entry, &keys));
            }
        }
    }
    let users = users.ok_or_else(|| table.incomplete("needs users, a file"))?;
    Ok(Some(BasicAuth { users, realm }))
}

pub(super) fn basic_auth_text(rule: Option<&BasicAuth>) -> String {
    let Some(BasicAuth { users, realm }) = rule else {
        return "false".to_owned();
    };
    let users = quoted(&users.display().to_string());
    match realm == DEFAULT_REALM {
        true => users,
        false => inline(&[
            format!("users = {users}"),
            format!("realm = {}", quoted(realm)),
        ]),
    }
}

/// A service; `None` for `false`.
pub(super) fn forward_auth(raw: &RawValue) -> Result<Option<ForwardAuthConfig>, ValueError> {
    let RawValue::Table(_) = raw else {
        let Some(text) = text_or_off(raw)? else {
            return Ok(None);
        };
        return Ok(Some(ForwardAuthConfig {
            url: service(&text)?,
            copy: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
        }));
    };
    let table = FORWARD_AUTH.table(raw)?;
    let (mut url, mut copy, mut timeout) = (None, Vec::new(), DEFAULT_TIMEOUT);
    for entry in table.entries {
        let refuse = |error| table.refuse(entry, error);
        let raw = &entry.value;
        match entry.key.as_str() {
            "url" => {
                let text = one_line(raw).map_err(refuse)?;
                url = Some(service(text.trim()).map_err(refuse)?);
            }
            "copy" => copy = copied(raw).map_err(refuse)?,
            "timeout" => {
                let kind = Kind::Duration {
                    zero: Err("a request cannot wait without a limit; write 60s"),
                };
                timeout = ValueReader { kind: &kind, raw }
                    .duration()
                    .map_err(refuse)?;
            }
            _ => {
                let keys = [
                    ("url", "url"),
                    ("copy", "copy"),
                    ("timeout", "timeout"),
                    ("copy_headers", "copy"),
                    ("uri", "url"),
                ];
                return Err(table.unknown(entry, &keys));
            }
        }
    }
    let url = url.ok_or_else(|| table.incomplete("needs url, where the service is"))?;
    Ok(Some(ForwardAuthConfig { url, copy, timeout }))
}

pub(super) fn forward_auth_text(rule: Option<&ForwardAuthConfig>) -> String {
    let Some(rule) = rule else {
        return "false".to_owned();
    };
    let url = quoted(&rule.url.to_string());
    if rule.copy.is_empty() && rule.timeout == DEFAULT_TIMEOUT {
        return url;
    }
    let mut pairs = vec![format!("url = {url}")];
    if !rule.copy.is_empty() {
        pairs.push(format!("copy = {}", quoted_list(&rule.copy)));
    }
    if rule.timeout != DEFAULT_TIMEOUT {
        pairs.push(format!("timeout = {}", duration_text(rule.timeout)));
    }
    inline(&pairs)
}

fn copied(raw: &RawValue) -> Result<Vec<String>, ValueError> {
    let kind = Kind::FieldName;
    let names = ValueReader { kind: &kind, raw }.items(',')?;
    for (at, name) in names.iter().enumerate() {
        let refuse = |requirement: String| ValueError {
            line: None,
            piece: Some(quoted(name)),
            requirement,
        };
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            return Err(refuse("must be the name of a header".to_owned()));
        }
        // Both spellings become the same variable of CGI.
        if name.contains('_') {
            return Err(refuse(format!(
                "must have no underscore; write {}",
                name.replace('_', "-")
            )));
        }
        if NOT_COPIED.contains(&lower.as_str())
            || lower.starts_with("content-")
            || lower.starts_with("x-forwarded-")
        {
            return Err(refuse(
                "cannot be copied: what clients send under this name would be removed from all requests".to_owned(),
            ));
        }
        let is_same = |other: &&String| other.eq_ignore_ascii_case(name);
        if names.iter().take(at).any(|other| is_same(&other)) {
            return Err(refuse("is listed twice".to_owned()));
        }
    }
    Ok(names)
}

/// `http://HOST:PORT/PATH` or `unix:SOCKET:/PATH`.
fn service(text: &str) -> Result<ForwardAuthUrl, ValueError> {
    let refuse = |requirement: &str| ValueError {
        line: None,
        piece: Some(quoted(text)),
        requirement: requirement.to_owned(),
    };
    const REQUIREMENT: &str =
        "must be a URL such as http://127.0.0.1:9091/verify, or unix:/run/auth.sock:/verify";
    let (address, target) = if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, target) = rest.split_once(":/").ok_or_else(|| refuse(REQUIREMENT))?;
        if socket.is_empty() {
            return Err(refuse(REQUIREMENT));
        }
        (
            ServiceAddress::Unix(PathBuf::from(socket)),
            format!("/{target}"),
        )
    } else if let Some(url) = http_url(text) {
        let (host, port, target) = url;
        (ServiceAddress::Tcp { host, port }, target)
    } else if text.starts_with("https://") {
        return Err(refuse(
            "must begin with http:// or unix:; the service has to be in the same trusted network",
        ));
    } else {
        return Err(refuse(REQUIREMENT));
    };
    let is_target = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    match target.bytes().all(is_target) {
        true => Ok(ForwardAuthUrl { address, target }),
        false => Err(refuse(
            "must have no space, fragment or non-ASCII character in its path: encode those as %XX",
        )),
    }
}

/// The host, the port and the target of `http://HOST[:PORT][/PATH]`.
pub(super) fn http_url(text: &str) -> Option<(String, u16, String)> {
    let rest = text.strip_prefix("http://")?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    let target = match target.as_bytes().first() {
        None => "/".to_owned(),
        Some(b'?') => format!("/{target}"),
        Some(_) => target.to_owned(),
    };
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (authority, "80"),
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_number && *port > 0)?;
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_host = !name.starts_with('*') && host(name).is_ok();
    is_host.then(|| (bare.unwrap_or(name).to_owned(), port, target))
}

/// Which client certificates; `None` for `false`.
pub(super) fn client_certificate(raw: &RawValue) -> Result<Option<CertificateRule>, ValueError> {
    let RawValue::Table(_) = raw else {
        let kind = Kind::Switch;
        let is_on = ValueReader { kind: &kind, raw }
            .switch()
            .map_err(|_| "must be true, false, or a table with names or groups")?;
        return Ok(is_on.then(CertificateRule::default));
    };
    let table = CLIENT_CERTIFICATE.table(raw)?;
    let mut rule = CertificateRule::default();
    for entry in table.entries {
        let list = match entry.key.as_str() {
            "names" => &mut rule.names,
            "groups" => &mut rule.groups,
            _ => {
                let keys = [
                    ("names", "names"),
                    ("groups", "groups"),
                    ("cn", "names"),
                    ("ou", "groups"),
                ];
                return Err(table.unknown(entry, &keys));
            }
        };
        *list = certificate_names(&entry.value).map_err(|error| table.refuse(entry, error))?;
    }
    match rule == CertificateRule::default() {
        true => Err(table.incomplete("needs names or groups; for any certificate write true")),
        false => Ok(Some(rule)),
    }
}

/// Names may contain commas, so each is a text of its own.
fn certificate_names(raw: &RawValue) -> Result<Vec<String>, ValueError> {
    let items = match raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let names = items.iter().map(|item| match item {
        RawValue::Text(text) if !text.trim().is_empty() => one_line(item),
        _ => Err("must be a list of texts".into()),
    });
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    match names.is_empty() {
        true => Err("must have at least one".into()),
        false => Ok(names),
    }
}

pub(super) fn client_certificate_text(rule: Option<&CertificateRule>) -> String {
    let Some(rule) = rule else {
        return "false".to_owned();
    };
    let lists = [("names", &rule.names), ("groups", &rule.groups)];
    let pairs: Vec<String> = lists
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(key, list)| format!("{key} = {}", quoted_list(list)))
        .collect();
    match pairs.is_empty() {
        true => "true".to_owned(),
        false => inline(&pairs),
    }
}
