//! A hub and a load generator, each in a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::launch;
pub use crate::launch::SECRET;

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
        let (child, addr) = start(&dir, variables);
        Self { addr, child, dir }
    }

    /// Kills it, and starts it again at the same address, on the same data.
    pub fn crash(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
        self.child = start(&self.dir, &[("BIND_ADDR", &self.addr.to_string())]).0;
    }
}

/// Starts it with these variables, and waits until it listens.
fn start(dir: &TempDir, variables: &[(&str, &str)]) -> (Child, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderhub"));
    let variables = variables.iter().copied();
    let mut child = launch::launch(command.stderr(Stdio::null()), dir.path(), variables);
    let addr = launch::address(&mut child).unwrap_or_else(|line| panic!("{line}"));
    (child, addr)
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run that is being put together.
pub struct LoadRun {
    pub dir: TempDir,
    command: Command,
}

/// A run that is over.
pub struct FinishedRun {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// The results as JSON, null where there are none.
    pub json: Value,
    dir: TempDir,
}

impl LoadRun {
    /// Arguments as a shell would give them: `chat --rooms 2`.
    pub fn new(addr: SocketAddr, args: &str) -> Self {
        Self::at(&format!("ws://{addr}"), args)
    }

    /// The same, against an address that is given in full.
    pub fn at(url: &str, args: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderhub"));
        command.env_clear().env("JWT_SECRET", SECRET).current_dir(dir.path()).arg("load");
        command.args(args.split_whitespace());
        command.args(["--url", url, "--json", "result.json"]);
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

    /// Where the results go that the program prints.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    pub fn start(mut self) -> RunningLoad {
        let mut child = self.command.spawn().expect("the program");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        RunningLoad { child, dir: self.dir, stderr, said: String::new() }
    }

    pub fn run(self) -> FinishedRun {
        self.start().end()
    }
}

/// A run that goes on.
pub struct RunningLoad {
    pub child: Child,
    dir: TempDir,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl RunningLoad {
    /// Reads on until a line on stderr holds this text.
    #[track_caller]
    pub fn says(mut self, text: &str) -> Self {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let length = self.stderr.read_line(&mut line).expect("UTF-8");
            self.said += &line;
            assert!(length > 0, "{text:?} is not in {:?}", self.said);
        }
        self
    }

    /// Everybody is in, and what is sent counts.
    pub fn holds(self) -> Self {
        self.says(" hold ")
    }

    pub fn end(mut self) -> FinishedRun {
        self.stderr.read_to_string(&mut self.said).expect("UTF-8");
        let output = self.child.wait_with_output().expect("an end");
        let file: PathBuf = self.dir.path().join("result.json");
        let json = std::fs::read_to_string(file).unwrap_or_default();
        FinishedRun {
            status: output.status.code().expect("not killed"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: self.said,
            json: serde_json::from_str(&json).unwrap_or(Value::Null),
            dir: self.dir,
        }
    }
}

impl FinishedRun {
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

    /// A file that it has left behind.
    #[track_caller]
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("a text")
    }

    /// A number in the results, by its path (`counts.chatSent`).
    #[track_caller]
    pub fn number(&self, path: &str) -> f64 {
        let found = path.split('.').fold(&self.json, |value, key| &value[key]);
        found.as_f64().unwrap_or_else(|| panic!("no {path} in {}", self.json))
    }
}

/// Tokens as `orderhub token` makes them.
pub fn tokens(args: &[&str]) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .arg("token")
        .args(args)
        .env_clear()
        .env("JWT_SECRET", SECRET)
        .output()
        .expect("runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).expect("UTF-8")
}
