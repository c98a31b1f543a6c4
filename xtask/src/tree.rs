//! The files of this repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

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

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Path from the root, separated by `/`, and text of every wanted file, by path.
///
/// # Errors
///
/// A file cannot be read.
pub fn files(root: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
                continue;
            }
            let path = entry.path();
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
            if kind.is_file() && is_wanted(&path) {
                found.push((path.into_owned(), fs::read_to_string(entry.path())?));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What the parsers of the commands of `lockgate` accept, as JSON. Python runs them; the variable PYO3_PYTHON names it,
/// as it does for PyO3.
///
/// # Errors
///
/// There is no Python, or the parsers cannot be imported.
pub fn describe_commands(root: &Path) -> io::Result<String> {
    let python = std::env::var_os("PYO3_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(&python)
        .args(["-I", "xtask/describe_commands.py"])
        .current_dir(root)
        .output()
        .map_err(|error| io::Error::other(format!("{}: {error}", Path::new(&python).display())))?;
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "xtask/describe_commands.py: {problem}"
        )));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// Whether a path is a source file of a crate, tests beside the code included.
pub fn is_source(path: &str) -> bool {
    let is_of_crate = path.starts_with("crates/") && path.contains("/src/");
    path.ends_with(".rs") && (is_of_crate || path.starts_with("xtask/src/"))
}

/// The sources of each crate, by its name.
pub fn crates(sources: Vec<(String, String)>) -> BTreeMap<String, Vec<(String, String)>> {
    let mut crates: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (path, text) in sources {
        let folder = path.strip_prefix("crates/").unwrap_or(&path);
        let name = folder.split('/').next().unwrap_or_default().to_owned();
        crates.entry(name).or_default().push((path, text));
    }
    crates
}
