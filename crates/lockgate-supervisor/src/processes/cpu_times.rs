//! The processor time of a process, as the kernel reports it in `/proc` (proc(5)).

use std::fs;

/// Nanoseconds since its start. Children are those that have ended and were waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In user mode, with its children.
    pub user: u64,
    /// In the kernel, with its children.
    pub system: u64,
    /// In both, without its children.
    pub own: u64,
}

/// The times of one process; zero when unknown.
pub fn cpu_times(pid: u64) -> CpuTimes {
    // A process name need not be UTF-8.
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second();
    parse(&String::from_utf8_lossy(&stat), ticks).unwrap_or_default()
}

fn parse(stat: &str, ticks_per_second: u64) -> Option<CpuTimes> {
    // The name may contain spaces and parentheses; the fields after it contain none.
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // utime, stime, cutime, cstime; the first field here is the state, the third of the file.
    let nanoseconds = |index: usize| {
        let ticks: u64 = fields.get(index)?.parse().ok()?;
        (ticks.checked_mul(1_000_000_000)?).checked_div(ticks_per_second)
    };
    let (user, system) = (nanoseconds(11)?, nanoseconds(12)?);
    Some(CpuTimes {
        user: user.saturating_add(nanoseconds(13)?),
        system: system.saturating_add(nanoseconds(14)?),
        own: user.saturating_add(system),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_and_its_dead_children_are_added() {
        let stat =
            "4711 (a) b (c) S 1 2 3 0 -1 4194560 9 8 7 6 150 25 50 5 20 0 1 0 123 4096 12 18";
        let expected = CpuTimes {
            user: 2_000_000_000,
            system: 300_000_000,
            own: 1_750_000_000,
        };
        assert_eq!(parse(stat, 100), Some(expected));
        for (stat, ticks) in [("", 100), ("1 (a) S 1 2", 100), (stat, 0)] {
            assert_eq!(parse(stat, ticks), None, "{stat} {ticks}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_missing_process_has_none() {
        assert_eq!(cpu_times(u64::MAX), CpuTimes::default());
    }
}
