//! `lockgate.publish`, as far as it is in Rust.
//!
//! An append takes microseconds and keeps the GIL, unless another thread or process appends at the same moment: then the
//! wait for it is without the GIL.

use std::fmt;

use lockgate_config::PushConfig;
use lockgate_push::{Content, ItemError, ItemLimits, Message, parse_items};
use lockgate_shm::Log;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::{Broadcast, PublishError};

const MODULE: &str = "lockgate.publishing";

/// Publishes from Python.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Publisher {
    broadcast: Broadcast,
}

/// Makes `lockgate.publish` work in this process and its later forks; without a log it says which setting is missing.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn install(py: Python<'_>, log: Option<Log>, config: &PushConfig) -> PyResult<()> {
    let publisher = Broadcast::new(log, config).map(|broadcast| Publisher { broadcast });
    let problem = match config.is_enabled {
        false => "publishing is off in this server: set push = true",
        true => "there is no broadcast log: the error log of the server's start says why",
    };
    py.import(MODULE)?
        .call_method1("install", (publisher, problem))
        .map(drop)
}

#[pymethods]
impl Publisher {
    /// `item` is an item of GRIP as JSON, which may have formats, and an id.
    fn publish(
        &self,
        py: Python<'_>,
        channel: &Bound<'_, PyAny>,
        content: Option<&Bound<'_, PyAny>>,
        names: [Option<Bound<'_, PyAny>>; 3],
        item: Option<&str>,
    ) -> PyResult<()> {
        let [id, event, prev_id] = names;
        let channel = text("channel", channel)?;
        let mut message = match item {
            Some(item) => self.message_of(&channel, item)?,
            None => Message::default(),
        };
        message.channel = channel;
        message.content = content.map(content_of).transpose()?;
        for (name, given, place) in [
            ("id", id, &mut message.id),
            ("event", event, &mut message.event),
            ("prev_id", prev_id, &mut message.prev_id),
        ] {
            if let Some(given) = given {
                *place = Some(text(name, &given)?);
            }
        }
        let refused = |error| refused(&message.channel, &error);
        let record = self.broadcast.record(&message).map_err(refused)?;
        match self.broadcast.try_append(&record) {
            Ok(true) => Ok(()),
            Ok(false) => py
                .detach(|| self.broadcast.append(&record))
                .map_err(refused),
            Err(error) => Err(refused(error)),
        }
    }
}

impl Publisher {
    fn message_of(&self, channel: &str, item: &str) -> PyResult<Message> {
        let limits = ItemLimits {
            bytes: self.broadcast.limit(),
            items: 1,
        };
        let body = format!("{{\"items\":[{item}]}}");
        let parsed = parse_items(body.as_bytes(), &limits);
        let items = parsed.map_err(|error| match error {
            ItemError::Message { error, .. } => refused(channel, &PublishError::Message(error)),
            ItemError::Key { key, rule, .. } => problem_of_formats(&format!("{key} {rule}")),
            ItemError::NoFormat { .. } => {
                problem_of_formats(&"there must be http-stream, http-response or ws-message")
            }
            error => problem_of_formats(&error),
        })?;
        let message = items.into_iter().next();
        message.ok_or_else(|| problem_of_formats(&"there are none"))
    }
}

fn refused(channel: &str, error: &PublishError) -> PyErr {
    let text = format!("cannot publish to the channel {channel:?}: {error}");
    match error.is_of_message() {
        true => PyValueError::new_err(text),
        false => PyRuntimeError::new_err(text),
    }
}

fn problem_of_formats(problem: &dyn fmt::Display) -> PyErr {
    PyValueError::new_err(format!("formats: {problem}"))
}

fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    match value.cast::<PyString>() {
        Ok(text) => Ok(text.to_str()?.to_owned()),
        Err(_) => Err(wrong_type(name, "str", value)),
    }
}

fn content_of(value: &Bound<'_, PyAny>) -> PyResult<Content> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Content::Text(text.to_str()?.to_owned()));
    }
    match value.cast::<PyBytes>() {
        Ok(bytes) => Ok(Content::Binary(bytes.as_bytes().to_owned())),
        Err(_) => Err(wrong_type("content", "str or bytes", value)),
    }
}

fn wrong_type(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = value.get_type().name();
    let found = found.map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} must be {expected}, not {found}"))
}
