//! A PostgreSQL server of a test's own, which may be stopped and changed, and PgBouncer before one.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

/// How long a server may take to start.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server that ends with its test.
pub struct PostgresServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

/// PgBouncer, which ends with its test.
pub struct PgBouncer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl PostgresServer {
    /// A new server, or word that there is no PostgreSQL for one. Like the tests on PostgreSQL this
    /// needs `TEST_DATABASE_URL`, so that both are run by the same means.
    pub fn start() -> Option<Self> {
        if std::env::var_os("TEST_DATABASE_URL").is_none() {
            return skipped("TEST_DATABASE_URL is not set");
        }
        let Some(bin) = programs() else { return skipped("there is no initdb") };
        let folder = shared_folder();
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        give(&data);
        let mut initdb = as_server(&bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        let made = initdb.arg("--no-sync").arg("--pgdata").arg(&data).output().expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let child = as_server(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""])
            .stderr(log_in(folder.path()))
            .spawn()
            .expect("postgres");
        let server = Self { child, port, folder };
        server.wait_until_it_answers();
        server.execute("postgres", "CREATE DATABASE hub");
        Some(server)
    }

    fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while PgConnection::establish(&self.url("postgres")).is_err() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address of one of its databases; `hub` is made for the test.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a statement in one of its databases, with nothing of the hub's own settings.
    pub fn execute(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::establish(&self.url(database)).expect("a connection");
        connection.batch_execute("SET default_transaction_read_only = off").expect("set");
        connection.batch_execute(sql).expect(sql);
    }

    /// What a query for one text says.
    pub fn ask(&self, sql: &str) -> String {
        let mut connection = PgConnection::establish(&self.url("postgres")).expect("connected");
        let query = diesel::dsl::sql::<diesel::sql_types::Text>(&format!("({sql})"));
        diesel::select(query).get_result(&mut connection).expect("an answer")
    }

    /// Waits until a query in a new connection says `true`.
    pub fn wait_until(&self, sql: &str) {
        let deadline = Instant::now() + TIMEOUT;
        let holds = || {
            let mut connection = PgConnection::establish(&self.url("postgres")).expect("connected");
            let query = diesel::dsl::sql::<diesel::sql_types::Bool>(&format!("({sql})"));
            diesel::select(query).get_result::<bool>(&mut connection).expect("an answer")
        };
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain for {sql}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets every process of the server stand still.
    pub fn freeze(&self) {
        // The first one first: it starts no others then.
        signal("STOP", &[self.child.id()]);
        signal("STOP", &self.children());
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        signal("CONT", &self.children());
        signal("CONT", &[self.child.id()]);
    }

    fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.thaw();
        // An immediate shutdown.
        signal("QUIT", &[self.child.id()]);
        self.child.wait().ok();
    }
}

impl PgBouncer {
    /// PgBouncer before a server, pooling as named: `session` or `transaction`.
    pub fn start(server: &PostgresServer, pool_mode: &str) -> Self {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"]
            .iter()
            .map(PathBuf::from)
            .chain(on_path("pgbouncer"))
            .find(|program| program.is_file())
            .expect("PgBouncer (on Debian or Ubuntu: apt-get install pgbouncer)");
        let folder = shared_folder();
        let (port, behind) = (free_port(), server.port());
        let config = format!(
            "[databases]\nhub = host=127.0.0.1 port={behind} dbname=hub\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\ndefault_pool_size = 20\nlogfile =\npidfile =\n"
        );
        let path = folder.path().join("pgbouncer.ini");
        // `any` logs in as the user that the database names.
        fs::write(&path, config.replace("dbname=hub", "dbname=hub user=postgres"))
            .expect("written");
        let child = as_server(&program)
            .arg(&path)
            .stderr(log_in(folder.path()))
            .spawn()
            .expect("PgBouncer");
        let pooler = Self { child, port, _folder: folder };
        let deadline = Instant::now() + TIMEOUT;
        while PgConnection::establish(&pooler.url()).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// The address of the hub's database behind it.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/hub", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn skipped<T>(why: &str) -> Option<T> {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the test harness, which hides what passing tests print.
    writeln!(std::io::stderr(), "SKIPPED on PostgreSQL: {name} ({why})").expect("standard error");
    None
}

/// Where `initdb` and `postgres` are: on the path, or where distributions keep them.
fn programs() -> Option<PathBuf> {
    let on_path = on_path("initdb").map(|initdb| initdb.with_file_name(""));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut kept: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    kept.sort();
    let mut places = on_path.into_iter().chain(kept.into_iter().rev());
    places.find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|it| it.is_file())
}

/// A folder that the user of the server can read.
fn shared_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("permissions");
    folder
}

/// The user under whom servers run, as they refuse to be root; none where this is not root.
fn server_user() -> Option<(u32, u32)> {
    let id = Command::new("id").arg("-u").output().expect("id");
    if id.stdout.trim_ascii() != b"0" {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let ids = |user: &str| {
        let mut fields = users.lines().find_map(|line| line.strip_prefix(user))?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres:").or_else(|| ids("nobody:"))
}

fn give(path: &Path) {
    if let Some((user, group)) = server_user() {
        chown(path, Some(user), Some(group)).expect("given");
    }
}

/// A program as the user of servers, with nothing to read and to say.
fn as_server(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn log_in(folder: &Path) -> Stdio {
    fs::File::create(folder.join("log")).expect("a log").into()
}

/// A port on which nothing listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn signal(name: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    // One may have ended meanwhile.
    Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status().ok();
}

/// The children of a process, from `/proc`.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_parent = |process: fs::DirEntry| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // The name of the program stands in parentheses; the parent is the second field behind it.
        let (_, fields) = stat.rsplit_once(") ")?;
        (fields.split(' ').nth(1)?.parse() == Ok(parent)).then_some(id)
    };
    processes.filter_map(of_parent).collect()
}
