//! Tests of the settings for held connections and publishing.

use super::{given, refused};

/// Values that are refused, and a part of the answer.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    ("push", &[("'x'", "true or false")]),
    (
        "push_memory",
        &[
            ("0", "write push = false"),
            ("'100K'", "at least 1MiB"),
            ("'65GiB'", "at most 64GiB"),
        ],
    ),
    (
        "push_message_limit",
        &[("0", "cannot be unlimited"), ("1023", "at least 1KiB")],
    ),
    (
        "push_channels",
        &[("0", "at least 1"), ("10001", "at most 10000")],
    ),
    (
        "push_redis",
        &[
            ("'10.0.0.5'", "must be a URL such as redis://"),
            ("'redis://:x@'", "push_redis = \"redis://***@\" (from"),
            ("true", "must be text"),
        ],
    ),
    ("grip_key_file", &[("true", "must be text")]),
    (
        "websocket_over_http",
        &[
            ("'chat'", "must begin with a slash"),
            ("'/a?b'", "no space, query"),
        ],
    ),
];

#[test]
fn a_message_is_at_most_a_quarter_of_the_log() {
    for (file, is_taken) in [
        ("push = true", true),
        ("push = true\npush_memory = '1MiB'", true),
        ("push = true\npush_message_limit = '4MiB'", true),
        ("push = true\npush_message_limit = 4194305", false),
        (
            "push = true\npush_memory = '1MiB'\npush_message_limit = '257KiB'",
            false,
        ),
        ("push_message_limit = '10MiB'", true),
    ] {
        let outcome = given(&["a:b"], &[], Some(file));
        assert_eq!(outcome.is_ok(), is_taken, "{file}: {:?}", outcome.err());
    }
    let message = refused(
        &["a:b", "--push", "--push-message-limit", "5MiB"],
        &[],
        None,
    );
    assert_eq!(
        message,
        "push_message_limit = \"5MiB\" (from --push-message-limit): must be at most 4MiB, a quarter of push_memory = 16MiB"
    );
}

#[test]
fn a_setting_without_effect_is_noted() {
    let file = "websocket_over_http = '/chat'\npush_redis = 'redis://h'";
    let notes = given(&["a:b"], &[], Some(file)).unwrap().notes;
    assert_eq!(
        notes,
        [
            "push_redis has no effect without push = true",
            "websocket_over_http has no effect without push = true"
        ]
    );
    let notes = given(&["a:b", "--push"], &[], Some(file)).unwrap().notes;
    assert_eq!(notes, [""; 0]);
}

#[test]
fn a_password_is_not_printed() {
    let resolved = given(&["a:b", "--push-redis", "redis://:geheim@h"], &[], None).unwrap();
    let printed = resolved.print();
    assert!(printed.contains("push_redis = \"redis://:***@h:6379/0\""));
    assert!(!printed.contains("geheim") && !format!("{resolved:?}").contains("geheim"));
    let redis = resolved.config.push.redis;
    assert_eq!(
        redis.and_then(|redis| redis.password).as_deref(),
        Some("geheim")
    );
}
