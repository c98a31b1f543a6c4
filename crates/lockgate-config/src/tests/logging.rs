//! Tests of settings of the logs and of statsd.

/// Values that these settings refuse, and parts of the messages.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    ("log_style", &[("'json'", "must be lockgate or gunicorn")]),
    ("capture_output", &[("2", "must be")]),
    (
        "statsd_host",
        &[
            ("'a:b'", "must be HOST, HOST:PORT or unix://PATH"),
            ("'http://a:1'", "must be HOST, HOST:PORT or unix://PATH"),
        ],
    ),
    ("statsd_prefix", &[("'a|b'", "must be ASCII")]),
    (
        "dogstatsd_tags",
        &[("'ä'", "must be ASCII"), ("\"a\\nb\"", "a line break")],
    ),
    ("enable_backlog_metric", &[("2", "must be")]),
    ("logger_class", &[("'Logger'", "module.Class")]),
    ("log_config", &[("true", "must be text")]),
    ("log_config_json", &[("true", "must be text")]),
];
