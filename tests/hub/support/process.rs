//! The program in a process of its own: its settings, its address, its end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use orderhub::auth::{NewToken, mint};
use orderhub::config::Config;
use protocol::role::Role;
use protocol::time::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::Client;
use super::launch::{self, SECRET};

/// How long a hub may take to listen or to end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a hub that is to be started.
pub struct HubBuilder {
    env: BTreeMap<String, String>,
    /// A line of the shell that ends in starting `"$0"`.
    shell: Option<&'static str>,
    /// Where its log goes instead of a file.
    stderr: Option<Stdio>,
}

/// A hub that was started and may not listen yet. Killed when dropped.
pub struct StartingHub {
    child: Child,
    env: BTreeMap<String, String>,
    dir: TempDir,
}

/// A hub that runs. Killed when dropped.
pub struct Hub {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process, its settings for a second life, and its data directory, which lives on over a
    /// restart.
    running: StartingHub,
}

impl HubBuilder {
    /// A variable of the hub's environment.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Does not limit how fast a test may act.
    pub fn without_rates(self) -> Self {
        let rates = ["EVENTS_PER_SECOND", "CHAT_PER_SECOND", "LOGINS_PER_SECOND"];
        rates.iter().fold(self, |hub, rate| hub.env(rate, 0))
    }

    /// Starts it by this line of the shell, which ends in starting `"$0"`.
    pub fn through(mut self, shell: &'static str) -> Self {
        self.shell = Some(shell);
        self
    }

    /// Its log goes there.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Hub {
        self.launch().listening()
    }

    /// Starts it.
    pub fn launch(self) -> StartingHub {
        launch_in(tempfile::tempdir().expect("a folder"), self)
    }
}

fn launch_in(dir: TempDir, builder: HubBuilder) -> StartingHub {
    let HubBuilder { env, shell, stderr } = builder;
    let log = || {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).open(dir.path().join("log")).expect("a log").into()
    };
    let program = env!("CARGO_BIN_EXE_orderhub");
    let mut command = Command::new(shell.map_or(program, |_| "sh"));
    if let Some(shell) = shell {
        command.args(["-c", shell, program]);
    }
    command.stderr(stderr.unwrap_or_else(log));
    let child = launch::launch(&mut command, &dir.path().join("data"), &env);
    StartingHub { child, env, dir }
}

impl StartingHub {
    /// Waits until it listens.
    pub fn listening(mut self) -> Hub {
        let addr = launch::address(&mut self.child)
            .unwrap_or_else(|line| panic!("the hub did not start: {line}{}", self.log()));
        Hub { addr, running: self }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name (`TERM`, `KILL`, `STOP`, `CONT`).
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill").success());
    }

    /// Waits until the process has ended, while the clients of the test go on.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the hub does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Hub {
    /// A hub with the settings of a test: nothing is limited that the test does not limit.
    pub fn builder() -> HubBuilder {
        HubBuilder { env: BTreeMap::new(), shell: None, stderr: None }
    }

    /// A hub on a new SQLite file, with default settings.
    pub fn start() -> Hub {
        Self::builder().start()
    }

    /// The same, which does not limit how fast a test may act.
    pub fn without_rates() -> Hub {
        Self::builder().without_rates().start()
    }

    /// Connects a user with this role to these orders, and takes the `connected` event.
    pub async fn connect(&self, user: &str, role: &str, orders: &[&str]) -> Client {
        let mut client = self.connect_with(&token(user, role, orders)).await;
        client.expect("connected").await;
        client
    }

    /// Connects with a token, and takes nothing.
    pub async fn connect_with(&self, token: &str) -> Client {
        Client::connect(self.addr, token).await
    }

    /// An address on this hub.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Asks over HTTP as an admin: the status and the JSON body.
    pub async fn admin(&self, method: reqwest::Method, path: &str) -> (u16, Value) {
        let request = reqwest::Client::new().request(method, self.url(path));
        let response = request.bearer_auth(token("admin-1", "admin", &[])).send().await;
        let response = response.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// Asks over HTTP as an admin until the answer is the one that the test waits for.
    pub async fn until_admin(&self, path: &str, holds: impl Fn(u16, &Value) -> bool) {
        super::until(&format!("an answer of {path}"), async || {
            let (status, body) = self.admin(reqwest::Method::GET, path).await;
            holds(status, &body)
        })
        .await;
    }

    /// Waits until it has logged a text, since lines are written behind what they tell; gives all that
    /// it has logged.
    pub async fn logged(&self, text: &str) -> String {
        super::until(&format!("{text:?} in the log"), async || self.log().contains(text)).await;
        self.log()
    }

    /// Stops it; gives all that it has logged.
    pub async fn whole_log(&mut self) -> String {
        self.signal("TERM");
        assert!(self.ended().await.success());
        self.log()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.running.dir.path().join("data")
    }

    /// Sends a signal by its name (`TERM`, `KILL`, `STOP`, `CONT`).
    pub fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.running.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the hub does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// As [`Self::wait`], while the clients of the test go on.
    pub async fn ended(&mut self) -> ExitStatus {
        self.running.ended().await
    }

    /// The status of an answer.
    pub async fn status(&self, path: &str) -> u16 {
        reqwest::get(self.url(path)).await.expect("an answer").status().as_u16()
    }

    /// `kill -9`, then a new process on the same data with the same settings, at another address.
    pub fn kill_and_restart(self) -> Hub {
        self.signal("KILL");
        self.start_again()
    }

    /// The same with another setting.
    pub fn kill_and_restart_with(mut self, name: &str, value: impl ToString) -> Hub {
        self.running.env.insert(name.to_owned(), value.to_string());
        self.kill_and_restart()
    }

    /// Once the process has ended, a new one on the same data with the same settings, at another
    /// address.
    pub fn start_again(mut self) -> Hub {
        self.wait();
        let other = tempfile::tempdir().expect("a folder");
        let dir = std::mem::replace(&mut self.running.dir, other);
        let builder = HubBuilder { env: self.running.env.clone(), shell: None, stderr: None };
        launch_in(dir, builder).listening()
    }
}

impl Drop for StartingHub {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(40).collect();
            let words = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            // A test that has failed already has nobody to tell of another failure.
            writeln!(std::io::stderr(), "the hub's last words:\n{words}").ok();
        }
    }
}

/// A token of a user with this role for these orders, for an hour.
pub fn token(user: &str, role: &str, orders: &[&str]) -> String {
    let config = Config::from_flags(["--jwt-secret", SECRET]).expect("settings");
    let grant = NewToken {
        user: user.parse().expect("an id"),
        name: Some(format!("Name of {user}")),
        role: Role::from_name(role).expect("a role"),
        orders: orders.iter().map(|order| order.parse().expect("an id")).collect(),
        ttl: Duration::from_secs(3600),
    };
    mint(&config.auth, &grant, Timestamp::now()).expect("a token")
}

/// A token with exactly these claims.
pub fn claims(claims: Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}
