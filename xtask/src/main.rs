//! The repository's own commands: `cargo run -p xtask -- COMMAND`.
//!
//! This file reads and writes files; other modules decide on their content.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its terminal"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use xtask::changelog::{Fragment, fold};
use xtask::tidy::ModuleGraph;
use xtask::{manual, messages, tree};

const USAGE: &str = "usage: cargo run -p xtask -- COMMAND

  docs                 write the generated pages of docs/reference, the man pages and the completions
  messages             bring docs/messages.toml up to date with the log messages in the source
  cycles               print for each crate its floors, and the modules that depend on each other
  changelog VERSION    fold changes/*.md into CHANGELOG.md under the heading VERSION";

const EXPLANATIONS: &str = "docs/messages.toml";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = tree::root();
    let result = match arguments[..] {
        ["docs"] => write_reference(&root),
        ["messages"] => update_messages(&root),
        ["cycles"] => print_cycles(&root),
        ["changelog", version] => fold_changes(&root, version),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_reference(root: &Path) -> io::Result<String> {
    let folder = root.join("docs/reference");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("settings.md"),
        lockgate_config::reference_page(),
    )?;
    fs::write(folder.join("gunicorn.md"), lockgate_config::gunicorn_page())?;
    write_manual(root)?;
    if !root.join(EXPLANATIONS).exists() {
        return Ok("docs/reference/settings.md and gunicorn.md are written".to_owned());
    }
    let page = messages::page(&find_messages(root)?, &read_explanations(root)?);
    fs::write(folder.join("messages.md"), page)?;
    Ok("docs/reference/settings.md, gunicorn.md and messages.md are written".to_owned())
}

fn write_manual(root: &Path) -> io::Result<()> {
    let folder = root.join(manual::FOLDER);
    fs::create_dir_all(&folder)?;
    for (name, text) in manual::files(&tree::describe_commands(root)?).map_err(io::Error::other)? {
        fs::write(folder.join(&name), text)?;
        let link = Path::new(manual::PREFIX).join(manual::place(&name));
        let up = "../".repeat(link.components().count() - 1);
        let link = root.join(link);
        if link.symlink_metadata().is_err() {
            fs::create_dir_all(link.parent().unwrap_or(root))?;
            std::os::unix::fs::symlink(format!("{up}{}/{name}", manual::FOLDER), link)?;
        }
    }
    Ok(())
}

fn update_messages(root: &Path) -> io::Result<String> {
    let found = find_messages(root)?;
    let (explanations, mut report) = messages::updated(&found, &read_explanations(root)?);
    fs::write(root.join(EXPLANATIONS), explanations.write())?;
    report.extend(messages::unexplained(&found, &explanations));
    report.push(format!("{} messages", found.messages.len()));
    Ok(report.join("\n"))
}

fn find_messages(root: &Path) -> io::Result<messages::Found> {
    let crates = tree::crates(tree::files(root, tree::is_source)?);
    messages::find(&crates).map_err(io::Error::other)
}

fn read_explanations(root: &Path) -> io::Result<messages::Explanations> {
    let text = fs::read_to_string(root.join(EXPLANATIONS)).unwrap_or_default();
    messages::Explanations::read(&text)
        .map_err(|error| io::Error::other(format!("{EXPLANATIONS}: {error}")))
}

fn print_cycles(root: &Path) -> io::Result<String> {
    let sources = tree::files(root, tree::is_source)?;
    let mut lines = Vec::new();
    for (name, files) in tree::crates(sources) {
        let graph = ModuleGraph::of_crate(&files)
            .map_err(|error| io::Error::other(format!("{name}: {error}")))?;
        lines.push(format!(
            "{name}: {} modules on {} floors",
            graph.modules.len(),
            graph.floors()
        ));
        for cycle in graph.cycles() {
            lines.push(format!("  {} depend on each other:", cycle.len()));
            for (module, uses) in graph.modules.iter().zip(&graph.uses) {
                let name = |index: &usize| graph.modules[*index].as_str();
                let inside = |used: &&str| cycle.contains(used);
                let uses: Vec<&str> = uses.iter().map(name).filter(inside).collect();
                if cycle.contains(&module.as_str()) {
                    lines.push(format!("    {module} -> {}", uses.join(", ")));
                }
            }
        }
    }
    Ok(lines.join("\n"))
}

fn fold_changes(root: &Path, version: &str) -> io::Result<String> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut fragments = Vec::new();
    for entry in fs::read_dir(root.join("changes"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "README.md" {
            continue;
        }
        let fragment = Fragment::read(&name, &fs::read_to_string(&path)?)
            .map_err(|fault| io::Error::other(format!("changes/{name}: {fault}")))?;
        fragments.push(fragment);
        paths.push(path);
    }
    let changelog = root.join("CHANGELOG.md");
    let folded = fold(&fs::read_to_string(&changelog)?, version, fragments)
        .map_err(|fault| io::Error::other(fault.to_string()))?;
    fs::write(changelog, folded)?;
    for path in &paths {
        fs::remove_file(path)?;
    }
    Ok(format!(
        "{} changes are folded into CHANGELOG.md under {version}",
        paths.len()
    ))
}
