//! A hub and a load generator, each in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The secret of every hub here.
pub const SECRET: &str = "secret-for-tests-only-0123456789abcdef";

/// A hub that runs. Killed when dropped.
pub struct Hub {
    pub addr: SocketAddr,
    pub child: Child,
    dir: TempDir,
}

impl Hub {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (child, addr) = launch(&dir, "127.0.0.1:0", variables);
        Self { addr, child, dir }
    }

    /// Kills it, and starts it again at the same address, on the same data.
    pub fn crash(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
        self.child = launch(&self.dir, &self.addr.to_string(), &[]).0;
    }
}

fn launch(dir: &TempDir, bind: &str, variables: &[(&str, &str)]) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .env_clear()
        .env("DATA_DIR", dir.path())
        .env("BIND_ADDR", bind)
        .env("JWT_SECRET", SECRET)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let addr = line.trim().strip_prefix("orderhub listens on http://");
    let addr = addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    (child, addr)
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run that is being put together.
pub struct Load {
    pub dir: TempDir,
    command: Command,
}

/// A run that is over.
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// The results as JSON, null where there are none.
    pub json: Value,
}

impl Load {
    /// Arguments as a shell would give them: `chat --rooms 2`.
    pub fn new(addr: SocketAddr, args: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderhub"));
        command.env_clear().env("JWT_SECRET", SECRET).current_dir(dir.path()).arg("load");
        command.args(args.split_whitespace());
        command.args(["--url", &format!("ws://{addr}"), "--json", "result.json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { dir, command }
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// A file for the run, in its folder.
    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).expect("written");
        self
    }

    pub fn start(mut self) -> Running {
        Running { child: self.command.spawn().expect("the program"), dir: self.dir }
    }

    pub fn run(self) -> Ran {
        self.start().end()
    }
}

/// A run that goes on.
pub struct Running {
    pub child: Child,
    dir: TempDir,
}

impl Running {
    pub fn end(self) -> Ran {
        ran(self.child.wait_with_output().expect("an end"), self.dir.path())
    }
}

fn ran(output: Output, dir: &Path) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let file: PathBuf = dir.join("result.json");
    let json = std::fs::read_to_string(file).unwrap_or_default();
    Ran {
        status: output.status.code().expect("not killed"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        json: serde_json::from_str(&json).unwrap_or(Value::Null),
    }
}

impl Ran {
    /// All went well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.status, 0, "{}{}", self.stderr, self.stdout);
        assert_eq!(self.json["ended"], "complete");
        assert_eq!(self.json["broken"], serde_json::json!({}));
        self
    }

    /// Ended with this status, and the last line on stderr says why.
    #[track_caller]
    pub fn failed(self, status: i32, parts: &[&str]) -> Self {
        assert_eq!(self.status, status, "{}{}", self.stderr, self.stdout);
        let last = self.stderr.lines().last().unwrap_or_default();
        for part in parts {
            assert!(last.contains(part), "{part:?} is not in {last:?}");
        }
        self
    }

    /// A number in the results, by its path (`counts.chatSent`).
    #[track_caller]
    pub fn number(&self, path: &str) -> f64 {
        let found = path.split('.').fold(&self.json, |value, key| &value[key]);
        found.as_f64().unwrap_or_else(|| panic!("no {path} in {}", self.json))
    }
}
