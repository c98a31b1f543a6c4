//! Places in settings: hosts, paths, and both together.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::notation::quoted;
use crate::raw_value::{RawValue, ValueError, one_line};
use crate::{HostPattern, PathPattern};

/// A host: a name, an IP address, `*.NAME`, or `*`.
pub(super) fn host(text: &str) -> Result<HostPattern, ValueError> {
    let refuse = |requirement: String| ValueError {
        line: None,
        piece: Some(quoted(text)),
        requirement,
    };
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or_default();
    let without_port = match bare.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let is_address = bare.parse::<Ipv6Addr>().is_ok();
            if is_address { bare } else { host }
        }
        _ => bare,
    };
    if without_port != text && !without_port.is_empty() {
        return Err(refuse(format!(
            "must be a host without a scheme, a port or a path; write {without_port}"
        )));
    }
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if !text.is_ascii() {
        let requirement = "must be ASCII; write the name in the form that begins with xn--";
        return Err(refuse(requirement.to_owned()));
    }
    const REQUIREMENT: &str =
        "must be a host, such as shop.example, or *.shop.example for all names below it";
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let bracketless = lower
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bracketless.unwrap_or(&lower).parse::<Ipv6Addr>() {
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    let (name, is_wild) = match lower.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (lower.as_str(), false),
    };
    // Names of containers have underscores.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(refuse(REQUIREMENT.to_owned()));
    }
    match is_wild {
        true if name.parse::<Ipv4Addr>().is_ok() => Err(refuse(REQUIREMENT.to_owned())),
        true => Ok(HostPattern::Below(name.to_owned())),
        false => Ok(HostPattern::Exact(name.to_owned())),
    }
}

/// A host as an operator writes it; empty for all.
pub(super) fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => String::new(),
        HostPattern::Below(name) => format!("*.{name}"),
        HostPattern::Exact(name) => name.clone(),
    }
}

/// The decoded path of a place, without a slash at the end; `/` becomes empty.
pub(super) fn path(text: &str) -> Result<String, ValueError> {
    let refuse = |requirement: &str| ValueError {
        line: None,
        piece: Some(quoted(text)),
        requirement: requirement.to_owned(),
    };
    if !text.starts_with('/') {
        return Err(refuse("must begin with a slash, such as /shop"));
    }
    if text.contains(['?', '#', '%', '\\']) || text.chars().any(char::is_control) {
        return Err(refuse(
            "must be a decoded path: no query, fragment, %XX, backslash or control character",
        ));
    }
    let path = text.trim_end_matches('/');
    if path
        .split('/')
        .skip(1)
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(refuse("must not contain //, /. or /.."));
    }
    Ok(path.to_owned())
}

/// The path of a route, which is for everything below it, too.
pub(super) fn route_path(raw: &RawValue) -> Result<String, ValueError> {
    let text = one_line(raw)?;
    let text = text.trim();
    if text.contains('*') {
        let start = text.split('*').next().unwrap_or_default();
        let start = start.trim_end_matches('/');
        let start = if start.is_empty() { "/" } else { start };
        return Err(ValueError {
            line: None,
            piece: Some(quoted(text)),
            requirement: format!(
                "must have no *: a path is for everything below it; write {start}"
            ),
        });
    }
    path(text)
}

/// A path as an operator writes it.
pub(super) fn path_text(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// `HOST`, `/PATH`, `/PATH/*`, or a host followed by a path.
pub(super) fn source(text: &str) -> Result<(HostPattern, Option<PathPattern>), ValueError> {
    let refuse = |requirement: String| ValueError {
        line: None,
        piece: Some(quoted(text)),
        requirement,
    };
    if text.is_empty() {
        return Err(refuse(
            "must be a host or a path, such as www.shop.example, /old or /old/*".to_owned(),
        ));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(refuse(format!("must have no scheme; write {rest}")));
    }
    let (name, pattern) = match text.find('/') {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let whole = |error: ValueError| refuse(error.requirement);
    let host = match name {
        "" => HostPattern::Any,
        name => host(name).map_err(whole)?,
    };
    let pattern = pattern.map(|pattern| path_pattern(pattern).map_err(whole));
    Ok((host, pattern.transpose()?))
}

fn path_pattern(text: &str) -> Result<PathPattern, ValueError> {
    if text.contains("//") {
        return Err("must not contain //, /. or /..".into());
    }
    let (start, is_below) = match text.strip_suffix("/*") {
        Some(start) => (start, true),
        None => (text, false),
    };
    if start.contains('*') {
        return Err("may have one *, which is its last part, as in /old/*".into());
    }
    let checked = match start {
        "" => String::new(),
        start => path(start)?,
    };
    match is_below {
        true => Ok(PathPattern::Below(format!("{checked}/"))),
        // A slash at the end is part of an exact path.
        false => Ok(PathPattern::Exact(start.to_owned())),
    }
}

/// As [`source`] takes it.
pub(super) fn source_text(host: &HostPattern, path: Option<&PathPattern>) -> String {
    let path = match path {
        None if *host == HostPattern::Any => "*".to_owned(),
        None => String::new(),
        Some(PathPattern::Exact(path)) => path.clone(),
        Some(PathPattern::Below(start)) => format!("{start}*"),
    };
    format!("{}{path}", host_text(host))
}
