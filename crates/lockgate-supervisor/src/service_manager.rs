//! The service manager (systemd) as the environment describes it: notify socket, watchdog interval, passed listening
//! sockets. The caller provides the environment.
//!
//! The rules are those of sd_listen_fds(3), sd_watchdog_enabled(3) and sd_notify(3). The variables are hidden from the
//! application, whose messages would count as the server's.

pub(crate) mod notify;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use lockgate_config::{Bind, BindAddress, Config};

use crate::os::set_inherited_close_at_exec;

/// The variables that are meant for this process only.
pub const SERVICE_VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The number of the first socket (SD_LISTEN_FDS_START).
const FIRST_SOCKET: i32 = 3;
/// A higher count is not plausible and is ignored.
const MOST_SOCKETS: i32 = 4096;
/// The name of a socket that was passed without one, as in sd_listen_fds_with_names(3).
const NAMELESS: &str = "unknown";

/// See the module. Without a service manager everything is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceManager {
    /// The datagram socket for notifications: a path, or an abstract name after `@`.
    pub notify_socket: Option<OsString>,
    /// The watchdog interval.
    pub watchdog: Option<Duration>,
    /// The passed sockets, numbered from 3.
    pub sockets: Vec<PassedSocket>,
}

/// A passed descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedSocket {
    /// `FileDescriptorName=`, which several may share.
    pub name: String,
    /// The descriptor.
    pub number: i32,
}

impl ServiceManager {
    /// Parses these variables for the process with this pid; variables meant for another process are ignored.
    pub fn of(environment: &[(OsString, OsString)], pid: u32) -> Self {
        let value = |name: &str| {
            let (_, value) = environment.iter().find(|(key, _)| key == name)?;
            Some(value.as_os_str()).filter(|value| !value.is_empty())
        };
        let number = |name: &str| value(name)?.to_str()?.parse::<u64>().ok();
        let is_watched = value("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID").is_some_and(|watched| watched == u64::from(pid));
        let watchdog = number("WATCHDOG_USEC")
            .filter(|&usec| is_watched && usec > 0 && usec < u64::MAX)
            .map(Duration::from_micros);
        let is_passed = number("LISTEN_PID") == Some(pid.into());
        let count = number("LISTEN_FDS")
            .and_then(|count| i32::try_from(count).ok())
            .filter(|count| is_passed && *count <= MOST_SOCKETS)
            .unwrap_or(0);
        Self {
            notify_socket: value("NOTIFY_SOCKET").map(OsStr::to_owned),
            watchdog,
            sockets: named_sockets(count, value("LISTEN_FDNAMES").unwrap_or_default()),
        }
    }

    /// Replaces names of passed sockets in settings by numbers: `systemd:web` becomes `fd://3`, for example.
    ///
    /// # Errors
    /// For the operator: which setting names a socket that was not passed, and which were passed.
    pub fn find_sockets(&self, config: &mut Config) -> Result<(), String> {
        let bind = config.bind.iter().map(|bind| &bind.address);
        let named: Vec<BindAddress> = bind.chain(&config.admin_bind).cloned().collect();
        let is_named = |socket: &PassedSocket| {
            named.contains(&BindAddress::Systemd(Some(socket.name.clone())))
                || named.contains(&BindAddress::Fd(socket.number))
        };
        let mut bind = Vec::new();
        for configured in std::mem::take(&mut config.bind) {
            let address = &configured.address;
            match address {
                BindAddress::Systemd(Some(name)) => {
                    let sockets = self.sockets_named(name, "bind")?;
                    bind.extend(sockets.into_iter().map(Bind::from));
                }
                BindAddress::Systemd(None) => {
                    let others = self.sockets.iter().filter(|socket| !is_named(socket));
                    let others: Vec<_> = others
                        .map(|socket| Bind::from(BindAddress::Fd(socket.number)))
                        .collect();
                    if others.is_empty() {
                        let what = "no socket that no other address names";
                        return Err(self.refusal("bind", address, what));
                    }
                    bind.extend(others);
                }
                _ => bind.push(configured),
            }
        }
        config.bind = bind;
        if let Some(BindAddress::Systemd(Some(name))) = &config.admin_bind {
            let called = self.sockets_named(name, "admin_bind")?;
            let [address] = called.as_slice() else {
                let count = called.len();
                return Err(format!(
                    "admin_bind = \"systemd:{name}\": systemd has passed {count} sockets of this name; \
                     admin_bind takes one: give it a name of its own (FileDescriptorName=)"
                ));
            };
            config.admin_bind = Some(address.clone());
        }
        Ok(())
    }

    /// The names of passed sockets that these settings, after [`ServiceManager::find_sockets`], do not use.
    pub fn unused_sockets(&self, config: &Config) -> Vec<&str> {
        let bind = config.bind.iter().map(|bind| &bind.address);
        let used: Vec<&BindAddress> = bind
            .chain(&config.admin_bind)
            .chain(&config.uwsgi.stats)
            .collect();
        let is_unused = |socket: &&PassedSocket| !used.contains(&&BindAddress::Fd(socket.number));
        let unused = self.sockets.iter().filter(is_unused);
        unused.map(|socket| socket.name.as_str()).collect()
    }

    /// Sets whether the passed sockets are closed by exec, in this process and in its children.
    pub fn close_at_exec(&self, closes: bool) {
        for socket in &self.sockets {
            // A socket that is not open is reported when the server tries to listen on it.
            let _not_open = set_inherited_close_at_exec(socket.number, closes);
        }
    }

    fn sockets_named(&self, name: &str, setting: &str) -> Result<Vec<BindAddress>, String> {
        let called = self.sockets.iter().filter(|socket| socket.name == name);
        let called: Vec<_> = called
            .map(|socket| BindAddress::Fd(socket.number))
            .collect();
        if called.is_empty() {
            let address = BindAddress::Systemd(Some(name.to_owned()));
            return Err(self.refusal(setting, &address, "no socket of this name"));
        }
        Ok(called)
    }

    fn refusal(&self, setting: &str, address: &BindAddress, what: &str) -> String {
        let start = format!("{setting} = \"{address}\"");
        if self.sockets.is_empty() {
            return format!(
                "{start}: no sockets were passed to this process (LISTEN_FDS, LISTEN_PID); \
                 start the server through its .socket unit, or choose another address"
            );
        }
        let mut names: Vec<&str> = Vec::new();
        for socket in &self.sockets {
            if !names.contains(&socket.name.as_str()) {
                names.push(&socket.name);
            }
        }
        format!(
            "{start}: systemd has passed {what}; the names (FileDescriptorName=) are: {}",
            names.join(", ")
        )
    }
}

fn named_sockets(count: i32, names: &OsStr) -> Vec<PassedSocket> {
    let names = names.to_string_lossy();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    (FIRST_SOCKET..FIRST_SOCKET + count)
        .map(|number| PassedSocket {
            name: names.next().unwrap_or(NAMELESS).to_owned(),
            number,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::AppSpec;

    type Texts = &'static [&'static str];
    type Variables = &'static [(&'static str, &'static str)];

    fn parsed(variables: &[(&str, &str)]) -> ServiceManager {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        ServiceManager::of(&variables, 42)
    }

    fn passed(names: &[&str]) -> ServiceManager {
        let count = names.len().to_string();
        parsed(&[
            ("LISTEN_PID", "42"),
            ("LISTEN_FDS", &count),
            ("LISTEN_FDNAMES", &names.join(":")),
        ])
    }

    fn config(bind: &[&str], admin: Option<&str>) -> Config {
        let address = |text: &&str| BindAddress::parse(text).unwrap();
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        Config {
            bind: bind.iter().map(address).map(Bind::from).collect(),
            admin_bind: admin.as_ref().map(address),
            ..Config::with_defaults(app)
        }
    }

    #[test]
    fn variables_for_another_process_are_ignored() {
        let cases: [(Variables, Option<u64>, usize); 12] = [
            (&[], None, 0),
            (&[("WATCHDOG_USEC", "30000000")], Some(30_000_000), 0),
            (
                &[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "42")],
                Some(5),
                0,
            ),
            (&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "43")], None, 0),
            (&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "x")], None, 0),
            (&[("WATCHDOG_USEC", "0")], None, 0),
            (&[("WATCHDOG_USEC", "18446744073709551615")], None, 0),
            (&[("LISTEN_FDS", "2")], None, 0),
            (&[("LISTEN_FDS", "2"), ("LISTEN_PID", "43")], None, 0),
            (&[("LISTEN_FDS", "2"), ("LISTEN_PID", "42")], None, 2),
            (&[("LISTEN_FDS", "-2"), ("LISTEN_PID", "42")], None, 0),
            (
                &[("LISTEN_FDS", "99999999999"), ("LISTEN_PID", "42")],
                None,
                0,
            ),
        ];
        for (variables, watchdog, sockets) in cases {
            let manager = parsed(variables);
            let expected = watchdog.map(Duration::from_micros);
            assert_eq!(manager.watchdog, expected, "{variables:?}");
            assert_eq!(manager.sockets.len(), sockets, "{variables:?}");
        }
        let manager = parsed(&[("NOTIFY_SOCKET", "@x")]);
        assert_eq!(manager.notify_socket, Some("@x".into()));
        assert_eq!(parsed(&[("NOTIFY_SOCKET", "")]).notify_socket, None);
    }

    #[test]
    fn sockets_have_the_passed_names_and_unnamed_ones_are_unknown() {
        let manager = parsed(&[
            ("LISTEN_PID", "42"),
            ("LISTEN_FDS", "3"),
            ("LISTEN_FDNAMES", "web:api"),
        ]);
        let sockets = manager.sockets.iter();
        let sockets: Vec<_> = sockets
            .map(|socket| (socket.name.as_str(), socket.number))
            .collect();
        assert_eq!(sockets, [("web", 3), ("api", 4), ("unknown", 5)]);
    }

    #[test]
    fn names_are_replaced_by_numbers() {
        let manager = passed(&["web", "admin", "web", "api"]);
        let cases: [(Texts, Option<&str>, Texts, Option<&str>); 6] = [
            (
                &["systemd"],
                None,
                &["fd://3", "fd://4", "fd://5", "fd://6"],
                None,
            ),
            (
                &["systemd"],
                Some("systemd:admin"),
                &["fd://3", "fd://5", "fd://6"],
                Some("fd://4"),
            ),
            (&["systemd:web"], None, &["fd://3", "fd://5"], None),
            (
                &["systemd:api", "systemd"],
                Some("unix:/a"),
                &["fd://6", "fd://3", "fd://4", "fd://5"],
                Some("unix:/a"),
            ),
            (&[":1", "systemd:api"], None, &["0.0.0.0:1", "fd://6"], None),
            (
                &["fd://3", "systemd"],
                None,
                &["fd://3", "fd://4", "fd://5", "fd://6"],
                None,
            ),
        ];
        for (bind, admin, found, found_admin) in cases {
            let mut given = config(bind, admin);
            manager.find_sockets(&mut given).unwrap();
            let expected = config(found, found_admin);
            assert_eq!(given.bind, expected.bind, "{bind:?}");
            assert_eq!(given.admin_bind, expected.admin_bind, "{bind:?}");
        }
        let mut given = config(&[":1", "systemd:api"], None);
        manager.find_sockets(&mut given).unwrap();
        assert_eq!(manager.unused_sockets(&given), ["web", "admin", "web"]);
        let mut given = config(&["systemd"], Some("systemd:admin"));
        manager.find_sockets(&mut given).unwrap();
        assert!(manager.unused_sockets(&given).is_empty());
    }

    #[test]
    fn a_socket_that_was_not_passed_is_refused_with_the_passed_names() {
        let cases: [(Texts, Texts, Option<&str>, &str); 5] = [
            (
                &[],
                &["systemd"],
                None,
                "bind = \"systemd\": no sockets were passed",
            ),
            (
                &[],
                &["systemd:web"],
                None,
                "bind = \"systemd:web\": no sockets were passed",
            ),
            (
                &["web", "web", "api"],
                &["systemd:www"],
                None,
                "bind = \"systemd:www\": systemd has passed no socket of this name; the names (FileDescriptorName=) are: web, api",
            ),
            (
                &["web"],
                &["systemd:web", "systemd"],
                None,
                "bind = \"systemd\": systemd has passed no socket that no other address names",
            ),
            (
                &["web", "web"],
                &[":1"],
                Some("systemd:web"),
                "admin_bind = \"systemd:web\": systemd has passed 2",
            ),
        ];
        for (names, bind, admin, start) in cases {
            let error = passed(names)
                .find_sockets(&mut config(bind, admin))
                .unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
