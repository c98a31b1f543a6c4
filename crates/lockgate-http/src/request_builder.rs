//! Builder of request heads from their parts, for protocols whose heads are not HTTP/1 lines.
//!
//! Invariant: a request gives the same head, or the same refusal, as from [`RequestParser`](crate::RequestParser) in
//! HTTP/1 form. The head stores that form, so that whatever reads it need not know the protocol.

use crate::error::Refusal;
use crate::limits::Limits;
use crate::request::{Framing, RequestHead, Version};
use crate::rules::fields::{FieldRules, check_http2_field, check_name, check_value};
use crate::rules::grammar::trim_whitespace;
use crate::rules::method::{check_method, check_method_name};
use crate::rules::target::{check_target, split_target};
use crate::span::{Field, Span};

/// The control data of a request (RFC 9110 §6.2): everything in its head besides the fields.
#[derive(Debug, Clone, Copy)]
pub struct ControlData<'a> {
    /// The method: `:method`, `REQUEST_METHOD`.
    pub method: &'a [u8],
    /// The scheme: `:scheme`. `None`: that of the connection.
    pub scheme: Option<&'a [u8]>,
    /// The authority: `:authority`. It becomes the Host of the request. `None`: there is only Host.
    pub authority: Option<&'a [u8]>,
    /// The request target: `:path`, `REQUEST_URI`.
    pub target: &'a [u8],
    /// The version.
    pub version: Version,
}

/// Builds one [`RequestHead`]: control data, fields in their order, end.
///
/// ```
/// use lockgate_http::{ControlData, Limits, Refusal, RequestHead, RequestHeadBuilder, Version};
///
/// let control_data = ControlData {
///     method: b"GET",
///     scheme: Some(b"https"),
///     authority: Some(b"example.com"),
///     target: b"/gates?open",
///     version: Version::Http2,
/// };
/// let mut head = RequestHead::default();
/// let limits = Limits::default();
/// let mut builder = RequestHeadBuilder::new(&mut head, &control_data, &limits)?;
/// builder.field(b"accept", b"*/*")?;
/// builder.finish_stream(true)?;
/// assert_eq!((head.path(), head.host()), (&b"/gates"[..], Some(&b"example.com"[..])));
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Debug)]
pub struct RequestHeadBuilder<'h> {
    head: &'h mut RequestHead,
    limits: Limits,
    rules: FieldRules,
    /// Fields so far, dropped ones included.
    count: usize,
    /// The Host comes from the authority, and no Host field has repeated it so far.
    has_only_authority: bool,
}

impl<'h> RequestHeadBuilder<'h> {
    /// Clears `head` and starts with `control_data`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] is final. As from a parser, `head` then holds what was read before the fault.
    pub fn new(
        head: &'h mut RequestHead,
        control_data: &ControlData<'_>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        head.clear();
        let mut builder = Self {
            head,
            limits: Limits {
                head: limits.head.min(u32::MAX as usize),
                ..*limits
            },
            rules: FieldRules::default(),
            count: 0,
            has_only_authority: false,
        };
        builder.write_line(control_data)?;
        builder.interpret_line(control_data)?;
        if let Some(authority) = control_data.authority {
            builder.field(b"host", authority)?;
            builder.has_only_authority = true;
        }
        Ok(builder)
    }

    /// The request needs no Host.
    pub(crate) fn waive_host(&mut self) {
        self.rules.waive_host();
    }

    /// Adds a field.
    ///
    /// # Errors
    ///
    /// The name or the value is not valid, the field contradicts an earlier one, or a limit is exceeded.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let is_http2 = self.head.summary.version == Version::Http2;
        let value = if is_http2 {
            if name == b"cookie" && self.extend_cookie(value)? {
                return Ok(());
            }
            value
        } else {
            trim_whitespace(value)
        };
        let has_underscore = self.check_field(name, value)?;
        if is_http2 && let Err(refusal) = check_http2_field(name, value) {
            return Err(self.refuse_field(refusal, name, value));
        }
        if self.has_only_authority && name.eq_ignore_ascii_case(b"host") {
            // RFC 9113 §8.3.1: the authority takes precedence, and a Host that differs is malformed.
            self.has_only_authority = false;
            if self.head.host_field().eq_ignore_ascii_case(value) {
                return Ok(());
            }
            return Err(self.refuse_field(Refusal::ContradictoryHost, name, value));
        }
        let field = self.write_field(name, value);
        self.count += 1;
        let RequestHead {
            bytes,
            fields,
            summary,
        } = &mut *self.head;
        if has_underscore {
            summary.dropped += 1;
            summary.may_have_forwarding_headers = true;
            return Ok(());
        }
        fields.push(field);
        self.rules
            .apply(field, bytes, summary)
            .inspect_err(|_| summary.faulty = Some(field))
    }

    /// Joins a Cookie to the field before it if that is one, too (RFC 9113 §8.2.3); returns whether it was. Then it is no
    /// field of its own, and the limits hold for the whole.
    fn extend_cookie(&mut self, value: &[u8]) -> Result<bool, Refusal> {
        let bytes = &self.head.bytes;
        let Some(cookie) = self.head.fields.last().copied() else {
            return Ok(false);
        };
        if cookie.name.of(bytes) != b"cookie" || cookie.line().end as usize != bytes.len() {
            return Ok(false);
        }
        let refusal = match check_value(value).and_then(|()| check_http2_field(b"cookie", value)) {
            Err(refusal) => refusal,
            Ok(())
                if bytes.len() + value.len() + 2 > self.line_limit(cookie.name.start as usize) =>
            {
                self.too_large(cookie.name.start as usize)
            }
            Ok(()) => {
                let bytes = &mut self.head.bytes;
                bytes.truncate(cookie.value.end as usize);
                bytes.extend_from_slice(b"; ");
                bytes.extend_from_slice(value);
                if let Some(cookie) = self.head.fields.last_mut() {
                    cookie.value.end = bytes.len() as u32;
                }
                bytes.extend_from_slice(b"\r\n");
                return Ok(true);
            }
        };
        self.head.summary.faulty = Some(cookie);
        Err(refusal)
    }

    /// Ends a head whose fields say whether a body follows, as in HTTP/1.
    ///
    /// # Errors
    ///
    /// A field is missing, or a limit is exceeded.
    pub fn finish(mut self) -> Result<(), Refusal> {
        self.end()
    }

    /// Ends the head of a stream (RFC 9113 §8.1). `is_last`: no body follows.
    ///
    /// # Errors
    ///
    /// As for [`RequestHeadBuilder::finish`]; or no body follows and Content-Length announces one.
    pub fn finish_stream(mut self, is_last: bool) -> Result<(), Refusal> {
        self.end()?;
        let framing = &mut self.head.summary.framing;
        match (*framing, is_last) {
            (Framing::Length(1..), true) => return Err(Refusal::TruncatedBody),
            (Framing::None, false) => *framing = Framing::EndOfStream,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        let start = self.head.bytes.len();
        if start + 2 > self.line_limit(start) {
            return Err(self.too_large(start));
        }
        self.head.bytes.extend_from_slice(b"\r\n");
        self.rules.finish(&mut self.head.summary, &self.limits)
    }

    /// Checks the request line as far as the limits let a parser read it, and writes it.
    fn write_line(&mut self, control_data: &ControlData<'_>) -> Result<(), Refusal> {
        let ControlData {
            method,
            target,
            version,
            ..
        } = *control_data;
        let line_limit = self.limits.request_line.saturating_add(2);
        let end = line_limit.min(self.limits.head);
        let too_long = if line_limit < self.limits.head {
            Refusal::RequestLineTooLong {
                limit: self.limits.request_line,
            }
        } else {
            Refusal::HeadTooLarge {
                limit: self.limits.head,
            }
        };
        check_method_name(&method[..method.len().min(end)])?;
        if method.len() >= end {
            return Err(too_long);
        }
        let RequestHead { bytes, summary, .. } = &mut *self.head;
        summary.method = Span::new(0, method.len());
        bytes.extend_from_slice(method);
        bytes.push(b' ');
        let start = bytes.len();
        let fitting = &target[..target.len().min(end - start)];
        // Up to the fault, so that the log shows which request was refused.
        let (valid, checked) = check_target(fitting);
        summary.target = Span::new(start, start + valid.len());
        bytes.extend_from_slice(valid);
        checked?;
        if bytes.len() < end {
            bytes.push(b' ');
        }
        if start + target.len() + " HTTP/1.1\r\n".len() > end {
            return Err(too_long);
        }
        bytes.extend_from_slice(version.as_str().as_bytes());
        bytes.extend_from_slice(b"\r\n");
        summary.version = version;
        Ok(())
    }

    fn interpret_line(&mut self, control_data: &ControlData<'_>) -> Result<(), Refusal> {
        let ControlData {
            method,
            target,
            version,
            ..
        } = *control_data;
        check_method(method)?;
        let summary = &mut self.head.summary;
        summary.parts = split_target(target, summary.target.start as usize, method)?;
        let may_be_absolute = version != Version::Http2 && control_data.authority.is_none();
        if !may_be_absolute && summary.parts.authority.is_some() {
            return Err(Refusal::RelativeTarget);
        }
        match control_data.scheme {
            None => {}
            Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => {}
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => summary.parts.is_https = true,
            Some(_) => return Err(Refusal::UnknownScheme),
        }
        summary.may_have_forwarding_headers = summary.parts.is_https;
        Ok(())
    }

    /// Checks name and value as far as the limits let a parser read the line; returns whether the name has an
    /// underscore.
    fn check_field(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Refusal> {
        let start = self.head.bytes.len();
        let room = self.line_limit(start).saturating_sub(start);
        if room == 0 {
            return Err(self.too_large(start));
        }
        if self.count >= self.limits.fields {
            let limit = self.limits.fields;
            return Err(Refusal::TooManyFields { limit });
        }
        let is_too_large = name.len() + value.len() + 4 > room;
        let name_room = name.len().min(room);
        let has_underscore = check_name(&name[..name_room])?;
        let value_room = value.len().min(room.saturating_sub(name.len() + 2));
        let checked = check_value(&value[..value_room]);
        if checked.is_err() || is_too_large {
            if name.len() < room {
                self.head.bytes.extend_from_slice(name);
                let name = Span::new(start, self.head.bytes.len());
                let value = Span::default();
                self.head.summary.faulty = Some(Field { name, value });
            }
            checked?;
            return Err(self.too_large(start));
        }
        Ok(has_underscore)
    }

    #[cold]
    fn refuse_field(&mut self, refusal: Refusal, name: &[u8], value: &[u8]) -> Refusal {
        self.head.summary.faulty = Some(self.write_field(name, value));
        refusal
    }

    fn write_field(&mut self, name: &[u8], value: &[u8]) -> Field {
        let bytes = &mut self.head.bytes;
        let start = bytes.len();
        bytes.extend_from_slice(name);
        let name = Span::new(start, bytes.len());
        bytes.extend_from_slice(b": ");
        let start = bytes.len();
        bytes.extend_from_slice(value);
        let value = Span::new(start, bytes.len());
        bytes.extend_from_slice(b"\r\n");
        Field { name, value }
    }

    /// Where a line that starts at `start` must have ended.
    fn line_limit(&self, start: usize) -> usize {
        let line_end = start.saturating_add(self.limits.field_size);
        line_end.min(self.limits.head)
    }

    #[cold]
    fn too_large(&self, start: usize) -> Refusal {
        if start.saturating_add(self.limits.field_size) < self.limits.head {
            let limit = self.limits.field_size;
            return Refusal::FieldTooLarge { limit };
        }
        let limit = self.limits.head;
        Refusal::HeadTooLarge { limit }
    }
}

#[cfg(test)]
mod tests;
