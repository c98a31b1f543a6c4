//! The texts of `lockgate -h` and `lockgate help NAME`, from the tables of settings and commands.

use std::fmt::Write as _;

use super::grammar::{CONTROLS, brief, command};
use crate::commands::COMMANDS;
use crate::setting::{Setting, Shape};
use crate::{ConfigError, settings, suggestions};

/// The settings that `-h` shows: what a first deployment sets, and fewer words than their summary if that is too long
/// for its line. All others are in `--help`.
const ESSENTIAL: [(&str, Option<&str>); 20] = [
    ("chdir", None),
    (
        "env",
        Some("Variable of the environment of the application"),
    ),
    ("bind", None),
    (
        "domain",
        Some("Name of the site, with a certificate that is renewed by itself"),
    ),
    (
        "certfile",
        Some("Certificate in PEM, followed by those of its issuers"),
    ),
    ("keyfile", Some("Its key")),
    ("workers", None),
    ("threads", Some("Most threads of each worker")),
    (
        "timeout",
        Some("Longest time that a worker with one thread may hang"),
    ),
    (
        "request_timeout",
        Some("Longest time of a request; 0: no limit"),
    ),
    (
        "graceful_timeout",
        Some("Longest time for a worker to finish its requests"),
    ),
    (
        "max_requests",
        Some("Requests after which a worker is replaced; 0: never"),
    ),
    ("preload", None),
    ("forwarded_allow_ips", Some("Trusted proxies")),
    ("static", None),
    ("access_logfile", None),
    ("error_logfile", None),
    ("log_level", None),
    (
        "admin_bind",
        Some("Address for ctl, top, metrics and health checks"),
    ),
    ("user", None),
];

/// Column at which the summaries begin.
const INDENT: usize = 37;

const EXAMPLES: &str = "\
Examples:
  lockgate shop.wsgi                             the application of shop/wsgi.py, on 127.0.0.1:8000
  lockgate 'shop:create_app()' -b :80 -w 4       a factory, on every interface, with 4 workers
  lockgate app.py --access-logfile -             a file, with the access log on standard output
  lockgate shop.wsgi --domain shop.example       HTTPS, with a certificate that renews itself
  lockgate --check-config                        checks lockgate.toml and loads the application
";

const FURTHER: &str = "\
lockgate help NAME explains one setting, lockgate help settings lists all, lockgate --help is the
whole reference. Each setting is also a key of lockgate.toml (graceful_timeout = 30) and a variable
(LOCKGATE_GRACEFUL_TIMEOUT=30). Flags override the file, the file overrides variables.
";

/// The text of `-h`: at most 60 lines of at most 100 columns.
pub(super) fn short() -> String {
    let mut text = String::from(
        "A production WSGI server.\n\nUsage: lockgate [OPTIONS] [APP]\n       lockgate COMMAND …\n\nCommands:\n",
    );
    for command in COMMANDS {
        let usage = format!("  {} {}", command.name, command.arguments);
        push(&mut text, &usage, command.summary);
    }
    text.push_str("\nOptions, with their defaults in brackets:\n");
    push(
        &mut text,
        "  [APP]",
        "The application: module:attribute, module, or file.py",
    );
    for control in &CONTROLS {
        let usage = usage(control.short, control.long, control.placeholder);
        push(&mut text, &usage, control.summary());
    }
    for setting in settings() {
        let essential = ESSENTIAL.iter().find(|(name, _)| *name == setting.name);
        if let (Some((_, words)), Some(flag)) = (essential, setting.flags.first()) {
            let usage = usage(setting.short, flag, value_name(setting));
            push(&mut text, &usage, &with_default(setting, *words));
        }
    }
    text.push('\n');
    text.push_str(EXAMPLES);
    text.push('\n');
    text.push_str(FURTHER);
    text
}

/// The text of `lockgate help TOPIC …`.
pub(super) fn about(topics: &[String]) -> Result<String, ConfigError> {
    let mut texts = Vec::new();
    for topic in topics {
        texts.push(match topic.as_str() {
            "settings" => one_line_each(),
            topic => match found(topic) {
                Some(setting) => entry(setting),
                None => mentions(topic)?,
            },
        });
    }
    if texts.is_empty() {
        texts.push(short());
    }
    Ok(texts.join("\n"))
}

/// Every flag with its summary.
fn one_line_each() -> String {
    super::for_one_application(&command().render_help().to_string())
}

/// The setting with this name of ours, flag, variable or name of gunicorn's.
fn found(topic: &str) -> Option<&'static Setting> {
    let bare = match topic.trim_start_matches('-') {
        // What others call the parts of an address.
        "port" | "host" => "bind",
        other => other,
    };
    let is_flag = |flag: &str| flag == bare || bare.strip_prefix("no-") == Some(flag);
    let is_it = |setting: &&Setting| {
        setting.name == topic.replace('-', "_")
            || setting.variable().as_deref() == Some(topic)
            || setting.gunicorn.contains(&topic)
            || setting.flags.iter().any(|flag| is_flag(flag))
            || setting
                .short
                .is_some_and(|short| topic == format!("-{short}"))
    };
    settings().find(is_it)
}

/// The settings whose texts mention a word, one line each.
fn mentions(topic: &str) -> Result<String, ConfigError> {
    let word = topic.to_lowercase();
    let mut text = format!("No setting is called {topic}. These mention it:\n\n");
    let mut count = 0;
    for setting in settings() {
        let texts = [setting.name, setting.doc, setting.section.title()];
        let foreign = setting.uwsgi.contains(&topic);
        if foreign || texts.iter().any(|text| text.to_lowercase().contains(&word)) {
            count += 1;
            push(&mut text, &format!("  {}", setting.name), setting.summary());
        }
    }
    if count > 0 {
        text.push_str("\nlockgate help NAME explains one of them.\n");
        return Ok(text);
    }
    let candidates = settings().flat_map(|setting| {
        let names = setting.gunicorn.iter().chain([&setting.name]);
        names.map(|name| ((*name).to_owned(), setting.name.to_owned()))
    });
    let commands = COMMANDS
        .iter()
        .map(|command| (command.name.to_owned(), command.name.to_owned()));
    let candidates: Vec<_> = candidates.chain(commands).collect();
    Err(ConfigError::UnknownTopic {
        suggestion: suggestions::suggest(topic, &candidates).map(str::to_owned),
        topic: topic.to_owned(),
    })
}

/// All that is known of one setting.
fn entry(setting: &Setting) -> String {
    let mut text = format!("{}\n", setting.name);
    for line in super::grammar::wrapped(&plain(setting.doc)).lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
    let mut row = |title: &str, value: &str| {
        let lines = super::grammar::wrapped(value).replace('\n', "\n              ");
        let _ = writeln!(text, "    {:<10}{lines}", format!("{title}:"));
    };
    let value = setting.kind.placeholder();
    match setting.shape {
        Shape::Tables => {}
        Shape::Argument => row("Argument", value),
        Shape::Switch => row("Flags", &setting.spellings().join(", ")),
        Shape::ValueOrBare(bare) => {
            row(
                "Flag",
                &format!(
                    "{} [{value}]; alone it means {bare}",
                    setting.spellings().join(", ")
                ),
            );
        }
        Shape::Value | Shape::List => {
            row(
                "Flag",
                &format!("{} {value}", setting.spellings().join(", ")),
            );
        }
    }
    let default = setting.default_text();
    match setting.shape {
        Shape::Tables => row("File", &format!("[[{}]], as often as needed", setting.name)),
        Shape::Argument => row("File", "app = \"shop.wsgi:application\""),
        _ => row("File", &format!("{} = {default}", setting.name)),
    }
    if let Some(variable) = setting.variable() {
        row("Variable", &variable);
    }
    row("Value", &plain(&setting.kind.accepts()).replace('`', ""));
    row(
        "Default",
        if setting.shape == Shape::Argument {
            "none; required"
        } else {
            &default
        },
    );
    if !setting.gunicorn.is_empty() {
        row("gunicorn", &setting.gunicorn.join(", "));
    }
    if !setting.uwsgi.is_empty() {
        row("uWSGI", &setting.uwsgi.join(", "));
    }
    text
}

/// The placeholder of a flag that takes a value.
fn value_name(setting: &Setting) -> Option<&'static str> {
    (setting.shape != Shape::Switch).then(|| setting.kind.placeholder())
}

fn with_default(setting: &Setting, words: Option<&'static str>) -> String {
    let summary = words.unwrap_or_else(|| setting.summary());
    match brief(&setting.default_text()) {
        Some(default) => format!("{summary} [{}]", default.replace("\", \"", ",")),
        None => summary.to_owned(),
    }
}

fn usage(short: Option<char>, long: &str, placeholder: Option<&str>) -> String {
    let short = short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let placeholder = placeholder.map_or_else(String::new, |value| format!(" {value}"));
    format!("  {short}--{long}{placeholder}")
}

fn push(text: &mut String, left: &str, right: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{left:<INDENT$} {right}");
}

/// A paragraph of the reference without Markdown's links: `[text](page)` becomes `text (page)`.
pub(super) fn plain(doc: &str) -> String {
    let mut text = String::with_capacity(doc.len());
    let mut rest = doc;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((words, (target, further))) = before.rsplit_once('[').zip(after.split_once(')'))
        else {
            break;
        };
        let target = target.replace("../", "docs/");
        let _ = write!(text, "{}{} ({target})", words.0, words.1);
        rest = further;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_fits_a_screen_and_names_settings_that_exist() {
        let text = short();
        assert!(
            text.lines().count() <= 60,
            "{} lines:\n{text}",
            text.lines().count()
        );
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for (name, _) in ESSENTIAL {
            let setting = crate::settings::named(name).expect(name);
            assert!(text.contains(&format!("--{}", setting.flags[0])), "{name}");
        }
    }

    #[test]
    fn a_topic_is_a_setting_by_any_of_its_names() {
        let cases = [
            ("workers", "workers"),
            ("-w", "workers"),
            ("--workers", "workers"),
            ("LOCKGATE_WORKERS", "workers"),
            ("graceful-timeout", "graceful_timeout"),
            ("--no-sendfile", "sendfile"),
            ("accesslog", "access_logfile"),
            ("route", "route"),
            ("app", "app"),
        ];
        for (topic, name) in cases {
            let text = about(&[topic.to_owned()]).expect(topic);
            assert!(text.starts_with(&format!("{name}\n")), "{topic}: {text}");
        }
    }

    #[test]
    fn every_setting_has_an_entry_within_a_terminal() {
        for setting in settings() {
            let text = entry(setting);
            assert!(
                text.contains("Default:") && text.contains("Value:"),
                "{text}"
            );
            assert!(!text.contains("](") && !text.contains("../"), "{text}");
            for line in text.lines().filter(|line| line.contains(' ')) {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }

    #[test]
    fn a_word_finds_the_settings_that_mention_it_and_a_mistake_its_neighbour() {
        let text = about(&["websocket".to_owned()]).expect("mentioned");
        assert!(text.contains("\n  websocket_over_http "), "{text}");
        let text = about(&["settings".to_owned()]).expect("a topic");
        assert!(
            settings()
                .all(|setting| text.contains(setting.summary()) || setting.shape == Shape::Tables)
        );
        for (topic, suggestion) in [
            ("wrokers", Some("workers")),
            ("precompres", Some("precompress")),
            ("qqqq", None),
        ] {
            let expected = ConfigError::UnknownTopic {
                topic: topic.to_owned(),
                suggestion: suggestion.map(str::to_owned),
            };
            assert_eq!(about(&[topic.to_owned()]), Err(expected), "{topic}");
        }
    }

    #[test]
    fn links_become_words() {
        let cases = [
            ("no link [a] (b)", "no link [a] (b)"),
            (
                "[Its page](../uwsgi.md) has it.",
                "Its page (docs/uwsgi.md) has it.",
            ),
            ("a [b](c) d [e](f)", "a b (c) d e (f)"),
            ("broken [b](c", "broken [b](c"),
        ];
        for (doc, text) in cases {
            assert_eq!(plain(doc), text);
        }
    }
}
