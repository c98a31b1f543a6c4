//! The host's CPUs and memory, as the caller measured them, and how many workers suit them.

/// Facts about the host, container limits included, and about its Python.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// CPUs that this process may run on.
    pub affinity: usize,
    /// CPU time that the control group may use, in CPUs; `None`: no quota.
    pub cpu_quota: Option<f64>,
    /// Bytes of memory that the control group may use; `None`: no limit.
    pub memory_limit: Option<u64>,
    /// Bytes of memory that the host has.
    pub memory_total: u64,
    /// Whether Python runs one thread at a time.
    pub gil: Gil,
    /// Whether the memory of a process can be read.
    pub measures_memory: bool,
}

/// Python's global interpreter lock (PEP 703).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gil {
    /// Of an ordinary build.
    Always,
    /// Of a free-threaded build, by `PYTHON_GIL=1` or because an extension module needs it.
    Enabled,
    /// Of a free-threaded build: threads run at the same time.
    Disabled,
}

/// Memory for one worker: an interpreter with a framework and a mid-sized application.
pub(crate) const MEMORY_PER_WORKER: u64 = 128 * 1024 * 1024;

impl Host {
    /// Bytes of memory that all workers together may use.
    pub(crate) fn memory(&self) -> u64 {
        self.memory_limit
            .map_or(self.memory_total, |limit| limit.min(self.memory_total))
    }

    /// The same in words, with its source.
    pub(crate) fn memory_words(&self) -> String {
        let whose = match self.memory_limit {
            Some(limit) if limit <= self.memory_total => "the control group's limit",
            _ => "the host's memory",
        };
        format!("{whose} of {}", gibibytes(self.memory()))
    }

    /// The number that `workers = "auto"` stands for, at least 1, and the reason.
    pub(crate) fn suitable_workers(&self) -> (usize, String) {
        let by_affinity = self.affinity.max(1);
        let by_quota = match self.cpu_quota {
            // The cast saturates; a quota that is not a positive number counts as the smallest one.
            Some(quota) => (quota.ceil() as usize).max(1),
            None => usize::MAX,
        };
        let by_memory = usize::try_from(self.memory() / MEMORY_PER_WORKER)
            .unwrap_or(usize::MAX)
            .max(1);
        let workers = by_affinity.min(by_quota).min(by_memory);
        let quota = match self.cpu_quota {
            Some(quota) => format!("cgroup quota {:?}", (quota * 100.0).round() / 100.0),
            None => "no cgroup quota".to_owned(),
        };
        let reason = format!(
            "auto: {by_affinity} CPU{} by affinity, {quota}, memory {} allows {by_memory}",
            if by_affinity == 1 { "" } else { "s" },
            gibibytes(self.memory()),
        );
        (workers, reason)
    }
}

fn gibibytes(bytes: u64) -> String {
    const GIB: f64 = (1_u64 << 30) as f64;
    format!("{:.1} GiB", bytes as f64 / GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn auto_takes_the_scarcest_of_processors_quota_and_memory() {
        let cases = [
            // affinity, quota, memory limit, memory of the host, workers
            (2, Some(2.0), None, 24 * GIB, 2),
            (64, Some(2.0), Some(GIB), 256 * GIB, 2),
            (64, Some(1.5), None, 256 * GIB, 2),
            (64, Some(0.25), None, 256 * GIB, 1),
            (64, None, None, 256 * GIB, 64),
            (64, None, Some(GIB), 256 * GIB, 8),
            (4, Some(16.0), None, 256 * GIB, 4),
            (8, None, Some(64 * 1024 * 1024), 8 * GIB, 1),
            (8, None, Some(u64::MAX), GIB, 8),
            (0, None, None, 8 * GIB, 1),
            (8, Some(0.0), None, 8 * GIB, 1),
            (8, Some(f64::NAN), None, 8 * GIB, 1),
            (8, Some(-1.0), None, 8 * GIB, 1),
            (8, None, None, 0, 1),
        ];
        for (affinity, cpu_quota, memory_limit, memory_total, expected) in cases {
            let host = Host {
                affinity,
                cpu_quota,
                memory_limit,
                memory_total,
                gil: Gil::Always,
                measures_memory: true,
            };
            assert_eq!(host.suitable_workers().0, expected, "{host:?}");
        }
    }

    #[test]
    fn the_reason_names_every_fact() {
        let host = Host {
            affinity: 2,
            cpu_quota: Some(2.0),
            memory_limit: None,
            memory_total: 24 * GIB,
            gil: Gil::Always,
            measures_memory: true,
        };
        assert_eq!(
            host.suitable_workers().1,
            "auto: 2 CPUs by affinity, cgroup quota 2.0, memory 24.0 GiB allows 192"
        );
        let host = Host {
            affinity: 1,
            cpu_quota: None,
            memory_limit: Some(GIB / 2),
            memory_total: 24 * GIB,
            gil: Gil::Always,
            measures_memory: true,
        };
        assert_eq!(
            host.suitable_workers().1,
            "auto: 1 CPU by affinity, no cgroup quota, memory 0.5 GiB allows 4"
        );
    }
}
