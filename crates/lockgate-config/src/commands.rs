//! The commands beside serving, as the help lists them. Their arguments are declared in Python, where they run.

/// A command: `lockgate NAME …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// The first argument of the command line.
    pub name: &'static str,
    /// What follows it in the usage.
    pub arguments: &'static str,
    /// What it does, in half a line without a full stop.
    pub summary: &'static str,
}

/// Every command, in the order of the help.
pub const COMMANDS: &[Command] = &[
    command(
        "dev",
        "[APP]",
        "serves while you write: reloads, shows errors",
    ),
    command(
        "check",
        "[APP]",
        "faults of an application, and what hurts in production",
    ),
    command("doctor", "", "what is wrong with a running server now"),
    command(
        "init",
        "[DIR]",
        "a first lockgate.toml for the project in a directory",
    ),
    command(
        "ctl",
        "COMMAND",
        "one command for a running server: status, reload, …",
    ),
    command("top", "", "a live view of a running server"),
    command(
        "convert",
        "FILE",
        "lockgate.toml from uWSGI, gunicorn, granian, waitress",
    ),
    command("precompress", "DIR", "compressed copies of static files"),
    command(
        "hash-password",
        "",
        "a line for the file of users of basic_auth",
    ),
    command(
        "help",
        "[NAME]",
        "what a setting or a command does: help workers",
    ),
    command(
        "man",
        "[PAGE]",
        "a man page: a command, or lockgate.toml with all settings",
    ),
    command(
        "completions",
        "SHELL",
        "completion of command lines for bash, zsh, fish",
    ),
];

const fn command(name: &'static str, arguments: &'static str, summary: &'static str) -> Command {
    Command {
        name,
        arguments,
        summary,
    }
}
