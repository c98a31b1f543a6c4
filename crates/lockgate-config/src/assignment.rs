//! What a source of settings contains.

use crate::origin::Origin;
use crate::raw_value::RawValue;
use crate::setting::Setting;

/// A value for a setting, from one source.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) setting: &'static Setting,
    pub(crate) value: RawValue,
    pub(crate) origin: Origin,
}
