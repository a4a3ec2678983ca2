//! This process: its version, and its use of processor, memory and files, where the system tells
//! all of it: only Linux does.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// The processor time that this process has used, and the memory that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads since it began.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, if the build set `ORDERHUB_COMMIT`.
pub const COMMIT: Option<&str> = option_env!("ORDERHUB_COMMIT");

/// How many files this process has open. `None` where the system does not tell; Linux does since
/// 6.2.
pub fn open_files() -> Option<u64> {
    // The folder's size is its number of entries: listing ten thousand of them would take time.
    let count = std::fs::metadata("/proc/self/fd").ok()?.len();
    Some(count).filter(|count| *count > 0)
}

/// How many files this process may have open.
pub fn max_open_files() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// The usage of this process; `None` where the system does not tell.
pub fn own_usage() -> Option<Usage> {
    let used = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let cpu = duration(used.user_time())? + duration(used.system_time())?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Usage { cpu, resident: kib.checked_mul(1024)? })
}

fn duration(time: TimeVal) -> Option<Duration> {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec()).ok()?);
    Some(seconds + Duration::from_micros(u64::try_from(time.tv_usec()).ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let usage = own_usage().expect("known");
        assert!(usage.resident > 100_000 && usage.cpu > Duration::ZERO, "{usage:?}");
        assert!(max_open_files().is_some_and(|most| open_files().is_none_or(|open| open <= most)));
    }
}
