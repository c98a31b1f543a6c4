//! A response head: status, reason phrase and headers, checked as they are set.
//!
//! Invariant: `block` is the lines of `fields`, in order and without gaps: `Name: value` with CRLF, no hop-by-hop
//! fields. So encoding is one copy.

use crate::error::BadResponse;
use crate::rules::grammar::{is_field_value, is_token, parse_decimal, trim_whitespace};
use crate::span::{Field, Span};

/// One response head. Reused between messages.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    status: u16,
    reason: Vec<u8>,
    block: Vec<u8>,
    fields: Vec<Field>,
    content_length: Option<u64>,
    wants_close: bool,
    /// There is an Upgrade in the block; only a 426 may have one.
    has_upgrade: bool,
    has_date: bool,
    has_server: bool,
}

impl ResponseHead {
    /// Clears the response and keeps the memory. The status is then 0: not set.
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason.clear();
        self.block.clear();
        self.fields.clear();
        self.content_length = None;
        self.wants_close = false;
        self.has_upgrade = false;
        self.has_date = false;
        self.has_server = false;
    }

    /// Sets the final status, 200..=999, and its reason phrase, which may be empty.
    ///
    /// # Errors
    ///
    /// A status out of range, an interim one (1xx), or a control byte in the reason. The head is then unchanged.
    pub fn set_status(&mut self, status: u16, reason: &[u8]) -> Result<(), BadResponse> {
        match status {
            100..=199 => return Err(BadResponse::InterimStatus(status)),
            200..=999 => {}
            _ => return Err(BadResponse::InvalidStatus(status)),
        }
        if !is_field_value(reason) {
            return Err(BadResponse::ForbiddenByteInReason);
        }
        if self.has_upgrade && status != UPGRADE_REQUIRED {
            self.remove(b"upgrade");
        }
        self.status = status;
        self.reason.clear();
        self.reason.extend_from_slice(reason);
        Ok(())
    }

    /// Appends a header. The status has to be set before.
    ///
    /// Hop-by-hop fields (RFC 9110 §7.6.1) are set by the server: they are checked and then dropped, but `Connection:
    /// close` is recorded, and a 426 keeps its Upgrade, which it must have (§15.5.22). A Content-Length may have white
    /// space around it; one that repeats an equal one is dropped.
    ///
    /// # Errors
    ///
    /// A name that is not a token, a control byte other than HTAB in the value, a Content-Length that is not a number
    /// or differs from an earlier one, headers beyond 4 GiB. The head is then unchanged.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadResponse> {
        self.check(name, value)?;
        match known_field(name) {
            KnownField::Other => {}
            KnownField::Connection => {
                self.wants_close |= has_token(value, b"close");
                return Ok(());
            }
            KnownField::Upgrade if self.status == UPGRADE_REQUIRED => self.has_upgrade = true,
            KnownField::HopByHop | KnownField::Upgrade => return Ok(()),
            KnownField::Date => self.has_date = true,
            KnownField::Server => self.has_server = true,
            KnownField::ContentLength => {
                let (length, digits) = parse_length(value)?;
                match self.content_length {
                    Some(earlier) if earlier != length => {
                        return Err(BadResponse::ConflictingContentLength);
                    }
                    Some(_) => {}
                    None => {
                        self.content_length = Some(length);
                        self.append(name, digits);
                    }
                }
                return Ok(());
            }
        }
        self.append(name, value);
        Ok(())
    }

    /// Sets a header: replaces the first of that name, removes the others, and appends it if there is none. For names
    /// and values [`ResponseHead::push`] has the rules.
    ///
    /// # Errors
    ///
    /// As for [`ResponseHead::push`], except that a Content-Length may differ from the one it replaces.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadResponse> {
        self.check(name, value)?;
        let value = match known_field(name) {
            KnownField::ContentLength => {
                let (length, digits) = parse_length(value)?;
                if self.content_length.replace(length).is_none() {
                    self.append(name, digits);
                    return Ok(());
                }
                digits
            }
            _ => value,
        };
        let Some(first) = self.position(name) else {
            self.remove(name);
            return self.push(name, value);
        };
        self.retain(|index, other| index <= first || !other.eq_ignore_ascii_case(name));
        let span = self.fields[first].value;
        self.splice(span, value);
        self.fields[first].value =
            Span::new(span.start as usize, span.start as usize + value.len());
        Ok(())
    }

    /// Removes all headers of that name, case-insensitive; returns whether there were any.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match known_field(name) {
            KnownField::Connection => return std::mem::take(&mut self.wants_close),
            KnownField::HopByHop => return false,
            KnownField::ContentLength => self.content_length = None,
            KnownField::Upgrade => self.has_upgrade = false,
            KnownField::Date => self.has_date = false,
            KnownField::Server => self.has_server = false,
            KnownField::Other => {}
        }
        let before = self.fields.len();
        self.retain(|_, other| !other.eq_ignore_ascii_case(name));
        self.fields.len() < before
    }

    /// Adds `item` to a header whose value is a comma-separated list, such as Vary, unless the list has it
    /// (case-insensitive), or is a Vary with `*`. A head without that header gets one.
    ///
    /// # Errors
    ///
    /// As for [`ResponseHead::push`].
    pub fn add_to_list(&mut self, name: &[u8], item: &[u8]) -> Result<(), BadResponse> {
        self.check(name, item)?;
        let is_vary = name.eq_ignore_ascii_case(b"vary");
        let mut last = None;
        for (index, (other, list)) in self.headers().enumerate() {
            if other.eq_ignore_ascii_case(name) {
                if has_token(list, item) || (is_vary && has_token(list, b"*")) {
                    return Ok(());
                }
                last = Some((index, list.is_empty()));
            }
        }
        let Some((index, is_empty)) =
            last.filter(|_| matches!(known_field(name), KnownField::Other))
        else {
            return self.push(name, item);
        };
        let mut end = self.fields[index].value.end;
        for part in [if is_empty { &b""[..] } else { b", " }, item] {
            self.splice(Span { start: end, end }, part);
            end += part.len() as u32;
        }
        self.fields[index].value.end = end;
        Ok(())
    }

    /// The status; 0 before [`ResponseHead::set_status`].
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The status; 500 before [`ResponseHead::set_status`].
    #[inline]
    pub(crate) fn status_to_send(&self) -> u16 {
        if self.status == 0 { 500 } else { self.status }
    }

    /// The reason phrase.
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The application's own Content-Length.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the application has set `Connection: close`.
    pub fn wants_close(&self) -> bool {
        self.wants_close
    }

    /// Every header that is kept, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (field.name.of(&self.block), field.value.of(&self.block)))
    }

    /// The value of the first header with that name, case-insensitive.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// All header lines, each with its CRLF.
    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }

    /// The header lines before and after Content-Length.
    #[cold]
    pub(crate) fn block_without_length(&self) -> (&[u8], &[u8]) {
        match self.position(b"content-length") {
            Some(index) => {
                let line = self.fields[index].line();
                let (before, rest) = self.block.split_at(line.start as usize);
                (before, &rest[(line.end - line.start) as usize..])
            }
            None => (&self.block, b""),
        }
    }

    pub(crate) fn has_upgrade(&self) -> bool {
        self.has_upgrade
    }

    pub(crate) fn has_date(&self) -> bool {
        self.has_date
    }

    pub(crate) fn has_server(&self) -> bool {
        self.has_server
    }

    #[inline]
    fn check(&self, name: &[u8], value: &[u8]) -> Result<(), BadResponse> {
        check_header(name, value)?;
        if self.block.len() + name.len() + value.len() + 4 > u32::MAX as usize {
            return Err(BadResponse::HeadTooLarge);
        }
        Ok(())
    }

    #[inline]
    fn append(&mut self, name: &[u8], value: &[u8]) {
        let start = self.block.len();
        self.block.extend_from_slice(name);
        self.block.extend_from_slice(b": ");
        self.block.extend_from_slice(value);
        self.block.extend_from_slice(b"\r\n");
        let value_start = start + name.len() + 2;
        self.fields.push(Field {
            name: Span::new(start, start + name.len()),
            value: Span::new(value_start, value_start + value.len()),
        });
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.headers()
            .position(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// Keeps the headers for which `is_kept` returns true, and closes the gaps in the block.
    fn retain(&mut self, is_kept: impl Fn(usize, &[u8]) -> bool) {
        let Self { block, fields, .. } = self;
        let (mut index, mut end) = (0, 0_u32);
        fields.retain_mut(|field| {
            let keeps = is_kept(index, field.name.of(block));
            index += 1;
            if keeps {
                let line = field.line();
                block.copy_within(line.start as usize..line.end as usize, end as usize);
                field.shift(end.wrapping_sub(line.start));
                end += line.end - line.start;
            }
            keeps
        });
        block.truncate(end as usize);
    }

    /// Replaces a part of the block, and moves the headers behind it.
    fn splice(&mut self, span: Span, with: &[u8]) {
        let range = span.start as usize..span.end as usize;
        let by = (with.len() as u32).wrapping_sub(span.end - span.start);
        self.block.splice(range, with.iter().copied());
        let is_behind = |field: &&mut Field| field.name.start >= span.end;
        for field in self.fields.iter_mut().filter(is_behind) {
            field.shift(by);
        }
    }
}

/// RFC 9110 §15.5.22.
const UPGRADE_REQUIRED: u16 = 426;

/// Whether a header can be written as it is.
#[inline]
pub(crate) fn check_header(name: &[u8], value: &[u8]) -> Result<(), BadResponse> {
    if !is_token(name) {
        return Err(BadResponse::InvalidHeaderName);
    }
    if !is_field_value(value) {
        return Err(BadResponse::ForbiddenByteInHeaderValue);
    }
    Ok(())
}

/// A Content-Length, and its digits without white space around them.
fn parse_length(value: &[u8]) -> Result<(u64, &[u8]), BadResponse> {
    let digits = trim_whitespace(value);
    match parse_decimal(digits) {
        Ok(Some(length)) => Ok((length, digits)),
        _ => Err(BadResponse::InvalidContentLength),
    }
}

/// The fields of a response that the server interprets or writes itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownField {
    ContentLength,
    Connection,
    Upgrade,
    HopByHop,
    Date,
    Server,
    Other,
}

#[inline]
pub(crate) fn known_field(name: &[u8]) -> KnownField {
    let is = |candidate: &[u8]| name.eq_ignore_ascii_case(candidate);
    // The length and the first letter leave at most one name.
    let first = name.first().map_or(0, |byte| byte | 0x20);
    match (first, name.len()) {
        (b'c', 14) if is(b"content-length") => KnownField::ContentLength,
        (b'c', 10) if is(b"connection") => KnownField::Connection,
        (b'd', 4) if is(b"date") => KnownField::Date,
        (b's', 6) if is(b"server") => KnownField::Server,
        (b'k', 10) if is(b"keep-alive") => KnownField::HopByHop,
        (b't', 2) if is(b"te") => KnownField::HopByHop,
        (b't', 7) if is(b"trailer") => KnownField::HopByHop,
        (b't', 8) if is(b"trailers") => KnownField::HopByHop,
        (b't', 17) if is(b"transfer-encoding") => KnownField::HopByHop,
        (b'u', 7) if is(b"upgrade") => KnownField::Upgrade,
        (b'p', 7..) if name[..6].eq_ignore_ascii_case(b"proxy-") => KnownField::HopByHop,
        _ => KnownField::Other,
    }
}

/// Whether the comma-separated list `value` contains `token`, case-insensitive.
pub(crate) fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|item| trim_whitespace(item).eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests;
