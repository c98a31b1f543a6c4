//! Cache-Control directives (RFC 9111 §5.2, RFC 5861, RFC 8246) of requests and responses, and CDN-Cache-Control (RFC
//! 9213).

pub mod targeted;

use crate::rules::grammar::{is_token, parse_decimal, trim_whitespace};

/// The greatest number of seconds that caches count to (RFC 9111 §1.2.2); greater ones become it.
pub const MOST_SECONDS: u64 = 1 << 31;

/// The directives of one message that this server interprets.
///
/// A number that is not valid counts as the one that makes a cache ask the server: 0 as a lifetime or age, the greatest
/// as `min-fresh` (RFC 9111 §4.2.1 encourages that). Of a directive that comes twice the first one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives<'a> {
    /// `max-age`, in seconds.
    pub max_age: Option<u64>,
    /// `s-maxage`, in seconds: responses.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate`, in seconds: responses.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`, in seconds.
    pub stale_if_error: Option<u64>,
    /// `min-fresh`, in seconds: requests.
    pub min_fresh: Option<u64>,
    /// `max-stale`, in seconds, without a value [`u64::MAX`]: requests.
    pub max_stale: Option<u64>,
    /// `no-cache`.
    pub no_cache: Option<Scope<'a>>,
    /// `private`: responses.
    pub private: Option<Scope<'a>>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-transform`.
    pub no_transform: bool,
    /// `only-if-cached`: requests.
    pub only_if_cached: bool,
    /// `public`: responses.
    pub public: bool,
    /// `must-revalidate`: responses.
    pub must_revalidate: bool,
    /// `proxy-revalidate`: responses.
    pub proxy_revalidate: bool,
    /// `must-understand`: responses.
    pub must_understand: bool,
    /// `immutable`: responses.
    pub immutable: bool,
}

/// What `no-cache` or `private` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The whole response.
    Response,
    /// The listed fields: names between commas, as in [`Scope::names`].
    Fields(&'a [u8]),
}

impl<'a> Directives<'a> {
    /// The directives in all values of Cache-Control of one message, in their order.
    ///
    /// ```
    /// use lockgate_http::cache_control::Directives;
    ///
    /// let directives = Directives::parse([&b"max-age=60, public"[..], b"Must-Revalidate"]);
    /// assert_eq!(directives.max_age, Some(60));
    /// assert!(directives.public && directives.must_revalidate);
    /// ```
    pub fn parse(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        for value in values {
            for (name, argument) in elements(value) {
                directives.add(name, argument);
            }
        }
        directives
    }

    fn add(&mut self, name: &[u8], argument: Option<&'a [u8]>) {
        let is = |candidate: &[u8]| name.eq_ignore_ascii_case(candidate);
        let seconds = |invalid| Some(argument.and_then(delta_seconds).unwrap_or(invalid));
        let set = |field: &mut Option<u64>, value| *field = field.or(value);
        match name.len() {
            6 if is(b"public") => self.public = true,
            7 if is(b"max-age") => set(&mut self.max_age, seconds(0)),
            7 if is(b"private") => self.private = wider(self.private, argument),
            8 if is(b"no-cache") => self.no_cache = wider(self.no_cache, argument),
            8 if is(b"no-store") => self.no_store = true,
            8 if is(b"s-maxage") => set(&mut self.s_maxage, seconds(0)),
            9 if is(b"immutable") => self.immutable = true,
            9 if is(b"max-stale") => match argument {
                None => set(&mut self.max_stale, Some(u64::MAX)),
                Some(_) => set(&mut self.max_stale, seconds(0)),
            },
            9 if is(b"min-fresh") => set(&mut self.min_fresh, seconds(MOST_SECONDS)),
            12 if is(b"no-transform") => self.no_transform = true,
            14 if is(b"only-if-cached") => self.only_if_cached = true,
            14 if is(b"stale-if-error") => set(&mut self.stale_if_error, seconds(0)),
            15 if is(b"must-revalidate") => self.must_revalidate = true,
            15 if is(b"must-understand") => self.must_understand = true,
            16 if is(b"proxy-revalidate") => self.proxy_revalidate = true,
            22 if is(b"stale-while-revalidate") => {
                set(&mut self.stale_while_revalidate, seconds(0));
            }
            _ => {}
        }
    }
}

impl<'a> Scope<'a> {
    /// The names of the listed fields; none if the whole response is meant.
    pub fn names(self) -> impl Iterator<Item = &'a [u8]> {
        let list = match self {
            Self::Response => b"",
            Self::Fields(list) => list,
        };
        list.split(|&byte| byte == b',')
            .map(trim_whitespace)
            .filter(|name| is_token(name))
    }
}

/// The whole response is wider than a list; of two lists both would count, so they become the whole response.
fn wider<'a>(scope: Option<Scope<'a>>, argument: Option<&'a [u8]>) -> Option<Scope<'a>> {
    match (scope, argument) {
        (None, Some(list)) if Scope::Fields(list).names().next().is_some() => {
            Some(Scope::Fields(list))
        }
        _ => Some(Scope::Response),
    }
}

/// A number of seconds; `None` if it is not valid. As in most caches, quotes around it are left out before.
pub fn delta_seconds(text: &[u8]) -> Option<u64> {
    let number = parse_decimal(text).ok()?;
    Some(number.map_or(MOST_SECONDS, |number| number.min(MOST_SECONDS)))
}

/// The elements of a list of directives: their names, and their arguments without quotes.
///
/// A comma in a quoted string does not end an element. Backslashes in it stay, since no directive needs one. White space
/// around `=` is not allowed, and such an element has a name that no directive has.
fn elements(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = value;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let (element, after) = rest.split_at(element_length(rest));
        rest = after;
        let element = trim_whitespace(element);
        let Some(equals) = element.iter().position(|&byte| byte == b'=') else {
            return Some((element, None));
        };
        let argument = &element[equals + 1..];
        let unquoted = argument
            .strip_prefix(b"\"")
            .and_then(|argument| argument.strip_suffix(b"\""))
            .unwrap_or(argument);
        Some((&element[..equals], Some(unquoted)))
    })
}

/// How far the comma is that ends the first element. A quoted string that does not end is none.
fn element_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b',' => break,
            b'"' => at += quoted_length(&text[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    at
}

/// The length of the quoted string at the start of `text`, quotes included (RFC 9110 §5.6.4).
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests;
