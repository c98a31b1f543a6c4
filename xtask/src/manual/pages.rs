//! Man pages: `lockgate(1)`, one for each command, and `lockgate.toml(5)`.

use std::fmt::Write as _;

use lockgate_config::{Section, Shape, controls, settings};

use super::model::{Argument, Command, NOTICE};
use super::roff;

/// Each page by the name of its file.
pub fn pages(root: &Command) -> Vec<(String, String)> {
    let mut pages = vec![
        ("lockgate.1".to_owned(), server(root)),
        ("lockgate.toml.5".to_owned(), settings_file(root)),
    ];
    for command in &root.commands {
        pages.push((
            format!("lockgate-{}.1", command.name),
            of_command(root, command),
        ));
    }
    pages
}

fn head(name: &str, section: u8, summary: &str) -> String {
    format!(
        ".\\\" {NOTICE}\n.TH \"{}\" \"{section}\" \"\" \"Lockgate {}\" \"Lockgate\"\n.SH NAME\n{} \\- {}\n",
        roff::literal(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        roff::literal(name),
        roff::literal(summary),
    )
}

fn server(root: &Command) -> String {
    let mut page = head("lockgate", 1, &root.summary);
    page.push_str(".SH SYNOPSIS\n.B lockgate\n.RI [ OPTIONS ]\n.RI [ APP ]\n.br\n.B lockgate\n.I COMMAND\n\\&...\n");
    page.push_str(".SH DESCRIPTION\n");
    push(
        &mut page,
        &roff::paragraph(
            "Lockgate serves a Python application that follows WSGI (PEP 3333). `APP` is `module:attribute`, \
         `module:factory()`, a module, or a Python file. Without an attribute the usual names are tried. Settings are \
         flags, keys of `lockgate.toml`, and variables of the environment; flags override the file, and the file \
         overrides variables.",
        ),
    );
    page.push_str(".SH COMMANDS\n");
    for command in &root.commands {
        let _ = write!(
            page,
            ".TP\n.BR lockgate\\-{} (1)\n",
            roff::literal(&command.name)
        );
        push(&mut page, &roff::paragraph(&sentence(&command.summary)));
    }
    page.push_str(".SH OPTIONS\n");
    let is_control = |argument: &&Argument| {
        controls().any(|control| argument.flags.contains(&format!("--{}", control.long)))
    };
    for argument in root.arguments.iter().filter(is_control) {
        item(&mut page, argument);
    }
    for section in Section::ALL {
        let _ = writeln!(page, ".SS {}", roff::literal(section.title()));
        for setting in settings().filter(|setting| setting.section == section) {
            let spellings = setting.spellings();
            let argument = root
                .arguments
                .iter()
                .find(|argument| !spellings.is_empty() && argument.flags == spellings);
            if let Some(argument) = argument {
                item(&mut page, argument);
            }
        }
    }
    page.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in [
        (
            "0",
            "The server has stopped after it was asked to, or the check has passed.",
        ),
        (
            "1",
            "Any error that is none of the following, such as an address in use.",
        ),
        (
            "2",
            "Mistakes in flags, variables or the file; all of them are listed.",
        ),
        ("3", "The import of the application has failed."),
        ("4", "The module has no such application."),
    ] {
        let _ = write!(page, ".TP\n.B {code}\n{}\n", roff::paragraph(meaning));
    }
    page.push_str(".SH ENVIRONMENT\n");
    push(
        &mut page,
        &roff::paragraph(
            "Each setting can be set by the variable `LOCKGATE_` and its name in capitals, and `LOCKGATE_CONFIG` names the \
         file. `WEB_CONCURRENCY`, `PORT` and `FORWARDED_ALLOW_IPS` set `workers`, `bind` and `forwarded_allow_ips` \
         if these are not set otherwise. `GUNICORN_CMD_ARGS` may contain further flags.",
        ),
    );
    page.push_str(
        ".SH FILES\n.TP\n.I lockgate.toml\nIn the working directory; see\n.BR lockgate.toml (5).\n",
    );
    page.push_str(
        ".TP\n.I gunicorn.conf.py\nIs read where there is no\n.IR lockgate.toml .\n.SH SIGNALS\n",
    );
    for (signal, effect) in [
        ("TERM", "Finishes the running requests and stops."),
        ("INT, QUIT", "Stops quickly."),
        (
            "HUP",
            "Starts workers with new code and settings; they take over when all are ready, or not at all.",
        ),
        ("USR1", "Opens the log files again."),
        (
            "USR2",
            "Continues as the installed version of Lockgate, in the same process.",
        ),
        ("TTIN, TTOU", "One worker more, one worker fewer."),
    ] {
        let _ = write!(page, ".TP\n.B {signal}\n{}\n", roff::paragraph(effect));
    }
    page.push_str(".SH EXAMPLES\n");
    for (command, effect) in [
        (
            "lockgate shop.wsgi",
            "Serves the application of shop/wsgi.py on 127.0.0.1:8000.",
        ),
        (
            "lockgate 'shop:create_app()' -b :80 -w 4",
            "A factory, on every interface, with 4 workers.",
        ),
        (
            "lockgate app.py --access-logfile -",
            "A file, with the access log on standard output.",
        ),
        (
            "lockgate shop.wsgi --domain shop.example",
            "HTTPS, with a certificate that renews itself.",
        ),
        (
            "lockgate --check-config",
            "Checks lockgate.toml, and loads the application.",
        ),
    ] {
        example(&mut page, command, effect);
    }
    see_also(&mut page, root, "lockgate");
    page
}

fn settings_file(root: &Command) -> String {
    let mut page = head("lockgate.toml", 5, "settings of lockgate");
    page.push_str(".SH DESCRIPTION\n");
    for text in [
        "The file has one line for each setting, as TOML: a name, an equals sign and a value. Settings are at the top \
         level, without sections; `mount`, `route`, `redirect` and `rewrite` are tables in double brackets. The file is \
         `lockgate.toml` in the working directory, or the one that `-c` or `LOCKGATE_CONFIG` names.",
        "A time is a number of seconds, or has a unit: `30`, `\"500ms\"`, `\"2m\"`. A size is a number of bytes, or has a \
         unit: `1048576`, `\"512KiB\"`, `\"1GiB\"`. A relative path is relative to `chdir`, or to the directory in \
         which the server was started.",
        "An unknown name is an error, and so is an invalid value. `lockgate --check-config` checks the file, and \
         `lockgate --print-config` prints every setting with its value and origin.",
    ] {
        let _ = write!(page, "{}\n.PP\n", roff::paragraph(text));
    }
    page.truncate(page.len() - ".PP\n".len());
    for section in Section::ALL {
        let _ = writeln!(
            page,
            ".SH {}",
            roff::literal(&section.title().to_uppercase())
        );
        for setting in settings().filter(|setting| setting.section == section) {
            let _ = write!(
                page,
                ".TP\n.B {}\n{}\n",
                roff::literal(setting.name),
                roff::paragraph(setting.doc)
            );
            let mut rows = Vec::new();
            if !setting.flags.is_empty() {
                rows.push(format!("Flags: `{}`.", setting.spellings().join("`, `")));
            }
            rows.push(format!("Value: {}.", setting.kind.accepts()));
            rows.push(match setting.shape {
                Shape::Argument => "There is no default.".to_owned(),
                _ => format!("Default: `{}`.", setting.default_text()),
            });
            if !setting.gunicorn.is_empty() && setting.gunicorn != [setting.name] {
                rows.push(format!("In gunicorn: `{}`.", setting.gunicorn.join("`, `")));
            }
            let rows: Vec<String> = rows.iter().map(|row| roff::paragraph(row)).collect();
            let _ = write!(page, ".IP\n{}\n", rows.join("\n.br\n"));
        }
    }
    page.push_str(".SH EXAMPLES\n.nf\n");
    for line in [
        "app = \"shop.wsgi:application\"",
        "bind = [\"unix:/run/shop/http.sock\", \"127.0.0.1:8000\"]",
        "workers = 4",
        "graceful_timeout = \"1m\"",
        "access_logfile = \"/var/log/shop/access.log\"",
        "static = [\"/static=/srv/shop/static\"]",
        "admin_bind = \"unix:/run/shop/admin.sock\"",
    ] {
        push(&mut page, &roff::line(line));
    }
    page.push_str(".fi\n");
    see_also(&mut page, root, "lockgate.toml");
    page
}

fn of_command(root: &Command, command: &Command) -> String {
    let name = format!("lockgate-{}", command.name);
    let mut page = head(&name, 1, &command.summary);
    page.push_str(".SH SYNOPSIS\n");
    synopsis(&mut page, &command.name, command);
    page.push_str(".SH DESCRIPTION\n");
    let paragraphs: Vec<String> = command
        .description
        .split("\n\n")
        .map(roff::paragraph)
        .collect();
    push(&mut page, &paragraphs.join("\n.PP\n"));
    if !command.arguments.is_empty() {
        page.push_str(".SH OPTIONS\n");
        for argument in &command.arguments {
            item(&mut page, argument);
        }
    }
    if !command.commands.is_empty() {
        page.push_str(".SH COMMANDS\n");
        for inner in &command.commands {
            let _ = writeln!(page, ".SS {}", roff::literal(&inner.name));
            synopsis(
                &mut page,
                &format!("{} {}", command.name, inner.name),
                inner,
            );
            let _ = write!(page, ".PP\n{}\n", roff::paragraph(&inner.description));
            let is_own = |argument: &&Argument| {
                !command
                    .arguments
                    .iter()
                    .any(|outer| outer.flags == argument.flags)
            };
            for argument in inner.arguments.iter().filter(is_own) {
                item(&mut page, argument);
            }
            for (line, effect) in inner
                .examples
                .iter()
                .filter(|(_, effect)| !effect.is_empty())
            {
                example(&mut page, line, effect);
            }
        }
    }
    page.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in &command.exit_codes {
        let _ = write!(page, ".TP\n.B {code}\n{}\n", roff::paragraph(meaning));
    }
    page.push_str(".SH EXAMPLES\n");
    for (line, effect) in &command.examples {
        example(&mut page, line, effect);
    }
    see_also(&mut page, root, &name);
    page
}

fn synopsis(page: &mut String, path: &str, command: &Command) {
    let _ = writeln!(page, ".B lockgate {}", roff::literal(path));
    if command
        .arguments
        .iter()
        .any(|argument| !argument.flags.is_empty())
    {
        page.push_str(".RI [ OPTIONS ]\n");
    }
    if !command.commands.is_empty() {
        page.push_str(".I COMMAND\n\\&...\n");
    }
    for argument in command
        .arguments
        .iter()
        .filter(|argument| argument.flags.is_empty())
    {
        let value = roff::literal(argument.value.as_deref().unwrap_or_default());
        let repeated = if argument.is_repeated { "\n\\&..." } else { "" };
        let _ = if argument.is_optional {
            writeln!(page, ".RI [ {value} ]{repeated}")
        } else {
            writeln!(page, ".I {value}{repeated}")
        };
    }
}

fn item(page: &mut String, argument: &Argument) {
    let value = argument
        .value
        .as_ref()
        .map(|value| format!("\\fI{}\\fR", roff::literal(value)));
    let flags: Vec<String> = argument
        .flags
        .iter()
        .map(|flag| format!("\\fB{}\\fR", roff::literal(flag)))
        .collect();
    let tag: Vec<String> = [flags.join(", ")]
        .into_iter()
        .chain(value)
        .filter(|part| !part.is_empty())
        .collect();
    let help = argument.help.trim_end_matches('.');
    let default = argument.default.as_deref().filter(|default| {
        let bare = default.trim_matches(['[', ']', '"', '{', '}']);
        !bare.is_empty() && !help.contains("default:")
    });
    let default = default
        .map(|default| format!(" (default: `{default}`)"))
        .unwrap_or_default();
    let help = sentence(&format!("{help}{default}"));
    let _ = write!(page, ".TP\n{}\n{}\n", tag.join(" "), roff::paragraph(&help));
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .map(|first| first.to_uppercase().collect())
        .unwrap_or_default();
    let end = if text.ends_with('…') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

fn example(page: &mut String, command: &str, effect: &str) {
    let _ = write!(page, ".TP\n.B {}\n", roff::literal(command));
    push(
        page,
        &if effect.is_empty() {
            "\\&".to_owned()
        } else {
            roff::paragraph(effect)
        },
    );
}

fn see_also(page: &mut String, root: &Command, own: &str) {
    let commands = root
        .commands
        .iter()
        .map(|command| (format!("lockgate-{}", command.name), 1));
    let others: Vec<(String, u8)> = [("lockgate".to_owned(), 1)]
        .into_iter()
        .chain(commands)
        .chain([("lockgate.toml".to_owned(), 5)])
        .filter(|(name, _)| name != own)
        .collect();
    page.push_str(".SH SEE ALSO\n");
    for (index, (name, section)) in others.iter().enumerate() {
        let comma = if index + 1 < others.len() { "," } else { "" };
        let _ = writeln!(page, ".BR {} ({section}){comma}", roff::literal(name));
    }
}

fn push(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}
