//! The completion for bash: tables of words as `case` statements, and one function that reads the line.

use std::fmt::Write as _;

use super::model::{Argument, Command, NOTICE, Offers, Source};

/// The file `lockgate.bash`, complete.
pub fn script(root: &Command) -> String {
    let mut text = format!("# Completion of lockgate for bash. {NOTICE}\n\n");
    let mut commands = String::new();
    let mut flags = String::new();
    let mut values = String::new();
    root.walk(&mut |path, command| {
        let names: Vec<&str> = command
            .commands
            .iter()
            .map(|inner| inner.name.as_str())
            .collect();
        if !names.is_empty() {
            case(&mut commands, &quoted(path), &names.join(" "));
        }
        let spellings: Vec<&str> = (command.arguments.iter())
            .flat_map(|argument| argument.flags.iter().map(String::as_str))
            .collect();
        case(&mut flags, &quoted(path), &spellings.join(" "));
        for argument in &command.arguments {
            let Some(offered) = offered(argument) else {
                continue;
            };
            let keys: Vec<String> = match argument.flags.as_slice() {
                [] => vec![quoted(&format!("{path} "))],
                flags => flags
                    .iter()
                    .map(|flag| quoted(&format!("{path} {flag}")))
                    .collect(),
            };
            case(&mut values, &keys.join("|"), &offered);
        }
    });
    table(
        &mut text,
        "commands",
        "The commands below a command.",
        &commands,
    );
    table(&mut text, "flags", "The flags of a command.", &flags);
    table(
        &mut text,
        "values",
        "What follows a flag of a command, or the command itself: a source, and words. Empty: a switch.",
        &values,
    );
    text.push_str(FUNCTIONS);
    text
}

/// The source and the words of a value; none for a switch.
fn offered(argument: &Argument) -> Option<String> {
    argument.value.as_ref()?;
    let Offers { words, source } = &argument.offers;
    let source = match source {
        Source::Nowhere => "words",
        Source::Files => "files",
        Source::Directories => "directories",
        Source::Users => "users",
        Source::Groups => "groups",
        Source::Applications => "applications",
    };
    Some(
        [source]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" "),
    )
}

fn table(text: &mut String, name: &str, comment: &str, cases: &str) {
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "# {comment}\n_lockgate_{name}() {{\n    _lockgate_found=\n    case $1 in\n{cases}    esac\n}}\n\n"
    );
}

fn case(cases: &mut String, pattern: &str, words: &str) {
    let _ = writeln!(
        cases,
        "        {pattern}) _lockgate_found={} ;;",
        quoted(words)
    );
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

const FUNCTIONS: &str = r#"# Offers the words "$2 …" for the text "$1" under the cursor.
_lockgate_offer() {
    local text=$1 word
    shift
    for word in "$@"; do
        if [[ $word == "$text"* ]]; then
            COMPREPLY+=("${word#"$_lockgate_before"}")
            [[ $word == *[:/=] ]] && compopt -o nospace 2>/dev/null
        fi
    done
}

# Offers values "$3 …" for a text that begins with "$1" (a flag with =, or nothing) and goes on with "$2".
_lockgate_value() {
    local lead=$1 text=$2 source=$3 entry
    shift 3
    set -f
    # shellcheck disable=SC2086
    _lockgate_offer "$lead$text" ${*/#/$lead}
    set +f
    case $source in
        files|directories|applications)
            local action=-f
            [[ $source == directories ]] && action=-d
            compopt -o filenames 2>/dev/null
            while IFS= read -r entry; do
                [[ $source == applications && ! -d $entry && $entry != *.py && $entry != *.ini ]] && continue
                _lockgate_offer "$lead$text" "$lead$entry"
            done < <(compgen "$action" -- "$text")
            if [[ $source == applications ]]; then
                for entry in */wsgi.py; do
                    [[ -f $entry ]] && _lockgate_offer "$text" "${entry%/wsgi.py}.wsgi"
                done
                [[ $text == *:* ]] && _lockgate_offer "$text" "${text%%:*}":{app,application,'create_app()'}
            fi
            ;;
        users) while IFS= read -r entry; do _lockgate_offer "$lead$text" "$lead$entry"; done < <(compgen -u -- "$text") ;;
        groups) while IFS= read -r entry; do _lockgate_offer "$lead$text" "$lead$entry"; done < <(compgen -g -- "$text") ;;
    esac
}

_lockgate() {
    local line=${COMP_LINE:0:COMP_POINT} text= path= awaited= found= word index=0
    local _lockgate_found _lockgate_before
    local -a words
    COMPREPLY=()
    read -ra words <<< "$line"
    if [[ $line != *[[:space:]] ]]; then
        text=${words[${#words[@]} - 1]}
        unset "words[${#words[@]} - 1]"
    fi
    # bash splits words at = and : too, and replaces only the last part, which is $2.
    _lockgate_before=${text%"$2"}
    for word in "${words[@]:1}"; do
        index=$((index + 1))
        if [[ -n $awaited ]]; then
            awaited=
            continue
        fi
        case $word in
            --*=*) ;;
            -*)
                _lockgate_values "$path $word"
                awaited=$_lockgate_found
                ;;
            *)
                _lockgate_commands "$path"
                # A command of the server is its first argument.
                if [[ " $_lockgate_found " == *" $word "* && ( -n $path || $index == 1 ) ]]; then
                    path=${path:+$path }$word
                fi
                ;;
        esac
    done
    if [[ -n $awaited ]]; then
        # shellcheck disable=SC2086
        _lockgate_value '' "$text" $awaited
    elif [[ $text == --*=* ]]; then
        _lockgate_values "$path ${text%%=*}"
        # shellcheck disable=SC2086
        [[ -n $_lockgate_found ]] && _lockgate_value "${text%%=*}=" "${text#*=}" $_lockgate_found
    elif [[ $text == -* ]]; then
        _lockgate_flags "$path"
        # shellcheck disable=SC2086
        _lockgate_offer "$text" $_lockgate_found
    else
        _lockgate_commands "$path"
        if [[ -n $path || $index == 0 ]]; then
            # shellcheck disable=SC2086
            _lockgate_offer "$text" $_lockgate_found
        fi
        _lockgate_values "$path "
        # shellcheck disable=SC2086
        [[ -n $_lockgate_found ]] && _lockgate_value '' "$text" $_lockgate_found
    fi
    return 0
}

complete -F _lockgate lockgate
"#;
