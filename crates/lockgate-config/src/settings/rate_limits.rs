//! Settings: how often a client may come.

use std::num::NonZeroU32;
use std::time::Duration;

use super::fields::is_token;
use super::limits::MIB;
use super::places::{host, host_text, path_text, route_path};
use super::tables::{Table, TableKind, inline};
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list, size_text};
use crate::raw_value::{RawValue, ValueError, ValueReader, one_line};
use crate::setting::{Section, Setting, Shape};
use crate::{HostPattern, Rate, RateKey, RateLimitConfig, RedisAddress};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "rate_limit",
        section: Section::RateLimits,
        short: None,
        flags: &["rate-limit"],
        shape: Shape::List,
        kind: Kind::Special {
            placeholder: "/PATH=RATE",
            accepts: "`RATE` or `/PATH=RATE` with a rate such as `5/min`, `10/s`, `100/h`, `1000/d` or `5/10s`, or in the file a table `{ path = …, rate = …, burst = …, key = …, methods = […], host = …, concurrency = …, dry_run = …, name = … }`",
        },
        doc: "Limits on how often a client may come. A request beyond one gets 429 with Retry-After. Requests are \
              counted over all workers, by the client's address (IPv6 by its /64). In the file, a table has further \
              keys: `rate`, one or a list; `burst`, how many requests may come at once (the count of the first rate); \
              `key`, who is counted as one: `address`, `header:NAME`, `cookie:NAME` or `all`; `methods` and `host`, \
              which requests count; `concurrency`, how many requests of one key run at the same time; `dry_run`, to \
              count and log only; and `name`, for logs and metrics (the path). A path is for everything below it, and \
              is compared without regard to case.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.routes.rate_limits = rate_limits(value)?;
            Ok(())
        },
        show: |builder| {
            let limits = builder.config.routes.rate_limits.iter();
            let tables: Vec<String> = limits.map(table_text).collect();
            format!("[{}]", tables.join(", "))
        },
    },
    Setting {
        name: "rate_limit_memory",
        section: Section::RateLimits,
        short: None,
        flags: &["rate-limit-memory"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 64 * 1024,
            most: 16 * 1024 * MIB,
            zero: Err("to limit nothing, remove rate_limit"),
        },
        doc: "Memory that all workers share for what `rate_limit` counts. When it is full, the clients that have used \
              the smallest part of what they may do are forgotten. A change takes effect at the next start or upgrade.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.rate_limits.memory = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.rate_limits.memory as u64),
    },
    Setting {
        name: "rate_limit_redis",
        section: Section::RateLimits,
        short: None,
        flags: &["rate-limit-redis"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "URL of a Redis server, through which several hosts add up what `rate_limit` counts. No request waits for \
              it; while it does not answer, each host counts alone. An example is `redis://:PASSWORD@10.0.0.5:6379/0`; \
              `rediss://` is for TLS. Empty: this host counts alone. The password is shown as `***`. In a flag other \
              users of the host can read it; use the file or the variable.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let text = value.optional_text()?;
            let parsed = text.map(|text| RedisAddress::parse(&text));
            builder.config.rate_limits.redis = parsed.transpose()?;
            Ok(())
        },
        show: |builder| {
            let address = builder.config.rate_limits.redis.as_ref();
            quoted(&address.map(ToString::to_string).unwrap_or_default())
        },
    },
];

const TABLE: TableKind = TableKind {
    what: "a rate limit",
    identity: &["name", "host", "path"],
    example: "{ path = \"/login\", rate = \"5/min\" }",
};
const KEYS: &[(&str, &str)] = &[
    ("path", "path"),
    ("rate", "rate"),
    ("burst", "burst"),
    ("key", "key"),
    ("methods", "methods"),
    ("host", "host"),
    ("concurrency", "concurrency"),
    ("dry_run", "dry_run"),
    ("name", "name"),
    ("method", "methods"),
    ("rates", "rate"),
    ("by", "key"),
];
const NOT_A_RATE: &str = "must be a rate such as 5/min, 10/s, 100/h, 1000/d or 5/10s";
const SECOND: u64 = 1;
const DAY: u64 = 86_400;

fn rate_limits(value: ValueReader<'_>) -> Result<Vec<RateLimitConfig>, ValueError> {
    let mut limits: Vec<RateLimitConfig> = Vec::new();
    let items = match value.raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    for item in items {
        if let RawValue::Text(text) = item {
            let pieces = text.split(',').map(str::trim);
            for piece in pieces.filter(|piece| !piece.is_empty()) {
                let error = |error: ValueError| ValueError {
                    piece: Some(quoted(piece)),
                    ..error
                };
                let limit = from_text(piece).map_err(error)?;
                if limits.iter().any(|other| other.name == limit.name) {
                    return Err(error(
                        "is the second limit of this path; in the file, write both with a name"
                            .into(),
                    ));
                }
                limits.push(limit);
            }
            continue;
        }
        let table = TABLE.table(item)?;
        let limit = from_table(&table)?;
        if limits.iter().any(|other| other.name == limit.name) {
            let name = &limit.name;
            return Err(table.incomplete(format!(
                "has the same name as an earlier limit, {name}; give it another, such as name = {}",
                quoted(&format!("{name} 2"))
            )));
        }
        limits.push(limit);
    }
    Ok(limits)
}

/// `RATE` or `/PATH=RATE`.
fn from_text(text: &str) -> Result<RateLimitConfig, ValueError> {
    let (path, rate_text) = match text.rsplit_once('=') {
        Some((path, rate)) => (path.trim(), rate.trim()),
        None => ("/", text),
    };
    let path = route_path(&RawValue::Text(path.to_owned()))?;
    Ok(RateLimitConfig {
        name: path_text(&path).to_owned(),
        host: HostPattern::Any,
        path,
        methods: Vec::new(),
        key: RateKey::Address,
        rates: vec![rate(rate_text)?],
        burst: None,
        concurrency: None,
        is_dry_run: false,
    })
}

fn from_table(table: &Table<'_>) -> Result<RateLimitConfig, ValueError> {
    let mut name = None;
    let mut limit = RateLimitConfig {
        name: String::new(),
        host: HostPattern::Any,
        path: String::new(),
        methods: Vec::new(),
        key: RateKey::Address,
        rates: Vec::new(),
        burst: None,
        concurrency: None,
        is_dry_run: false,
    };
    for entry in table.entries {
        let refuse = |error: ValueError| table.refuse(entry, error);
        let raw = &entry.value;
        match entry.key.as_str() {
            "path" => limit.path = route_path(raw).map_err(refuse)?,
            "host" => {
                let text = one_line(raw).map_err(refuse)?;
                limit.host = host(text.trim()).map_err(refuse)?;
            }
            "rate" => limit.rates = rates(raw).map_err(refuse)?,
            "burst" => limit.burst = Some(count(raw).map_err(refuse)?),
            "concurrency" => limit.concurrency = Some(count(raw).map_err(refuse)?),
            "key" => limit.key = rate_key(raw).map_err(refuse)?,
            "methods" => limit.methods = methods(raw).map_err(refuse)?,
            "dry_run" => {
                let kind = Kind::Switch;
                limit.is_dry_run = ValueReader { kind: &kind, raw }.switch().map_err(refuse)?;
            }
            "name" => name = Some(limit_name(raw).map_err(refuse)?),
            _ => return Err(table.unknown(entry, KEYS)),
        }
    }
    if limit.rates.is_empty() && limit.concurrency.is_none() {
        return Err(table.incomplete(
            "needs a rate, such as rate = \"5/min\", or concurrency, such as concurrency = 10",
        ));
    }
    if limit.rates.is_empty() && limit.burst.is_some() {
        return Err(table.incomplete("has a burst without a rate"));
    }
    let place = format!("{}{}", host_text(&limit.host), path_text(&limit.path));
    limit.name = name.unwrap_or(place);
    Ok(limit)
}

fn rates(raw: &RawValue) -> Result<Vec<Rate>, ValueError> {
    let items = match raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let mut rates: Vec<Rate> = Vec::new();
    for item in items {
        let RawValue::Text(text) = item else {
            return Err(NOT_A_RATE.into());
        };
        let rate = rate(text)?;
        if rates.iter().any(|other| other.period == rate.period) {
            return Err(ValueError {
                line: None,
                piece: Some(quoted(text)),
                requirement: "has the same time as another rate of the list; keep the smaller one"
                    .to_owned(),
            });
        }
        rates.push(rate);
    }
    match rates.is_empty() {
        true => Err(NOT_A_RATE.into()),
        false => Ok(rates),
    }
}

/// A number of requests, a slash, and a time.
fn rate(text: &str) -> Result<Rate, ValueError> {
    let refuse = |requirement: &str| ValueError {
        line: None,
        piece: Some(quoted(text)),
        requirement: requirement.to_owned(),
    };
    let (count, period) = text.split_once('/').ok_or_else(|| refuse(NOT_A_RATE))?;
    let (count, period) = (count.trim(), period.trim().to_ascii_lowercase());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if count.is_empty() || !is_number(count) {
        return Err(refuse(NOT_A_RATE));
    }
    let count = count.parse().unwrap_or(u32::MAX);
    let count = NonZeroU32::new(count).filter(|count| count.get() <= MOST_REQUESTS);
    let count = count.ok_or_else(|| refuse("must be for 1 to 1000000000 requests"))?;
    let digits = period.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = period.split_at(digits);
    let seconds = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => DAY,
        _ => return Err(refuse(NOT_A_RATE)),
    };
    let number = match number {
        "" => 1,
        number => number.parse().unwrap_or(u64::MAX),
    };
    let seconds = seconds.saturating_mul(number);
    if !(SECOND..=DAY).contains(&seconds) {
        return Err(refuse("must be for a time from a second to a day"));
    }
    Ok(Rate {
        count,
        period: Duration::from_secs(seconds),
    })
}

const MOST_REQUESTS: u32 = 1_000_000_000;

fn rate_text(rate: &Rate) -> String {
    let count = rate.count;
    match rate.period.as_secs() {
        1 => format!("{count}/s"),
        60 => format!("{count}/min"),
        3600 => format!("{count}/h"),
        DAY => format!("{count}/d"),
        seconds => format!("{count}/{seconds}s"),
    }
}

fn count(raw: &RawValue) -> Result<NonZeroU32, ValueError> {
    let kind = Kind::Number {
        least: 1,
        most: 1_000_000,
        auto: false,
    };
    let number = ValueReader { kind: &kind, raw }.number()?;
    NonZeroU32::new(number).ok_or_else(|| "must be at least 1".into())
}

fn rate_key(raw: &RawValue) -> Result<RateKey, ValueError> {
    const REQUIREMENT: &str = "must be address, header:NAME, cookie:NAME or all";
    let RawValue::Text(text) = raw else {
        return Err(REQUIREMENT.into());
    };
    let text = text.trim();
    match text.split_once(':').map(|(kind, name)| (kind, name.trim())) {
        None if text == "address" => Ok(RateKey::Address),
        None if text == "all" => Ok(RateKey::Everyone),
        Some(("header", name)) if is_token(name) => Ok(RateKey::Header(name.to_owned())),
        Some(("cookie", name)) if is_token(name) => Ok(RateKey::Cookie(name.to_owned())),
        _ => Err(REQUIREMENT.into()),
    }
}

fn methods(raw: &RawValue) -> Result<Vec<String>, ValueError> {
    let kind = Kind::Text;
    let mut methods = Vec::new();
    for text in (ValueReader { kind: &kind, raw }).items(',')? {
        let method = text.to_ascii_uppercase();
        if !is_token(&method) {
            return Err(ValueError {
                line: None,
                piece: Some(quoted(&text)),
                requirement: "must be a method, such as POST".to_owned(),
            });
        }
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    match methods.is_empty() {
        true => Err("must have a method, such as POST; remove it for all methods".into()),
        false => Ok(methods),
    }
}

/// A name for logs, the labels of metrics, and `ctl`.
fn limit_name(raw: &RawValue) -> Result<String, ValueError> {
    let name = one_line(raw)?.trim().to_owned();
    let is_plain = |char: char| !char.is_control() && !matches!(char, '"' | '\\');
    match (1..=64).contains(&name.len()) && name.chars().all(is_plain) {
        true => Ok(name),
        false => {
            Err("must be text of at most 64 bytes without control characters, \" and \\".into())
        }
    }
}

fn table_text(limit: &RateLimitConfig) -> String {
    let mut pairs = Vec::new();
    if limit.host != HostPattern::Any {
        pairs.push(format!("host = {}", quoted(&host_text(&limit.host))));
    }
    pairs.push(format!("path = {}", quoted(path_text(&limit.path))));
    match limit.rates.as_slice() {
        [] => {}
        [rate] => pairs.push(format!("rate = {}", quoted(&rate_text(rate)))),
        rates => pairs.push(format!(
            "rate = {}",
            quoted_list(rates.iter().map(rate_text))
        )),
    }
    pairs.extend(limit.burst.map(|burst| format!("burst = {burst}")));
    match &limit.key {
        RateKey::Address => {}
        RateKey::Header(name) => pairs.push(format!("key = {}", quoted(&format!("header:{name}")))),
        RateKey::Cookie(name) => pairs.push(format!("key = {}", quoted(&format!("cookie:{name}")))),
        RateKey::Everyone => pairs.push("key = \"all\"".to_owned()),
    }
    if !limit.methods.is_empty() {
        pairs.push(format!("methods = {}", quoted_list(&limit.methods)));
    }
    let concurrency = limit.concurrency;
    pairs.extend(concurrency.map(|count| format!("concurrency = {count}")));
    if limit.is_dry_run {
        pairs.push("dry_run = true".to_owned());
    }
    let place = format!("{}{}", host_text(&limit.host), path_text(&limit.path));
    if limit.name != place {
        pairs.push(format!("name = {}", quoted(&limit.name)));
    }
    inline(&pairs)
}
