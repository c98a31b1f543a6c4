//! The layers ("floors") of the workspace: which crate may depend on which. Manifests are read as text, without a TOML
//! library.

use super::{Violation, crate_of};

/// Each crate with the crates of this workspace that it may depend on; siblings never depend on each other.
const FLOORS: [(&str, &[&str]); 20] = [
    ("lockgate-http", &[]),
    ("lockgate-config", &[]),
    ("lockgate-observe", &[]),
    ("lockgate-profile", &[]),
    ("lockgate-push", &[]),
    ("lockgate-shm", &[]),
    ("lockgate-tls", &[]),
    ("lockgate-access", &["lockgate-http"]),
    ("lockgate-cache", &["lockgate-http"]),
    ("lockgate-compress", &["lockgate-config", "lockgate-http"]),
    ("lockgate-files", &["lockgate-config", "lockgate-http"]),
    ("lockgate-routes", &["lockgate-config", "lockgate-http"]),
    (
        "lockgate-worker",
        &[
            "lockgate-access",
            "lockgate-routes",
            "lockgate-cache",
            "lockgate-compress",
            "lockgate-files",
            "lockgate-http",
            "lockgate-config",
            "lockgate-observe",
            "lockgate-push",
            "lockgate-shm",
            "lockgate-tls",
        ],
    ),
    (
        "lockgate-supervisor",
        &[
            "lockgate-config",
            "lockgate-history",
            "lockgate-observe",
            "lockgate-shm",
            "lockgate-tls",
        ],
    ),
    (
        "lockgate-acme",
        &["lockgate-config", "lockgate-observe", "lockgate-tls"],
    ),
    (
        "lockgate-relay",
        &[
            "lockgate-config",
            "lockgate-observe",
            "lockgate-push",
            "lockgate-shm",
        ],
    ),
    (
        "lockgate-otlp",
        &["lockgate-config", "lockgate-observe", "lockgate-shm"],
    ),
    ("lockgate-watch", &["lockgate-config", "lockgate-observe"]),
    (
        "lockgate-history",
        &["lockgate-observe", "lockgate-profile", "lockgate-shm"],
    ),
    (
        "lockgate-python",
        &[
            "lockgate-otlp",
            "lockgate-watch",
            "lockgate-history",
            "lockgate-profile",
            "lockgate-access",
            "lockgate-cache",
            "lockgate-compress",
            "lockgate-http",
            "lockgate-config",
            "lockgate-observe",
            "lockgate-push",
            "lockgate-shm",
            "lockgate-tls",
            "lockgate-acme",
            "lockgate-relay",
            "lockgate-worker",
            "lockgate-supervisor",
        ],
    ),
];
/// The only crate that depends on Python.
const PYTHON_CRATE: &str = "lockgate-python";
/// What a floor-0 crate must not call; its caller passes all of it.
const FLOOR_ZERO_BANS: [&str; 6] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::env::var",
    "std::thread::spawn",
    "std::net::TcpStream",
    "std::fs::File",
];

/// A manifest depends only on crates of lower floors, and PyO3 stays in one crate. All kinds of dependencies count.
pub fn dependency_floors(path: &str, text: &str) -> Vec<Violation> {
    let Some(name) = crate_of(path) else {
        return Vec::new();
    };
    let Some((_, allowed)) = FLOORS.iter().find(|(known, _)| *known == name) else {
        return vec![Violation::new(
            path,
            1,
            format!("{name} has no floor: give it a row in the floors"),
        )];
    };
    let mut violations = Vec::new();
    for (line, dependency) in dependencies(text) {
        let is_ours = dependency.starts_with("lockgate") || dependency == "xtask";
        if is_ours && !allowed.contains(&dependency.as_str()) {
            let message = format!("{name} must not know {dependency}");
            violations.push(Violation::new(path, line, message));
        }
        if dependency.starts_with("pyo3") && name != PYTHON_CRATE {
            let message =
                format!("only {PYTHON_CRATE} knows Python, so {name} must not name {dependency}");
            violations.push(Violation::new(path, line, message));
        }
    }
    violations
}

/// The `clippy.toml` of a floor-0 crate bans clocks, environment, threads, sockets and files.
///
/// `text` is empty when the crate has none. The nearest file wins, so each of these crates needs its own.
pub fn floor_zero_bans(path: &str, text: &str) -> Vec<Violation> {
    let is_floor_zero = FLOORS
        .iter()
        .any(|(name, allowed)| allowed.is_empty() && crate_of(path) == Some(*name));
    FLOOR_ZERO_BANS
        .iter()
        .filter(|ban| is_floor_zero && !text.contains(&format!("\"{ban}\"")))
        .map(|ban| Violation::new(path, 1, format!("floor 0 must disallow {ban}")))
        .collect()
}

/// Every crate that a manifest depends on, with its line; a renamed one by its real name.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_listing = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
            is_listing = kinds
                .iter()
                .any(|kind| header == *kind || header.ends_with(&format!(".{kind}")));
            let table = kinds.iter().find_map(|kind| {
                let place = header.rfind(&format!("{kind}."))?;
                let is_whole = place == 0 || header[..place].ends_with('.');
                is_whole.then(|| &header[place + kind.len() + 1..])
            });
            if let Some(name) = table {
                found.push((index + 1, unquoted(name)));
            }
        } else if let Some(renamed) = line.split_once("package").and_then(|(_, rest)| {
            rest.trim_start()
                .strip_prefix('=')?
                .trim_start()
                .strip_prefix('"')?
                .split('"')
                .next()
        }) {
            found.push((index + 1, renamed.to_owned()));
        } else if is_listing && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            found.push((index + 1, unquoted(name)));
        }
    }
    found
}

fn unquoted(name: &str) -> String {
    name.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_climbs_is_found_wherever_a_manifest_hides_it() {
        let table: &[(&str, &str, &[usize])] = &[
            (
                "lockgate-http",
                "[dependencies]\nmemchr.workspace = true\n",
                &[],
            ),
            (
                "lockgate-http",
                "[dependencies]\nlockgate-config.workspace = true\n",
                &[2],
            ),
            (
                "lockgate-http",
                "[dependencies]\nlockgate-config = { path = \"..\" }\n",
                &[2],
            ),
            (
                "lockgate-http",
                "[dev-dependencies]\n\"lockgate-worker\" = \"1\"\n",
                &[2],
            ),
            (
                "lockgate-http",
                "[dependencies.lockgate-worker]\nworkspace = true\n",
                &[1],
            ),
            (
                "lockgate-http",
                "[target.'cfg(unix)'.dependencies]\nlockgate-worker = \"1\"\n",
                &[2],
            ),
            (
                "lockgate-http",
                "[dependencies]\nx = { package = \"lockgate-worker\" }\n",
                &[2],
            ),
            (
                "lockgate-http",
                "[dependencies.x]\npackage = \"lockgate-worker\"\n",
                &[2],
            ),
            ("lockgate-http", "[features]\nlockgate-worker = []\n", &[]),
            (
                "lockgate-http",
                "[package]\nname = \"lockgate-http\"\n",
                &[],
            ),
            (
                "lockgate-worker",
                "[dependencies]\nlockgate-http.workspace = true\n",
                &[],
            ),
            (
                "lockgate-worker",
                "[dependencies]\nlockgate-supervisor.workspace = true\n",
                &[2],
            ),
            (
                "lockgate-supervisor",
                "[dependencies]\nlockgate-http.workspace = true\n",
                &[2],
            ),
            (
                "lockgate-python",
                "[dependencies]\nlockgate-supervisor.workspace = true\n",
                &[],
            ),
            (
                "lockgate-python",
                "[dependencies]\npyo3.workspace = true\n",
                &[],
            ),
            (
                "lockgate-worker",
                "[dependencies]\npyo3.workspace = true\n",
                &[2],
            ),
            (
                "lockgate-worker",
                "[build-dependencies]\npyo3-build-config = \"1\"\n",
                &[2],
            ),
            ("lockgate-unknown", "", &[1]),
        ];
        for (name, text, expected) in table {
            let path = format!("crates/{name}/Cargo.toml");
            let violations = dependency_floors(&path, text);
            let lines: Vec<usize> = violations.iter().map(|found| found.line).collect();
            assert_eq!(lines, *expected, "for {name}: {text}");
        }
    }

    #[test]
    fn a_floor_zero_crate_without_its_bans_is_found() {
        let whole = FLOOR_ZERO_BANS
            .map(|ban| format!("{{ path = \"{ban}\" }}"))
            .join("\n");
        let part = whole.replace("Instant", "Moment");
        let path = "crates/lockgate-http/clippy.toml";
        assert_eq!(floor_zero_bans(path, &whole), []);
        assert_eq!(floor_zero_bans(path, &part).len(), 1);
        assert_eq!(floor_zero_bans(path, "").len(), FLOOR_ZERO_BANS.len());
        assert_eq!(
            floor_zero_bans("crates/lockgate-worker/clippy.toml", ""),
            []
        );
    }
}
