//! Runs the house rules over this repository as an ordinary test.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use xtask::tidy::{self, Violation};
use xtask::{manual, messages, tree};

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
fn modules_depend_on_each_other_only_in_small_groups() {
    let crates = tree::crates(sources());
    assert!(crates.len() > 5, "the rule saw {} crates", crates.len());
    let found: Vec<String> = crates
        .iter()
        .flat_map(|(name, files)| tidy::module_cycles(name, files))
        .map(|violation| violation.to_string())
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn comments_texts_and_documents_are_plain_english() {
    let found: Vec<String> = tidy::plain_words(&files(tidy::has_prose))
        .iter()
        .map(|violation| violation.to_string())
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
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

#[test]
fn man_pages_and_completions_are_what_the_command_line_accepts() {
    let description = tree::describe_commands(&root()).unwrap();
    for (name, text) in manual::files(&description).unwrap() {
        let path = format!("{}/{name}", manual::FOLDER);
        let written = fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(written == text, "{path} is stale: run `make docs`");
        let link = format!("{}/{}", manual::PREFIX, manual::place(&name));
        let linked = fs::read_to_string(root().join(&link)).unwrap_or_default();
        assert!(
            linked == text,
            "{link} does not lead to {path}: run `make docs`"
        );
    }
}

#[test]
fn every_log_message_is_explained() {
    let found = messages::find(&tree::crates(sources())).unwrap();
    assert!(
        found.messages.len() > 50,
        "{} messages",
        found.messages.len()
    );
    let explanations = explanations();
    let problems = messages::unexplained(&found, &explanations);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let written = fs::read_to_string(root().join("docs/reference/messages.md")).unwrap_or_default();
    assert!(
        written == messages::page(&found, &explanations),
        "docs/reference/messages.md is stale: run `make docs`"
    );
}

fn explanations() -> messages::Explanations {
    let text = fs::read_to_string(root().join("docs/messages.toml")).unwrap_or_default();
    messages::Explanations::read(&text).unwrap()
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
    files(tree::is_source)
}

fn files(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    tree::files(&root(), is_wanted).unwrap()
}

fn root() -> PathBuf {
    tree::root()
}
