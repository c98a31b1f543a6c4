//! Tests of the settings of the admin listener.

use super::{Arguments, given};
use crate::AdminConfig;

/// For each setting values that it refuses, and a part of the message.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        "admin_bind",
        &[
            ("':9000'", "loopback"),
            ("'0.0.0.0:9000'", "loopback"),
            ("'192.0.2.1:9000'", "loopback"),
            ("'example.org:9000'", "loopback"),
            ("'[::]:9000'", "loopback"),
            ("'fd://3'", "loopback"),
            ("'systemd'", "systemd:admin"),
            ("'unix:'", "has no path"),
            ("['127.0.0.1:9000']", "must be text"),
        ],
    ),
    ("admin_actions", &[("'perhaps'", "true or false")]),
    (
        "admin_show",
        &[
            ("'queries'", "must be paths or targets"),
            ("''", "must be paths or targets"),
            ("true", "must be text"),
        ],
    ),
];

#[test]
fn the_page_may_not_act_and_queries_are_not_shown_unless_the_settings_say_so() {
    let cases: [(Arguments, bool, bool); 4] = [
        (&["a:b"], false, false),
        (&["a:b", "--admin-actions"], true, false),
        (&["a:b", "--admin-show", "targets"], false, true),
        (
            &["a:b", "--admin-show=paths", "--no-admin-actions"],
            false,
            false,
        ),
    ];
    for (arguments, page_may_act, shows_queries) in cases {
        let resolved = given(arguments, &[], None).expect("taken");
        let expected = AdminConfig {
            page_may_act,
            shows_queries,
        };
        assert_eq!(resolved.config.admin, expected, "{arguments:?}");
    }
}
