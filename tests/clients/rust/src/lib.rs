//! A hub in a process of its own, tokens for it, and what clients were told.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

/// How long anything may take; generous, for slow machines.
pub const TIMEOUT: Duration = Duration::from_secs(60);

const SECRET: &str = "secret-for-tests-only-0123456789abcdef";

fn orderhub() -> Command {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../target/debug/orderhub");
    let mut command = Command::new(std::env::var("ORDERHUB_BIN").unwrap_or(default.into()));
    command.env_clear().env("JWT_SECRET", SECRET);
    command
}

/// A user's token for the order `o1`.
pub fn token(user: &str, role: &str, ttl: &str) -> String {
    let mut command = orderhub();
    command.args(["token", "--order", "o1", "--user", user, "--role", role, "--ttl", ttl]);
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Started again it listens on the same port.
pub struct Hub {
    pub address: String,
    folder: TempDir,
    child: Child,
}

impl Hub {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Below the ports that the system gives away; where one is taken, another one.
        for attempt in 0..20 {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let port = 20_000 + (now.subsec_micros() + 997 * attempt) % 12_000;
            let address = format!("127.0.0.1:{port}");
            if let Some(child) = launch(&folder, &address) {
                return Self { address, folder, child };
            }
        }
        panic!("the hub did not start");
    }

    /// SIGTERM or SIGKILL, and the next process on the same port.
    pub fn restart(&mut self, signal: &str) {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        assert!(signal == "KILL" || status.success(), "{status}");
        self.child = launch(&self.folder, &self.address).expect("a hub on the same port");
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn launch(folder: &TempDir, address: &str) -> Option<Child> {
    let log = File::options().append(true).create(true).open(folder.path().join("log")).unwrap();
    let mut child = orderhub()
        .envs([("BIND_ADDR", address), ("JWT_LEEWAY_SECS", "0")])
        .env("DATA_DIR", folder.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut banner = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut banner).unwrap();
    banner.starts_with("orderhub listens on ").then_some(child)
}

/// What a client was told, until a test takes it out.
pub struct Inbox {
    coming: UnboundedReceiver<(String, Value)>,
    kept: Vec<(String, Value)>,
}

impl Inbox {
    pub fn new() -> (UnboundedSender<(String, Value)>, Self) {
        let (told, coming) = unbounded_channel();
        (told, Self { coming, kept: Vec::new() })
    }

    /// The data of the next event of this name; others are kept.
    pub async fn take(&mut self, event: &str) -> Value {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Some(at) = self.kept.iter().position(|(name, _)| name == event) {
                return self.kept.remove(at).1;
            }
            let next = timeout_at(end, self.coming.recv()).await;
            let next = next.unwrap_or_else(|_| panic!("expected {event}, have {:?}", self.kept));
            self.kept.push(next.expect("an open channel"));
        }
    }
}
