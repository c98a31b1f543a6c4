//! Selects the checks to run: the options of libtest that make sense here. Others are refused.

use std::process::Command;

use crate::checks::Check;

/// The selection in the arguments.
#[derive(Default)]
pub struct Selection {
    filters: Vec<String>,
    skipped: Vec<String>,
    is_exact: bool,
    /// Print the names and run nothing.
    pub lists: bool,
}

impl Selection {
    /// Parses the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, mut value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let mut take_value = || {
                value
                    .take()
                    .or_else(|| arguments.next())
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "--skip" => selection.skipped.push(take_value()?),
                // Each check runs alone: some of them measure time.
                "--test-threads" => {
                    let count = take_value()?;
                    if count.parse().is_ok_and(|count: usize| count > 0) {
                        continue;
                    }
                    return Err(format!("--test-threads {count}: must be a number above 0"));
                }
                "--exact" => selection.is_exact = true,
                "--list" => selection.lists = true,
                // No output is captured and no check is ignored.
                "--nocapture" | "--no-capture" | "--show-output" | "--include-ignored" | "-q"
                | "--quiet" => {}
                _ if name.starts_with('-') => {
                    return Err(format!("{name} is not an option of these checks"));
                }
                _ => selection.filters.push(argument),
            }
            if let Some(value) = value {
                return Err(format!("{value} is given to an option that takes no value"));
            }
        }
        Ok(selection)
    }

    /// Whether the check with this name is selected.
    pub fn takes(&self, name: &str) -> bool {
        let matches = |part: &String| match self.is_exact {
            true => name == part,
            false => name.contains(part.as_str()),
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skipped.iter().any(matches)
    }
}

/// Checks of this program's own command line.
pub const ALL: &[Check] = &[(
    "a_run_without_a_check_fails_and_so_does_an_unknown_option",
    a_run_without_a_check_fails_and_so_does_an_unknown_option,
)];

fn a_run_without_a_check_fails_and_so_does_an_unknown_option() {
    let this = "a_run_without_a_check_fails_and_so_does_an_unknown_option";
    let occupied = "an_occupied_address_exits_with_one";
    for (arguments, code, expected) in [
        (&["no such check"][..], 101, "no check is called"),
        (
            &["--exact", "an_occupied_address"],
            101,
            "no check is called",
        ),
        (&["--skip", "_"], 101, "no check is called"),
        (&["--ignored"], 2, "--ignored is not an option"),
        (&["--test-threads"], 2, "--test-threads needs a value"),
        (&["--test-threads=0"], 2, "must be a number above 0"),
        (&["--list", "own_session", "occupied"], 0, occupied),
        (
            &["--exact", occupied, "--nocapture"],
            0,
            "1 passed, 0 failed",
        ),
        (
            &["occupied", "--test-threads", "1", "--skip", this],
            0,
            "1 passed, 0 failed",
        ),
    ] {
        let done = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}
