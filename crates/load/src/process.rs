//! The resource usage of a process on this machine, where the system tells it: only Linux does.

use std::path::Path;
use std::time::Duration;

/// The processor time that a process has used, and the memory that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time of all its threads since it began.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, resident: self.resident + other.resident }
    }
}

/// The usage of a process; `None` where there is no such process.
pub fn usage_of(pid: u32) -> Option<Usage> {
    let folder = format!("/proc/{pid}");
    let file = |name| std::fs::read_to_string(Path::new(&folder).join(name)).ok();
    Some(Usage { cpu: cpu(&file("stat")?)?, resident: resident(&file("status")?)? })
}

/// The 14th and 15th field of `stat` (proc(5)): user and system time, in ticks. The second field is
/// a name that may contain anything, even spaces and brackets.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let sum = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
    // User space always sees a hundred ticks a second.
    Some(Duration::from_millis(sum.checked_mul(10)?))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_odd_name_is_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1000 0 0 0 150 25 9 9 20 0 4 0 100 1 2\n";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1750)));
        assert_eq!(resident("Name:\tx\nVmRSS:\t   1500 kB\n"), Some(1_536_000));
        assert_eq!((cpu("7 (a) S 1"), resident("Name:\tx\n")), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_known_and_one_that_is_not_there_is_not() {
        assert!(usage_of(std::process::id()).is_some_and(|usage| usage.resident > 100_000));
        assert_eq!(usage_of(u32::MAX), None);
    }
}
