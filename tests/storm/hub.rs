//! The hub as a process that is killed, stopped and started again, and its supervisor.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::world::{SECRET, World};

/// How long a start may take: it may have to wait for the lock of a hub that drains.
const START: Duration = Duration::from_secs(60);
/// How long a drain may take: `DRAIN_SECS`, a second for each of its steps, and what hangs.
const DRAIN: Duration = Duration::from_secs(30);
/// Errors that come with a fault. A client that connects in the moment in which the last worker of
/// a drain ends is one to actix-server.
///
/// A database that crashes in the middle of a deploy frees the lock of the hub that drains: the next one
/// may have it sooner.
const EXPECTED: &[&str] =
    &["actix_server::accept] No workers", "another hub has taken the database over"];

/// What it is started with.
pub struct Settings {
    pub data: PathBuf,
    /// None: `SQLite` in its folder.
    pub database: Option<String>,
    pub log: PathBuf,
}

/// A hub.
pub struct Hub {
    settings: Settings,
    child: Child,
    pub addr: SocketAddr,
    /// How much of the log was looked at.
    looked_at: usize,
}

impl Hub {
    pub async fn start(settings: Settings) -> Self {
        let (child, addr) = launch(&settings).await.expect("the hub starts");
        Self { settings, child, addr, looked_at: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Asks it to end, and waits.
    pub async fn drain(&mut self, world: &World) {
        self.signal("TERM");
        if timeout(DRAIN, self.child.wait()).await.is_err() {
            world.broken(&format!("the drain takes more than {DRAIN:?}"));
            self.kill().await;
        }
    }

    /// Starts it until it listens, as a supervisor does: its database may be away.
    pub async fn start_again(&mut self, world: &World) {
        while !self.listens(world).await {
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn listens(&mut self, world: &World) -> bool {
        let Some((child, addr)) = launch(&self.settings).await else { return false };
        (self.child, self.addr) = (child, addr);
        world.hub.send_replace(addr);
        true
    }

    /// A new one while the old one drains, as in a deploy.
    pub async fn replace(&mut self, world: &World) {
        self.signal("TERM");
        let next = launch(&self.settings);
        let (ended, next) = tokio::join!(timeout(DRAIN, self.child.wait()), next);
        if ended.is_err() {
            world.broken(&format!("the drain takes more than {DRAIN:?}"));
            self.kill().await;
        }
        match next {
            Some((child, addr)) => {
                (self.child, self.addr) = (child, addr);
                world.hub.send_replace(addr);
            }
            None => self.start_again(world).await,
        }
    }

    /// It must not end by itself; where it has, it is started again.
    pub async fn watch(&mut self, world: &World) {
        if let Ok(Some(status)) = self.child.try_wait() {
            world.broken(&format!("the hub has ended by itself: {status}"));
            self.start_again(world).await;
        }
    }

    /// Memory in MiB, and open files.
    pub fn takes(&self) -> (usize, usize) {
        let folder = format!("/proc/{}", self.pid());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        let files = fs::read_dir(format!("{folder}/fd")).map_or(0, Iterator::count);
        (kib.unwrap_or(0) / 1024, files)
    }

    /// Lines of the log that must not be there, since the last look.
    pub fn bad_lines(&mut self) -> Vec<String> {
        let log = fs::read(&self.settings.log).unwrap_or_default();
        let new = String::from_utf8_lossy(&log[self.looked_at.min(log.len())..]).into_owned();
        self.looked_at = log.len();
        let bad = |line: &&str| {
            let error = line.contains(" ERROR ") && !EXPECTED.iter().any(|it| line.contains(it));
            error || line.contains("panicked")
        };
        new.lines().filter(bad).map(ToOwned::to_owned).collect()
    }
}

async fn launch(settings: &Settings) -> Option<(Child, SocketAddr)> {
    let log = OpenOptions::new().create(true).append(true).open(&settings.log).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderhub"));
    command.env_clear().env("DATA_DIR", &settings.data).env("BIND_ADDR", "127.0.0.1:0");
    command.env("JWT_SECRET", SECRET).env("DRAIN_SECS", "2").env("ROOM_IDLE_SECS", "1");
    if let Some(url) = &settings.database {
        command.env("DATABASE_URL", url);
    }
    command.stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn().expect("the program");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = timeout(START, lines.next_line()).await.ok()?.ok()??;
    let addr = line.strip_prefix("orderhub listens on http://")?.trim().parse().ok()?;
    Some((child, addr))
}

/// Sends a signal by its name, where the process is still there.
pub fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    std::process::Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid)
        .stderr(Stdio::null())
        .status()
        .ok();
}

/// Writes until the disk that a folder is on takes no more; the file, which frees it when it goes.
pub fn fill(folder: &Path) -> PathBuf {
    use std::io::Write as _;
    let path = folder.join("ballast");
    let mut file = fs::File::create(&path).expect("a file");
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}
