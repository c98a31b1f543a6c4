//! Process titles of the server, as `ps`, `top` and `pgrep` show them.
//!
//! The short name (`ps -o comm`) is always set; the kernel keeps 15 bytes of it. The command line (`ps -o args`) is
//! overwritten only if the package `setproctitle` is installed, which does so safely.

use lockgate_config::Config;
use pyo3::prelude::*;

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Supervisor,
    ForkServer,
    /// With its slot number.
    Worker(usize),
    Admin,
    Acme,
    Relay,
    Exporter,
    Watcher,
    Hooks,
}

/// Bytes of a short name (prctl(2), PR_SET_NAME).
const SHORT: usize = 15;

/// Sets the title of this process.
pub(crate) fn set(py: Python<'_>, config: &Config, role: Role) {
    let name = config.proc_name.as_deref().unwrap_or("lockgate");
    let title = title(name, role, &config.app.to_string());
    let module = py.import("lockgate.process_title");
    // A process without a title still works.
    let _unnamed = module.and_then(|module| module.call_method1("show", (title,)));
    set_short(&short_name(name, role));
}

#[cfg(target_os = "linux")]
fn set_short(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _refused = rustix::thread::set_name(&name);
    }
}

#[cfg(not(target_os = "linux"))]
fn set_short(_name: &str) {}

/// `shop`, `shop-w0`, `shop-fork`, `shop-admin`, `shop-acme`, `shop-relay`, `shop-otlp`, `shop-watch`,
/// `shop-hooks`: the suffix identifies the process, so a long name is cut before it.
fn short_name(name: &str, role: Role) -> String {
    let end = match role {
        Role::Supervisor => String::new(),
        Role::ForkServer => "-fork".to_owned(),
        Role::Worker(slot) => format!("-w{slot}"),
        Role::Admin => "-admin".to_owned(),
        Role::Acme => "-acme".to_owned(),
        Role::Relay => "-relay".to_owned(),
        Role::Exporter => "-otlp".to_owned(),
        Role::Watcher => "-watch".to_owned(),
        Role::Hooks => "-hooks".to_owned(),
    };
    let mut room = SHORT.saturating_sub(end.len()).min(name.len());
    while !name.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{end}", name.get(..room).unwrap_or_default())
}

/// `shop: worker 0 [app:app]`
fn title(name: &str, role: Role, app: &str) -> String {
    let what = match role {
        Role::Supervisor => "supervisor".to_owned(),
        Role::ForkServer => "fork server".to_owned(),
        Role::Worker(slot) => format!("worker {slot}"),
        Role::Admin => "admin".to_owned(),
        Role::Acme => "acme".to_owned(),
        Role::Relay => "relay".to_owned(),
        Role::Exporter => "otlp".to_owned(),
        Role::Watcher => "watch".to_owned(),
        Role::Hooks => "hooks".to_owned(),
    };
    format!("{name}: {what} [{app}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_keeps_its_suffix() {
        for (name, role, short) in [
            ("lockgate", Role::Supervisor, "lockgate"),
            ("lockgate", Role::Worker(0), "lockgate-w0"),
            ("lockgate", Role::Worker(255), "lockgate-w255"),
            ("lockgate", Role::ForkServer, "lockgate-fork"),
            ("lockgate", Role::Admin, "lockgate-admin"),
            ("lockgate", Role::Acme, "lockgate-acme"),
            ("shop-0123456789ab", Role::Supervisor, "shop-0123456789"),
            ("shop-0123456789ab", Role::Worker(12), "shop-012345-w12"),
            ("ööööööööö", Role::Admin, "öööö-admin"),
        ] {
            assert_eq!(short_name(name, role), short);
            assert!(short.len() <= SHORT);
        }
    }

    #[test]
    fn a_title_has_name_role_and_application() {
        assert_eq!(
            title("shop", Role::Worker(3), "site:app"),
            "shop: worker 3 [site:app]"
        );
    }
}
