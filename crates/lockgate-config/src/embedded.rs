//! Settings that an embedded worker cannot have: those of a supervisor, and those of the whole process.

use crate::{ConfigError, Origin, Resolved, settings};

/// Settings about other processes than the one that serves.
const OF_A_SUPERVISOR: &[&str] = &[
    "paste",
    "paste_global",
    "workers",
    "preload",
    "timeout",
    "boot_timeout",
    "drain_delay",
    "readiness_path",
    "warmup",
    "reload",
    "reload_extra_files",
    "canary_period",
    "canary_max_error_increase",
    "max_requests",
    "max_requests_jitter",
    "max_worker_age",
    "max_worker_memory",
    "max_worker_memory_hard",
    "worker_memory_measure",
    "admin_bind",
    "admin_actions",
    "admin_show",
    "statsd_host",
    "pid",
    "uwsgi_module",
    "uwsgi_opt",
    "uwsgi_cache",
    "uwsgi_locks",
    "uwsgi_stats",
    "master_fifo",
    "push_redis",
    "cache_redis",
    "rate_limit_redis",
    "otlp",
    "domain",
    "acme_email",
    "acme_directory",
    "acme_fallback_directory",
    "acme_eab_key_id",
    "acme_eab_hmac_key_file",
    "acme_dir",
    "acme_ca_certs",
];

/// Settings about the process that serves, which belongs to the program.
const OF_THE_PROCESS: &[&str] = &[
    "chdir",
    "mount",
    "pythonpath",
    "env",
    "user",
    "group",
    "umask",
    "capture_output",
    "logger_class",
    "log_config",
    "log_config_json",
    "name",
    "gc",
    "switch_interval",
];

impl Resolved {
    /// Makes these the settings of a worker that serves inside a program.
    ///
    /// # Errors
    /// One for each setting that such a worker cannot have, unless it has its default value.
    pub fn embed(&mut self) -> Result<(), Vec<ConfigError>> {
        let mut mistakes = Vec::new();
        let advice = [
            (
                OF_A_SUPERVISOR,
                "needs a supervisor, which lockgate.serve has on the main thread; remove it",
            ),
            (
                OF_THE_PROCESS,
                "is a setting of the whole process, which belongs to the program; remove it",
            ),
        ];
        let named = settings().flat_map(|setting| {
            let found = advice
                .iter()
                .find(|(names, _)| names.contains(&setting.name));
            found.map(|(_, advice)| (setting, *advice))
        });
        for (setting, advice) in named {
            let origin = self.origins.of(setting.name);
            let value = self.shown_value(setting.name);
            let is_one_worker = setting.name == "workers" && value == "1";
            let is_default = value == setting.default_text() || is_one_worker;
            if *origin != Origin::Default && !is_default {
                mistakes.push(ConfigError::BadValue {
                    name: setting.name,
                    value: value.to_owned(),
                    origin: origin.clone(),
                    requirement: advice.to_owned(),
                });
            }
        }
        self.config.workers = 1;
        self.config.workers_reason = "workers = 1 (inside a program)".to_owned();
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(mistakes),
        }
    }

    /// The value of the setting, as the file would have it.
    fn shown_value(&self, name: &str) -> &str {
        let mut shown = self.shown.iter();
        let found = shown.find(|(setting, _)| setting.name == name);
        found.map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gil, Host, Inputs, resolve};

    fn embed(keywords: &str) -> Result<(), Vec<String>> {
        let host = Host {
            affinity: 8,
            cpu_quota: None,
            memory_limit: None,
            memory_total: 1 << 40,
            gil: Gil::Always,
            measures_memory: true,
        };
        let inputs = Inputs {
            arguments: &["lockgate".into()],
            environment: &[],
            file: None,
            keywords: Some(keywords),
            host: &host,
        };
        let mut resolved = resolve(&inputs).unwrap();
        let embedded = resolved.embed();
        assert_eq!(resolved.config.workers, 1);
        embedded.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_setting_of_a_supervisor_or_of_the_process_is_refused_by_name() {
        assert_eq!(
            embed(r#"{"app": "a:b", "bind": "127.0.0.1:0", "threads": 3}"#),
            Ok(())
        );
        assert_eq!(
            embed(r#"{"app": "a:b", "workers": 1, "preload": false, "gc": "freeze"}"#),
            Ok(())
        );
        for (keywords, words) in [
            (
                r#"{"app": "a:b", "workers": 2}"#,
                "workers = 2 (from serve(workers=…)): needs a supervisor",
            ),
            (
                r#"{"app": "a:b", "preload_app": true}"#,
                "needs a supervisor",
            ),
            (r#"{"app": "a:b", "max_requests": 10}"#, "max_requests = 10"),
            (r#"{"app": "a:b", "umask": 18}"#, "belongs to the program"),
            (r#"{"app": "a:b", "gc": "off"}"#, "belongs to the program"),
            (
                r#"{"app": "a:b", "logger_class": "x.Logger"}"#,
                "belongs to the program",
            ),
        ] {
            let mistakes = embed(keywords).unwrap_err();
            assert!(
                mistakes.len() == 1 && mistakes[0].contains(words),
                "{mistakes:?}"
            );
        }
    }

    #[test]
    fn each_name_is_a_setting() {
        for name in OF_A_SUPERVISOR.iter().chain(OF_THE_PROCESS) {
            assert!(settings().any(|setting| setting.name == *name), "{name}");
        }
    }
}
