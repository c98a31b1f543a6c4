//! Log lines about certificates.

use std::io;

use lockgate_history::EventKind;
use lockgate_observe::{Level, imf_fixdate};

use super::expiry::{Problem, Validity};
use super::loading::LoadedCertificate;
use super::pool::Change;
use crate::Hooks;

/// A line names at most this many names of a certificate.
const MOST_NAMES: usize = 4;

/// A certificate was loaded, or its new files cannot be used.
pub(super) fn change(change: &Change, hooks: &dyn Hooks) {
    match change {
        Change::Loaded(loaded) => {
            let message = format!(
                "certificate loaded: {}, expires on {}",
                title(loaded),
                date(loaded.validity().not_after)
            );
            hooks.log_event(
                EventKind::CertificateRenewed.into(),
                Level::Info,
                &message,
                None,
            );
        }
        Change::Failed {
            error,
            kept: Some(kept),
        } => {
            let (names, until) = (shown(kept.names()), date(kept.validity().not_after));
            let message = format!(
                "certificate not replaced: {error}; the previous one for {names} stays in use and expires on {until}"
            );
            hooks.log(Level::Error, &message);
        }
        Change::Failed { error, kept: None } => {
            let message = format!("certificate not loaded: {error}");
            hooks.log(Level::Error, &message);
        }
    }
}

/// Certificates that expire soon or cannot be valid now.
pub(super) fn expiries(due: Vec<(String, Validity, Problem)>, hooks: &dyn Hooks) {
    for (certificate, validity, problem) in due {
        let Validity {
            not_before,
            not_after,
        } = validity;
        let message = match problem {
            Problem::Expires { hours } => format!(
                "certificate expires in {hours} h: {certificate}, on {}",
                date(not_after)
            ),
            Problem::Expired => format!(
                "certificate has expired: {certificate}, on {}; clients refuse it",
                date(not_after)
            ),
            Problem::NotYetValid => format!(
                "certificate is not valid yet: {certificate}, before {}; is the clock right?",
                date(not_before)
            ),
        };
        hooks.log(Level::Warning, &message);
    }
}

/// The server has signed a certificate itself.
pub(super) fn signed(
    own: &LoadedCertificate,
    is_local: bool,
    unwritten: Option<io::Error>,
    hooks: &dyn Hooks,
) {
    let names = shown(own.names());
    if !is_local {
        let message = format!(
            "no certificate yet for {names}: clients get one that this server has signed itself, and refuse it, until the \
             certificate authority has issued one (setting: domain)"
        );
        return hooks.log(Level::Warning, &message);
    }
    let message = match unwritten {
        None => format!(
            "certificate signed by this server itself: {}; clients refuse it until they trust this file \
             (curl --cacert FILE), or check no certificate (curl -k)",
            title(own)
        ),
        Some(error) => format!(
            "certificate signed by this server itself: {names}; the next start makes another one, because it cannot be kept \
             in acme_dir: {error}"
        ),
    };
    hooks.log(Level::Info, &message);
}

/// The server could not sign one.
pub(super) fn unsigned(names: &[String], problem: &str, hooks: &dyn Hooks) {
    let message = format!("no certificate for {}: {problem}", shown(names));
    hooks.log(Level::Error, &message);
}

/// The names of a certificate and its file.
pub(super) fn title(loaded: &LoadedCertificate) -> String {
    format!("{} ({})", shown(loaded.names()), loaded.origin)
}

/// The first names, and how many more there are.
pub(super) fn shown(names: &[String]) -> String {
    let first = names.get(..MOST_NAMES).unwrap_or(names).join(", ");
    match names.len().checked_sub(MOST_NAMES) {
        Some(more @ 1..) => format!("{first} and {more} more"),
        _ if names.is_empty() => "no name".to_owned(),
        _ => first,
    }
}

fn date(unix_seconds: i64) -> String {
    String::from_utf8_lossy(&imf_fixdate(unix_seconds)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_first_names() {
        let names: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        for (count, expected) in [
            (0, "no name"),
            (1, "a"),
            (4, "a, b, c, d"),
            (5, "a, b, c, d and 1 more"),
            (6, "a, b, c, d and 2 more"),
        ] {
            assert_eq!(shown(&names[..count]), expected);
        }
    }
}
