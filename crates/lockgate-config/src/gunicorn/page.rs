//! The reference page of gunicorn's settings, generated from the tables.

use super::names::NAMES;
use crate::command_line::VALUE_FLAGS;
use crate::unsupported::{self, Support};
use crate::{HookName, settings};

/// The page `docs/reference/gunicorn.md`, complete.
pub fn gunicorn_page() -> String {
    let mut page = String::from(INTRODUCTION);
    for name in NAMES {
        let (flags, answer) = row(name);
        let flags: Vec<String> = flags.iter().map(|flag| format!("`{flag}`")).collect();
        page.push_str(&format!("| `{name}` | {} | {answer} |\n", flags.join(" ")));
    }
    page
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/lockgate-config by `make docs`. Do not edit. -->

# Settings of gunicorn

Every name and flag of gunicorn 27, and what it means in Lockgate.
[Moving from gunicorn](../from-gunicorn.md) says what to do, and how the two servers differ.

- A name with a link is a setting of Lockgate, which accepts gunicorn's name and flag.
- *Ignored* settings are accepted; the log has a warning unless the value is gunicorn's default.
- *Refused* settings stop the start with the advice in the table, unless the value is gunicorn's default.

In `lockgate.toml` and in `LOCKGATE_*` variables, ignored and refused settings are errors.

| gunicorn | Flags | In Lockgate |
| --- | --- | --- |
";

/// The flags of a setting, and what it means here.
fn row(name: &str) -> (Vec<String>, String) {
    if let Some(setting) = settings().find(|setting| setting.gunicorn.contains(&name)) {
        let link = format!("[`{0}`](settings.md#{0})", setting.name);
        let further = VALUE_FLAGS
            .iter()
            .filter(|(_, meant)| *meant == setting.name);
        let further = further.map(|(flag, _)| format!("--{flag}"));
        return (
            setting.spellings().into_iter().chain(further).collect(),
            link,
        );
    }
    if let Some(hook) = HookName::named(name) {
        let parameters = hook.parameters().join(", ");
        return (Vec::new(), format!("a hook: `{name}({parameters})`"));
    }
    if name == "logconfig_dict" {
        let answer =
            "as in gunicorn, in the configuration file: [logging](../gunicorn-hooks.md#logging)";
        return (Vec::new(), answer.to_owned());
    }
    let Some(setting) = unsupported::by_name(name) else {
        return (Vec::new(), String::new());
    };
    let short = setting.short.map(|short| format!("-{short}"));
    let long = setting.long_flags();
    let flags = short
        .into_iter()
        .chain(long.iter().map(|flag| format!("--{flag}")))
        .collect();
    let state = match setting.support {
        Support::Ignored => "ignored",
        Support::NotYet => "refused, not supported yet",
        Support::Never => "refused",
        Support::CommandLine => "on the command line",
    };
    let answer = match (setting.support, setting.advice) {
        (Support::CommandLine, advice) => format!("{state}: `{advice}`"),
        (_, "") => state.to_owned(),
        (_, advice) => format!("{state}: {advice}"),
    };
    (flags, answer)
}
