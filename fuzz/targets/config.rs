//! Any text in a file, in the result of a configuration in Python, in keyword arguments, in a variable, a flag or an
//! address: nothing panics, an error is one line that names the setting,
//! and a valid configuration reads the same when it is printed and read again.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use lockgate_config::{
    AppSpec, BindAddress, ConfSource, ConfigError, Gil, Host, Inputs, Invocation, Resolved,
    SettingsFile, config_path, resolve,
};

const HOST: Host = Host {
    affinity: 2,
    cpu_quota: Some(1.5),
    memory_limit: None,
    memory_total: 8 << 30,
    gil: Gil::Always,
    measures_memory: true,
};

const FILE: &str = "lockgate.toml";

fuzz_target!(|bytes: &[u8]| {
    let lines = || bytes.split(|byte| *byte == b'\n');

    // As words of a command line; words that start with a name and `=` are variables.
    let (mut arguments, mut variables) = (vec![OsString::from("lockgate")], Vec::new());
    for line in lines().filter(|line| !line.is_empty()) {
        match variable(line) {
            Some(pair) => variables.push(pair),
            None => arguments.push(OsString::from_vec(line.to_vec())),
        }
    }
    let _ = config_path(&arguments, &variables);
    check(resolve(&Inputs {
        arguments: &arguments,
        environment: &variables,
        file: None,
        keywords: None,
        host: &HOST,
    }));

    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let arguments = [OsString::from("lockgate"), OsString::from("a:b")];
    let source = ConfSource::File(PathBuf::from("gunicorn.conf.py"));
    let python = SettingsFile::Python {
        source: &source,
        evaluated: text,
    };
    let sources = [
        (Some(toml(text)), None),
        (Some(python), None),
        (None, Some(text)),
    ];
    for (file, keywords) in sources {
        check(resolve(&Inputs {
            arguments: &arguments,
            environment: &[],
            file,
            keywords,
            host: &HOST,
        }));
    }

    for line in text.lines() {
        match BindAddress::parse(line) {
            Ok(address) => {
                let written = address.to_string();
                assert_eq!(BindAddress::parse(&written), Ok(address), "{written}");
            }
            Err(demand) => assert!(!demand.is_empty()),
        }
        if let Err(demand) = AppSpec::parse(line) {
            assert!(!demand.is_empty());
        }
    }
});

fn toml(text: &str) -> SettingsFile<'_> {
    SettingsFile::Toml {
        path: Path::new(FILE),
        text,
    }
}

fn variable(line: &[u8]) -> Option<(OsString, OsString)> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let name = &line[..at];
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'_';
    (!name.is_empty() && name.iter().all(is_name)).then(|| {
        let value = line[at + 1..].to_vec();
        (OsString::from_vec(name.to_vec()), OsString::from_vec(value))
    })
}

fn check(outcome: Result<Resolved, Vec<ConfigError>>) {
    match outcome {
        Ok(resolved) if resolved.invocation == Invocation::Serve => check_printed(&resolved),
        Ok(_) => {}
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            mistakes.iter().for_each(check_message);
        }
    }
}

/// The output of `--print-config` is a file that gives the same configuration.
fn check_printed(resolved: &Resolved) {
    let printed = resolved.print();
    let arguments = [OsString::from("lockgate")];
    let again = resolve(&Inputs {
        arguments: &arguments,
        environment: &[],
        file: Some(toml(&printed)),
        keywords: None,
        host: &HOST,
    });
    let mut again = match again {
        Ok(again) => again.config,
        Err(mistakes) => panic!("{mistakes:?}\n{printed}"),
    };
    // The reason for the number of workers names the number's origin, which has changed.
    again
        .workers_reason
        .clone_from(&resolved.config.workers_reason);
    // lockgate.toml names no file in Python, and has no hooks.
    again.gunicorn.clone_from(&resolved.config.gunicorn);
    // The default with such a file is local time only where the host has a time zone.
    again.log_style.timezone = resolved.config.log_style.timezone;
    assert_eq!(again, resolved.config, "{printed}");
}

fn check_message(error: &ConfigError) {
    let message = error.to_string();
    let names: &str = match error {
        ConfigError::BadValue { name, .. } => name,
        ConfigError::UnknownFlag { flag, .. }
        | ConfigError::MissingValue { flag }
        | ConfigError::NeedlessValue { flag } => flag,
        ConfigError::UnknownKey { key, .. } | ConfigError::RepeatedKey { key, .. } => key,
        ConfigError::UnknownVariable { name, .. } => name.as_str(),
        ConfigError::UnsupportedSetting { name, .. } => name,
        _ => "",
    };
    assert!(
        message.contains(names),
        "{message:?} does not name {names:?}"
    );
    assert!(!message.is_empty());
}
