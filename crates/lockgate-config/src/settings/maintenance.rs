//! The value of `maintenance`: a switch, or a table.

use std::time::Duration;

use super::access::networks;
use super::places::{path_text, route_path};
use super::tables::{TableKind, inline};
use crate::kind::Kind;
use crate::notation::{duration_text, quoted_list};
use crate::raw_value::{RawValue, ValueError, ValueReader};
use crate::{MaintenanceConfig, Networks};

const TABLE: TableKind = TableKind {
    what: "maintenance",
    identity: &[],
    example: "{ on = false, allow = [\"10.0.0.0/8\"], paths = [\"/health\"], retry_after = \"5m\" }",
};
const KEYS: &[(&str, &str)] = &[
    ("on", "on"),
    ("allow", "allow"),
    ("paths", "paths"),
    ("retry_after", "retry_after"),
    ("path", "paths"),
    ("enabled", "on"),
];

/// Reads the value. A table is off unless it says otherwise: it says what holds when `ctl` begins maintenance.
pub(super) fn maintenance(raw: &RawValue) -> Result<MaintenanceConfig, ValueError> {
    let switch = |raw| {
        let kind = Kind::Switch;
        ValueReader { kind: &kind, raw }.switch()
    };
    let RawValue::Table(_) = raw else {
        let is_on = switch(raw).map_err(|_| {
            ValueError::from(format!(
                "must be true, false, or a table such as {}",
                TABLE.example
            ))
        })?;
        return Ok(MaintenanceConfig {
            is_on,
            ..MaintenanceConfig::default()
        });
    };
    let table = TABLE.table(raw)?;
    let mut maintenance = MaintenanceConfig::default();
    for entry in table.entries {
        let refuse = |error: ValueError| table.refuse(entry, error);
        let raw = &entry.value;
        match entry.key.as_str() {
            "on" => maintenance.is_on = switch(raw).map_err(refuse)?,
            "allow" => maintenance.allow = networks(raw).map_err(refuse)?,
            "paths" => maintenance.paths = paths(raw).map_err(refuse)?,
            "retry_after" => maintenance.retry_after = retry_after(raw).map_err(refuse)?,
            _ => return Err(table.unknown(entry, KEYS)),
        }
    }
    Ok(maintenance)
}

/// The value as it is written in the file.
pub(super) fn maintenance_text(maintenance: &MaintenanceConfig) -> String {
    let usual = MaintenanceConfig {
        is_on: maintenance.is_on,
        ..MaintenanceConfig::default()
    };
    if *maintenance == usual {
        return maintenance.is_on.to_string();
    }
    let mut pairs = vec![format!("on = {}", maintenance.is_on)];
    if maintenance.allow != Networks::default() {
        pairs.push(format!(
            "allow = {}",
            quoted_list(maintenance.allow.texts())
        ));
    }
    if !maintenance.paths.is_empty() {
        let paths = maintenance.paths.iter().map(|path| path_text(path));
        pairs.push(format!("paths = {}", quoted_list(paths)));
    }
    if maintenance.retry_after != usual.retry_after {
        pairs.push(format!(
            "retry_after = {}",
            duration_text(maintenance.retry_after)
        ));
    }
    inline(&pairs)
}

fn paths(raw: &RawValue) -> Result<Vec<String>, ValueError> {
    let items = match raw {
        RawValue::List(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    items.iter().map(route_path).collect()
}

/// RFC 9110 §10.2.3: whole seconds.
fn retry_after(raw: &RawValue) -> Result<Duration, ValueError> {
    let kind = Kind::Duration {
        zero: Err("clients would come back at once; write 60"),
    };
    let time = ValueReader { kind: &kind, raw }.duration()?;
    match time.subsec_nanos() {
        0 => Ok(time),
        _ => Err("must be whole seconds, as in Retry-After".into()),
    }
}
