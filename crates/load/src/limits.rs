//! Whether this process may open as many sockets as a run needs.

/// Files that are not sockets of the run: the terminal, reports, the poll.
const OWN: u64 = 32;

/// Raises the file limit to what this many connections need.
///
/// # Errors
/// A sentence with the limit, how to raise it and how many connections it allows.
pub fn raise_file_limit(connections: u64) -> Result<(), String> {
    let limit = rlimit::increase_nofile_limit(connections + OWN)
        .map_err(|error| format!("the file limit cannot be read: {error}"))?;
    judge(connections, limit)
}

fn judge(connections: u64, limit: u64) -> Result<(), String> {
    if connections + OWN <= limit {
        return Ok(());
    }
    Err(format!(
        "{connections} connections are {} files, and the file limit (RLIMIT_NOFILE) is {limit}: it \
         can drive {} connections. Raise it with `ulimit -n {}` (as root, or LimitNOFILE= in \
         systemd), or take fewer rooms with --rooms",
        connections + OWN,
        limit.saturating_sub(OWN),
        connections + OWN,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_file_limit_names_the_number_of_clients_it_allows() {
        assert_eq!(judge(100, 132), Ok(()));
        let error = judge(1000, 256).expect_err("too low");
        for part in ["RLIMIT_NOFILE", "is 256", "can drive 224", "ulimit -n 1032", "--rooms"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
