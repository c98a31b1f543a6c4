//! Rules that hold for all requests, or for those of a route: how each is read, and how it is written.

use std::num::NonZeroU16;

use super::access;
use super::fields;
use super::limits::MOST_BODY;
use super::tables::{Table, key};
use crate::kind::Kind;
use crate::notation::{duration_text, quoted, quoted_list, size_text};
use crate::raw_value::{Entry, RawValue, ValueError, ValueReader};
use crate::{AddressRule, Networks, Priority, RouteRules, ThreadShare};

/// The keys of rules in a route and a mount, with other names that operators may use for them.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("allow", "allow"),
    ("deny", "deny"),
    ("basic_auth", "basic_auth"),
    ("forward_auth", "forward_auth"),
    ("client_certificate", "client_certificate"),
    ("request_headers", "request_headers"),
    ("response_headers", "response_headers"),
    ("error_pages", "error_pages"),
    ("max_body", "max_body"),
    ("request_timeout", "request_timeout"),
    ("queue_timeout", "queue_timeout"),
    ("threads", "threads"),
    ("priority", "priority"),
    ("limit_request_body", "max_body"),
    ("client_max_body_size", "max_body"),
    ("auth_basic", "basic_auth"),
    ("auth_request", "forward_auth"),
    ("headers", "response_headers"),
    ("timeout", "request_timeout"),
];

/// Reads one rule of a route. `None`: the key is no rule.
pub(super) fn read(
    rules: &mut RouteRules,
    table: &Table<'_>,
    entry: &Entry,
) -> Option<Result<(), ValueError>> {
    let raw = &entry.value;
    let outcome = match entry.key.as_str() {
        "allow" => own_networks(raw).map(|networks| addresses(rules).allow = Some(networks)),
        "deny" => own_networks(raw).map(|networks| addresses(rules).deny = networks),
        "basic_auth" => access::basic_auth(raw).map(|rule| rules.basic_auth = Some(rule)),
        "forward_auth" => access::forward_auth(raw).map(|rule| rules.forward_auth = Some(rule)),
        "client_certificate" => {
            access::client_certificate(raw).map(|rule| rules.client_certificate = Some(rule))
        }
        "request_headers" => fields::request(raw).map(|edits| rules.request_headers = edits),
        "response_headers" => fields::response(raw).map(|edits| rules.response_headers = edits),
        "error_pages" => fields::error_pages(raw).map(|pages| rules.error_pages = pages),
        "max_body" => {
            let kind = Kind::Size {
                least: 1,
                most: MOST_BODY,
                zero: Ok("unlimited"),
            };
            let size = ValueReader { kind: &kind, raw }.size();
            size.map(|size| rules.max_body = Some(size))
        }
        "request_timeout" => timeout(raw).map(|timeout| rules.request_timeout = Some(timeout)),
        "queue_timeout" => timeout(raw).map(|timeout| rules.queue_timeout = Some(timeout)),
        "threads" => threads(raw).map(|threads| rules.threads = Some(threads)),
        "priority" => priority(raw).map(|priority| rules.priority = Some(priority)),
        _ => return None,
    };
    Some(outcome.map_err(|error| table.refuse(entry, error)))
}

/// The rules as they are written in the file.
pub(super) fn texts(rules: &RouteRules) -> Vec<String> {
    let mut pairs = Vec::new();
    if let Some(rule) = &rules.addresses {
        if let Some(allow) = &rule.allow {
            pairs.push(format!("allow = {}", quoted_list(allow.texts())));
        }
        if rule.deny != Networks::default() {
            pairs.push(format!("deny = {}", quoted_list(rule.deny.texts())));
        }
    }
    let mut push = |key: &str, text: String| pairs.push(format!("{key} = {text}"));
    if let Some(rule) = &rules.basic_auth {
        push("basic_auth", access::basic_auth_text(rule.as_ref()));
    }
    if let Some(rule) = &rules.forward_auth {
        push("forward_auth", access::forward_auth_text(rule.as_ref()));
    }
    if let Some(rule) = &rules.client_certificate {
        let text = access::client_certificate_text(rule.as_ref());
        push("client_certificate", text);
    }
    if !rules.request_headers.is_empty() {
        push(
            "request_headers",
            fields::edits_text(&rules.request_headers),
        );
    }
    if !rules.response_headers.is_empty() {
        push(
            "response_headers",
            fields::edits_text(&rules.response_headers),
        );
    }
    if !rules.error_pages.is_empty() {
        push("error_pages", fields::pages_text(&rules.error_pages));
    }
    if let Some(size) = rules.max_body {
        push("max_body", size_text(size));
    }
    if let Some(timeout) = rules.request_timeout {
        push(
            "request_timeout",
            duration_text(timeout.unwrap_or_default()),
        );
    }
    if let Some(timeout) = rules.queue_timeout {
        push("queue_timeout", duration_text(timeout.unwrap_or_default()));
    }
    match rules.threads {
        None => {}
        Some(ThreadShare::Count(count)) => push("threads", count.to_string()),
        Some(ThreadShare::Share(share)) => {
            push("threads", quoted(&format!("{}%", f64::from(share) / 100.0)));
        }
    }
    if let Some(priority) = rules.priority {
        push("priority", quoted(priority_name(priority)));
    }
    pairs
}

/// A variable of a mount, or another pair of a table, as it is written in the file.
pub(super) fn pairs_text(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name), quoted(value)))
        .collect();
    super::tables::inline(&pairs)
}

fn addresses(rules: &mut RouteRules) -> &mut AddressRule {
    rules.addresses.get_or_insert_default()
}

/// A list that names at least one network: an empty one would deny all of them or none.
fn own_networks(raw: &RawValue) -> Result<Networks, ValueError> {
    let networks = access::networks(raw)?;
    match networks == Networks::default() {
        true => Err("has no address; for every address write [\"*\"]".into()),
        false => Ok(networks),
    }
}

fn timeout(raw: &RawValue) -> Result<Option<std::time::Duration>, ValueError> {
    let kind = Kind::Duration {
        zero: Ok("no limit"),
    };
    let timeout = ValueReader { kind: &kind, raw }.duration()?;
    Ok((!timeout.is_zero()).then_some(timeout))
}

fn threads(raw: &RawValue) -> Result<ThreadShare, ValueError> {
    let is_share = matches!(raw, RawValue::Text(text) if text.trim_end().ends_with('%'));
    if is_share {
        let kind = Kind::Percentage;
        return match (ValueReader { kind: &kind, raw }).percentage()? {
            0 => Err("must be more than 0%".into()),
            share => Ok(ThreadShare::Share(share)),
        };
    }
    let kind = Kind::Number {
        least: 1,
        most: 4096,
        auto: false,
    };
    let count = ValueReader { kind: &kind, raw }.number();
    let count = count.map_err(|error: ValueError| ValueError {
        requirement: format!("{}, or a share such as \"25%\"", error.requirement),
        ..error
    })?;
    let count = NonZeroU16::new(count).ok_or("must be at least 1")?;
    Ok(ThreadShare::Count(count))
}

const PRIORITIES: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

fn priority(raw: &RawValue) -> Result<Priority, ValueError> {
    let RawValue::Text(text) = raw else {
        return Err("must be low, normal or high".into());
    };
    let text = text.trim().to_ascii_lowercase();
    PRIORITIES
        .into_iter()
        .find(|priority| priority_name(*priority) == text)
        .ok_or_else(|| "must be low, normal or high".into())
}

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}
