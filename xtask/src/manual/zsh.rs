//! The completion for zsh: a function for each command, with the specifications of `_arguments`.

use std::fmt::Write as _;

use super::model::{Argument, Command, NOTICE, Offers, Source};

/// The file `_lockgate`, complete.
pub fn script(root: &Command) -> String {
    let mut text = format!("#compdef lockgate\n# Completion of lockgate for zsh. {NOTICE}\n\n");
    root.walk(&mut |path, command| {
        if path.is_empty() {
            return;
        }
        let _ = writeln!(text, "{}() {{", function(path));
        if command.commands.is_empty() {
            let _ = write!(text, "    _arguments -s -S");
            specifications(&mut text, command);
            text.push_str("\n}\n\n");
            return;
        }
        text.push_str(
            "    local curcontext=$curcontext state line ret=1\n    typeset -A opt_args\n",
        );
        text.push_str("    _arguments -C -s -S");
        specifications(&mut text, command);
        text.push_str(
            " \\\n        '1: :->command' '*:: :->arguments' && ret=0\n    case $state in\n",
        );
        let _ = writeln!(
            text,
            "        command) _values command{} && ret=0 ;;",
            summaries(command)
        );
        text.push_str("        arguments)\n            case $line[1] in\n");
        for inner in &command.commands {
            let name = &inner.name;
            let _ = writeln!(
                text,
                "                {name}) {} && ret=0 ;;",
                function(&format!("{path} {name}"))
            );
        }
        text.push_str("            esac\n            ;;\n    esac\n    return ret\n}\n\n");
    });
    let _ = write!(
        text,
        "_lockgate_commands() {{\n    _values command{}\n}}\n\n",
        summaries(root)
    );
    text.push_str(APPLICATIONS);
    text.push_str("_lockgate() {\n    if (( CURRENT > 2 )); then\n        case $words[2] in\n");
    for command in &root.commands {
        let _ = writeln!(
            text,
            "            {0}) shift words; (( CURRENT-- )); {1}; return ;;",
            command.name,
            function(&command.name)
        );
    }
    text.push_str("        esac\n    fi\n    _arguments -s -S");
    for argument in root
        .arguments
        .iter()
        .filter(|argument| !argument.flags.is_empty())
    {
        let _ = write!(text, " \\\n        {}", specification(argument));
    }
    text.push_str(" \\\n        '1: :_lockgate_first'\n}\n\n");
    text.push_str(ENDING);
    text
}

/// The file is autoloaded by its first call, or sourced.
const ENDING: &str = r#"if [[ $funcstack[1] == _lockgate ]]; then
    _lockgate "$@"
else
    compdef _lockgate lockgate
fi
"#;

const APPLICATIONS: &str = r#"_lockgate_applications() {
    local -a modules
    modules=(*/wsgi.py(N:h))
    (( $#modules )) && compadd -- ${modules/%/.wsgi}
    _files -g '*.(py|ini)'
}

_lockgate_first() {
    if (( CURRENT == 2 )); then
        _alternative 'commands:command:_lockgate_commands' 'applications:application:_lockgate_applications'
    else
        _lockgate_applications
    fi
}

"#;

fn function(path: &str) -> String {
    format!("_lockgate_{}", path.replace([' ', '-'], "_"))
}

/// The commands below a command, as arguments of `_values`.
fn summaries(command: &Command) -> String {
    let mut text = String::new();
    for inner in &command.commands {
        let _ = write!(
            text,
            " \\\n        {}",
            quoted(&format!("{}[{}]", inner.name, bracketed(&inner.summary)))
        );
    }
    text
}

fn specifications(text: &mut String, command: &Command) {
    for argument in &command.arguments {
        let is_after_commands = argument.flags.is_empty() && !command.commands.is_empty();
        if !is_after_commands {
            let _ = write!(text, " \\\n        {}", specification(argument));
        }
    }
}

/// One argument for `_arguments`.
fn specification(argument: &Argument) -> String {
    let value = argument
        .value
        .as_deref()
        .map(|value| format!(":{}:{}", colons(value), action(&argument.offers)));
    let value = value.unwrap_or_default();
    if argument.flags.is_empty() {
        let start = if argument.is_repeated { "*" } else { "" };
        return quoted(&format!("{start}{value}"));
    }
    let help = bracketed(&argument.brief());
    let flags: Vec<String> = argument
        .flags
        .iter()
        .map(|flag| match (&argument.value, flag.starts_with("--")) {
            (None, _) => flag.clone(),
            (Some(_), true) => format!("{flag}="),
            (Some(_), false) => format!("{flag}+"),
        })
        .collect();
    let exclusion = if argument.is_repeated {
        "*".to_owned()
    } else if argument.flags.len() > 1 {
        format!("({})", argument.flags.join(" "))
    } else {
        String::new()
    };
    match flags.as_slice() {
        [flag] => quoted(&format!("{exclusion}{flag}[{help}]{value}")),
        // The shell expands the braces: one specification for each spelling.
        flags => format!(
            "{}{{{}}}{}",
            quoted(&exclusion),
            flags.join(","),
            quoted(&format!("[{help}]{value}"))
        ),
    }
}

fn action(offers: &Offers) -> String {
    let words: Vec<String> = offers
        .words
        .iter()
        .map(|word| word.replace(':', "\\:").replace('(', "\\("))
        .collect();
    let words = format!("({})", words.join(" "));
    let source = match offers.source {
        Source::Nowhere if offers.words.is_empty() => return " ".to_owned(),
        Source::Nowhere => return words,
        Source::Files => "_files",
        Source::Directories => "_files -/",
        Source::Users => "_users",
        Source::Groups => "_groups",
        Source::Applications => "_lockgate_applications",
    };
    if offers.words.is_empty() {
        return source.to_owned();
    }
    format!("_alternative \"words\\:word\\:{words}\" \"names\\:name\\:{source}\"")
}

/// In brackets of a specification.
fn bracketed(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace('`', "")
}

fn colons(text: &str) -> String {
    text.replace(':', "\\:")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
