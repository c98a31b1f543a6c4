//! Rules for Markdown: links that lead somewhere, decisions that can be found, changes that can be folded.
//!
//! The caller says which files exist.

use super::Violation;
use crate::changelog::Fragment;

/// A file of `changes/` is one sentence for the person upgrading; its name gives the kind.
pub fn change_fragment(path: &str, text: &str) -> Vec<Violation> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == "README.md" {
        return Vec::new();
    }
    let fault = Fragment::read(name, text).err();
    fault
        .map(|fault| Violation::new(path, 1, fault.to_string()))
        .into_iter()
        .collect()
}

/// Every relative link leads to a file inside the repository, wherever it was cloned.
///
/// `exists` is called with paths relative to the repository's root.
pub fn links(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (line, target) in link_targets(text) {
        let file = target.split(['#', '?']).next().unwrap_or_default();
        if file.is_empty() || has_scheme(target) {
            continue;
        }
        match resolve(path, file) {
            Some(resolved) if exists(&resolved) => {}
            Some(_) => violations.push(Violation::new(
                path,
                line,
                format!("`{target}` leads nowhere"),
            )),
            None => violations.push(Violation::new(
                path,
                line,
                format!("`{target}` leads out of the repository: write it relative to this file"),
            )),
        }
    }
    violations
}

/// The index of decisions links each page, and each page is called `NNNN-title.md`.
///
/// `pages` are the names of the other files beside the index.
pub fn decision_index(path: &str, text: &str, pages: &[String]) -> Vec<Violation> {
    let linked: Vec<&str> = link_targets(text)
        .into_iter()
        .map(|(_, target)| target)
        .collect();
    let mut violations = Vec::new();
    for page in pages {
        let is_numbered = page.split_once('-').is_some_and(|(number, title)| {
            number.len() == 4
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && title
                    .strip_suffix(".md")
                    .is_some_and(|title| !title.is_empty())
        });
        if !is_numbered {
            violations.push(Violation::new(
                path,
                1,
                format!("call `{page}` NNNN-title.md"),
            ));
        }
        if !linked.contains(&page.as_str()) {
            violations.push(Violation::new(
                path,
                1,
                format!("`{page}` is missing from the index"),
            ));
        }
    }
    violations
}

/// Targets of `[text](target)` and `[name]: target`, with their lines; code is left out.
fn link_targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        if let Some((_, target)) = start
            .strip_prefix('[')
            .and_then(|line| line.split_once("]: "))
        {
            targets.push((
                index + 1,
                target.split_whitespace().next().unwrap_or_default(),
            ));
        }
        for (place, _) in line.match_indices("](") {
            let is_inside_code = line[..place].matches('`').count() % 2 == 1;
            let behind = &line[place + 2..];
            let end = behind.find([')', ' ']).unwrap_or(behind.len());
            if !is_inside_code {
                targets.push((index + 1, behind[..end].trim_matches(['<', '>'])));
            }
        }
    }
    targets
}

/// `https:`, `mailto:` and other absolute addresses.
fn has_scheme(target: &str) -> bool {
    target.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// The path that `target` means inside the file `from`; `None` if it is absolute or leaves the root.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_fragment_is_found() {
        assert_eq!(
            change_fragment("changes/a.added.md", "It can do this.\n"),
            []
        );
        assert_eq!(change_fragment("changes/README.md", "# How\n"), []);
        assert_eq!(
            change_fragment("changes/a.new.md", "It can do this.\n").len(),
            1
        );
        assert_eq!(
            change_fragment("changes/a.added.md", "One. Two.\n").len(),
            1
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let exists = |path: &str| ["docs/a.md", "README.md", ""].contains(&path);
        let table: &[(&str, &str, &[usize])] = &[
            (
                "README.md",
                "[a](docs/a.md) [b](docs/a.md#part \"title\") [c](#here)",
                &[],
            ),
            (
                "README.md",
                "[a](https://example.com/x) [b](mailto:a@example.com)",
                &[],
            ),
            ("README.md", "\n[a](docs/b.md)", &[2]),
            ("README.md", "[a](docs/a.md) [b](docs/b.md)", &[1]),
            ("README.md", "![picture](picture.png)", &[1]),
            ("README.md", "[a]: docs/b.md", &[1]),
            ("README.md", "[a](<docs/a.md>)", &[]),
            ("docs/a.md", "[a](../README.md) [b](a.md) [c](./a.md)", &[]),
            ("docs/a.md", "[a](README.md)", &[1]),
            ("docs/a.md", "[a](../../README.md)", &[1]),
            ("docs/a.md", "[a](/docs/a.md)", &[1]),
            (
                "docs/a.md",
                "```\n[a](b.md)\n```\n`[a](b.md)` [b](b.md)",
                &[4],
            ),
        ];
        for (path, text, expected) in table {
            let violations = links(path, text, &exists);
            let lines: Vec<usize> = violations.iter().map(|found| found.line).collect();
            assert_eq!(lines, *expected, "for {path}: {text}");
        }
    }

    #[test]
    fn a_decision_that_the_index_forgets_or_that_has_no_number_is_found() {
        let index = "- [0001](0001-loop.md)\n- [x](x.md)\n";
        let table: &[(&[&str], usize)] = &[
            (&[], 0),
            (&["0001-loop.md"], 0),
            (&["0001-loop.md", "0002-poll.md"], 1),
            (&["x.md"], 1),
            (&["2-y.md"], 2),
        ];
        for (pages, expected) in table {
            let pages: Vec<String> = pages.iter().map(|page| (*page).to_owned()).collect();
            let found = decision_index("docs/decisions/README.md", index, &pages);
            assert_eq!(found.len(), *expected, "for {pages:?}");
        }
    }
}
