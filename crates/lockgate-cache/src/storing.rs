//! Whether a response is stored (RFC 9111 §3).

use std::fmt;

use lockgate_http::cache_control::{Directives, Scope};
use lockgate_http::{RequestHead, ResponseHead};

use crate::fields::{Response, request_directives};
use crate::freshness::Freshness;

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// The method of the request is not GET.
    Method,
    /// A status whose meaning depends on more than the key: 1xx, 206, 304, 412, 416.
    Status,
    /// The request has `no-store`.
    RequestNoStore,
    /// The response has `no-store`.
    NoStore,
    /// The response has `private`.
    Private,
    /// The request has Authorization, and the response does not say that a shared cache may store it.
    Authorization,
    /// The response sets a cookie.
    SetCookie,
    /// The response varies on everything, or on more than 16 fields.
    Vary,
    /// The response has `must-understand`, and this cache does not know its status.
    NotUnderstood,
    /// The response does not say how long it is fresh, and it may not be guessed.
    NoFreshness,
    /// The response is stale already, and cannot be validated.
    Stale,
}

impl NotStored {
    /// A token, for `detail` of Cache-Status and for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::NotUnderstood => "must-understand",
            Self::NoFreshness => "no-freshness",
            Self::Stale => "stale",
        }
    }
}

impl fmt::Display for NotStored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Whether the response to `request` is stored, which was received at `now`.
///
/// Never stored is what sets a cookie, even if `public`: a session would be handed to other clients. A lifetime is
/// guessed only where RFC 9111 §4.2.2 allows it, from Last-Modified, and without `public` only for requests without Cookie
/// and Authorization: applications seldom know that a page without Cache-Control may be stored. What has to be validated at each use is
/// stored only if that is possible.
///
/// # Errors
///
/// The reason why it is not stored.
pub fn storable(
    request: &RequestHead,
    response: &ResponseHead,
    now: u64,
) -> Result<Freshness, NotStored> {
    if request.method() != b"GET" {
        return Err(NotStored::Method);
    }
    if matches!(response.status(), ..200 | 206 | 304 | 412 | 416) {
        return Err(NotStored::Status);
    }
    let fields: Vec<_> = response.headers().collect();
    may_stay(request, response.status(), &fields, now)
}

/// The rules for a response that is stored, or was stored and has been validated.
pub(crate) fn may_stay(
    request: &RequestHead,
    status: u16,
    fields: &[(&[u8], &[u8])],
    now: u64,
) -> Result<Freshness, NotStored> {
    if request_directives(request).no_store {
        return Err(NotStored::RequestNoStore);
    }
    let response = Response::of(fields);
    let directives = &response.directives;
    if directives.must_understand && !is_understood(status) {
        return Err(NotStored::NotUnderstood);
    }
    // RFC 9111 §5.2.2.3: `must-understand` overrides `no-store` for caches that know the status.
    if directives.no_store && !directives.must_understand {
        return Err(NotStored::NoStore);
    }
    if directives.private == Some(Scope::Response) {
        return Err(NotStored::Private);
    }
    let is_authorized = request.header("authorization").is_some();
    if is_authorized && !allows_authorized(directives) {
        return Err(NotStored::Authorization);
    }
    if response.has_cookie {
        return Err(NotStored::SetCookie);
    }
    if response.vary.is_err() {
        return Err(NotStored::Vary);
    }
    let is_personal = is_authorized || request.header("cookie").is_some();
    let may_guess = directives.public || (is_guessed(status) && !is_personal);
    let freshness = Freshness::of(&response, may_guess, now).ok_or(NotStored::NoFreshness)?;
    let is_useful = freshness.has_validator
        || freshness.is_fresh(now)
        || freshness.is_within(freshness.stale_while_revalidate, now)
        || freshness.is_within(freshness.stale_if_error, now);
    is_useful.then_some(freshness).ok_or(NotStored::Stale)
}

/// RFC 9111 §3.5.
fn allows_authorized(directives: &Directives<'_>) -> bool {
    directives.public || directives.must_revalidate || directives.s_maxage.is_some()
}

/// The statuses that are cacheable by a guess (RFC 9110 §15.1), without 206.
fn is_guessed(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// The statuses whose requirements about caching this cache knows: those, and redirections for some time.
fn is_understood(status: u16) -> bool {
    is_guessed(status) || matches!(status, 302 | 303 | 307)
}

#[cfg(test)]
mod tests {
    use super::NotStored::*;
    use super::*;
    use crate::fields::tests::{request, response};

    const NOW: u64 = 1_000_000_000;
    /// An hour before that.
    const MODIFIED: (&str, &str) = ("Last-Modified", "Sun, 09 Sep 2001 00:46:40 GMT");
    const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

    fn stored(
        method: &str,
        request_fields: &[(&str, &str)],
        status: u16,
        fields: &[(&str, &str)],
    ) -> Result<u64, NotStored> {
        let answer = storable(
            &request(method, request_fields),
            &response(status, fields),
            NOW,
        );
        answer.map(|freshness| freshness.ttl)
    }

    #[test]
    fn only_get_is_stored() {
        for (method, answer) in [
            ("GET", Ok(60)),
            ("HEAD", Err(Method)),
            ("POST", Err(Method)),
            ("get", Err(Method)),
        ] {
            assert_eq!(stored(method, &[], 200, &[FRESH]), answer, "{method}");
        }
    }

    #[test]
    fn a_status_with_a_lifetime_is_stored() {
        for status in [
            200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504,
            599,
        ] {
            assert_eq!(stored("GET", &[], status, &[FRESH]), Ok(60), "{status}");
        }
        for status in [206, 304, 412, 416] {
            assert_eq!(
                stored("GET", &[], status, &[FRESH]),
                Err(Status),
                "{status}"
            );
        }
    }

    #[test]
    fn a_lifetime_is_guessed_for_some_statuses() {
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(stored("GET", &[], status, &[MODIFIED]), Ok(360), "{status}");
        }
        let public = [MODIFIED, ("Cache-Control", "public")];
        for status in [201, 202, 302, 403, 502, 503, 504, 599] {
            assert_eq!(
                stored("GET", &[], status, &[MODIFIED]),
                Err(NoFreshness),
                "{status}"
            );
            assert_eq!(stored("GET", &[], status, &public), Ok(360), "{status}");
        }
        let cookie = [("Cookie", "a=b")];
        assert_eq!(stored("GET", &cookie, 200, &[MODIFIED]), Err(NoFreshness));
        for field in [("Cookie", "a=b"), ("Authorization", "x")] {
            assert_eq!(stored("GET", &[field], 200, &public), Ok(360), "{field:?}");
        }
        assert_eq!(
            stored("GET", &[], 200, &[("ETag", "\"a\"")]),
            Err(NoFreshness)
        );
        assert_eq!(stored("GET", &[], 200, &[]), Err(NoFreshness));
    }

    #[test]
    fn directives_decide() {
        let etag = ("ETag", "\"a\"");
        for (fields, answer) in [
            (&[("Cache-Control", "no-store")][..], Err(NoStore)),
            (&[("Cache-Control", "max-age=60, No-StOrE")], Err(NoStore)),
            (&[("Cache-Control", "private, max-age=60")], Err(Private)),
            (&[("Cache-Control", "private=\"x-a\", max-age=60")], Ok(60)),
            (&[FRESH, ("Set-Cookie", "a=b")], Err(SetCookie)),
            (
                &[
                    ("Cache-Control", "public, max-age=60"),
                    ("Set-Cookie", "a=b"),
                ],
                Err(SetCookie),
            ),
            (&[FRESH, ("Vary", "*")], Err(Vary)),
            (&[FRESH, ("Vary", "Foo")], Ok(60)),
            (&[("Cache-Control", "no-cache")], Err(Stale)),
            (&[("Cache-Control", "no-cache"), etag], Ok(0)),
            (&[("Cache-Control", "max-age=60, no-cache"), etag], Ok(60)),
            (&[("Cache-Control", "max-age=0")], Err(Stale)),
            (&[("Cache-Control", "max-age=0"), etag], Ok(0)),
            (
                &[("Cache-Control", "max-age=0, stale-while-revalidate=5")],
                Ok(0),
            ),
            (&[("Cache-Control", "max-age=0, stale-if-error=5")], Ok(0)),
            (
                &[(
                    "Cache-Control",
                    "max-age=0, stale-if-error=5, must-revalidate",
                )],
                Err(Stale),
            ),
            (&[FRESH, ("Age", "60")], Err(Stale)),
            (&[FRESH, ("Age", "60, 0")], Err(Stale)),
            (
                &[
                    ("Cache-Control", "no-store"),
                    ("CDN-Cache-Control", "max-age=5"),
                ],
                Ok(5),
            ),
            (&[FRESH, ("CDN-Cache-Control", "no-store")], Err(NoStore)),
            (&[FRESH, ("CDN-Cache-Control", "private")], Err(Private)),
            (
                &[("Cache-Control", "max-age=60, no-store, must-understand")],
                Ok(60),
            ),
        ] {
            assert_eq!(stored("GET", &[], 200, fields), answer, "{fields:?}");
        }
        let understand = [("Cache-Control", "max-age=60, must-understand")];
        assert_eq!(stored("GET", &[], 599, &understand), Err(NotUnderstood));
        assert_eq!(stored("GET", &[], 302, &understand), Ok(60));
    }

    #[test]
    fn the_request_decides_too() {
        for (fields, directives, answer) in [
            (
                &[("Cache-Control", "no-store")][..],
                "max-age=60",
                Err(RequestNoStore),
            ),
            (&[("Cache-Control", "no-cache")], "max-age=60", Ok(60)),
            (&[("Authorization", "x")], "max-age=60", Err(Authorization)),
            (&[("Authorization", "x")], "max-age=60, public", Ok(60)),
            (
                &[("Authorization", "x")],
                "max-age=60, must-revalidate",
                Ok(60),
            ),
            (&[("Authorization", "x")], "s-maxage=60", Ok(60)),
            (
                &[("Authorization", "x")],
                "max-age=60, proxy-revalidate",
                Err(Authorization),
            ),
            (&[("Cookie", "a=b")], "max-age=60", Ok(60)),
        ] {
            let answer_found = stored("GET", fields, 200, &[("Cache-Control", directives)]);
            assert_eq!(answer_found, answer, "{fields:?} {directives}");
        }
    }

    #[test]
    fn reasons_are_tokens() {
        for reason in [Method, RequestNoStore, NotUnderstood, NoFreshness] {
            let is_token = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(reason.to_string().bytes().all(is_token), "{reason}");
        }
    }
}
