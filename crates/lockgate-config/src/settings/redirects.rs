//! The tables `[[redirect]]` and `[[rewrite]]`.

use super::places::{host, source, source_text};
use super::tables::{Table, TableKind, inline};
use crate::notation::quoted;
use crate::raw_value::{ValueError, ValueReader, one_line};
use crate::{HostPattern, PathPattern, RedirectConfig, RewriteConfig, Target};

const REDIRECT: TableKind = TableKind {
    what: "a redirect",
    identity: &["from"],
    example: "[[redirect]] with from = \"/old\" and to = \"/new\"",
};
const REWRITE: TableKind = TableKind {
    what: "a rewrite",
    identity: &["from"],
    example: "[[rewrite]] with from = \"/old\" and to = \"/new\"",
};
const REDIRECT_KEYS: &[(&str, &str)] = &[
    ("from", "from"),
    ("to", "to"),
    ("status", "status"),
    ("path", "from"),
    ("host", "from"),
    ("target", "to"),
    ("code", "status"),
];
const REWRITE_KEYS: &[(&str, &str)] = &[
    ("from", "from"),
    ("to", "to"),
    ("path", "from"),
    ("host", "from"),
    ("target", "to"),
];
/// RFC 9110 §15.4: those that have a Location and a meaning without the application.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const DEFAULT_STATUS: u16 = 308;

/// Reads `redirect`.
pub(super) fn redirects(value: ValueReader<'_>) -> Result<Vec<RedirectConfig>, ValueError> {
    let mut redirects = Vec::new();
    for table in REDIRECT.tables(value.raw)? {
        let redirect = redirect(&table)?;
        let is_same =
            |other: &RedirectConfig| (&other.host, &other.path) == (&redirect.host, &redirect.path);
        if redirects.iter().any(is_same) {
            return Err(table.incomplete("has the same from as an earlier redirect; remove one"));
        }
        redirects.push(redirect);
    }
    Ok(redirects)
}

/// Reads `rewrite`.
pub(super) fn rewrites(value: ValueReader<'_>) -> Result<Vec<RewriteConfig>, ValueError> {
    let mut rewrites = Vec::new();
    for table in REWRITE.tables(value.raw)? {
        let rewrite = rewrite(&table)?;
        let is_same =
            |other: &RewriteConfig| (&other.host, &other.path) == (&rewrite.host, &rewrite.path);
        if rewrites.iter().any(is_same) {
            return Err(table.incomplete("has the same from as an earlier rewrite; remove one"));
        }
        rewrites.push(rewrite);
    }
    Ok(rewrites)
}

/// `redirect` as it is written in the file.
pub(super) fn redirects_text(redirects: &[RedirectConfig]) -> String {
    let tables = redirects.iter().map(|redirect| {
        let mut pairs = vec![
            format!(
                "from = {}",
                quoted(&source_text(&redirect.host, redirect.path.as_ref()))
            ),
            format!("to = {}", quoted(&target_text(&redirect.to))),
        ];
        if redirect.status != DEFAULT_STATUS {
            pairs.push(format!("status = {}", redirect.status));
        }
        inline(&pairs)
    });
    format!("[{}]", tables.collect::<Vec<_>>().join(", "))
}

/// `rewrite` as it is written in the file.
pub(super) fn rewrites_text(rewrites: &[RewriteConfig]) -> String {
    let tables = rewrites.iter().map(|rewrite| {
        inline(&[
            format!(
                "from = {}",
                quoted(&source_text(&rewrite.host, Some(&rewrite.path)))
            ),
            format!("to = {}", quoted(&target_text(&rewrite.to))),
        ])
    });
    format!("[{}]", tables.collect::<Vec<_>>().join(", "))
}

fn redirect(table: &Table<'_>) -> Result<RedirectConfig, ValueError> {
    let (mut from, mut to, mut status) = (None, None, DEFAULT_STATUS);
    for entry in table.entries {
        let refuse = |error| table.refuse(entry, error);
        match entry.key.as_str() {
            "from" => {
                let text = one_line(&entry.value).map_err(refuse)?;
                from = Some(source(text.trim()).map_err(refuse)?);
            }
            "to" => {
                let text = one_line(&entry.value).map_err(refuse)?;
                let target = location(text.trim()).map_err(|error| refuse(error.into()))?;
                to = Some((target, entry));
            }
            "status" => {
                let number = one_line(&entry.value).ok();
                let number = number.and_then(|text| text.trim().parse().ok());
                let known = number.filter(|number| STATUSES.contains(number));
                status = known.ok_or_else(|| refuse("must be 301, 302, 303, 307 or 308".into()))?;
            }
            _ => return Err(table.unknown(entry, REDIRECT_KEYS)),
        }
    }
    let (host, path) = from
        .ok_or_else(|| table.incomplete("needs from, a host or a path, such as from = \"/old\""))?;
    let (to, entry) = to.ok_or_else(|| {
        table.incomplete("needs to, a URL or a path, such as to = \"https://shop.example/new\"")
    })?;
    check_star(path.as_ref(), &to).map_err(|error| table.refuse(entry, error.into()))?;
    if leads_to_itself(&host, path.as_ref(), &to) {
        let advice = match to.start.starts_with("https://") {
            true => "; to redirect from http to https, write https_redirect = true",
            false => "",
        };
        let requirement = format!("must not match from: the redirect would lead to itself{advice}");
        return Err(table.refuse(entry, requirement.into()));
    }
    Ok(RedirectConfig {
        host,
        path,
        to,
        status,
    })
}

fn rewrite(table: &Table<'_>) -> Result<RewriteConfig, ValueError> {
    let (mut from, mut to) = (None, None);
    for entry in table.entries {
        let refuse = |error| table.refuse(entry, error);
        match entry.key.as_str() {
            "from" => {
                let text = one_line(&entry.value).map_err(refuse)?;
                let (host, path) = source(text.trim()).map_err(refuse)?;
                let path = path.ok_or_else(|| {
                    refuse(
                        "must have a path, such as /old; for all paths of a host write /* after it"
                            .into(),
                    )
                })?;
                from = Some((host, path));
            }
            "to" => {
                let text = one_line(&entry.value).map_err(refuse)?;
                let target = path_target(text.trim()).map_err(|error| refuse(error.into()))?;
                to = Some((target, entry));
            }
            _ => return Err(table.unknown(entry, REWRITE_KEYS)),
        }
    }
    let (host, path) =
        from.ok_or_else(|| table.incomplete("needs from, a path, such as from = \"/old/*\""))?;
    let (to, entry) =
        to.ok_or_else(|| table.incomplete("needs to, a path, such as to = \"/new/*\""))?;
    check_star(Some(&path), &to).map_err(|error| table.refuse(entry, error.into()))?;
    Ok(RewriteConfig { host, path, to })
}

/// A URL or a path, as a redirect leads to.
fn location(text: &str) -> Result<Target, String> {
    const REQUIREMENT: &str =
        "must be a URL such as https://shop.example/new, or a path such as /new";
    if text.starts_with('/') {
        return path_target(text);
    }
    let scheme = ["https://", "http://"]
        .into_iter()
        .find(|scheme| text.starts_with(scheme))
        .ok_or(REQUIREMENT)?;
    let authority = authority_of(text).ok_or(REQUIREMENT)?;
    if authority.contains('*') {
        return Err("may have a * in its path only".to_owned());
    }
    let name = host_of(authority);
    let port = &authority[name.len()..];
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .and_then(|port| port.parse::<u16>().ok())
            .is_some_and(|port| port > 0);
    if !is_port || name.is_empty() || host(name).is_err() {
        return Err(REQUIREMENT.to_owned());
    }
    let rest = &text[scheme.len() + authority.len()..];
    let target = target(text)?;
    match rest.starts_with(['/', '?', '#']) || rest.is_empty() {
        true => Ok(target),
        false => Err(REQUIREMENT.to_owned()),
    }
}

/// A path, perhaps with a query.
fn path_target(text: &str) -> Result<Target, String> {
    if !text.starts_with('/') {
        return Err("must begin with a slash, such as /new".to_owned());
    }
    // Browsers take it for a host.
    if text.starts_with("//") {
        return Err(
            "must not begin with //, which is the start of a URL without its scheme".to_owned(),
        );
    }
    target(text)
}

fn target(text: &str) -> Result<Target, String> {
    // RFC 3986 §2: other characters are encoded.
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if let Some(wrong) = text
        .chars()
        .find(|char| !char.is_ascii() || !is_allowed(*char as u8))
    {
        return Err(format!("must not contain {wrong:?}: encode it as %XX"));
    }
    let has_digits = |part: &str| {
        part.get(..2)
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if !text.split('%').skip(1).all(has_digits) {
        return Err("must have two hexadecimal digits after each %".to_owned());
    }
    match text.split_once('*') {
        None => Ok(Target {
            start: text.to_owned(),
            end: None,
        }),
        Some((_, end)) if end.contains('*') => Err("may have one *".to_owned()),
        Some((start, end)) => Ok(Target {
            start: start.to_owned(),
            end: Some(end.to_owned()),
        }),
    }
}

fn check_star(path: Option<&PathPattern>, to: &Target) -> Result<(), &'static str> {
    match (path, &to.end) {
        (Some(PathPattern::Below(_)), _) | (_, None) => Ok(()),
        (None, Some(_)) => Err("has a *, and from has none: write from = \"HOST/*\""),
        (Some(PathPattern::Exact(_)), Some(_)) => {
            Err("has a *, and from has none: write from = \"/PATH/*\"")
        }
    }
}

/// Whether the location is certainly matched by the redirect again.
fn leads_to_itself(host: &HostPattern, path: Option<&PathPattern>, to: &Target) -> bool {
    let (same_host, rest) = match authority_of(&to.start) {
        None => (true, to.start.as_str()),
        Some(authority) => {
            let at = to.start.find("://").map_or(0, |at| at + 3) + authority.len();
            (is_for(host, authority), &to.start[at..])
        }
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let target = if end == 0 { "/" } else { &rest[..end] };
    let is_fixed = to.end.is_none() || end < rest.len();
    same_host
        && match path {
            None => true,
            Some(PathPattern::Exact(path)) => is_fixed && path == target,
            Some(PathPattern::Below(start)) => target.starts_with(start.as_str()),
        }
}

/// Whether requests for this authority certainly are for the host. What has every host may be about others only.
fn is_for(host: &HostPattern, authority: &str) -> bool {
    let name = host_of(authority).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    match host {
        HostPattern::Any => false,
        HostPattern::Exact(exact) => name == exact,
        HostPattern::Below(domain) => name
            .strip_suffix(domain.as_str())
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
    }
}

/// The authority of a URL; a path has none.
fn authority_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme.contains('/') {
        return None;
    }
    rest.split(['/', '?', '#']).next()
}

/// The host of an authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

fn target_text(target: &Target) -> String {
    match &target.end {
        None => target.start.clone(),
        Some(end) => format!("{}*{end}", target.start),
    }
}
