//! The header fields of GRIP, and what each of their values may be.

use std::time::Duration;

use super::{
    HeldChannel, HoldMode, Instruction, InstructionError, InstructionLimits, MOST_SECONDS,
    NextLink, add_channel, is_grip_field, keep_alive,
};
use crate::channel_name;
use crate::filters::{FILTER_RULE, Filters};
use crate::parameters::{parameter, split};

const HOLD: &str = "Grip-Hold";
const CHANNEL: &str = "Grip-Channel";
const TIMEOUT: &str = "Grip-Timeout";
pub const KEEP_ALIVE: &str = "Grip-Keep-Alive";
const LINK: &str = "Grip-Link";
const STATUS: &str = "Grip-Status";
const SET_META: &str = "Grip-Set-Meta";

/// The rule for times.
pub const SECONDS_RULE: &str = "must be a number of seconds from 1 to 31536000";
/// The rule for addresses.
const URI_RULE: &str = "must be an address in angle brackets";

/// The values of a response's fields.
#[derive(Default)]
pub struct Fields<'a> {
    hold: Option<&'a str>,
    channels: Vec<&'a str>,
    timeout: Option<&'a str>,
    keep_alive: Option<&'a str>,
    links: Vec<&'a str>,
    status: Option<&'a str>,
    meta: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    /// The fields of GRIP among these.
    pub fn collect(
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, InstructionError> {
        let mut all = Self::default();
        for (name, value) in fields {
            if is_grip_field(name) {
                all.add(name, value)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), InstructionError> {
        let known = [HOLD, CHANNEL, TIMEOUT, KEEP_ALIVE, LINK, STATUS, SET_META];
        let field = known
            .into_iter()
            .find(|known| known.as_bytes().eq_ignore_ascii_case(name));
        let Some(field) = field else {
            return Ok(());
        };
        let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| {
            let shown = String::from_utf8_lossy(value);
            InstructionError::value(field, &shown, "must be UTF-8")
        })?;
        let single = match field {
            CHANNEL => return push(&mut self.channels, text),
            LINK => return push(&mut self.links, text),
            SET_META => return push(&mut self.meta, text),
            HOLD => &mut self.hold,
            TIMEOUT => &mut self.timeout,
            KEEP_ALIVE => &mut self.keep_alive,
            _ => &mut self.status,
        };
        match single.replace(text) {
            Some(_) => Err(InstructionError::Repeated { field }),
            None => Ok(()),
        }
    }

    fn channels(&self) -> impl Iterator<Item = &'a str> {
        let parts = self.channels.iter().flat_map(|value| split(value, ','));
        parts.filter(|part| !part.is_empty())
    }

    /// Whether a channel has the filter `build-id`, held or not.
    pub fn builds_ids(&self) -> bool {
        let mut channels = self.channels();
        channels.any(|part| {
            channel(part).is_ok_and(|channel| channel.filters.contains(Filters::BUILD_ID))
        })
    }

    /// The instruction that they are, if they are one.
    pub fn instruction(
        self,
        limits: &InstructionLimits,
    ) -> Result<Option<Instruction>, InstructionError> {
        let mode = self.hold.map(hold_mode).transpose()?;
        let next = next_link(&self.links)?;
        if mode.is_none() && next.is_none() {
            return Ok(None);
        }
        let mut instruction = Instruction {
            mode: mode.unwrap_or(HoldMode::Stream),
            channels: Vec::new(),
            timeout: None,
            keep_alive: None,
            next,
            meta: meta(&self.meta)?,
            status: self.status.map(status).transpose()?,
        };
        if mode.is_some() {
            for part in self.channels() {
                add_channel(&mut instruction.channels, channel(part)?, limits)?;
            }
            if instruction.channels.is_empty() {
                return Err(InstructionError::NoChannel);
            }
            instruction.timeout = self
                .timeout
                .map(|value| seconds(TIMEOUT, value))
                .transpose()?;
            instruction.keep_alive = self.keep_alive.map(keep_alive::parse).transpose()?;
        }
        Ok(Some(instruction))
    }
}

fn push<'a>(values: &mut Vec<&'a str>, value: &'a str) -> Result<(), InstructionError> {
    values.push(value);
    Ok(())
}

fn hold_mode(value: &str) -> Result<HoldMode, InstructionError> {
    match value.to_ascii_lowercase().as_str() {
        "stream" => Ok(HoldMode::Stream),
        "response" => Ok(HoldMode::Response),
        _ => Err(InstructionError::value(
            HOLD,
            value,
            "must be stream or response",
        )),
    }
}

fn channel(part: &str) -> Result<HeldChannel, InstructionError> {
    let error = |part: &str, rule| InstructionError::value(CHANNEL, part, rule);
    let mut parts = split(part, ';');
    let name = parts.next().unwrap_or_default();
    channel_name::check(name).map_err(|fault| error(name, fault.rule()))?;
    let mut channel = HeldChannel {
        name: name.to_owned(),
        ..HeldChannel::default()
    };
    for part in parts {
        let Some((name, value)) = parameter(part) else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "prev-id" if value.is_empty() => channel.prev_id = None,
            "prev-id" => channel.prev_id = Some(value.into_owned()),
            "filter" => {
                let filter = Filters::named(&value).ok_or_else(|| error(part, FILTER_RULE))?;
                channel.filters = channel.filters.with(filter);
            }
            _ => {}
        }
    }
    Ok(channel)
}

/// The link with `rel=next` among these; others are skipped.
fn next_link(values: &[&str]) -> Result<Option<NextLink>, InstructionError> {
    let error = |part: &str, rule| InstructionError::value(LINK, part, rule);
    let links = values.iter().flat_map(|value| split(value, ','));
    for link in links.filter(|link| !link.is_empty()) {
        let mut parts = split(link, ';');
        let address = parts.next().unwrap_or_default();
        let uri = address
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .filter(|uri| !uri.is_empty() && uri.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| error(link, URI_RULE))?;
        let mut is_next = false;
        let mut timeout = None;
        for (name, value) in parts.filter_map(parameter) {
            match name.to_ascii_lowercase().as_str() {
                "rel" => {
                    is_next = value
                        .split_ascii_whitespace()
                        .any(|rel| rel.eq_ignore_ascii_case("next"));
                }
                "timeout" => timeout = Some(value),
                _ => {}
            }
        }
        if is_next {
            let timeout = timeout.map(|value| seconds(LINK, &value)).transpose()?;
            let uri = uri.to_owned();
            return Ok(Some(NextLink { uri, timeout }));
        }
    }
    Ok(None)
}

fn meta(values: &[&str]) -> Result<Vec<(String, String)>, InstructionError> {
    let mut meta = Vec::new();
    let parts = values.iter().flat_map(|value| split(value, ','));
    for part in parts.filter(|part| !part.is_empty()) {
        let Some((name, value)) = parameter(part).filter(|(name, _)| !name.is_empty()) else {
            return Err(InstructionError::value(
                SET_META,
                part,
                "must be a name and a value: name=\"value\"",
            ));
        };
        meta.push((name.to_owned(), value.into_owned()));
    }
    Ok(meta)
}

fn status(value: &str) -> Result<u16, InstructionError> {
    value
        .parse()
        .ok()
        .filter(|code| (200..=599).contains(code))
        .ok_or_else(|| {
            let rule = "must be a status code between 200 and 599";
            InstructionError::value(STATUS, value, rule)
        })
}

/// A time in whole seconds.
pub fn seconds(field: &'static str, value: &str) -> Result<Duration, InstructionError> {
    value
        .parse()
        .ok()
        .filter(|seconds| (1..=MOST_SECONDS).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| InstructionError::value(field, value, SECONDS_RULE))
}
