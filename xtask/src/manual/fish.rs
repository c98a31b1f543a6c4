//! The completion for fish: one `complete` for each argument of each command.

use std::fmt::Write as _;

use super::model::{Argument, Command, NOTICE, Source};

/// The file `lockgate.fish`, complete.
pub fn script(root: &Command) -> String {
    let mut text = format!("# Completion of lockgate for fish. {NOTICE}\n\n{FUNCTIONS}");
    text.push_str("function __lockgate_commands\n    switch \"$argv\"\n");
    root.walk(&mut |path, command| {
        if !command.commands.is_empty() {
            let names: Vec<&str> = command
                .commands
                .iter()
                .map(|inner| inner.name.as_str())
                .collect();
            let _ = writeln!(
                text,
                "        case {}\n            printf '%s\\n' {}",
                quoted(path),
                names.join(" ")
            );
        }
    });
    text.push_str("    end\nend\n\ncomplete -c lockgate -f\n");
    root.walk(&mut |path, command| {
        let _ = write!(text, "\n# lockgate {path}\n");
        let condition = quoted(&format!("__lockgate_is_at {path}"));
        for inner in &command.commands {
            let condition = if path.is_empty() {
                "'__lockgate_is_first'"
            } else {
                &condition
            };
            let _ = writeln!(
                text,
                "complete -c lockgate -n {condition} -a {} -d {}",
                inner.name,
                quoted(&inner.summary)
            );
        }
        for argument in &command.arguments {
            let is_after_commands =
                argument.flags.is_empty() && !command.commands.is_empty() && !path.is_empty();
            if !is_after_commands {
                entry(&mut text, &condition, argument);
            }
        }
    });
    text
}

fn entry(text: &mut String, condition: &str, argument: &Argument) {
    let _ = write!(text, "complete -c lockgate -n {condition}");
    for flag in &argument.flags {
        let _ = match flag.strip_prefix("--") {
            Some(long) => write!(text, " -l {long}"),
            None => write!(text, " -s {}", flag.trim_start_matches('-')),
        };
    }
    if argument.value.is_some() && !argument.flags.is_empty() {
        let is_file = argument.offers.source == Source::Files;
        text.push_str(if is_file { " -r" } else { " -x" });
    }
    let mut offered: Vec<String> = argument.offers.words.clone();
    match argument.offers.source {
        Source::Nowhere => {}
        Source::Files if argument.value.is_some() => text.push_str(" -F"),
        Source::Files => {}
        Source::Directories => offered.push("(__fish_complete_directories)".to_owned()),
        Source::Users => offered.push("(__fish_complete_users)".to_owned()),
        Source::Groups => offered.push("(__fish_complete_groups)".to_owned()),
        Source::Applications => offered.push("(__lockgate_applications)".to_owned()),
    }
    if !offered.is_empty() && argument.value.is_some() {
        let _ = write!(text, " -a {}", quoted(&offered.join(" ")));
    }
    if argument.flags.is_empty() {
        text.push('\n');
    } else {
        let _ = writeln!(text, " -d {}", quoted(&argument.brief()));
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

const FUNCTIONS: &str = r#"# The commands on the line, such as `ctl reload`.
function __lockgate_path
    set -l path
    set -l words (commandline -opc)
    for word in $words[2..]
        string match -q -- '-*' $word; and continue
        contains -- $word (__lockgate_commands $path); and set -a path $word
        # A command of the server is its first argument.
        set -q path[1]; or break
    end
    echo "$path"
end

function __lockgate_is_at
    test (__lockgate_path) = "$argv"
end

function __lockgate_is_first
    test (count (commandline -opc)) = 1
end

function __lockgate_applications
    for file in */wsgi.py
        string replace /wsgi.py .wsgi $file
    end
    for file in (commandline -ct)*.py (commandline -ct)*.ini (commandline -ct)*/
        echo $file
    end
end

"#;
