//! The fields of a response that decide about caching, read in one pass.

use lockgate_http::cache_control::{Directives, Scope, delta_seconds, targeted};
use lockgate_http::{RequestHead, ResponseHead, http_date};

use crate::vary::{Unselectable, Vary};

/// A response without its body.
pub(crate) struct Response<'a> {
    /// Those of CDN-Cache-Control if that is valid, which then replace all others (RFC 9213 §2.2).
    pub(crate) directives: Directives<'a>,
    /// When the response becomes stale by Expires; 0 if the field is not valid.
    pub(crate) expires: Option<u64>,
    pub(crate) date: Option<u64>,
    /// The value of Age in seconds; 0 without a valid one.
    pub(crate) age: u64,
    pub(crate) last_modified: Option<u64>,
    pub(crate) has_validator: bool,
    pub(crate) has_cookie: bool,
    /// Pragma: no-cache, without a Cache-Control that replaces it.
    pub(crate) has_pragma: bool,
    pub(crate) vary: Result<Vary, Unselectable>,
}

impl<'a> Response<'a> {
    pub(crate) fn of(fields: &[(&'a [u8], &'a [u8])]) -> Self {
        let mut response = Self {
            directives: Directives::default(),
            expires: None,
            date: None,
            age: 0,
            last_modified: None,
            has_validator: false,
            has_cookie: false,
            has_pragma: false,
            vary: Vary::of_fields(fields),
        };
        let mut has_age = false;
        for &(name, value) in fields {
            let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
            // The length leaves at most two names.
            match name.len() {
                // The first member counts, and what is not a number is ignored (RFC 9111 §5.1).
                3 if is(b"age") && !has_age => {
                    let first = value.split(|byte| *byte == b',').next().unwrap_or(value);
                    response.age = delta_seconds(first.trim_ascii()).unwrap_or(0);
                    has_age = true;
                }
                4 if is(b"date") => response.date = http_date::parse(value),
                4 if is(b"etag") => response.has_validator = true,
                6 if is(b"pragma") => response.has_pragma |= has_no_cache(value),
                // Of several ones none is right (RFC 9111 §4.2.1).
                7 if is(b"expires") && response.expires.is_some() => response.expires = Some(0),
                7 if is(b"expires") => {
                    response.expires = Some(http_date::parse(value).unwrap_or(0));
                }
                10 if is(b"set-cookie") => response.has_cookie = true,
                11 if is(b"set-cookie2") => response.has_cookie = true,
                13 if is(b"last-modified") => {
                    response.last_modified = http_date::parse(value);
                    response.has_validator |= response.last_modified.is_some();
                }
                _ => {}
            }
        }
        let values = |wanted: &'static [u8]| {
            let is_wanted = move |name: &[u8]| name.eq_ignore_ascii_case(wanted);
            fields
                .iter()
                .filter(move |(name, _)| is_wanted(name))
                .map(|(_, value)| *value)
        };
        if let Some(targeted) = targeted::parse(values(b"cdn-cache-control")) {
            response.directives = targeted;
            response.expires = None;
            response.has_pragma = false;
        } else {
            response.directives = Directives::parse(values(b"cache-control"));
            response.has_pragma &= values(b"cache-control").next().is_none();
        }
        response
    }

    /// The lifetime that the response itself gives, counted from its `date` (RFC 9111 §4.2.1).
    pub(crate) fn explicit_lifetime(&self, date: u64) -> Option<u64> {
        let by_directive = self.directives.s_maxage.or(self.directives.max_age);
        by_directive.or(self.expires.map(|expires| expires.saturating_sub(date)))
    }
}

/// The Cache-Control of a request.
pub(crate) fn request_directives(request: &RequestHead) -> Directives<'_> {
    let is_wanted = |name: &[u8]| name.eq_ignore_ascii_case(b"cache-control");
    Directives::parse(
        request
            .headers()
            .filter(|(name, _)| is_wanted(name))
            .map(|(_, value)| value),
    )
}

/// The fields that `no-cache="…"` and `private="…"` of a response list.
pub(crate) fn listed_fields(response: &ResponseHead) -> impl Iterator<Item = &[u8]> {
    let is_wanted = |name: &[u8]| name.eq_ignore_ascii_case(b"cache-control");
    let directives = Directives::parse(
        response
            .headers()
            .filter(|(name, _)| is_wanted(name))
            .map(|(_, value)| value),
    );
    [directives.no_cache, directives.private]
        .into_iter()
        .flatten()
        .flat_map(Scope::names)
}

/// Whether a value of Pragma has `no-cache` (RFC 9111 §5.4).
pub(crate) fn has_no_cache(value: &[u8]) -> bool {
    let is_no_cache = |element: &[u8]| element.trim_ascii().eq_ignore_ascii_case(b"no-cache");
    value.split(|&byte| byte == b',').any(is_no_cache)
}

#[cfg(test)]
pub(crate) mod tests {
    //! Heads for the tests of all modules.

    use lockgate_http::{Limits, RequestHead, RequestParser, ResponseHead};

    pub(crate) fn request(method: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut text = format!("{method} /a/b?c HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let mut head = RequestHead::default();
        RequestParser::new(Limits::default())
            .step(text.as_bytes(), &mut head)
            .unwrap();
        head
    }

    pub(crate) fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.set_status(status, b"Reason").unwrap();
        for (name, value) in fields {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    pub(crate) fn lines(head: &ResponseHead) -> String {
        let line = |(name, value): (&[u8], &[u8])| {
            format!("{}: {}\n", name.escape_ascii(), value.escape_ascii())
        };
        head.headers().map(line).collect()
    }
}
