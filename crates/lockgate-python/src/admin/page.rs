//! The operator's window: one page without external parts, put together from `page/` when it is first asked for.
//!
//! Its content security policy names the hashes of its style and its script, so that a browser runs no other, and
//! forbids the script to turn text into markup (Trusted Types).

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;

use super::answer::Answer;

const HTML: &str = "text/html; charset=utf-8";

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
/// The parts of the script, which share one scope; a part uses functions of others only when all are there.
const SCRIPTS: [&str; 8] = [
    include_str!("page/format.js"),
    include_str!("page/model.js"),
    include_str!("page/diagnose.js"),
    include_str!("page/timeline.js"),
    include_str!("page/panels.js"),
    include_str!("page/server.js"),
    include_str!("page/flame.js"),
    include_str!("page/main.js"),
];

/// The page and its policy.
struct Page {
    text: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page::new(DOCUMENT, STYLE, &SCRIPTS.concat()));

/// The answer to `GET /`.
pub(super) fn answer() -> Answer {
    let page: &'static Page = &PAGE;
    Answer {
        policy: &page.policy,
        ..Answer::ok(HTML, page.text.as_bytes().to_vec())
    }
}

impl Page {
    fn new(document: &str, style: &str, script: &str) -> Self {
        Self {
            text: (document.replacen("{{style}}", style, 1)).replacen("{{script}}", script, 1),
            policy: format!(
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; \
                 img-src data:; require-trusted-types-for 'script'; style-src '{}'; script-src '{}'",
                source_hash(style),
                source_hash(script)
            ),
        }
    }
}

/// A hash source of CSP (Content Security Policy Level 3, §2.3.1).
fn source_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    format!("sha256-{}", BASE64.encode(hash.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_recommendation() {
        // CSP Level 3, §8.3.
        assert_eq!(
            source_hash("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
        );
    }

    #[test]
    fn the_page_is_whole_small_and_loads_nothing() {
        let Page { text, .. } = &*PAGE;
        assert!(text.len() < 200 << 10, "{} bytes", text.len());
        assert_eq!(
            (
                text.matches("<script").count(),
                text.matches("</script").count()
            ),
            (1, 1)
        );
        assert_eq!(
            (
                text.matches("<style").count(),
                text.matches("</style").count()
            ),
            (1, 1)
        );
        for absent in [
            "{{style}}",
            "{{script}}",
            " src=",
            "@import",
            "url(",
            "innerHTML",
            "eval(",
        ] {
            assert!(!text.contains(absent), "{absent}");
        }
    }
}
