//! Rules for Rust files: documentation, length, names, unsafe code and panics, checked on the text.

use super::rust_text::{has_word, production_length, source_lines};
use super::{Violation, crate_of};

/// Lines of code that a file may have above its tests.
const CODE_LIMIT: usize = 500;
/// Lines that a file may have in total.
const TOTAL_LIMIT: usize = 800;
/// Names that do not say what a module contains.
const DRAWERS: [&str; 7] = [
    "util", "utils", "helpers", "common", "misc", "manager", "helper",
];
/// Crates without any unsafe code: the lower floors, the worker, the clients, and this one.
const SAFE_CRATES: [&str; 17] = [
    "lockgate-http",
    "lockgate-config",
    "lockgate-observe",
    "lockgate-profile",
    "lockgate-history",
    "lockgate-push",
    "lockgate-shm",
    "lockgate-tls",
    "lockgate-cache",
    "lockgate-compress",
    "lockgate-files",
    "lockgate-acme",
    "lockgate-otlp",
    "lockgate-relay",
    "lockgate-watch",
    "lockgate-worker",
    "xtask",
];
/// Where unsafe code is allowed.
const UNSAFE_ROOMS: [&str; 4] = [
    "crates/lockgate-supervisor/src/os.rs",
    "crates/lockgate-supervisor/src/os/",
    "crates/lockgate-python/src/ffi.rs",
    "crates/lockgate-python/src/ffi/",
];

/// Every file opens with `//!`, which says what it is.
pub fn module_documentation(path: &str, text: &str) -> Vec<Violation> {
    if text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Violation::new(
        path,
        1,
        "open the file with `//!`: what it is and what it refuses to know",
    )]
}

/// A file has at most 500 lines above its tests and 800 in total.
pub fn file_length(path: &str, text: &str) -> Vec<Violation> {
    let lines = source_lines(text);
    let code = if is_test_file(path) {
        0
    } else {
        production_length(&lines)
    };
    let total = text.lines().count();
    let mut violations = Vec::new();
    if code.min(total) > CODE_LIMIT {
        let message = format!(
            "{} lines of code, at most {CODE_LIMIT}: split it by noun",
            code.min(total)
        );
        violations.push(Violation::new(path, CODE_LIMIT + 1, message));
    }
    if total > TOTAL_LIMIT {
        let message = format!("{total} lines in all, at most {TOTAL_LIMIT}: move the tests out");
        violations.push(Violation::new(path, TOTAL_LIMIT + 1, message));
    }
    violations
}

/// A module is named after a noun of the server, never a drawer such as `util`.
pub fn module_names(path: &str, text: &str) -> Vec<Violation> {
    let reported =
        |name: &str| format!("`{name}` names a drawer: call the module after what is in it");
    let in_path = path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .filter(|part| DRAWERS.contains(part))
        .map(|part| Violation::new(path, 1, reported(part)));
    let lines = source_lines(text);
    let declared = lines.iter().enumerate().filter_map(|(index, line)| {
        let mut words = line.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.find(|word| *word == "mod")?;
        let name = words.next().filter(|name| DRAWERS.contains(name))?;
        Some(Violation::new(path, index + 1, reported(name)))
    });
    in_path.chain(declared).collect()
}

/// The root of a safe crate forbids unsafe code, so that no module below can allow it again.
pub fn forbids_unsafe(path: &str, text: &str) -> Vec<Violation> {
    let name = crate_of(path)
        .or_else(|| path.split('/').next())
        .unwrap_or_default();
    let is_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    let is_forbidden = source_lines(text)
        .iter()
        .any(|line| line.code.trim() == "#![forbid(unsafe_code)]");
    if !is_root || !SAFE_CRATES.contains(&name) || is_forbidden {
        return Vec::new();
    }
    vec![Violation::new(
        path,
        1,
        format!("{name} needs #![forbid(unsafe_code)]"),
    )]
}

/// Unsafe code is allowed only in `UNSAFE_ROOMS`.
pub fn unsafe_rooms(path: &str, text: &str) -> Vec<Violation> {
    if UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) {
        return Vec::new();
    }
    let lines = source_lines(text);
    let unsafe_lines = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| has_word(&line.code, "unsafe"));
    unsafe_lines
        .map(|(index, _)| {
            let rooms = UNSAFE_ROOMS.join(", ");
            Violation::new(
                path,
                index + 1,
                format!("unsafe code lives only in {rooms}"),
            )
        })
        .collect()
}

/// Outside tests an `unwrap` or `expect` needs a comment that proves it cannot panic, on the same line or the one
/// above.
pub fn unproven_unwraps(path: &str, text: &str) -> Vec<Violation> {
    if is_test_file(path) {
        return Vec::new();
    }
    let lines = source_lines(text);
    let panics = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];
    (0..production_length(&lines))
        .filter(|&index| panics.iter().any(|panic| lines[index].code.contains(panic)))
        .filter(|&index| {
            !lines[index.saturating_sub(1)..=index]
                .iter()
                .any(|line| line.has_comment)
        })
        .map(|index| {
            let message =
                "handle it, or prove in a comment here or on the line above that it cannot fail";
            Violation::new(path, index + 1, message)
        })
        .collect()
}

/// A file of tests beside the code: `…/tests.rs` or `…/tests/….rs`. Under another name it opens with `#![cfg(test)]`.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str, &str) -> Vec<Violation>;

    #[track_caller]
    fn check(rule: Check, table: &[(&str, &str, &[usize])]) {
        for (path, text, expected) in table {
            let lines: Vec<usize> = rule(path, text).iter().map(|found| found.line).collect();
            assert_eq!(lines, *expected, "for {path}: {text:.80}");
        }
    }

    #[test]
    fn a_file_without_module_documentation_is_found() {
        check(
            module_documentation,
            &[
                ("crates/a/src/b.rs", "//! What it is.\n", &[]),
                ("crates/a/src/b.rs", "// What it is.\n", &[1]),
                ("crates/a/src/b.rs", "\n//! Too late.\n", &[1]),
                ("crates/a/src/b.rs", "//!\n", &[1]),
                ("crates/a/src/b.rs", "", &[1]),
            ],
        );
    }

    #[test]
    fn a_long_file_is_found_and_tests_may_add_to_it() {
        let code = |lines: usize| "x;\n".repeat(lines);
        let tested = |lines: usize, tests: usize| {
            format!(
                "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
                code(lines),
                code(tests - 3)
            )
        };
        check(
            file_length,
            &[
                ("crates/a/src/b.rs", &code(500), &[]),
                ("crates/a/src/b.rs", &code(501), &[501]),
                ("crates/a/src/b.rs", &tested(500, 300), &[]),
                ("crates/a/src/b.rs", &tested(500, 301), &[801]),
                ("crates/a/src/b.rs", &tested(501, 300), &[501, 801]),
                ("crates/a/src/b/tests.rs", &code(800), &[]),
                ("crates/a/src/b/tests.rs", &code(801), &[801]),
            ],
        );
    }

    #[test]
    fn a_drawer_is_found_by_its_path_and_by_its_declaration() {
        check(
            module_names,
            &[
                ("crates/a/src/timers.rs", "mod poller;\n", &[]),
                ("crates/a/src/utils.rs", "", &[1]),
                ("crates/a/src/common/poller.rs", "", &[1]),
                (
                    "crates/a/src/lib.rs",
                    "mod a;\npub(crate) mod helpers;\n",
                    &[2],
                ),
                ("crates/a/src/lib.rs", "mod misc { }\n", &[1]),
                (
                    "crates/a/src/lib.rs",
                    "// mod misc\nuse commonly::manager_of;\n",
                    &[],
                ),
            ],
        );
    }

    #[test]
    fn a_safe_crate_that_does_not_forbid_unsafe_code_is_found() {
        let forbidding = "//! A.\n#![forbid(unsafe_code)]\n";
        check(
            forbids_unsafe,
            &[
                ("crates/lockgate-http/src/lib.rs", forbidding, &[]),
                ("crates/lockgate-http/src/lib.rs", "//! A.\n", &[1]),
                (
                    "crates/lockgate-worker/src/lib.rs",
                    "// #![forbid(unsafe_code)]\n",
                    &[1],
                ),
                ("xtask/src/main.rs", "//! A.\n", &[1]),
                ("crates/lockgate-http/src/error.rs", "", &[]),
                ("crates/lockgate-supervisor/src/lib.rs", "", &[]),
            ],
        );
    }

    #[test]
    fn unsafe_code_outside_its_rooms_is_found() {
        let text = "//! unsafe\n// unsafe\nlet a = \"unsafe\";\nunsafe { b() }\n";
        check(
            unsafe_rooms,
            &[
                ("crates/lockgate-python/src/entry.rs", text, &[4]),
                ("crates/lockgate-python/src/ffi.rs", text, &[]),
                ("crates/lockgate-python/src/ffi/dict.rs", text, &[]),
                ("crates/lockgate-supervisor/src/os/fork.rs", text, &[]),
                ("crates/lockgate-supervisor/src/os.rs", text, &[]),
                (
                    "crates/lockgate-supervisor/src/signals.rs",
                    "#[unsafe(no_mangle)]",
                    &[1],
                ),
                (
                    "crates/lockgate-supervisor/src/signals.rs",
                    "#![forbid(unsafe_code)]",
                    &[],
                ),
            ],
        );
    }

    #[test]
    fn a_panic_without_its_proof_is_found() {
        check(
            unproven_unwraps,
            &[
                ("crates/a/src/b.rs", "a.unwrap();\n", &[1]),
                (
                    "crates/a/src/b.rs",
                    "let b = a\n    .expect(\"b\");\n",
                    &[2],
                ),
                (
                    "crates/a/src/b.rs",
                    "a.unwrap(); // proof: a was set above\n",
                    &[],
                ),
                (
                    "crates/a/src/b.rs",
                    "// proof: a was set above\na.unwrap();\nb.unwrap();\n",
                    &[3],
                ),
                (
                    "crates/a/src/b.rs",
                    "/// docs\nfn a() { b.unwrap() }\n",
                    &[2],
                ),
                (
                    "crates/a/src/b.rs",
                    "a.unwrap_or(1); f(\".unwrap()\"); // .unwrap()\n",
                    &[],
                ),
                ("crates/a/src/b.rs", "/// b.unwrap()\nf();\n", &[]),
                (
                    "crates/a/src/b.rs",
                    "f();\n#[cfg(test)]\nmod tests {\n a.unwrap();\n}\n",
                    &[],
                ),
                ("crates/a/src/b/tests.rs", "a.unwrap();\n", &[]),
                (
                    "crates/a/src/seams.rs",
                    "//! A.\n#![cfg(test)]\na.unwrap();\n",
                    &[],
                ),
                (
                    "crates/a/src/lib.rs",
                    "#[cfg(test)]\nmod seams;\na.unwrap();\n",
                    &[3],
                ),
            ],
        );
    }
}
