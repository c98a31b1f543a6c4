//! Status and headers as passed to `start_response`: validated, and copied into a [`ResponseHead`].
//!
//! Invariant: no message contains a header's value or the text of a status: an attacker may want to see it in a log or
//! on an error page.
//!
//! PEP 3333 requires a `list` of `tuple`s. Other types that are accepted, because gunicorn and waitress accept them,
//! are listed in docs/wsgi.md ("Breaches that are tolerated").

use lockgate_http::ResponseHead;
use lockgate_observe::escape_into;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use crate::ffi;

/// Accepts `ddd reason`, or `ddd` alone, as other servers do; on the wire the space is kept and the reason is empty
/// (PEP 3333, RFC 9112 §4).
pub(crate) fn set_status(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    status: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Ok(status) = status.cast::<PyString>() else {
        return Err(wrong_type("status", "a str", status));
    };
    let text = latin1_bytes(status, scratch, || "status".to_owned())?;
    let (code, rest) = text.split_at_checked(3).ok_or_else(bad_status)?;
    let reason = match rest {
        [] => rest,
        [b' ', reason @ ..] => reason,
        _ => return Err(bad_status()),
    };
    if !code.iter().all(u8::is_ascii_digit) {
        return Err(bad_status());
    }
    let code = code
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    head.set_status(code, reason)
        .map_err(|fault| PyValueError::new_err(fault.to_string()))
}

/// The headers as a list or tuple, so that no code of the application runs while they are read.
pub(crate) fn sequence_of<'py>(headers: Borrowed<'_, 'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if headers.is_instance_of::<PyList>() || headers.is_instance_of::<PyTuple>() {
        return Ok(headers.to_owned());
    }
    let is_iterable = headers.hasattr(pyo3::intern!(headers.py(), "__iter__"))?;
    if !is_iterable || headers.is_instance_of::<PyString>() {
        return Err(wrong_type("headers", "a list", &headers));
    }
    let listed = headers
        .try_iter()?
        .collect::<PyResult<Vec<Bound<'py, PyAny>>>>()?;
    Ok(PyList::new(headers.py(), listed)?.into_any())
}

pub(crate) fn set_headers(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    headers: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if let Ok(list) = headers.cast::<PyList>() {
        for (index, header) in list.iter().enumerate() {
            set_header(head, scratch, index, &header)?;
        }
    } else {
        for (index, header) in headers.cast::<PyTuple>()?.iter_borrowed().enumerate() {
            set_header(head, scratch, index, &header)?;
        }
    }
    Ok(())
}

fn set_header(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    index: usize,
    header: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if let Ok(pair) = header.cast::<PyTuple>() {
        if pair.len() != 2 {
            return Err(wrong_length(index, pair.len()));
        }
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        if let (Some(name), Some(value)) = (ascii_of(&name), ascii_of(&value))
            && head.push(name, value).is_ok()
        {
            return Ok(());
        }
        return set_field(head, scratch, index, &name, &value);
    }
    set_listed_header(head, scratch, index, header)
}

/// The bytes of a `str` of ASCII, as nearly every name and value is.
fn ascii_of<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    ffi::ascii(object.cast::<PyString>().ok()?)
}

/// A header that is a list and not a tuple.
#[cold]
fn set_listed_header(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    index: usize,
    header: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Ok(pair) = header.cast::<PyList>() else {
        let what = format!("header {}", index + 1);
        return Err(wrong_type(&what, "a tuple of a name and a value", header));
    };
    if pair.len() != 2 {
        return Err(wrong_length(index, pair.len()));
    }
    set_field(head, scratch, index, &pair.get_item(0)?, &pair.get_item(1)?)
}

fn wrong_length(index: usize, length: usize) -> PyErr {
    PyTypeError::new_err(format!(
        "header {} must be a tuple of a name and a value, and has a length of {length}",
        index + 1
    ))
}

/// Any other name and value, and the ones that are refused, whose fault is named here.
#[cold]
fn set_field(
    head: &mut ResponseHead,
    scratch: &mut Vec<u8>,
    index: usize,
    name: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Ok(name) = name.cast::<PyString>() else {
        let what = format!("the name of header {}", index + 1);
        return Err(wrong_type(&what, "a str", name));
    };
    // A name outside ASCII is not a token; it is refused whether it is read as UTF-8 or as latin-1.
    let name = name.to_string_lossy();
    let Ok(value) = value.cast::<PyString>() else {
        let what = format!("the value of header {}", quoted(&name));
        return Err(wrong_type(&what, "a str", value));
    };
    let value = latin1_bytes(value, scratch, || {
        format!("the value of header {}", quoted(&name))
    })?;
    head.push(name.as_bytes(), value)
        .map_err(|fault| PyValueError::new_err(format!("header {}: {fault}", quoted(&name))))
}

/// Formats a header's name for a message: the name may contain invalid characters.
fn quoted(name: &str) -> String {
    const LONGEST: usize = 100;
    let shown = &name.as_bytes()[..name.len().min(LONGEST)];
    let mut text = String::from("\"");
    let mut escaped = Vec::new();
    escape_into(&mut escaped, shown);
    text.push_str(&String::from_utf8_lossy(&escaped));
    text.push_str(if name.len() > LONGEST { "…\"" } else { "\"" });
    text
}

/// The bytes that a WSGI `str` stands for; ASCII, which nearly every string is, is not copied.
fn latin1_bytes<'a>(
    text: &'a Bound<'_, PyString>,
    scratch: &'a mut Vec<u8>,
    what: impl Fn() -> String,
) -> PyResult<&'a [u8]> {
    let outside = || PyValueError::new_err(format!("{} has a character outside latin-1", what()));
    if let Some(ascii) = ffi::ascii(text) {
        return Ok(ascii);
    }
    let text = text.to_str().map_err(|_| outside())?;
    scratch.clear();
    for character in text.chars() {
        scratch.push(u8::try_from(character).map_err(|_| outside())?);
    }
    Ok(scratch)
}

pub(crate) fn wrong_type(what: &str, wanted: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let given = given
        .get_type()
        .name()
        .map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what} must be {wanted}, not {given}"))
}

fn bad_status() -> PyErr {
    PyValueError::new_err("status must be three digits, a space and a reason")
}
