//! A hub in a process of its own.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The secret of every hub under test.
pub const SECRET: &str = "secret-for-tests-only-0123456789abcdef";

/// Starts a hub with these variables and no others. By default it picks a port.
pub fn launch<K: AsRef<OsStr>, V: AsRef<OsStr>>(
    command: &mut Command,
    data_dir: &Path,
    variables: impl IntoIterator<Item = (K, V)>,
) -> Child {
    command
        .env_clear()
        .env("DATA_DIR", data_dir)
        .env("BIND_ADDR", "127.0.0.1:0")
        .env("JWT_SECRET", SECRET)
        .envs(variables)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program")
}

/// Waits until it listens, and returns where; or what it printed instead.
pub fn address(child: &mut Child) -> Result<SocketAddr, String> {
    let stdout = child.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("orderhub listens on http://");
    address.and_then(|address| address.parse().ok()).ok_or(line)
}
