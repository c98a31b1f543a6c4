//! An instruction in the body of a response, of the type `application/grip-instruct`.

use std::time::Duration;

use super::fields::SECONDS_RULE;
use super::keep_alive::{DEFAULT_TIMEOUT, MODE_RULE, mode_of};
use super::{
    HeldChannel, HoldMode, Instruction, InstructionError, InstructionLimits, KeepAlive,
    KeepAliveMode, MOST_SECONDS, add_channel,
};
use crate::channel_name;
use crate::filters::{FILTER_RULE, Filters};
use crate::json::{self, KeyError, Map};
use crate::message::{Content, ResponseFormat};

impl Instruction {
    /// The instruction in the body of a response, and the response that it has.
    ///
    /// # Errors
    /// When the body is no JSON or has a value that is not allowed.
    pub fn from_body(
        body: &[u8],
        limits: &InstructionLimits,
    ) -> Result<(Self, Option<ResponseFormat>), InstructionError> {
        let body = json::parse(body).map_err(|reason| InstructionError::NotJson { reason })?;
        let hold = json::object(&body, "hold")?;
        let mut instruction = match hold {
            Some(hold) => held(hold, limits)?,
            None => Self {
                mode: HoldMode::Stream,
                channels: Vec::new(),
                timeout: None,
                keep_alive: None,
                next: None,
                meta: Vec::new(),
                status: None,
            },
        };
        for (name, value) in json::object(&body, "meta")?.into_iter().flatten() {
            let text = value
                .as_str()
                .ok_or_else(|| KeyError::new(name, "must be a string").within("meta"))?;
            instruction.meta.push((name.clone(), text.to_owned()));
        }
        let response = json::object(&body, "response")?.map(json::response);
        let response = response
            .transpose()
            .map_err(|error| error.within("response"));
        Ok((instruction, response?))
    }
}

fn held(hold: &Map, limits: &InstructionLimits) -> Result<Instruction, InstructionError> {
    let within = |error: KeyError| error.within("hold");
    let mut channels = Vec::new();
    for (value, index) in json::array(hold, "channels")
        .map_err(within)?
        .into_iter()
        .flatten()
        .zip(0..)
    {
        let key = format!("hold.channels[{index}]");
        let Some(map) = value.as_object() else {
            return Err(KeyError::new(key, "must be an object").into());
        };
        let one = channel(map, "name").map_err(|error| error.within(key))?;
        add_channel(&mut channels, one, limits)?;
    }
    if channels.is_empty() {
        return Err(within(KeyError::new("channels", "must have a channel")).into());
    }
    Ok(Instruction {
        mode: mode(hold).map_err(within)?,
        channels,
        timeout: seconds(hold, "timeout").map_err(within)?,
        keep_alive: keep_alive(hold).map_err(within)?,
        next: None,
        meta: Vec::new(),
        status: None,
    })
}

fn mode(hold: &Map) -> Result<HoldMode, KeyError> {
    match json::text(hold, "mode")? {
        Some("stream") => Ok(HoldMode::Stream),
        Some("response") => Ok(HoldMode::Response),
        _ => Err(KeyError::new("mode", "must be stream or response")),
    }
}

/// A channel with its `prev-id` and `filters`; its name is the value of `name_key`.
pub fn channel(map: &Map, name_key: &str) -> Result<HeldChannel, KeyError> {
    let prev_id = json::text(map, "prev-id")?.filter(|id| !id.is_empty());
    let mut filters = Filters::default();
    for filter in json::array(map, "filters")?.into_iter().flatten() {
        let filter = filter.as_str().and_then(Filters::named);
        filters = filters.with(filter.ok_or_else(|| KeyError::new("filters", FILTER_RULE))?);
    }
    Ok(HeldChannel {
        name: channel_name(map, name_key)?,
        prev_id: prev_id.map(str::to_owned),
        filters,
    })
}

/// The name of a channel.
pub fn channel_name(map: &Map, key: &str) -> Result<String, KeyError> {
    let name = json::text(map, key)?.unwrap_or_default();
    channel_name::check(name).map_err(|fault| KeyError::new(key, fault.rule()))?;
    Ok(name.to_owned())
}

/// A time in whole seconds.
pub fn seconds(map: &Map, key: &str) -> Result<Option<Duration>, KeyError> {
    match json::number(map, key, SECONDS_RULE)? {
        None => Ok(None),
        Some(seconds @ 1..=MOST_SECONDS) => Ok(Some(Duration::from_secs(seconds))),
        Some(_) => Err(KeyError::new(key, SECONDS_RULE)),
    }
}

fn keep_alive(hold: &Map) -> Result<Option<KeepAlive>, KeyError> {
    const KEY: &str = "keep-alive";
    let Some(map) = json::object(hold, KEY)? else {
        return Ok(None);
    };
    let read = || {
        let content = json::content(map, "content", "content-bin")?;
        Ok(KeepAlive {
            content: content.map(Content::into_bytes).unwrap_or_default(),
            timeout: seconds(map, "timeout")?.unwrap_or(DEFAULT_TIMEOUT),
            mode: keep_alive_mode(map)?,
        })
    };
    read()
        .map(Some)
        .map_err(|error: KeyError| error.within(KEY))
}

/// The `mode` of a keep-alive.
pub fn keep_alive_mode(map: &Map) -> Result<KeepAliveMode, KeyError> {
    match json::text(map, "mode")? {
        None => Ok(KeepAliveMode::Idle),
        Some(name) => mode_of(name).ok_or_else(|| KeyError::new("mode", MODE_RULE)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const LIMITS: InstructionLimits = InstructionLimits { channels: 2 };

    fn parsed(body: &Value) -> Result<(Instruction, Option<ResponseFormat>), String> {
        Instruction::from_body(body.to_string().as_bytes(), &LIMITS)
            .map_err(|error| error.to_string())
    }

    /// The instruction of a hold with these keys.
    fn held_with(keys: &Value) -> Result<Instruction, String> {
        let mut hold = json!({"mode": "stream", "channels": [{"name": "a"}]});
        for (key, value) in keys.as_object().unwrap() {
            hold[key] = value.clone();
        }
        parsed(&json!({ "hold": hold })).map(|(instruction, _)| instruction)
    }

    fn stream() -> Instruction {
        Instruction {
            mode: HoldMode::Stream,
            channels: vec![held_channel("a")],
            timeout: None,
            keep_alive: None,
            next: None,
            meta: Vec::new(),
            status: None,
        }
    }

    fn held_channel(name: &str) -> HeldChannel {
        HeldChannel {
            name: name.to_owned(),
            ..HeldChannel::default()
        }
    }

    #[test]
    fn a_body_has_a_hold_and_a_response() {
        let response = ResponseFormat {
            code: 304,
            headers: vec![("ETag".to_owned(), "\"1\"".to_owned())],
            ..ResponseFormat::default()
        };
        let hold = json!({"mode": "response", "channels": [{"name": "a"}], "timeout": 20});
        let held = Instruction {
            mode: HoldMode::Response,
            timeout: Some(Duration::from_secs(20)),
            ..stream()
        };
        let not_held = Instruction {
            channels: Vec::new(),
            ..stream()
        };
        for (body, expected) in [
            (
                json!({"hold": hold, "response": {"code": 304, "headers": {"ETag": "\"1\""}}}),
                (held.clone(), Some(response)),
            ),
            (json!({"hold": hold}), (held.clone(), None)),
            (
                json!({"hold": hold, "meta": {"user": "alice"}}),
                (
                    Instruction {
                        meta: vec![("user".to_owned(), "alice".to_owned())],
                        ..held
                    },
                    None,
                ),
            ),
            (
                json!({"response": {}}),
                (not_held, Some(ResponseFormat::default())),
            ),
        ] {
            assert_eq!(parsed(&body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn a_hold_has_channels_and_a_keep_alive() {
        let keep_alive = |content: &[u8], seconds, mode| Instruction {
            keep_alive: Some(KeepAlive {
                content: content.to_vec(),
                timeout: Duration::from_secs(seconds),
                mode,
            }),
            ..stream()
        };
        for (keys, expected) in [
            (
                json!({"channels": [
                    {"name": "a", "prev-id": "7", "filters": ["skip-self"]},
                    {"name": "b", "prev-id": "", "filters": []},
                ]}),
                Instruction {
                    channels: vec![
                        HeldChannel {
                            prev_id: Some("7".to_owned()),
                            filters: Filters::SKIP_SELF,
                            ..held_channel("a")
                        },
                        held_channel("b"),
                    ],
                    ..stream()
                },
            ),
            (
                json!({"keep-alive": {"content": "\n", "timeout": 30}}),
                keep_alive(b"\n", 30, KeepAliveMode::Idle),
            ),
            (
                json!({"keep-alive": {"content-bin": "/w==", "mode": "interval"}}),
                keep_alive(&[0xff], 55, KeepAliveMode::Interval),
            ),
        ] {
            assert_eq!(held_with(&keys), Ok(expected), "{keys}");
        }
    }

    #[test]
    fn an_error_names_the_key() {
        for (keys, expected) in [
            (json!({"mode": "x"}), "hold.mode must be stream or response"),
            (json!({"channels": []}), "hold.channels must have a channel"),
            (json!({"channels": "a"}), "hold.channels must be an array"),
            (
                json!({"channels": [{"name": "a"}, {"name": ""}]}),
                "hold.channels[1].name must not be empty",
            ),
            (
                json!({"channels": ["a"]}),
                "hold.channels[0] must be an object",
            ),
            (
                json!({"channels": [{"name": "a", "filters": ["x"]}]}),
                "hold.channels[0].filters must be skip-self, skip-users, require-sub or build-id",
            ),
            (
                json!({"channels": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}),
                "at most 2 channels are allowed",
            ),
            (
                json!({"timeout": 0}),
                "hold.timeout must be a number of seconds from 1 to 31536000",
            ),
            (
                json!({"keep-alive": {"timeout": "x"}}),
                "hold.keep-alive.timeout must be a number of seconds from 1 to 31536000",
            ),
            (
                json!({"keep-alive": {"mode": "x"}}),
                "hold.keep-alive.mode must be idle or interval",
            ),
        ] {
            assert_eq!(held_with(&keys), Err(expected.to_owned()), "{keys}");
        }
        for (body, expected) in [
            (json!([]), "no JSON: must be an object"),
            (json!({"hold": 1}), "hold must be an object"),
            (
                json!({"response": {"code": "x"}}),
                "response.code must be a status code",
            ),
            (json!({"meta": {"a": 1}}), "meta.a must be a string"),
        ] {
            assert_eq!(parsed(&body), Err(expected.to_owned()), "{body}");
        }
    }

    #[test]
    fn the_longest_time_is_a_year() {
        let longest = held_with(&json!({"timeout": 31_536_000})).unwrap();
        assert_eq!(longest.timeout, Some(Duration::from_secs(31_536_000)));
        assert!(held_with(&json!({"timeout": 31_536_001})).is_err());
        assert!(held_with(&json!({"timeout": u64::MAX})).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, keys: Vec<(String, String)>) {
            let _ = Instruction::from_body(&bytes, &LIMITS);
            let keys: Map = keys.into_iter().map(|(key, value)| (key, value.into())).collect();
            let _ = held_with(&Value::Object(keys));
        }
    }
}
