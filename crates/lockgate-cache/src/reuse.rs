//! Whether a stored response answers a request (RFC 9111 §4, §5.2.1; RFC 5861).

use lockgate_http::RequestHead;

use crate::fields::{has_no_cache, request_directives};
use crate::meta::Meta;

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The stored response, without a call: it is fresh, or the request accepts that it is stale.
    Fresh {
        /// The value of Age.
        age: u64,
    },
    /// The stored response, while the application is called to validate it.
    StaleWhileRevalidate {
        /// The value of Age.
        age: u64,
    },
    /// A response of the application, which is asked whether the stored one is still right if that has validators
    /// ([`revalidation`](crate::revalidation()) has fields then).
    Revalidate,
    /// A response of the application; the stored one is not used.
    Miss,
    /// 504: the request wants a stored response only, and there is none that it accepts (RFC 9111 §5.2.1.7).
    OnlyIfCached504,
}

/// Whether the response that is stored at the key of the request answers it at `now`.
pub fn reuse(request: &RequestHead, meta: &Meta<'_>, now: u64) -> Reuse {
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return Reuse::Miss;
    }
    let directives = request_directives(request);
    let otherwise = |reuse| match directives.only_if_cached {
        true => Reuse::OnlyIfCached504,
        false => reuse,
    };
    if directives.no_store {
        return otherwise(Reuse::Miss);
    }
    let freshness = &meta.freshness;
    let age = freshness.age(now);
    let remaining = freshness.remaining(now);
    let is_refused = directives.no_cache.is_some()
        || has_pragma(request)
        || freshness.no_cache
        || directives.max_age.is_some_and(|most| age > most);
    if is_refused {
        return otherwise(Reuse::Revalidate);
    }
    if let Some(least) = directives.min_fresh
        && remaining < i64::try_from(least).unwrap_or(i64::MAX)
    {
        return otherwise(Reuse::Revalidate);
    }
    if remaining > 0 {
        return Reuse::Fresh { age };
    }
    let accepts = |most: u64| remaining.unsigned_abs() <= most;
    if !freshness.must_revalidate && directives.max_stale.is_some_and(accepts) {
        return Reuse::Fresh { age };
    }
    if freshness.is_within(freshness.stale_while_revalidate, now) {
        // A request that wants a stored response only gets one here.
        return Reuse::StaleWhileRevalidate { age };
    }
    otherwise(Reuse::Revalidate)
}

/// What a request gets when nothing is stored at its key: [`Reuse::Miss`] or [`Reuse::OnlyIfCached504`].
pub fn without_entry(request: &RequestHead) -> Reuse {
    let is_read = matches!(request.method(), b"GET" | b"HEAD");
    match is_read && request_directives(request).only_if_cached {
        true => Reuse::OnlyIfCached504,
        false => Reuse::Miss,
    }
}

/// Whether the stored response may be sent at `now` instead of an error: the application has failed, or its status is
/// 500, 502, 503 or 504 (RFC 5861 §4).
pub fn may_serve_stale_on_error(meta: &Meta<'_>, now: u64) -> bool {
    let freshness = &meta.freshness;
    !freshness.no_cache && freshness.is_within(freshness.stale_if_error, now)
}

/// RFC 9111 §5.4: Pragma counts only without Cache-Control.
fn has_pragma(request: &RequestHead) -> bool {
    request.header("pragma").is_some_and(has_no_cache) && request.header("cache-control").is_none()
}

#[cfg(test)]
mod tests {
    use super::Reuse::*;
    use super::*;
    use crate::fields::tests::{request, response};
    use crate::storing::storable;

    const NOW: u64 = 1_000_000_000;

    fn meta(directives: &str) -> Meta<'static> {
        let head = response(200, &[("Cache-Control", directives), ("ETag", "\"a\"")]);
        let freshness = storable(&request("GET", &[]), &head, NOW).unwrap();
        Meta::new(&head, freshness)
    }

    #[test]
    fn a_response_is_used_while_it_is_fresh() {
        for (directives, after, expected) in [
            ("max-age=60", 0, Fresh { age: 0 }),
            ("max-age=60", 59, Fresh { age: 59 }),
            ("max-age=60", 60, Revalidate),
            ("max-age=60, must-revalidate", 59, Fresh { age: 59 }),
            ("max-age=60, must-revalidate", 60, Revalidate),
            ("max-age=60, no-cache", 0, Revalidate),
            ("no-cache", 0, Revalidate),
            (
                "max-age=60, stale-while-revalidate=10",
                69,
                StaleWhileRevalidate { age: 69 },
            ),
            ("max-age=60, stale-while-revalidate=10", 70, Revalidate),
            (
                "s-maxage=60, stale-while-revalidate=10",
                69,
                StaleWhileRevalidate { age: 69 },
            ),
            (
                "max-age=60, stale-while-revalidate=10, must-revalidate",
                65,
                Revalidate,
            ),
            ("max-age=60, stale-if-error=10", 65, Revalidate),
        ] {
            let found = reuse(&request("GET", &[]), &meta(directives), NOW + after);
            assert_eq!(found, expected, "{directives} after {after}");
        }
    }

    #[test]
    fn the_request_may_ask_for_more_or_less() {
        let fresh = "max-age=60";
        for (stored, after, field, expected) in [
            (fresh, 5, "max-age=5", Fresh { age: 5 }),
            (fresh, 6, "max-age=5", Revalidate),
            (fresh, 1, "max-age=0", Revalidate),
            (fresh, 5, "min-fresh=55", Fresh { age: 5 }),
            (fresh, 6, "min-fresh=55", Revalidate),
            (fresh, 0, "no-cache", Revalidate),
            (fresh, 0, "no-store", Miss),
            (fresh, 0, "only-if-cached", Fresh { age: 0 }),
            (fresh, 60, "only-if-cached", OnlyIfCached504),
            (fresh, 0, "only-if-cached, no-cache", OnlyIfCached504),
            (fresh, 0, "only-if-cached, no-store", OnlyIfCached504),
            (fresh, 65, "max-stale", Fresh { age: 65 }),
            (fresh, 65, "max-stale=5", Fresh { age: 65 }),
            (fresh, 66, "max-stale=5", Revalidate),
            (fresh, 65, "max-stale=x", Revalidate),
            (fresh, 65, "max-stale=5, max-age=60", Revalidate),
            (fresh, 0, "nothing-to-see-here", Fresh { age: 0 }),
            ("max-age=60, must-revalidate", 65, "max-stale", Revalidate),
            ("max-age=60, proxy-revalidate", 65, "max-stale", Revalidate),
            ("s-maxage=60", 65, "max-stale", Revalidate),
            ("max-age=60, no-cache", 5, "max-stale", Revalidate),
            (
                "max-age=60, stale-while-revalidate=9",
                65,
                "min-fresh=0",
                Revalidate,
            ),
            (
                "max-age=60, stale-while-revalidate=9",
                65,
                "only-if-cached",
                StaleWhileRevalidate { age: 65 },
            ),
        ] {
            let request = request("GET", &[("Cache-Control", field)]);
            assert_eq!(
                reuse(&request, &meta(stored), NOW + after),
                expected,
                "{stored} {field}"
            );
        }
    }

    #[test]
    fn pragma_counts_without_cache_control() {
        let meta = meta("max-age=60");
        for (fields, expected) in [
            (&[("Pragma", "no-cache")][..], Revalidate),
            (&[("Pragma", "x, No-Cache")], Revalidate),
            (&[("Pragma", "foo")], Fresh { age: 0 }),
            (
                &[("Pragma", "no-cache"), ("Cache-Control", "x")],
                Fresh { age: 0 },
            ),
        ] {
            assert_eq!(
                reuse(&request("GET", fields), &meta, NOW),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn only_reads_are_answered() {
        let meta = meta("max-age=60");
        for (method, expected) in [
            ("HEAD", Fresh { age: 0 }),
            ("POST", Miss),
            ("OPTIONS", Miss),
        ] {
            assert_eq!(
                reuse(&request(method, &[]), &meta, NOW),
                expected,
                "{method}"
            );
        }
        let only = [("Cache-Control", "only-if-cached")];
        assert_eq!(without_entry(&request("GET", &[])), Miss);
        assert_eq!(without_entry(&request("GET", &only)), OnlyIfCached504);
        assert_eq!(without_entry(&request("POST", &only)), Miss);
    }

    #[test]
    fn a_stale_response_may_replace_an_error_for_a_time() {
        for (directives, after, may) in [
            ("max-age=60", 0, true),
            ("max-age=60", 60, false),
            ("max-age=60, stale-if-error=10", 69, true),
            ("max-age=60, stale-if-error=10", 70, false),
            ("s-maxage=60, stale-if-error=10", 69, true),
            ("max-age=60, stale-if-error=10, must-revalidate", 65, false),
            ("max-age=60, stale-if-error=10, no-cache", 5, false),
        ] {
            let found = may_serve_stale_on_error(&meta(directives), NOW + after);
            assert_eq!(found, may, "{directives} after {after}");
        }
    }
}
