//! What a process takes of its machine, as far as the system tells: only Linux does.

use std::path::Path;
use std::time::Duration;

/// What a process has taken until now, and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The processor time of all its threads, since it began.
    pub cpu: Duration,
    /// What it holds in memory, in bytes.
    pub resident: u64,
}

/// What this process takes; none where the system does not tell.
pub fn own() -> Option<Usage> {
    read(Path::new("/proc/self"))
}

/// What another process takes; none where there is no such process.
pub fn of(pid: u32) -> Option<Usage> {
    read(Path::new(&format!("/proc/{pid}")))
}

fn read(folder: &Path) -> Option<Usage> {
    let file = |name| std::fs::read_to_string(folder.join(name)).ok();
    Some(Usage { cpu: cpu(&file("stat")?)?, resident: resident(&file("status")?)? })
}

/// The 14th and 15th field of `stat` (proc(5)): time for the program and for the system, in ticks.
/// The second field is a name that may hold anything, spaces and brackets too.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let sum = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
    // Programs see a hundred ticks a second, whatever the kernel's own clock.
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
        assert!(own().is_some_and(|usage| usage.resident > 100_000));
        assert!(of(std::process::id()).is_some());
        assert_eq!(of(u32::MAX), None);
    }
}
