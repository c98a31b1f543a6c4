//! Which requests a limit counts together, and what it does with them; attempts to evade it.

use super::*;
use crate::admission::samples::{error_log, request_with};
use lockgate_config::{AppSpec, Config, Rate, RateKey, RateLimitConfig};
use lockgate_routes::Routes;
use std::num::NonZeroU32;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// `count` requests a minute, of which all may come at once.
fn limit(name: &str, path: &str, count: u32) -> RateLimitConfig {
    RateLimitConfig {
        name: name.to_owned(),
        host: HostPattern::Any,
        path: path.to_owned(),
        methods: Vec::new(),
        key: RateKey::Address,
        rates: vec![Rate {
            count: number(count),
            period: Duration::from_secs(60),
        }],
        burst: None,
        concurrency: None,
        is_dry_run: false,
    }
}

fn stage(limits: Vec<RateLimitConfig>) -> RateLimits {
    stage_with(limits, |_| {})
}

fn stage_with(limits: Vec<RateLimitConfig>, adjust: impl FnOnce(&mut Config)) -> RateLimits {
    let mut config = Config::with_defaults(AppSpec::Module {
        module: "test".into(),
        attribute: None,
    });
    config.routes.rate_limits = limits;
    adjust(&mut config);
    let parts = Parts {
        users: None,
        routes: &Arc::new(Routes::new(&config.routes)),
        config: &config,
        ids: None,
        scoreboard: None,
        rates: None,
        slot: 0,
        error_log: &error_log(),
    };
    RateLimits::new(&parts).unwrap()
}

/// The status that a request gets, if it is refused.
fn status(stage: &RateLimits, client: &str, head: &str) -> Option<u16> {
    status_at(stage, client, head, Instant::now()).0
}

fn status_at(
    stage: &RateLimits,
    client: &str,
    head: &str,
    now: Instant,
) -> (Option<u16>, Option<String>) {
    let mut request = request_with(client, head);
    let answer = stage.examine(&mut request, now);
    let answer = answer.map(|answer| answer.response);
    let retry = answer.as_ref().and_then(|response| {
        let mut fields = response.headers.iter();
        let (_, value) = fields.find(|(name, _)| name == "Retry-After")?;
        Some(value.to_string())
    });
    (answer.map(|response| response.status), retry)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}

fn with_fields(fields: &str) -> String {
    format!("GET /login HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n\r\n")
}

/// Whether a request counts as another one of the client that has sent the first one.
fn is_counted_with(key: &RateKey, first: (&str, &str), other: (&str, &str)) -> bool {
    let mut one = limit("login", "/login", 1);
    one.key = key.clone();
    one.host = HostPattern::Exact("shop.example".to_owned());
    one.methods = vec!["POST".to_owned(), "GET".to_owned()];
    let stage = stage(vec![one]);
    assert_eq!(status(&stage, first.0, first.1), None, "{first:?}");
    assert_eq!(status(&stage, first.0, first.1), Some(429), "{first:?}");
    status(&stage, other.0, other.1) == Some(429)
}

#[test]
fn another_way_to_write_a_request_is_no_other_request() {
    let plain = get("/login");
    for (other, expected) in [
        ("GET /login/ HTTP/1.1\r\nHost: shop.example", true),
        ("GET /LOGIN HTTP/1.1\r\nHost: shop.example", true),
        ("GET /%6cogin HTTP/1.1\r\nHost: shop.example", true),
        ("GET /%6C%6fgin HTTP/1.1\r\nHost: shop.example", true),
        ("GET //login HTTP/1.1\r\nHost: shop.example", true),
        ("GET /login// HTTP/1.1\r\nHost: shop.example", true),
        ("GET /./login HTTP/1.1\r\nHost: shop.example", true),
        ("GET /x/../login HTTP/1.1\r\nHost: shop.example", true),
        ("GET /x/%2e%2e/login HTTP/1.1\r\nHost: shop.example", true),
        ("GET /x%2f..%2flogin HTTP/1.1\r\nHost: shop.example", true),
        // An application that routes by the path as it is has this below /login.
        ("GET /login/../x HTTP/1.1\r\nHost: shop.example", true),
        ("GET /login?a=1 HTTP/1.1\r\nHost: shop.example", true),
        ("GET /login/next HTTP/1.1\r\nHost: shop.example", true),
        ("GET /login HTTP/1.1\r\nHost: SHOP.example", true),
        ("GET /login HTTP/1.1\r\nHost: shop.example.", true),
        ("GET /login HTTP/1.1\r\nHost: shop.example:8443", true),
        (
            "GET http://shop.example/login HTTP/1.1\r\nHost: shop.example",
            true,
        ),
        ("GET /login HTTP/1.0\r\nHost: shop.example", true),
        ("post /login HTTP/1.1\r\nHost: shop.example", true),
        ("Post /login HTTP/1.1\r\nHost: shop.example", true),
        ("HEAD /login HTTP/1.1\r\nHost: shop.example", true),
        (
            "GET /login HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 1.1.1.1",
            true,
        ),
        (
            "GET /login HTTP/1.1\r\nHost: shop.example\r\nForwarded: for=1.1.1.1",
            true,
        ),
        // What the limit is not for.
        ("PUT /login HTTP/1.1\r\nHost: shop.example", false),
        ("GET /login HTTP/1.1\r\nHost: other.example", false),
        ("GET /logins HTTP/1.1\r\nHost: shop.example", false),
        ("GET /x/login HTTP/1.1\r\nHost: shop.example", false),
        ("GET /%256cogin HTTP/1.1\r\nHost: shop.example", false),
    ] {
        let other = format!("{other}\r\n\r\n");
        let is_counted = is_counted_with(
            &RateKey::Address,
            ("192.0.2.1", &plain),
            ("192.0.2.1", &other),
        );
        assert_eq!(is_counted, expected, "{other}");
    }
}

#[test]
fn an_address_is_counted_with_those_of_the_same_customer() {
    let plain = get("/login");
    for (first, other, expected) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("::ffff:192.0.2.1", "192.0.2.1", true),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ("2001:db8::1", "2001:db8::2", true),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        ("2001:db8::1", "2001:DB8:0::1", true),
        ("::1", "127.0.0.1", false),
        ("", "", true),
        ("", "192.0.2.1", false),
    ] {
        let is_counted = is_counted_with(&RateKey::Address, (first, &plain), (other, &plain));
        assert_eq!(is_counted, expected, "{first} {other}");
    }
}

#[test]
fn a_value_counts_for_all_addresses_and_without_one_the_address_does() {
    let header = RateKey::Header("X-Api-Key".to_owned());
    let cookie = RateKey::Cookie("session".to_owned());
    for (key, first, other, same_address, another_address) in [
        (&header, "X-Api-Key: a", "X-Api-Key: a", true, true),
        (&header, "X-Api-Key: a", "x-api-key:   a  ", true, true),
        (&header, "X-Api-Key: a", "X-Api-Key: b", false, false),
        (&header, "X-Y: 1", "X-Y: 2", true, false),
        (&header, "X-Y: 1", "X-Api-Key:", true, false),
        // More than one value: which one the application takes is not known.
        (
            &header,
            "X-Y: 1",
            "X-Api-Key: a\r\nX-Api-Key: b",
            true,
            false,
        ),
        (&header, "X-Y: 1", "X-Api-Key: a", false, false),
        (
            &cookie,
            "Cookie: session=a",
            "Cookie: session=a",
            true,
            true,
        ),
        (
            &cookie,
            "Cookie: session=a",
            "Cookie: x=1; session=a; y=2",
            true,
            true,
        ),
        (
            &cookie,
            "Cookie: session=a",
            "Cookie: x=1\r\nCookie: session=a",
            true,
            true,
        ),
        (
            &cookie,
            "Cookie: session=a",
            "Cookie: session = a ;",
            true,
            true,
        ),
        (
            &cookie,
            "Cookie: session=a",
            "Cookie: Session=a",
            false,
            false,
        ),
        (
            &cookie,
            "Cookie: session=a=b",
            "Cookie: session=a=b",
            true,
            true,
        ),
        (
            &cookie,
            "Cookie: session=a",
            "Cookie: session=b",
            false,
            false,
        ),
        (&cookie, "X-Y: 1", "Cookie: session=\"a\"", true, false),
        (&cookie, "X-Y: 1", "Cookie: session=\"\\141\"", true, false),
        (
            &cookie,
            "X-Y: 1",
            "Cookie: session=a; session=b",
            true,
            false,
        ),
        (
            &cookie,
            "X-Y: 1",
            "Cookie: session=a\r\nCookie: session=b",
            true,
            false,
        ),
        (&cookie, "X-Y: 1", "Cookie: session=", true, false),
        (&cookie, "X-Y: 1", "Cookie: xsession=a", true, false),
        (&RateKey::Everyone, "X-Y: 1", "X-Y: 2", true, true),
    ] {
        for (address, expected) in [("192.0.2.1", same_address), ("192.0.2.2", another_address)] {
            let (first, other) = (with_fields(first), with_fields(other));
            let is_counted = is_counted_with(key, ("192.0.2.1", &first), (address, &other));
            assert_eq!(is_counted, expected, "{key:?} {first} {address} {other}");
        }
    }
}

#[test]
fn a_prefix_of_the_site_is_no_part_of_the_path() {
    let stage = stage_with(vec![limit("login", "/login", 1)], |config| {
        config.root_path = "/site".to_owned();
    });
    assert_eq!(status(&stage, "192.0.2.1", &get("/site/login")), None);
    for target in ["/site/login", "/login", "/%73ite/login"] {
        assert_eq!(
            status(&stage, "192.0.2.1", &get(target)),
            Some(429),
            "{target}"
        );
    }
}

#[test]
fn a_refused_request_counts_against_no_limit_and_waits_for_the_longest() {
    let stage = stage(vec![limit("all", "", 4), limit("login", "/login", 2)]);
    let now = Instant::now();
    let ask = |target: &str| status_at(&stage, "192.0.2.1", &get(target), now);
    assert_eq!(ask("/login"), (None, None));
    assert_eq!(ask("/login"), (None, None));
    for _ in 0..10 {
        assert_eq!(ask("/login"), (Some(429), Some("30".to_owned())));
    }
    assert_eq!(ask("/"), (None, None));
    assert_eq!(ask("/"), (None, None));
    assert_eq!(ask("/"), (Some(429), Some("15".to_owned())));
    assert_eq!(ask("/login"), (Some(429), Some("30".to_owned())));
}

#[test]
fn each_rate_of_a_limit_counts() {
    let mut both = limit("api", "", 60);
    both.burst = Some(number(2));
    both.rates.push(Rate {
        count: number(3),
        period: Duration::from_secs(3600),
    });
    let stage = stage(vec![both]);
    let start = Instant::now();
    let ask = |seconds| {
        let now = start + Duration::from_secs(seconds);
        status_at(&stage, "192.0.2.1", &get("/"), now).1
    };
    let found: Vec<_> = [0, 0, 0, 1, 2, 3].map(ask).into();
    let expected = [None, None, Some("1"), None, Some("1198"), Some("1197")];
    assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
}

#[test]
fn a_dry_run_serves_and_counts() {
    let mut dry = limit("dry", "", 1);
    dry.is_dry_run = true;
    let stage = stage(vec![dry, limit("login", "/login", 1)]);
    assert_eq!(status(&stage, "192.0.2.1", &get("/")), None);
    for _ in 0..3 {
        assert_eq!(status(&stage, "192.0.2.1", &get("/")), None);
    }
    assert_eq!(status(&stage, "192.0.2.1", &get("/login")), None);
    assert_eq!(status(&stage, "192.0.2.1", &get("/login")), Some(429));
    let totals: Vec<_> = stage.rates.totals().collect();
    let counts = totals
        .iter()
        .map(|one| (one.name.as_str(), one.refused, one.would_refuse));
    // A request that is refused is none that the dry run would refuse.
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [("dry\n1/min", 0, 4), ("login\n1/min", 1, 0)]
    );
}

#[test]
fn requests_at_once_are_counted_until_they_have_ended() {
    let mut at_once = limit("reports", "/reports", 1);
    at_once.rates.clear();
    at_once.concurrency = Some(number(2));
    let mut dry = at_once.clone();
    (dry.name, dry.is_dry_run, dry.concurrency) = ("dry".to_owned(), true, Some(number(1)));
    let stage = stage(vec![at_once, dry]);
    let begin = |client: &str| {
        let mut request = request_with(client, &get("/reports"));
        let answer = stage.examine(&mut request, Instant::now());
        answer.is_none().then_some(request)
    };
    let first = begin("192.0.2.1").unwrap();
    let second = begin("192.0.2.1").unwrap();
    let third = begin("192.0.2.1");
    assert!(third.is_none());
    assert!(begin("192.0.2.2").is_some());
    let refused = status_at(&stage, "192.0.2.1", &get("/reports"), Instant::now());
    assert_eq!(refused, (Some(429), Some("1".to_owned())));
    drop(first);
    let mut third = begin("192.0.2.1").unwrap();
    assert!(begin("192.0.2.1").is_none());
    // A request that is used again has ended.
    third.clear();
    assert!(begin("192.0.2.1").is_some());
    drop(second);
    let totals = stage.rates.totals();
    let counts: Vec<_> = totals
        .map(|one| (one.name, one.refused, one.would_refuse))
        .collect();
    assert_eq!(
        counts,
        [
            ("reports\n2 at once".to_owned(), 3, 0),
            // The one that it would have refused would not have run.
            ("dry\n1 at once".to_owned(), 0, 1)
        ]
    );
}

#[test]
fn the_log_names_addresses_and_no_values() {
    for (key, fields, expected) in [
        (RateKey::Address, "X-Y: 1", "requests of 192.0.2.1 with 429"),
        (
            RateKey::Everyone,
            "X-Y: 1",
            "requests of all clients with 429",
        ),
        (
            RateKey::Header("X-Key".to_owned()),
            "X-Key: secret",
            "requests of the key ",
        ),
        (
            RateKey::Cookie("s".to_owned()),
            "Cookie: s=secret",
            "requests of the key ",
        ),
    ] {
        let mut one = limit("login", "", 1);
        one.key = key;
        let stage = stage(vec![one]);
        let request = request_with("192.0.2.1", &with_fields(fields));
        let limit = &stage.limits[0];
        let key = limit.rates[0].key(&stage.rates, &ClientKey::of(&limit.key, &request));
        let report = Report {
            limit,
            measure: &limit.rates[0],
            key: &key,
            client: &request.client,
        };
        let message = report.message(" (and 3 more)");
        assert!(
            message.starts_with("the limit login (1/min) refuses ")
                && message.contains(expected)
                && message.ends_with(" (and 3 more)")
                && !message.contains("secret"),
            "{message}"
        );
    }
}
