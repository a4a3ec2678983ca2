//! Who has the lock: what a hub says of itself, and what another reads of it.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

/// How the name of a session with the lock begins.
const NAME_PREFIX: &str = "orderhub ";
/// The longest host name that is reported.
const MAX_HOST: usize = 36;

/// Describes the holder of the lock: process, host and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder(pub(super) String);

// === impl Holder ===

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Holder {
    /// Reads the holder from the text of a lock file, or from its beginning.
    pub(super) fn from_lock_file(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        Self(if line.is_empty() { "an unknown process".to_owned() } else { line.to_owned() })
    }

    /// Reads the holder from a session's name; the name of another user's session is not readable.
    pub(super) fn from_session(name: &str, since: &str) -> Self {
        match name.strip_prefix(NAME_PREFIX).and_then(|named| named.split_once('@')) {
            Some((pid, host)) => {
                let host = host.split_once(' ').map_or(host, |(host, _)| host);
                Self(format!("process {pid} on {host}, since {since}"))
            }
            None => Self("an unknown process".to_owned()),
        }
    }
}

/// The name of this machine, if it can be read.
pub(super) fn own_host() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let is_plain = |sign: &char| sign.is_ascii_alphanumeric() || ".-_".contains(*sign);
    let host: String = host.chars().filter(is_plain).collect();
    // The end of a name tells one container from another.
    host[host.len().saturating_sub(MAX_HOST)..].to_owned()
}

/// The name of this process's session that has or wants the lock. It stays the same while the host
/// gets another name, and no other process has it: in containers the process id may be the same.
pub(super) fn own_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let process = std::process::id();
        let random = RandomState::new().hash_one(process) >> 32;
        format!("{NAME_PREFIX}{process}@{} {random:08x}", own_host())
    });
    &NAME
}
