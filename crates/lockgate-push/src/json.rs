//! Reading the values of a JSON object: what is missing or `null` is `None`, and an error names the key.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde_json::Value;

use crate::message::{Content, ResponseFormat};

pub type Map = serde_json::Map<String, Value>;

/// A value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// Its key, with the keys of the objects around it.
    pub key: String,
    /// What is allowed.
    pub rule: &'static str,
}

impl KeyError {
    pub fn new(key: impl Into<String>, rule: &'static str) -> Self {
        let key = key.into();
        Self { key, rule }
    }

    /// The same in the object of this key.
    pub fn within(self, outer: impl fmt::Display) -> Self {
        Self {
            key: format!("{outer}.{}", self.key),
            rule: self.rule,
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.key, self.rule)
    }
}

/// The object that the bytes are.
pub fn parse(json: &[u8]) -> Result<Map, String> {
    match serde_json::from_slice(json) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("must be an object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub fn value<'a>(map: &'a Map, key: &str) -> Option<&'a Value> {
    map.get(key).filter(|value| !value.is_null())
}

/// The value as `read` returns it, or the error that it breaks the rule.
fn read<'a, T>(
    map: &'a Map,
    key: &str,
    rule: &'static str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, KeyError> {
    let value = value(map, key).map(|value| read(value).ok_or_else(|| KeyError::new(key, rule)));
    value.transpose()
}

pub fn text<'a>(map: &'a Map, key: &str) -> Result<Option<&'a str>, KeyError> {
    read(map, key, "must be a string", Value::as_str)
}

pub fn object<'a>(map: &'a Map, key: &str) -> Result<Option<&'a Map>, KeyError> {
    read(map, key, "must be an object", Value::as_object)
}

pub fn array<'a>(map: &'a Map, key: &str) -> Result<Option<&'a Vec<Value>>, KeyError> {
    read(map, key, "must be an array", Value::as_array)
}

/// A number; some client libraries send one as a string.
pub fn number<T: FromStr + TryFrom<u64>>(
    map: &Map,
    key: &str,
    rule: &'static str,
) -> Result<Option<T>, KeyError> {
    read(map, key, rule, |value| match value {
        Value::String(text) => text.parse().ok(),
        _ => value.as_u64().and_then(|number| number.try_into().ok()),
    })
}

/// The text of one key or the base64 of the other.
pub fn content(map: &Map, text_key: &str, base64_key: &str) -> Result<Option<Content>, KeyError> {
    let decode = |value: &Value| BASE64.decode(value.as_str()?.as_bytes()).ok();
    if let Some(bytes) = read(map, base64_key, "must be base64", decode)? {
        return Ok(Some(Content::Binary(bytes)));
    }
    let text = text(map, text_key)?;
    Ok(text.map(|text| Content::Text(text.to_owned())))
}

/// A response: `code`, `reason`, `headers`, and `body` or `body-bin`.
pub fn response(map: &Map) -> Result<ResponseFormat, KeyError> {
    for key in ["body-patch", "content-filters"] {
        refuse_unsupported(map, key)?;
    }
    let code = number(map, "code", "must be a status code")?;
    let body = content(map, "body", "body-bin")?;
    Ok(ResponseFormat {
        code: code.unwrap_or(200),
        reason: text(map, "reason")?.unwrap_or_default().to_owned(),
        headers: headers(map)?,
        body: body.map(Content::into_bytes).unwrap_or_default(),
    })
}

/// An error if there is a value that changes what is sent in a way that is not supported.
pub fn refuse_unsupported(map: &Map, key: &str) -> Result<(), KeyError> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    match value(map, key) {
        Some(value) if !is_empty(value) => Err(KeyError::new(key, "is not supported")),
        _ => Ok(()),
    }
}

fn headers(map: &Map) -> Result<Vec<(String, String)>, KeyError> {
    const KEY: &str = "headers";
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [Value::String(name), Value::String(value)] => Some((name.clone(), value.clone())),
        _ => None,
    };
    let headers: Option<Vec<_>> = match value(map, KEY) {
        None => Some(Vec::new()),
        Some(Value::Object(headers)) => headers
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        Some(Value::Array(headers)) => headers.iter().map(pair).collect(),
        Some(_) => None,
    };
    let rule = "must be an object of strings or an array of pairs of strings";
    headers.ok_or_else(|| KeyError::new(KEY, rule))
}
