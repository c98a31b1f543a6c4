//! Runs the house rules over this repository as an ordinary test.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use xtask::tidy::{self, Violation};

/// Folders with built, installed or downloaded files.
const FOREIGN: [&str; 8] = [
    "target",
    "dist",
    "build",
    "node_modules",
    "__pycache__",
    "site",
    "htmlcov",
    "venv",
];

#[test]
fn dependencies_never_climb_a_floor() {
    check(crate_manifests(), tidy::dependency_floors);
}

#[test]
fn floor_zero_calls_no_clock_socket_or_environment() {
    let configurations = crate_manifests()
        .into_iter()
        .map(|(path, _)| path.replace("Cargo.toml", "clippy.toml"))
        .map(|path| {
            (
                path.clone(),
                fs::read_to_string(root().join(path)).unwrap_or_default(),
            )
        });
    check(configurations.collect(), tidy::floor_zero_bans);
}

#[test]
fn every_source_file_says_what_it_is() {
    check(sources(), tidy::module_documentation);
}

#[test]
fn no_source_file_is_too_long() {
    check(sources(), tidy::file_length);
}

#[test]
fn no_module_is_a_drawer() {
    check(sources(), tidy::module_names);
}

#[test]
fn safe_crates_forbid_unsafe_code() {
    check(sources(), tidy::forbids_unsafe);
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    check(sources(), tidy::unsafe_rooms);
}

#[test]
fn no_panic_is_left_without_its_proof() {
    let mut sources = sources();
    sources.retain(|(path, _)| path.starts_with("crates/"));
    check(sources, tidy::unproven_unwraps);
}

#[test]
fn every_change_is_one_sentence() {
    let is_change = |path: &str| path.starts_with("changes/");
    check(files(is_change), tidy::change_fragment);
}

#[test]
fn every_link_leads_somewhere() {
    let exists = |path: &str| root().join(path).exists();
    let documents = files(|path| path.ends_with(".md"));
    check(documents, |path, text| tidy::links(path, text, &exists));
}

#[test]
fn every_decision_is_in_the_index() {
    let in_folder = |path: &str| path.starts_with("docs/decisions/");
    let (index, pages): (Vec<_>, Vec<_>) = files(in_folder)
        .into_iter()
        .partition(|(path, _)| path.ends_with("/README.md"));
    assert_eq!(index.len(), 1, "docs/decisions/README.md is the index");
    let names: Vec<String> = pages
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap().to_owned())
        .collect();
    check(index, |path, text| tidy::decision_index(path, text, &names));
}

#[test]
fn the_reference_of_settings_is_what_the_settings_say() {
    let written = fs::read_to_string(root().join("docs/reference/settings.md")).unwrap_or_default();
    let is_fresh = written == lockgate_config::reference_page();
    assert!(
        is_fresh,
        "docs/reference/settings.md is stale: run `make docs`"
    );
}

#[track_caller]
fn check(files: Vec<(String, String)>, rule: impl Fn(&str, &str) -> Vec<Violation>) {
    assert!(
        !files.is_empty(),
        "the rule saw no file, so it proves nothing"
    );
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| rule(path, text))
        .map(|violation| violation.to_string())
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn crate_manifests() -> Vec<(String, String)> {
    files(|path| path.starts_with("crates/") && path.ends_with("/Cargo.toml"))
}

fn sources() -> Vec<(String, String)> {
    files(|path| {
        let is_source = path.starts_with("crates/") && path.contains("/src/");
        path.ends_with(".rs") && (is_source || path.starts_with("xtask/src/"))
    })
}

/// Path from the root, and text, of every wanted file.
fn files(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
                continue;
            }
            let path = entry
                .path()
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if kind.is_file() && is_wanted(&path) {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}
