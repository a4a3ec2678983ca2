//! A Redis server of a test's own, which may be killed, stopped and changed.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

/// How long a server may take to start or to do what it is told.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A server that ends with its test.
pub struct RedisServer {
    command: Vec<String>,
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// Where the other servers of its cluster find it.
    pub cluster_port: u16,
    /// Whether tests talk to it with TLS.
    tls: bool,
    _folder: TempDir,
}

impl RedisServer {
    /// A new server with these options, or word that there is no Redis for one. `PORT` is where it
    /// listens.
    pub fn start(options: &[&str]) -> Option<Self> {
        Self::start_with("save \"\"\nappendonly no\n", options)
    }

    /// A Sentinel of a master on this port.
    pub fn sentinel(master: u16) -> Option<Self> {
        let config = format!(
            "sentinel monitor mymaster 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n"
        );
        Self::start_with(&config, &["--sentinel"])
    }

    fn start_with(config: &str, options: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            // Past the test harness, which hides what passing tests print.
            writeln!(std::io::stderr(), "SKIPPED on Redis: {name} (there is no redis-server)")
                .expect("standard error");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, config).expect("written");
        let tls = options.contains(&"--tls-port");
        let (port, cluster_port) = (free_port(), free_port());
        let (text, cluster_text) = (port.to_string(), cluster_port.to_string());
        let mut command = vec![program.to_str().expect("UTF-8"), file.to_str().expect("UTF-8")];
        command.extend(["--bind", "127.0.0.1", "--dir", folder.path().to_str().expect("UTF-8")]);
        if options.contains(&"--cluster-enabled") {
            command.extend(["--cluster-port", &cluster_text]);
        }
        if !tls {
            command.extend(["--port", &text]);
        }
        command
            .extend(options.iter().map(|option| if *option == "PORT" { &text } else { *option }));
        let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
        let child = spawn(&command);
        let server = Self { command, child, port, cluster_port, tls, _folder: folder };
        server.wait_until_it_listens();
        Some(server)
    }

    fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "Redis does not start: {:?}", self.command);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its address for the settings.
    pub fn url(&self) -> String {
        if self.tls {
            format!("rediss://localhost:{}", self.port)
        } else {
            format!("redis://127.0.0.1:{}", self.port)
        }
    }

    /// Its address with a user and password.
    pub fn url_of(&self, login: &str) -> String {
        self.url().replace("://", &format!("://{login}@"))
    }

    /// Has it carry out a command, like `CLIENT KILL TYPE pubsub`.
    pub fn tell<T: FromRedisValue>(&self, command: &str) -> T {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.send(&words)
    }

    /// Has it carry out a command of these words.
    pub fn send<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let (name, arguments) = words.split_first().expect("a command");
        let mut command = redis::cmd(std::str::from_utf8(name).expect("a name"));
        for argument in arguments {
            command.arg(*argument);
        }
        command.query(&mut self.connection()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn connection(&self) -> Connection {
        let deadline = Instant::now() + TIMEOUT;
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("an address");
        loop {
            match client.get_connection() {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "no connection: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it without a chance to say anything.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Starts it again on the same port, empty; a member of a cluster knows its cluster.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.command);
        self.wait_until_it_listens();
    }

    /// Lets it stand still.
    pub fn freeze(&self) {
        signal("STOP", self.child.id());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal("CONT", self.child.id());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(command: &[String]) -> Child {
    let (program, arguments) = command.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server")
}

/// On the path, or where distributions keep it.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/bin".into(), "/opt/homebrew/bin".into()]);
    folders.map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}

/// A port on which nothing listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn signal(name: &str, process: u32) {
    let mut command = Command::new("kill");
    assert!(
        command.arg(format!("-{name}")).arg(process.to_string()).status().expect("kill").success()
    );
}
