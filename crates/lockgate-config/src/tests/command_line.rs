//! The grammar of the command line and its help.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{command, given};
use crate::{ConfSource, ConfSpec, Inputs, Invocation, config_path, settings};

#[test]
fn help_speaks_of_every_flag() {
    for (flag, arguments) in [
        ("--help", &["--help"][..]),
        ("settings", &["help", "settings"]),
    ] {
        let Invocation::Help(text) = given(arguments, &[], None).expect(flag).invocation else {
            panic!("{flag} is not taken for help");
        };
        for setting in settings() {
            for spelling in setting.spellings() {
                assert!(
                    text.contains(&spelling),
                    "{flag} does not speak of {spelling}"
                );
            }
            assert!(
                text.contains(setting.summary())
                    || flag == "--help"
                    || setting.shape == crate::Shape::Tables,
                "{}",
                setting.name
            );
        }
        for control in [
            "-c, --config",
            "--check-config",
            "--print-config",
            "-v, --version",
            "-h, --help",
            "[APP]",
        ] {
            assert!(text.contains(control), "{flag} does not speak of {control}");
        }
        assert!(!text.contains('\u{1b}'), "{flag} writes control sequences");
    }
    let Invocation::Help(text) = given(&["--help"], &[], None).expect("help").invocation else {
        panic!("--help is not taken for help");
    };
    // A long default occupies several lines.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in settings().filter(|setting| !setting.flags.is_empty()) {
        let variable = setting.variable().expect(setting.name);
        assert!(words.contains(&variable), "{}", setting.name);
        assert!(
            words.contains(&format!("[default: {}]", setting.default_text())),
            "{}",
            setting.name
        );
    }
    let longest = text
        .lines()
        .max_by_key(|line| line.chars().count())
        .unwrap_or_default();
    assert!(longest.chars().count() <= 100, "{longest}");
}

#[test]
fn help_shows_usage_an_example_defaults_and_where_signals_are_described() {
    let cases: [(&[&str], &str, &str); 4] = [
        (
            &["-h"],
            "Address to listen on [127.0.0.1:8000]",
            "Examples:\n  lockgate shop.wsgi ",
        ),
        (
            &["help"],
            "Number of worker processes [auto]",
            "lockgate help NAME explains",
        ),
        (
            &["help", "settings"],
            "[default: 127.0.0.1:8000]",
            "docs/deploying.md",
        ),
        (
            &["--help"],
            "[default: [\"127.0.0.1:8000\"]]",
            "Example:\n  lockgate shop.wsgi:application ",
        ),
    ];
    for (arguments, default, part) in cases {
        let taken = given(arguments, &[], None).expect(default);
        let Invocation::Help(text) = taken.invocation else {
            panic!("{arguments:?} is not taken for help");
        };
        for part in [
            "lockgate [OPTIONS] [APP]\n",
            "lockgate COMMAND …\n",
            default,
            part.trim(),
        ] {
            assert!(
                text.contains(part),
                "{arguments:?} does not say {part}:\n{text}"
            );
        }
    }
    for command in crate::COMMANDS {
        let Invocation::Help(text) = given(&["-h"], &[], None).expect("-h").invocation else {
            panic!("-h is not taken for help");
        };
        assert!(
            text.contains(&format!("\n  {} ", command.name)),
            "{}",
            command.name
        );
    }
}

#[test]
fn what_to_do_is_asked_by_flags() {
    let cases: [(&[&str], Invocation); 4] = [
        (&["a:b"], Invocation::Serve),
        (&["a:b", "--check-config"], Invocation::CheckConfig),
        (&["--print-config", "a:b"], Invocation::PrintConfig),
        (
            &["--print-config", "a:b", "--check-config"],
            Invocation::PrintConfig,
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(
            given(arguments, &[], None).expect("taken").invocation,
            expected,
            "{arguments:?}"
        );
    }
    let version = format!("lockgate {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["-v", "-V", "--version"] {
        assert_eq!(
            given(&[flag], &[], None).expect(flag).invocation,
            Invocation::Version(version.clone())
        );
    }
}

#[test]
fn help_and_version_come_whatever_else_is_wrong() {
    for flag in ["-h", "--help", "-v", "--version"] {
        let resolved = given(&[flag], &[("LOCKGATE_NONSENSE", "1")], Some("not toml"));
        assert!(resolved.is_ok(), "{flag}");
    }
}

#[test]
fn the_last_flag_wins() {
    let taken = given(&["-w3", "a:b", "--workers=4", "-w", "5"], &[], None)
        .expect("taken")
        .config;
    assert_eq!(taken.workers, 5);
    let sendfile = |arguments: &[&str]| given(arguments, &[], None).expect("taken").config.sendfile;
    assert!(!sendfile(&["a:b", "--sendfile", "--no-sendfile"]));
    assert!(sendfile(&["a:b", "--no-sendfile", "--sendfile"]));
    assert!(!sendfile(&["a:b", "--no-sendfile", "--no-sendfile"]));
}

#[test]
fn gunicorns_odd_spelling_is_taken() {
    for flag in ["--limit-request-field_size", "--limit-request-field-size"] {
        let taken = given(&["a:b", flag, "1000"], &[], None).expect(flag).config;
        assert_eq!(taken.limits.request_field_size, 1000, "{flag}");
    }
}

#[test]
fn an_origin_names_the_flag_that_was_written() {
    let resolved = given(&["a:b", "--no-sendfile", "-w3"], &[], None).expect("taken");
    assert_eq!(resolved.origins.of("sendfile").to_string(), "--no-sendfile");
    assert_eq!(resolved.origins.of("workers").to_string(), "--workers");
    assert_eq!(resolved.origins.of("app").to_string(), "the command line");
    assert_eq!(
        resolved.config.workers_reason,
        "workers = 3 (from --workers)"
    );
}

#[test]
fn the_file_is_named_by_flag_before_variable() {
    let environment = [(OsString::from("LOCKGATE_CONFIG"), OsString::from("b.toml"))];
    let cases: [(&[&str], bool, Option<&str>); 8] = [
        (&["a:b"], false, None),
        (&["a:b"], true, Some("b.toml")),
        (&["a:b", "-c", "a.toml"], true, Some("a.toml")),
        (&["a:b", "--config=a.toml"], false, Some("a.toml")),
        (
            &["-c", "x.toml", "-c", "file:/etc/a.toml"],
            false,
            Some("/etc/a.toml"),
        ),
        (&["-w"], true, Some("b.toml")),
        (&["--nothing"], false, None),
        (&["--help"], true, None),
    ];
    for (arguments, has_variable, expected) in cases {
        let environment = if has_variable { &environment[..] } else { &[] };
        assert_eq!(
            config_path(&command(arguments), environment),
            expected.map(|path| ConfSpec::Toml(PathBuf::from(path))),
            "{arguments:?}"
        );
    }
    assert!(given(&["a:b"], &[("LOCKGATE_CONFIG", "b.toml")], None).is_ok());
}

#[test]
fn the_file_may_be_named_in_gunicorn_cmd_args() {
    let environment = [
        (OsString::from("LOCKGATE_CONFIG"), OsString::from("b.toml")),
        (
            OsString::from("GUNICORN_CMD_ARGS"),
            OsString::from("-c c.toml"),
        ),
    ];
    let named = |arguments: &[&str]| config_path(&command(arguments), &environment);
    assert_eq!(
        named(&["a:b"]),
        Some(ConfSpec::Toml(PathBuf::from("c.toml")))
    );
    assert_eq!(
        named(&["-c", "a.toml"]),
        Some(ConfSpec::Toml(PathBuf::from("a.toml")))
    );
}

#[test]
fn a_name_tells_python_from_toml() {
    let file = |path: &str| ConfSpec::Python(ConfSource::File(PathBuf::from(path)));
    let cases = [
        ("shop.py", file("shop.py")),
        ("file:/etc/shop.py", file("/etc/shop.py")),
        ("/etc/gunicorn.conf", file("/etc/gunicorn.conf")),
        ("gunicorn_config", file("gunicorn_config")),
        (
            "python:shop.settings",
            ConfSpec::Python(ConfSource::Module("shop.settings".to_owned())),
        ),
        (
            "gunicorn.toml",
            ConfSpec::Toml(PathBuf::from("gunicorn.toml")),
        ),
        ("shop.conf", ConfSpec::Toml(PathBuf::from("shop.conf"))),
        (
            "/srv/gunicorn/x",
            ConfSpec::Toml(PathBuf::from("/srv/gunicorn/x")),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(ConfSpec::parse(text), expected, "{text}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_not_text_is_refused_where_it_is_ours() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(vec![b'/', 0xff]);
    let resolve = |arguments: &[OsString], environment: &[(OsString, OsString)]| {
        let inputs = Inputs {
            arguments,
            environment,
            file: None,
            keywords: None,
            host: &super::MACHINE,
        };
        let mistakes = crate::resolve(&inputs).err();
        mistakes.map(|mistakes| mistakes[0].to_string())
    };
    let mut arguments = command(&["a:b", "--chdir"]);
    arguments.push(bad());
    assert_eq!(
        resolve(&arguments, &[]).as_deref(),
        Some("--chdir: must be UTF-8")
    );
    let arguments = command(&["a:b"]);
    assert_eq!(
        resolve(&arguments, &[("OTHER".into(), bad()), (bad(), "x".into())]),
        None
    );
    let ours = [("LOCKGATE_CHDIR".into(), bad())];
    assert_eq!(
        resolve(&arguments, &ours).as_deref(),
        Some("LOCKGATE_CHDIR: must be UTF-8")
    );
}
