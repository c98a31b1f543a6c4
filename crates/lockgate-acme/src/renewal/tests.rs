//! The renewal against a scripted CA, with a clock that sleeping moves.

mod fake_ca;

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use lockgate_observe::Level;
use tempfile::TempDir;

use super::*;
use crate::protocol::{ChallengeKind, NoAnswer, Request, Response};
use fake_ca::{DIRECTORY, FakeCa, START};

const NAME: &str = "shop.example";
const DAY: u64 = 86_400;

#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl Log for Lines {
    fn write(&self, level: Level, message: &str) {
        assert!(!message.contains('\n'), "{message}");
        self.0.borrow_mut().push(format!("{level:?} {message}"));
    }
}

impl Lines {
    fn last(&self) -> String {
        self.0.borrow().last().cloned().unwrap_or_default()
    }

    fn count(&self, part: &str) -> usize {
        let lines = self.0.borrow();
        lines.iter().filter(|line| line.contains(part)).count()
    }
}

fn settings(dir: &Path) -> Settings {
    Settings {
        names: vec![NAME.to_owned()],
        email: Some("ops@shop.example".to_owned()),
        directory: DIRECTORY.to_owned(),
        fallback_directory: None,
        external_account: None,
        dir: dir.to_owned(),
        ca_certs: None,
        challenges: vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
        owner: "this".to_owned(),
    }
}

/// Turns until the clock has passed `seconds` more.
fn run(settings: &Settings, ca: &mut FakeCa, log: &Lines, seconds: u64) {
    let end = ca.now + seconds;
    let mut renewal = Renewal::new(settings, log, ca);
    loop {
        renewal.turn();
        if renewal.world.unix_now() >= end {
            break;
        }
    }
}

fn stored(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join(format!("certificates/{NAME}.pem"))).unwrap_or_default()
}

#[test]
fn a_directory_that_takes_no_state_is_tried_once_a_minute_for_all_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.names = (0..50).map(|number| format!("{number}.example")).collect();
    fs::write(dir.path().join("state"), "no folder").unwrap();
    let mut ca = FakeCa::new(dir.path());
    let log = Lines::default();
    run(&settings, &mut ca, &log, 600);
    assert_eq!(log.count("is not stored"), 10);
    assert_eq!(log.count("no certificate for 0.example and 49 other"), 10);
    assert_eq!(log.0.borrow().len(), 20);
    fs::remove_file(dir.path().join("state")).unwrap();
    run(&settings, &mut ca, &log, 60);
    assert_eq!(ca.issued, 50);
}

#[test]
fn a_certificate_is_obtained_and_renewed_when_a_third_is_left() {
    for lifetime in [90 * DAY, 6 * DAY, 3600] {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let mut ca = FakeCa::new(dir.path());
        ca.lifetime = lifetime;
        let log = Lines::default();
        run(&settings, &mut ca, &log, 0);
        assert_eq!(ca.issued, 1);
        let first = stored(&dir);
        assert!(first.contains("PRIVATE KEY") && first.contains("CERTIFICATE"));
        assert!(
            log.last()
                .starts_with("Info certificate for shop.example obtained")
        );
        let age = ca.now - START;
        run(&settings, &mut ca, &log, lifetime * 6 / 10 - age);
        assert_eq!(ca.issued, 1, "{lifetime}");
        let age = ca.now - START;
        run(
            &settings,
            &mut ca,
            &log,
            (lifetime * 7 / 10).saturating_sub(age),
        );
        assert_eq!(ca.issued, 2, "{lifetime}");
        let second = stored(&dir);
        assert_ne!(first, second);
        assert_eq!(ca.accounts, 1, "the account is kept");
        let states = crate::read_states(dir.path());
        assert_eq!(states.len(), 1);
        assert_eq!((states[0].failures, states[0].last_error.as_str()), (0, ""));
        assert!(states[0].last_success > START);
        for folder in ["challenges/http-01", "challenges/tls-alpn-01", "locks"] {
            let left = fs::read_dir(dir.path().join(folder)).unwrap().count();
            assert_eq!(left, 0, "{folder}");
        }
    }
}

fn html(status: u16) -> Result<Response, NoAnswer> {
    Ok(Response {
        status,
        content_type: "text/html".to_owned(),
        location: Some("https://elsewhere.example/".to_owned()),
        body: b"<html>".to_vec(),
        ..Response::default()
    })
}

fn refused(kind: &str, retry_after: Option<&str>) -> Result<Response, NoAnswer> {
    Ok(Response {
        status: 400,
        nonce: Some("n".to_owned()),
        retry_after: retry_after.map(str::to_owned),
        body: format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"because"}}"#)
            .into(),
        ..Response::default()
    })
}

#[test]
fn a_ca_that_misbehaves_costs_a_line_and_never_the_certificate() {
    type Fault = fn() -> Result<Response, NoAnswer>;
    let cases: [(&str, Fault, &str); 16] = [
        (
            "",
            || Err(NoAnswer::Unreachable("connection refused".to_owned())),
            "does not answer: connection refused",
        ),
        (
            "",
            || {
                Err(NoAnswer::Unusable(
                    "answers with more than 9 bytes".to_owned(),
                ))
            },
            "answers with more than 9 bytes",
        ),
        (
            "",
            || html(200),
            "answers 200 with text/html (6 bytes) instead of a JSON object",
        ),
        ("", || html(500), "answers 500 with text/html (6 bytes)"),
        (
            "",
            || html(302),
            "redirects (302) to https://elsewhere.example/",
        ),
        (
            "",
            || refused("badNonce", None),
            "has refused 20 nonces in a row",
        ),
        (
            "/dir",
            || {
                Ok(Response {
                    status: 200,
                    body: b"{}".to_vec(),
                    ..Response::default()
                })
            },
            "without the member \"newNonce\"",
        ),
        (
            "/nonce",
            || {
                Ok(Response {
                    status: 200,
                    nonce: Some("not a nonce".to_owned()),
                    ..Response::default()
                })
            },
            "without a usable Replay-Nonce",
        ),
        (
            "/account",
            || refused("externalAccountRequired", None),
            "set acme_eab_key_id",
        ),
        (
            "/account",
            || {
                Ok(Response {
                    status: 201,
                    ..Response::default()
                })
            },
            "without the header Location",
        ),
        (
            "/order",
            || refused("rateLimited", Some("7200")),
            "next attempt in 2 h",
        ),
        (
            "/order",
            || refused("rejectedIdentifier", None),
            "because (rejectedIdentifier); correct domain",
        ),
        (
            "/authz",
            || {
                Ok(Response {
                    status: 200,
                    body: br#"{"status":"odd"}"#.to_vec(),
                    ..Response::default()
                })
            },
            "an authorization with status odd",
        ),
        ("/finalize", || refused("badCSR", None), "because (badCSR)"),
        (
            "/cert",
            || html(200),
            "the certificate of the CA cannot be used: ",
        ),
        (
            "/place",
            || {
                Ok(Response {
                    status: 200,
                    body: br#"{"status":"processing"}"#.to_vec(),
                    ..Response::default()
                })
            },
            "takes too long to finish the order",
        ),
    ];
    for (path, fault, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let mut ca = FakeCa::new(dir.path());
        let log = Lines::default();
        run(&settings, &mut ca, &log, 0);
        let first = stored(&dir);
        // At the renewal.
        ca.now += 60 * DAY;
        ca.fault = Box::new(move |request: &Request, _| {
            request
                .url
                .ends_with(path)
                .then(fault)
                .or_else(|| path.is_empty().then(fault))
        });
        // Directories are fetched without a nonce; other faults begin after the first answers.
        if path.is_empty() && expected.contains("nonces") {
            ca.fault = Box::new(move |request: &Request, _| (!request.body.is_empty()).then(fault));
        }
        if path == "/account" {
            fs::remove_dir_all(dir.path().join("accounts")).unwrap();
        }
        let before = ca.now;
        run(&settings, &mut ca, &log, 0);
        assert!(log.last().contains(expected), "{expected}: {}", log.last());
        assert!(
            log.last()
                .starts_with("Warning no new certificate for shop.example: "),
            "{}",
            log.last()
        );
        assert!(
            ca.now - before < 25 * 60,
            "{expected}: {} s",
            ca.now - before
        );
        assert_eq!(stored(&dir), first, "{expected}");
        assert!(ca.requests < 400, "{expected}: {}", ca.requests);
        let state = &crate::read_states(dir.path())[0];
        assert_eq!(state.failures, 1, "{expected}");
        assert!(
            state
                .last_error
                .contains(expected.split("; next attempt").next().unwrap())
                || expected.contains("next attempt")
        );
        // The CA recovers.
        ca.fault = Box::new(|_, _| None);
        run(&settings, &mut ca, &log, 3 * 3600);
        assert_eq!(ca.issued, 2, "{expected}");
        assert_ne!(stored(&dir), first);
    }
}

#[test]
fn a_ca_that_is_dead_for_a_week_is_asked_seldom() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        names: ["a.example", "b.example", "c.example"]
            .map(str::to_owned)
            .to_vec(),
        ..settings(dir.path())
    };
    let mut ca = FakeCa::new(dir.path());
    ca.fault = Box::new(|_, _| Some(Err(NoAnswer::Unreachable("dead".to_owned()))));
    let log = Lines::default();
    run(&settings, &mut ca, &log, 7 * DAY);
    let lines = log.count("Error no certificate for ");
    assert!((12..60).contains(&lines), "{lines}");
    assert!(log.count("Error no certificate for a.example and 2 other names: ") > 0);
    // A new process asks a minute after the last attempt, and not at once.
    let before = ca.requests;
    run(&settings, &mut ca, &log, DAY);
    assert!(ca.requests - before < 100, "{}", ca.requests - before);
    ca.fault = Box::new(|_, _| None);
    run(&settings, &mut ca, &log, 2 * DAY);
    assert_eq!(ca.issued, 3);
}

#[test]
fn every_second_nonce_may_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut ca = FakeCa::new(dir.path());
    ca.fault = Box::new(|request: &Request, count| {
        (!request.body.is_empty() && count % 2 == 0).then(|| refused("badNonce", None))
    });
    let log = Lines::default();
    run(&settings, &mut ca, &log, 0);
    assert_eq!(ca.issued, 1, "{}", log.last());
}

#[test]
fn the_other_challenge_is_tried_when_one_fails() {
    for (challenges, rejected, expected) in [
        (
            vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
            vec!["http-01"],
            1,
        ),
        (
            vec![ChallengeKind::TlsAlpn01, ChallengeKind::Http01],
            vec!["tls-alpn-01"],
            1,
        ),
        (vec![ChallengeKind::TlsAlpn01], vec!["tls-alpn-01"], 0),
        (
            vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
            vec!["http-01", "tls-alpn-01"],
            0,
        ),
        (vec![], vec![], 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            challenges,
            ..settings(dir.path())
        };
        let mut ca = FakeCa::new(dir.path());
        ca.rejected = rejected.clone();
        let log = Lines::default();
        run(&settings, &mut ca, &log, 0);
        assert_eq!(ca.issued, expected, "{rejected:?}");
        if expected == 0 {
            for kind in rejected {
                let part = format!("the CA could not verify {kind}: no route (connection)");
                assert!(log.last().contains(&part), "{}", log.last());
            }
        }
    }
}

#[test]
fn an_authorization_that_is_still_valid_needs_no_challenge() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut ca = FakeCa::new(dir.path());
    ca.is_authorized = true;
    ca.rejected = vec!["http-01", "tls-alpn-01"];
    run(&settings, &mut ca, &Lines::default(), 0);
    assert_eq!(ca.issued, 1);
}

#[test]
fn an_account_that_the_ca_has_forgotten_is_registered_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut ca = FakeCa::new(dir.path());
    let log = Lines::default();
    run(&settings, &mut ca, &log, 0);
    ca.accounts = 0;
    ca.now += 60 * DAY;
    run(&settings, &mut ca, &log, 0);
    assert_eq!((ca.issued, ca.accounts), (2, 1), "{}", log.last());
    // With another address the account is changed and not registered.
    let settings = Settings {
        email: Some("new@shop.example".to_owned()),
        ..settings
    };
    ca.now += 60 * DAY;
    run(&settings, &mut ca, &log, 0);
    assert_eq!(
        (ca.issued, ca.accounts, ca.changed_contacts),
        (3, 1, 1),
        "{}",
        log.last()
    );
}

#[test]
fn a_second_ca_is_asked_after_repeated_failures() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        fallback_directory: Some("https://second.example/dir".to_owned()),
        ..settings(dir.path())
    };
    let mut ca = FakeCa::new(dir.path());
    ca.fault = Box::new(|request: &Request, _| {
        let is_first = request.url.starts_with("https://ca.example/");
        is_first.then(|| Err(NoAnswer::Unreachable("dead".to_owned())))
    });
    let log = Lines::default();
    run(&settings, &mut ca, &log, 600);
    assert_eq!(ca.issued, 1);
    assert_eq!(log.count("Error no certificate"), 2);
    let state = &crate::read_states(dir.path())[0];
    assert_eq!(state.directory, "https://second.example/dir");
}

#[test]
fn the_delay_that_a_ca_asks_for_holds_for_that_ca() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut ca = FakeCa::new(dir.path());
    ca.fault = Box::new(|request: &Request, _| {
        let is_order = request.url == "https://ca.example/order";
        is_order.then(|| refused("rateLimited", Some("86400")))
    });
    let log = Lines::default();
    run(&settings, &mut ca, &log, 0);
    // A restart does not shorten the delay.
    run(&settings, &mut ca, &log, 3600);
    assert_eq!(log.0.borrow().len(), 1);
    let other = Settings {
        directory: "https://second.example/dir".to_owned(),
        ..settings
    };
    run(&other, &mut ca, &log, 0);
    assert_eq!(ca.issued, 1);
}

#[test]
fn a_failing_ca_is_tested_with_its_staging_directory() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        ..settings(dir.path())
    };
    let mut ca = FakeCa::new(dir.path());
    ca.rejected = vec!["http-01", "tls-alpn-01"];
    let log = Lines::default();
    run(&settings, &mut ca, &log, 3600);
    let (production, staging) = (
        ca.orders_at("https://acme-v02."),
        ca.orders_at("https://acme-staging-v02."),
    );
    // Two orders at the first attempt, one for each challenge.
    assert_eq!(production, 2);
    assert!(staging > 4, "{staging}");
    ca.rejected = vec![];
    run(&settings, &mut ca, &log, 3600);
    assert_eq!(ca.issued, 2, "one was a rehearsal");
    assert_eq!(ca.orders_at("https://acme-v02."), 3);
    assert!(stored(&dir).contains("CERTIFICATE"));
}

#[test]
fn hosts_that_share_the_directory_order_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let mut ca = FakeCa::new(dir.path());
    let log = Lines::default();
    let held = crate::storage::lock::Observed::default();
    let storage = Storage::new(dir.path());
    storage.check().unwrap();
    let mut held_by = held;
    let lock = held_by.take(&storage.lock_path(NAME), "other", ca.monotonic_now());
    let lock = lock.unwrap();
    run(&settings, &mut ca, &log, 60);
    assert_eq!((ca.issued, log.0.borrow().len()), (0, 0));
    // The other host has died.
    std::mem::forget(lock);
    run(&settings, &mut ca, &log, 200);
    assert_eq!(ca.issued, 1);
    // Another host sees the certificate.
    let other = Settings {
        owner: "other".to_owned(),
        ..settings
    };
    run(&other, &mut ca, &log, 3600);
    assert_eq!(ca.issued, 1);
}

#[test]
fn an_external_account_is_bound_at_the_first_ca() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "AQID").unwrap();
    let settings = Settings {
        external_account: Some(("kid-1".to_owned(), key)),
        ..settings(dir.path())
    };
    let mut ca = FakeCa::new(dir.path());
    run(&settings, &mut ca, &Lines::default(), 0);
    assert_eq!((ca.issued, ca.bound_accounts), (1, 1));
}

#[test]
fn without_a_directory_no_ca_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let settings = settings(&file.join("acme"));
    let mut ca = FakeCa::new(dir.path());
    let log = Lines::default();
    run(&settings, &mut ca, &log, 600);
    assert_eq!(ca.requests, 0);
    assert!(log.count("make acme_dir a directory that the server may write to") > 0);
    assert!(log.0.borrow().len() < 30, "{}", log.0.borrow().len());
}
