//! A PostgreSQL server of the test's own, to be killed and stopped.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use orderhub::db::connection::DbConnection;
use tokio::time::sleep;

use super::hub::signal;

/// A server.
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    port: u16,
    child: Child,
}

/// The folder of `initdb` and `postgres`: in PATH, or where distributions keep it.
pub fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions.flatten().map(|it| it.path().join("bin")).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    folders.into_iter().find(|it| it.join("initdb").exists() && it.join("postgres").exists())
}

impl Postgres {
    /// A new one with its data in this folder.
    pub async fn start(programs: PathBuf, data: PathBuf) -> Self {
        fs::create_dir(&data).expect("a folder");
        if let Some((user, group)) = server_user() {
            chown(&data, Some(user), Some(group)).expect("given away");
        }
        let mut initdb = command(&programs, "initdb", &data);
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--wal-segsize=1", "--no-sync"]);
        assert!(initdb.stdout(Stdio::null()).status().expect("initdb").success());
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        drop(taken);
        let child = launch(&programs, &data, port);
        let mut server = Self { programs, data, port, child };
        server.mend().await;
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Everything of it stops, or goes on.
    pub fn each(&self, name: &str) {
        // The one that makes others comes first, so that none is missed.
        signal(self.child.id(), name);
        for pid in children(self.child.id()) {
            signal(pid, name);
        }
    }

    /// Waits until it is gone.
    pub async fn gone(&mut self) {
        while self.child.try_wait().expect("a child").is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts it where it does not run, and waits until it answers.
    pub async fn mend(&mut self) {
        let url = self.url().parse().expect("a database");
        while DbConnection::open(&url).is_err() {
            if self.child.try_wait().expect("a child").is_some() {
                self.child = launch(&self.programs, &self.data, self.port);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.each("CONT");
        signal(self.child.id(), "QUIT");
        self.child.wait().ok();
    }
}

fn launch(programs: &Path, data: &Path, port: u16) -> Child {
    let mut server = command(programs, "postgres", data);
    server.arg(format!("-p{port}"));
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_wal_size=16MB"] {
        server.args(["-c", setting]);
    }
    server.spawn().expect("a server")
}

/// A program of the server, as its user, beside what it says.
fn command(programs: &Path, name: &str, data: &Path) -> Command {
    let mut command = Command::new(programs.join(name));
    command.arg("-D").arg(data).current_dir("/").stdin(Stdio::null());
    let log = fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log"));
    command.stderr(log.expect("a log"));
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Whom the server runs as: it refuses to be root.
fn server_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let mut fields = users.lines().find(|line| line.starts_with(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres:").or_else(|| find("nobody:"))
}

fn children(parent: u32) -> Vec<u32> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(file).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
