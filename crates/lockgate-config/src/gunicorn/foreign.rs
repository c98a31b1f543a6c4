//! Values of gunicorn's settings that Lockgate does not have: whether they are accepted, ignored or refused.

use super::evaluated::from_json;
use crate::kind::Kind;
use crate::raw_value::RawValue;
use crate::unsupported::{Support, Takes, Unsupported};
use crate::{ConfigError, Origin};

/// A value for one of gunicorn's settings that Lockgate does not have, from one source.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) setting: &'static Unsupported,
    pub(crate) value: RawValue,
    pub(crate) origin: Origin,
}

impl Foreign {
    /// Nothing about gunicorn's default, a note about a value that has no effect, an error about one that would.
    pub(crate) fn judge(&self) -> Result<Option<String>, ConfigError> {
        let Self {
            setting,
            value,
            origin,
        } = self;
        if self.is_default() {
            return Ok(None);
        }
        // gunicorn accepts it in its file, where it has no effect.
        let is_ignored = setting.support == Support::Ignored || setting.name == "config";
        if is_ignored {
            return Ok(Some(format!(
                "{} = {value} (from {origin}) has no effect: {}",
                setting.name, setting.advice
            )));
        }
        Err(ConfigError::UnsupportedSetting {
            name: match origin {
                Origin::Flag(flag) | Origin::CommandArguments(flag) => flag.clone(),
                _ => setting.name.to_owned(),
            },
            origin: origin.clone(),
            advice: setting.message(),
        })
    }

    fn is_default(&self) -> bool {
        let default = serde_json::from_str(self.setting.default).unwrap_or_default();
        let default = from_json(&Kind::Text, &default);
        let is_empty = |value: &RawValue| match value {
            RawValue::Null => true,
            RawValue::Text(text) => text.trim().is_empty(),
            RawValue::List(items) => items.is_empty(),
            RawValue::Table(pairs) => pairs.is_empty(),
            RawValue::Boolean(is_on) => !is_on,
            _ => false,
        };
        let is_same = match (&self.value, self.setting.takes) {
            (RawValue::Text(text), Takes::Switch) => {
                text.trim().eq_ignore_ascii_case(&default.to_string())
            }
            // As numbers in flags are text.
            (value, _) => value.to_string() == default.to_string(),
        };
        is_same || (is_empty(&self.value) && is_empty(&default))
    }
}

impl std::fmt::Debug for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unsupported").field(&self.name).finish()
    }
}
