//! `acme_dir`: account keys, certificates, challenges, locks and states, in files that several hosts may share.
//!
//! Invariants: a file is replaced whole, by a rename, and only after its bytes are on the disk. Keys are readable by the
//! owner only. What the workers and the admin process read (answers to http-01, states) has no secrets.

mod atomic;
pub(crate) mod lock;
pub(crate) mod state;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::certificate::{Validity, stored_validity};
use crate::protocol::account_key::AccountKey;
use crate::protocol::failure::Failure;
use crate::protocol::session::Account;
use crate::storage::state::State;

/// Readable by the owner.
const PRIVATE: u32 = 0o600;
/// Readable by every user.
const PUBLIC: u32 = 0o644;

/// The folders with their modes, if they have to be made.
const FOLDERS: [(&str, u32); 6] = [
    ("certificates", 0o700),
    ("challenges/http-01", 0o755),
    ("challenges/tls-alpn-01", 0o700),
    ("accounts", 0o700),
    ("locks", 0o700),
    ("state", 0o755),
];

/// Files that an attempt has left behind are removed after this time.
const ABANDONED: Duration = Duration::from_secs(3600);

/// See the module.
pub(crate) struct Storage {
    root: PathBuf,
}

impl Storage {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Makes missing folders, and proves that a file can be written and read, before a CA is asked.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        // Workers, which may run as another user, pass through to the challenges.
        failing(&self.root, atomic::create_folder(&self.root, 0o711))?;
        // Its mode is the umask's otherwise.
        let challenges = self.root.join("challenges");
        failing(&challenges, atomic::create_folder(&challenges, 0o711))?;
        for (name, mode) in FOLDERS {
            let path = self.root.join(name);
            failing(&path, atomic::create_folder(&path, mode))?;
        }
        for (name, _) in FOLDERS {
            let path = atomic::sibling(&self.root.join(name).join("check"));
            let written = format!("{}", std::process::id());
            let outcome = atomic::replace(&path, written.as_bytes(), PRIVATE)
                .and_then(|()| fs::read(&path))
                .and_then(|read| match read.is_empty() {
                    true => Err(io::Error::other("a file that was written is empty")),
                    false => atomic::remove(&path),
                });
            failing(&path, outcome)?;
        }
        Ok(())
    }

    /// Removes the challenges and temporary files of attempts that were killed.
    pub(crate) fn sweep(&self, now: SystemTime) {
        for (name, _) in FOLDERS {
            let files = fs::read_dir(self.root.join(name)).into_iter().flatten();
            for file in files.flatten() {
                let is_temporary = file.file_name().as_encoded_bytes().starts_with(b".");
                let modified = file.metadata().and_then(|data| data.modified());
                let age = modified
                    .ok()
                    .and_then(|modified| now.duration_since(modified).ok());
                if (is_temporary || name.starts_with("challenges"))
                    && age.is_some_and(|age| age > ABANDONED)
                {
                    // Another host may remove it at the same time.
                    let _gone = atomic::remove(&file.path());
                }
            }
        }
    }

    /// The validity of the stored certificate for a name.
    pub(crate) fn certificate(&self, name: &str) -> Option<Validity> {
        stored_validity(&fs::read(self.certificate_path(name)).ok()?, name)
    }

    /// Stores a key with its certificate.
    pub(crate) fn store_certificate(&self, name: &str, file: &str) -> Result<(), Failure> {
        let path = self.certificate_path(name);
        failing(&path, atomic::replace(&path, file.as_bytes(), PRIVATE))
    }

    fn certificate_path(&self, name: &str) -> PathBuf {
        self.root.join("certificates").join(format!("{name}.pem"))
    }

    /// Publishes the answer to http-01.
    pub(crate) fn publish_http(&self, token: &str, answer: &str) -> Result<(), Failure> {
        let path = self.root.join("challenges/http-01").join(token);
        failing(&path, atomic::replace(&path, answer.as_bytes(), PUBLIC))
    }

    /// Publishes a certificate for tls-alpn-01.
    pub(crate) fn publish_tls(&self, server_name: &str, file: &str) -> Result<(), Failure> {
        let path = self.tls_path(server_name);
        failing(&path, atomic::replace(&path, file.as_bytes(), PRIVATE))
    }

    pub(crate) fn withdraw_http(&self, token: &str) {
        // A file that is left behind is harmless, and swept later.
        let _left = atomic::remove(&self.root.join("challenges/http-01").join(token));
    }

    pub(crate) fn withdraw_tls(&self, server_name: &str) {
        let _left = atomic::remove(&self.tls_path(server_name));
    }

    fn tls_path(&self, server_name: &str) -> PathBuf {
        let folder = self.root.join("challenges/tls-alpn-01");
        folder.join(format!("{server_name}.pem"))
    }

    /// The account at the CA with this directory; a new key where there is none.
    pub(crate) fn account(&self, directory: &str) -> Result<(AccountKey, Account), Failure> {
        let folder = self.root.join("accounts").join(file_name(directory));
        failing(&folder, atomic::create_folder(&folder, 0o700))?;
        let path = folder.join("account.key");
        if !path.exists() {
            let key = AccountKey::generate().map_err(|_| Failure::Key {
                what: "cannot make an account key",
            })?;
            // Another host that has made a key in the meantime wins.
            failing(
                &path,
                atomic::create(&path, key.as_pem().as_bytes(), PRIVATE),
            )?;
        }
        let file = failing(&path, fs::read_to_string(&path))?;
        let key = AccountKey::from_pem(file).map_err(|_| Failure::Storage {
            path: path.display().to_string(),
            reason: "is no ECDSA P-256 key in PEM; remove it to get a new account".to_owned(),
        })?;
        let stored = fs::read(folder.join("account.json")).unwrap_or_default();
        let stored: Value = serde_json::from_slice(&stored).unwrap_or_default();
        let text = |member: &str| {
            stored
                .get(member)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let account = Account {
            url: text("url"),
            email: text("email"),
        };
        Ok((key, account))
    }

    /// Stores what the CA has said about the account.
    pub(crate) fn store_account(&self, directory: &str, account: &Account) -> Result<(), Failure> {
        let folder = self.root.join("accounts").join(file_name(directory));
        let path = folder.join("account.json");
        let file = json!({"directory": directory, "url": account.url, "email": account.email});
        let file = format!("{file:#}\n");
        failing(&path, atomic::replace(&path, file.as_bytes(), PRIVATE))
    }

    /// The state of a name; the default where none is stored.
    pub(crate) fn state(&self, name: &str) -> State {
        let file = fs::read(self.state_path(name)).unwrap_or_default();
        State::read(name, &file).unwrap_or_else(|| State::new(name))
    }

    pub(crate) fn store_state(&self, state: &State) -> Result<(), Failure> {
        let path = self.state_path(&state.name);
        let file = state.to_string();
        failing(&path, atomic::replace(&path, file.as_bytes(), PUBLIC))
    }

    fn state_path(&self, name: &str) -> PathBuf {
        self.root.join("state").join(format!("{name}.json"))
    }

    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(format!("{name}.lock"))
    }
}

/// The states of all names, for metrics and `lockgate ctl certificates`.
pub fn read_states(acme_dir: &Path) -> Vec<State> {
    let files = fs::read_dir(acme_dir.join("state")).into_iter().flatten();
    let mut states: Vec<State> = files
        .flatten()
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let name = name
                .strip_suffix(".json")
                .filter(|name| !name.starts_with('.'))?;
            State::read(name, &fs::read(file.path()).ok()?)
        })
        .collect();
    states.sort_by(|one, other| one.name.cmp(&other.name));
    states
}

fn failing<T>(path: &Path, outcome: io::Result<T>) -> Result<T, Failure> {
    outcome.map_err(|error| Failure::Storage {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// `acme.example-8443-directory`
fn file_name(directory: &str) -> String {
    let rest = directory.strip_prefix("https://").unwrap_or(directory);
    let allowed = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    let name: String = rest
        .trim_end_matches('/')
        .chars()
        .map(|character| if allowed(character) { character } else { '-' })
        .take(200)
        .collect();
    format!("{}{name}", if name.starts_with('.') { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn keys_are_private_and_what_workers_read_is_public() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/acme");
        let storage = Storage::new(&root);
        storage.check().unwrap();
        storage.store_certificate("shop.example", "x").unwrap();
        storage.publish_http("token", "x").unwrap();
        storage.publish_tls("shop.example", "x").unwrap();
        storage.store_state(&State::new("shop.example")).unwrap();
        storage.account("https://ca.example:1/dir/").unwrap();
        for (path, expected) in [
            ("", 0o711),
            ("certificates", 0o700),
            ("certificates/shop.example.pem", 0o600),
            ("challenges", 0o711),
            ("challenges/http-01", 0o755),
            ("challenges/http-01/token", 0o644),
            ("challenges/tls-alpn-01", 0o700),
            ("challenges/tls-alpn-01/shop.example.pem", 0o600),
            ("accounts", 0o700),
            ("accounts/ca.example-1-dir", 0o700),
            ("accounts/ca.example-1-dir/account.key", 0o600),
            ("locks", 0o700),
            ("state", 0o755),
            ("state/shop.example.json", 0o644),
        ] {
            assert_eq!(mode(&root.join(path)), expected, "{path}");
        }
        storage.withdraw_http("token");
        storage.withdraw_tls("shop.example");
        for folder in ["http-01", "tls-alpn-01"] {
            let left = fs::read_dir(root.join("challenges").join(folder)).unwrap();
            assert_eq!(left.count(), 0, "{folder}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_to_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let failure = Storage::new(&file.join("acme")).check().unwrap_err();
        assert!(failure.to_string().contains("/file/acme: "), "{failure}");
    }

    #[test]
    fn an_account_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path());
        let directory = "https://ca.example/dir";
        let (key, account) = storage.account(directory).unwrap();
        assert_eq!(account, Account::default());
        let account = Account {
            url: Some("https://ca.example/1".to_owned()),
            email: Some("ops@shop.example".to_owned()),
        };
        storage.store_account(directory, &account).unwrap();
        let (again, found) = storage.account(directory).unwrap();
        assert_eq!(found, account);
        assert_eq!(again.as_pem(), key.as_pem());
        let (other, _) = storage.account("https://other.example/dir").unwrap();
        assert_ne!(other.as_pem(), key.as_pem());
        let path = folder.path().join("accounts/ca.example-dir/account.key");
        fs::write(&path, "nonsense").unwrap();
        assert!(storage.account(directory).is_err());
    }

    #[test]
    fn a_ca_has_a_folder_name() {
        for (directory, expected) in [
            ("https://ca.example/directory", "ca.example-directory"),
            (
                "https://ca.example:14000/a/b/?x=1",
                "ca.example-14000-a-b--x-1",
            ),
            ("https://../../etc", "-..-..-etc"),
            ("https://[::1]:1/", "---1--1"),
        ] {
            assert_eq!(file_name(directory), expected);
        }
        assert!(file_name(&"a".repeat(9999)).len() <= 200);
    }

    #[test]
    fn what_a_killed_attempt_has_left_is_removed_later() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::new(folder.path());
        storage.check().unwrap();
        storage.publish_http("token", "x").unwrap();
        storage.store_certificate("a", "x").unwrap();
        let temporary = folder.path().join("certificates/.a.pem.1");
        fs::write(&temporary, "").unwrap();
        let token = folder.path().join("challenges/http-01/token");
        storage.sweep(SystemTime::now());
        assert!(token.exists() && temporary.exists());
        storage.sweep(SystemTime::now() + ABANDONED * 2);
        assert!(!token.exists() && !temporary.exists());
        assert!(folder.path().join("certificates/a.pem").exists());
    }
}
