//! Tests of the settings for access and rate limits.

use super::given;
use crate::RateKey;

/// Values that are refused, and a part of the answer.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        "rate_limit",
        &[
            (
                "1",
                "must be a table such as { path = \"/login\", rate = \"5/min\" }",
            ),
            (
                "'5'",
                "rate_limit = \"5\" (from lockgate.toml line 1): must be a rate such as 5/min",
            ),
            ("'/a=5/week'", "must be a rate such as"),
            ("'/a=0/s'", "1 to 1000000000 requests"),
            ("'-1/s'", "must be a rate such as"),
            ("'1/0s'", "from a second to a day"),
            ("'1/25h'", "from a second to a day"),
            ("'1/s,2/s'", "the second limit of this path"),
            (
                "[{ path = '/a' }]",
                "rate_limit = { path = \"/a\" } (from lockgate.toml line 1): needs a rate",
            ),
            ("[{ path = '/a', rate = [] }]", "must be a rate such as"),
            (
                "[{ path = '/a', rate = ['1/min', '2/60s'] }]",
                "the same time as another rate",
            ),
            (
                "[{ path = '/a', rate = '1/s', burst = 0 }]",
                "rate_limit = { path = \"/a\", burst = 0 } (from lockgate.toml line 1): must be at least 1",
            ),
            (
                "[{ concurrency = 1, burst = 2 }]",
                "has a burst without a rate",
            ),
            (
                "[{ path = '/a', rate = '1/s', key = 'user' }]",
                "address, header:NAME, cookie:NAME or all",
            ),
            (
                "[{ path = '/a', rate = '1/s', key = 'header:' }]",
                "address, header:NAME, cookie:NAME or all",
            ),
            (
                "[{ path = '/a', rate = '1/s', methods = [] }]",
                "must have a method",
            ),
            (
                "[{ path = '/a', rate = '1/s', methods = ['P ST'] }]",
                "must be a method, such as POST",
            ),
            (
                "[{ path = '/a', rate = '1/s', name = '' }]",
                "at most 64 bytes",
            ),
            (
                "[{ path = '/a', rate = '1/s', dryrun = true }]",
                "did you mean dry_run?",
            ),
            (
                "[{ path = '/a', rate = '1/s' }, { path = '/a', rate = '9/h' }]",
                "the same name as an earlier limit, /a; give it another, such as name = \"/a 2\"",
            ),
        ],
    ),
    (
        "rate_limit_memory",
        &[("0", "remove rate_limit"), ("1", "at least 64KiB")],
    ),
    (
        "rate_limit_redis",
        &[("'redis://:x@'", "rate_limit_redis = \"redis://***@\" (from")],
    ),
    (
        "allow",
        &[("'x'", "must be an address"), ("1", "a list of texts")],
    ),
    ("deny", &[("'10.0.0.0/99'", "from 0 to 32")]),
    (
        "basic_auth",
        &[
            ("true", "must be text, a table or false"),
            ("{ realm = 'a' }", "needs users"),
            ("{ users = 'a', realm = 'b\"' }", "printable ASCII without"),
            ("{ user = 'a' }", "did you mean users?"),
            ("{ users = '' }", "must be the path of a file"),
        ],
    ),
    (
        "forward_auth",
        &[
            ("true", "must be text, a table or false"),
            ("'127.0.0.1:9091'", "must be a URL such as"),
            ("'https://a'", "must begin with http:// or unix:"),
            ("'http://a:0'", "must be a URL such as"),
            ("'http://u@a/'", "must be a URL such as"),
            ("'http://a/b c'", "encode those as %XX"),
            ("'unix:/a'", "must be a URL such as"),
            ("{ copy = ['A'] }", "needs url"),
            (
                "{ url = 'http://a', copy = 'Host' }",
                "forward_auth = { copy = \"Host\" } (from lockgate.toml line 1): cannot be copied",
            ),
            (
                "{ url = 'http://a', copy = ['Remote-User', 'Content-Length'] }",
                "cannot be copied",
            ),
            (
                "{ url = 'http://a', copy = ['authorization'] }",
                "cannot be copied",
            ),
            (
                "{ url = 'http://a', copy = ['X-Forwarded-For'] }",
                "cannot be copied",
            ),
            (
                "{ url = 'http://a', copy = ['Remote_User'] }",
                "must have no underscore; write Remote-User",
            ),
            ("{ url = 'http://a', copy = ['A', 'a'] }", "is listed twice"),
            (
                "{ url = 'http://a', copy = ['A B'] }",
                "must be the name of a header",
            ),
            (
                "{ url = 'http://a', timeout = 0 }",
                "cannot wait without a limit",
            ),
            (
                "{ url = 'http://a', time_out = 0 }",
                "did you mean timeout?",
            ),
        ],
    ),
    (
        "client_certificate",
        &[
            (
                "'x'",
                "must be true, false, or a table with names or groups",
            ),
            (
                "{}",
                "needs names or groups; for any certificate write true",
            ),
            ("{ names = [] }", "must have at least one"),
            ("{ names = [1] }", "must be a list of texts"),
            ("{ name = 'a' }", "did you mean names?"),
            (
                "true",
                "needs cert_reqs = \"optional\" or \"required\", and ca_certs",
            ),
        ],
    ),
];

#[test]
fn rates_have_a_number_and_a_time() {
    for (text, count, seconds) in [
        ("5/min", 5, 60),
        ("10/s", 10, 1),
        ("100/h", 100, 3600),
        ("1000/d", 1000, 86_400),
        ("5/10s", 5, 10),
        (" 7 / Minute ", 7, 60),
        ("1/24h", 1, 86_400),
    ] {
        let config = config(&format!("rate_limit = '{text}'"));
        let [limit] = config.routes.rate_limits.as_slice() else {
            panic!("{text}");
        };
        let rate = limit.rates[0];
        assert_eq!(
            (rate.count.get(), rate.period.as_secs()),
            (count, seconds),
            "{text}"
        );
        assert_eq!((limit.name.as_str(), limit.path.as_str()), ("/", ""));
    }
    let config = config(
        "rate_limit = [{ path = '/login', rate = ['5/s', '100/h'], burst = 5, key = 'header:X-Api-Key', \
         dry_run = true, methods = ['post'], host = 'a.example', concurrency = 10 }]",
    );
    let limit = &config.routes.rate_limits[0];
    assert_eq!(limit.name, "a.example/login");
    assert_eq!(limit.key, RateKey::Header("X-Api-Key".to_owned()));
    assert_eq!(limit.methods, ["POST"]);
    assert_eq!(limit.rates.len(), 2);
    assert!(limit.is_dry_run);
    assert_eq!(limit.burst.map(u32::from), Some(5));
    assert_eq!(limit.concurrency.map(u32::from), Some(10));
}

fn config(file: &str) -> crate::Config {
    given(&["a:b"], &[], Some(file)).expect(file).config
}
