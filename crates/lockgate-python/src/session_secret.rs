//! The secrets of sessions, from their file; the server makes one if the settings name none.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use lockgate_config::{Invocation, Resolved, SecretSource, SessionSecret};
use lockgate_worker::os::fill_random;

/// Bytes of a secret that the server makes.
const OWN_LENGTH: usize = 48;
/// Only the user that starts the server reads it; workers inherit what it has.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Adds the secrets of the file to `session`.
///
/// # Errors
/// When the file cannot be read or made, or has no secret; the error says what to do and shows no part of a secret.
pub(crate) fn read(resolved: &mut Resolved) -> Result<(), String> {
    let serves = matches!(resolved.invocation, Invocation::Serve);
    let Some(session) = &mut resolved.config.session else {
        return Ok(());
    };
    let (path, secrets) = match &session.source {
        SecretSource::Configuration => return Ok(()),
        SecretSource::File(path) => (path, secrets_in(path)),
        // A command that only looks at the settings makes no file.
        SecretSource::OwnFile(path) if !serves && !path.exists() => return Ok(()),
        SecretSource::OwnFile(path) => (path, own_secrets(path)),
    };
    match secrets {
        Ok(secrets) => {
            session.secrets = secrets;
            Ok(())
        }
        Err(problem) => {
            let origin = resolved.origins.of("session");
            Err(format!(
                "session (from {origin}): {}: {problem}",
                path.display()
            ))
        }
    }
}

/// One secret a line, the newest first.
fn secrets_in(path: &Path) -> Result<Vec<SessionSecret>, String> {
    let text = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "must be UTF-8".to_owned())?;
    let lines = text.lines().map(str::trim).zip(1..);
    let secrets: Vec<SessionSecret> = lines
        .filter(|(line, _)| !line.is_empty())
        .map(|(line, number)| {
            SessionSecret::new(line.to_owned())
                .map_err(|requirement| format!("the secret in line {number} {requirement}"))
        })
        .collect::<Result<_, _>>()?;
    match secrets.is_empty() {
        true => Err("has no secret; make one with openssl rand -base64 48".to_owned()),
        false => Ok(secrets),
    }
}

fn own_secrets(path: &Path) -> Result<Vec<SessionSecret>, String> {
    if !path.exists() {
        make(path).map_err(|error| {
            format!(
                "the secret of sessions cannot be kept there: {error}; name a file in secret_file, or a directory for \
                 the state of the server in STATE_DIRECTORY"
            )
        })?;
    }
    secrets_in(path)
}

/// Makes the file, whole at once: another server may start at the same time, and then the first file counts.
fn make(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)?;
    let mut secret = [0; OWN_LENGTH];
    fill_random(&mut secret)?;
    let draft = path.with_extension(std::process::id().to_string());
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&draft)
        .and_then(|mut file| {
            writeln!(file, "{}", BASE64URL_NOPAD.encode(&secret))?;
            file.sync_all()
        })
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.exists() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_has_one_secret_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        let (new, old) = ("n".repeat(32), "o".repeat(40));
        for (text, expected) in [
            (format!("{new}\n"), Ok(vec![new.as_str()])),
            (
                format!(" {new} \r\n\n{old}"),
                Ok(vec![new.as_str(), old.as_str()]),
            ),
            (String::new(), Err("has no secret")),
            (
                format!("{new}\nshort"),
                Err("the secret in line 2 must have at least 32"),
            ),
        ] {
            fs::write(&path, &text).unwrap();
            let found = secrets_in(&path);
            match (&found, &expected) {
                (Ok(found), Ok(expected)) => {
                    let found: Vec<&str> = found.iter().map(SessionSecret::reveal).collect();
                    assert_eq!(&found, expected);
                }
                (Err(error), Err(part)) => {
                    assert!(error.contains(part), "{error}");
                    assert!(
                        !error.contains("short") || error.contains("must"),
                        "{error}"
                    );
                }
                _ => panic!("{text:?}: {found:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(
            secrets_in(&path)
                .unwrap_err()
                .starts_with("cannot be read: ")
        );
    }

    #[test]
    fn the_server_makes_a_secret_once_that_only_its_user_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/lockgate/session_secret");
        let first = own_secrets(&path).unwrap();
        assert!(first[0].reveal().len() >= OWN_LENGTH);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), MODE);
        assert_eq!(mode(path.parent().unwrap()), DIRECTORY_MODE);
        assert_eq!(own_secrets(&path).unwrap(), first);
        // One that comes too late leaves the file as it is.
        make(&path).unwrap();
        assert_eq!(own_secrets(&path).unwrap(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let other = own_secrets(&folder.path().join("other")).unwrap();
        assert_ne!(first, other);
        let impossible = folder.path().join("other/below");
        assert!(
            own_secrets(&impossible)
                .unwrap_err()
                .contains("secret_file")
        );
    }
}
