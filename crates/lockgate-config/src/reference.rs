//! The reference page of settings, generated from the table.

use std::fmt::Write as _;

use crate::command_line::CONTROLS;
use crate::settings::in_section;
use crate::{Section, Setting, Shape};

/// The page `docs/reference/settings.md`, complete.
pub fn reference_page() -> String {
    let mut page = String::from(INTRODUCTION);
    for section in Section::ALL {
        push(&mut page, format_args!("\n## {}\n", section.title()));
        for setting in in_section(section) {
            entry(&mut page, setting);
        }
    }
    page.push_str(COMMANDS);
    for control in &CONTROLS {
        let short = control
            .short
            .map(|short| format!("`-{short}`, "))
            .unwrap_or_default();
        let placeholder = control
            .placeholder
            .map(|placeholder| format!(" {placeholder}"))
            .unwrap_or_default();
        push(
            &mut page,
            format_args!(
                "| {short}`--{}{placeholder}` | {} |\n",
                control.long, control.doc
            ),
        );
    }
    page
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/lockgate-config by `make docs`. Do not edit. -->

# Settings

Settings can be set in three places, under one name. `mount`, `route`, `redirect` and `rewrite` are for the file only.

| Place | Form | Example |
| --- | --- | --- |
| flag | the name with hyphens | `--graceful-timeout 30s` |
| `lockgate.toml` | the name with underscores, at the top level | `graceful_timeout = \"30s\"` |
| environment | `LOCKGATE_` and the name in capitals | `LOCKGATE_GRACEFUL_TIMEOUT=30s` |

Flags override the file, the file overrides the environment, and the environment overrides the default.
The flags in the variable `GUNICORN_CMD_ARGS` are between the command line and the file.
A list replaces the list that it overrides; it does not extend it.
An unknown flag, key or `LOCKGATE_` variable is an error, and so is an invalid value; all errors are reported together.
An empty variable counts as unset.
Variables that Kubernetes and Docker links set for a service called `lockgate` or `lockgate-NAME` (`LOCKGATE_SERVICE_HOST`, `LOCKGATE_PORT=tcp://…`, `LOCKGATE_PORT_80_TCP_ADDR`) are ignored.
`lockgate --print-config` shows every setting with its value and its origin.

The file is the one that `-c` or `LOCKGATE_CONFIG` names, else `lockgate.toml` in the working directory, else gunicorn's `gunicorn.conf.py` there.
`lockgate.toml` also accepts gunicorn's names, as in `keepalive = 5`.
[Settings of gunicorn](gunicorn.md) lists them all, and [Moving from gunicorn](../from-gunicorn.md) has the rules for `gunicorn.conf.py`.
The variables `WEB_CONCURRENCY`, `PORT` and `FORWARDED_ALLOW_IPS`, which platforms set, are used for `workers`, `bind` and `forwarded_allow_ips` where these are not set otherwise.

A relative path is relative to `chdir`, or without it to the directory in which the server was started.
`chdir` itself and the path of the configuration file are always relative to the latter.
Paths are made absolute when the settings are read, so an application that changes its working directory does not move the logs.

A time is a number of seconds, or has a unit: `30`, `1.5`, `500ms`, `30s`, `2m`, `1h`, `7d`; at most a year.
A size is a number of bytes, or has a unit: `1048576`, `512KiB`, `64K`, `1GiB`; `K`, `M` and `G` are powers of 1024, `KB`, `MB` and `GB` powers of 1000.
In the file, a value with a unit is written in quotes.
";

const COMMANDS: &str = "
## Other flags

| Flag | What it does |
| --- | --- |
";

fn entry(page: &mut String, setting: &Setting) {
    push(page, format_args!("\n### `{}`\n\n", setting.name));
    // One sentence per line, so that a change to one sentence changes one line.
    push(
        page,
        format_args!("{}\n\n", setting.doc.replace(". ", ".\n")),
    );
    let mut row = |title: &str, text: String| push(page, format_args!("- {title}: {text}\n"));
    if setting.shape == Shape::Tables {
        row("Place", format!("the file only, as `[[{}]]`", setting.name));
    } else if setting.flags.is_empty() {
        row("Command line", format!("`{}`", setting.kind.placeholder()));
    } else {
        row("Flags", code_list(&setting.spellings()));
    }
    if let Some(variable) = setting.variable() {
        row("Variable", format!("`{variable}`"));
    }
    let several = if [Shape::List, Shape::Tables].contains(&setting.shape) {
        "one or more: "
    } else {
        ""
    };
    let bare = match setting.shape {
        Shape::ValueOrBare(bare) => format!("; the flag alone means `{bare}`"),
        _ => String::new(),
    };
    row(
        "Value",
        format!("{several}{}{bare}", setting.kind.accepts()),
    );
    if setting.shape == Shape::Argument {
        row("Default", "none; required".to_owned());
    } else {
        row("Default", format!("`{}`", setting.default_text()));
    }
    if !setting.gunicorn.is_empty() {
        row("gunicorn", code_list(setting.gunicorn));
    }
    if !setting.uwsgi.is_empty() {
        row("uWSGI (closest equivalent)", code_list(setting.uwsgi));
    }
}

fn code_list<T: std::fmt::Display>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = page.write_fmt(text);
}
