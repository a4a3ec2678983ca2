//! The `orderhub` program as a shell sees it: what it prints, where, and how it ends.

mod secrets;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use orderhub::auth::{Identity, Verifier};
use orderhub::config::Config;
use protocol::role::Role;
use protocol::time::Timestamp;
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A shell in an empty directory with nothing in its environment.
struct Shell {
    dir: TempDir,
}

struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orderhub"));
        command.args(args).env_clear().envs(variables.iter().copied()).current_dir(self.path());
        command
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        ended(self.command(args, variables).output().expect("runs"))
    }

    fn is_untouched(&self) -> bool {
        fs::read_dir(self.path()).expect("a directory").next().is_none()
    }
}

fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let status = output.status.code().expect("not killed");
    Ended { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    /// The value and the source of a setting in the table.
    fn row(&self, variable: &str) -> (&str, &str) {
        let row = self.stdout.lines().find(|line| line.split(' ').next() == Some(variable));
        let row = row.unwrap_or_else(|| panic!("no {variable} in {}{}", self.stdout, self.stderr));
        let (value, source) = row[variable.len()..].trim().rsplit_once(' ').expect("two columns");
        (value.trim(), source)
    }

    #[track_caller]
    fn failed(&self, status: i32, named: &str) {
        assert_eq!(self.status, status, "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with(&format!("orderhub: {named}")), "{}", self.stderr);
        assert_eq!(self.stdout, "");
    }
}

fn judge(flags: &[&str], printed: &str) -> Identity {
    let mut config = Config::from_flags(flags).expect("good settings");
    config.read_secret().expect("a secret");
    let token = printed.strip_suffix('\n').expect("a line");
    let verifier = Verifier::new(&config.auth).expect("a key");
    verifier.verify(token, Timestamp::now()).expect("a good token")
}

#[test]
fn check_config_shows_every_setting_and_where_it_came_from() {
    let shell = Shell::new();
    let ended = shell.run(
        &["--workers", "3", "check-config", "--drain-secs=9"],
        &[("WORKERS", "7"), ("PING_INTERVAL_MS", "30000"), ("DRAIN_SECS", "1")],
    );
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.row("WORKERS"), ("3", "flag"));
    assert_eq!(ended.row("DRAIN_SECS"), ("9", "flag"));
    assert_eq!(ended.row("PING_INTERVAL_MS"), ("30000", "environment"));
    assert_eq!(ended.row("PONG_TIMEOUT_MS"), ("20000", "default"));
    assert_eq!(ended.row("BIND_ADDR"), ("127.0.0.1:8080", "default"));
    assert_eq!(ended.row("ALLOW_QUERY_TOKEN"), ("true", "default"));
    assert_eq!(ended.row("DATABASE_URL"), ("sqlite:./data/orderhub.sqlite3", "default"));
    assert_eq!(ended.row("JWT_SECRET"), ("generated, in ./data/jwt-secret", "default"));
    assert_eq!(ended.row("JWT_ISSUER"), ("-", "default"));
    assert!(shell.is_untouched(), "check-config made something");
}

#[test]
fn check_config_masks_secrets() {
    let shell = Shell::new();
    let url = "postgres://hub:hunter2hunter2@db.example/orders";
    let ended = shell.run(&["check-config"], &[("JWT_SECRET", SECRET), ("DATABASE_URL", url)]);
    assert_eq!(ended.row("JWT_SECRET"), ("***", "environment"));
    assert_eq!(ended.row("DATABASE_URL"), ("postgres://hub:***@db.example/orders", "environment"));
    assert!(!ended.stdout.contains(SECRET) && !ended.stdout.contains("hunter2"));
    let previous = SECRET.replace('0', "x");
    let rotating = [("JWT_SECRET", SECRET), ("JWT_SECRET_PREVIOUS", previous.as_str())];
    let ended = shell.run(&["check-config"], &rotating);
    assert_eq!(ended.row("JWT_SECRET_PREVIOUS"), ("***", "environment"));
    assert!(!ended.stdout.contains(&previous));
    let help = shell.run(&["--help"], &[("JWT_SECRET", SECRET), ("DATABASE_URL", url)]);
    assert_eq!(help.status, 0);
    assert!(!help.stdout.contains(SECRET) && !help.stdout.contains("hunter2"));
}

#[test]
fn the_first_value_that_cannot_work_is_named_in_one_line() {
    let shell = Shell::new();
    for (variable, value) in [
        ("WORKERS", "many"),
        ("BIND_ADDR", "localhost"),
        ("JWT_SECRET", "too short"),
        ("JWT_SECRET", ""),
        ("JWT_ISSUER", ""),
        ("JWT_SECRET_FILE", "no-such-file"),
        ("JWT_PUBLIC_KEY", "no-such-file"),
        ("DATABASE_URL", "mysql://me:too short@db/x"),
        ("JOIN_POLICY", "all"),
        ("AUTO_MIGRATE", "yes"),
        ("PONG_TIMEOUT_MS", "30000"),
        ("OUTBOX_BYTES", "4096"),
        ("LOG_FORMAT", "xml"),
    ] {
        let ended = shell.run(&["check-config"], &[(variable, value)]);
        ended.failed(1, &format!("{variable}: "));
        assert!(!ended.stderr.contains("too short"), "{}", ended.stderr);
    }
    assert!(shell.is_untouched());
}

#[cfg(target_os = "linux")]
#[test]
fn an_impossible_file_limit_is_an_error_at_the_start() {
    let place = Shell::new();
    let started = |limit: &str| {
        let mut shell = Command::new("/bin/sh");
        let script = "ulimit -n $0 && exec $1 serve";
        shell.args(["-c", script, limit, env!("CARGO_BIN_EXE_orderhub")]).env_clear();
        shell.env("BIND_ADDR", "127.0.0.1:0").env("MAX_CONNECTIONS", "5000");
        ended(shell.current_dir(place.path()).output().expect("a shell"))
    };
    let ended = started("1024");
    ended.failed(1, "MAX_CONNECTIONS: ");
    assert!(ended.stderr.contains("it is 1024"), "{}", ended.stderr);
    assert!(place.is_untouched());
}

#[test]
fn a_public_key_file_is_read_by_check_config() {
    let shell = Shell::new();
    fs::write(shell.path().join("key.pem"), "not a key").expect("writes");
    let ended = shell.run(&["check-config"], &[("JWT_PUBLIC_KEY", "key.pem")]);
    ended.failed(1, "JWT_PUBLIC_KEY: key.pem holds no public key");
}

#[test]
fn files_of_keys_are_read_by_check_config_and_servers_are_not_asked() {
    let shell = Shell::new();
    fs::write(shell.path().join("jwks.json"), "{\"keys\":[]}").expect("writes");
    fs::write(shell.path().join("keys.toml"), "keys = 7").expect("writes");
    for (variable, value, said) in [
        ("JWT_JWKS", "none.json", "JWT_JWKS: cannot use none.json: No such file"),
        ("JWT_JWKS", "jwks.json", "JWT_JWKS: cannot use jwks.json: it holds no key that can"),
        ("JWT_JWKS", "http://id.example/jwks", "JWT_JWKS: \"http://id.example/jwks\" is refused"),
        ("API_KEYS_FILE", "none.toml", "API_KEYS_FILE: cannot use none.toml: No such file"),
        ("API_KEYS_FILE", "keys.toml", "API_KEYS_FILE: cannot use keys.toml: line 1: "),
    ] {
        for command in ["check-config", "serve"] {
            let variables = [(variable, value), ("LOG_FORMAT", "text"), ("RUST_LOG", "off")];
            shell.run(&[command], &variables).failed(1, said);
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    listener.set_nonblocking(true).expect("a switch");
    let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
    let ended = shell.run(&["check-config"], &[("JWT_JWKS", &url)]);
    assert_eq!((ended.status, ended.row("JWT_JWKS")), (0, (url.as_str(), "environment")));
    assert!(listener.accept().is_err(), "the server was asked");
}

#[test]
fn an_api_key_is_printed_once_and_stored_as_its_hash() {
    let shell = Shell::new();
    let ended = shell.run(&["api-key", "shop", "--scope", "admin:read"], &[]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let key = ended.stdout.strip_suffix('\n').expect("a line");
    assert!(key.starts_with("ohk_") && key.len() == 47 && !ended.stderr.contains(key), "{key}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines[..2], ["[[keys]]", "name = \"shop\""]);
    assert_eq!(lines[3..], ["scopes = [\"admin:read\"]"]);
    let all = shell.run(&["api-key", "desk"], &[]);
    assert!(all.stderr.contains("[\"orders:read\", \"orders:write\", \"events:write\", "));
    assert!(!all.stderr.contains("admin:") && !all.stderr.contains("metrics:"), "{}", all.stderr);
    assert!(shell.is_untouched());
    fs::write(shell.path().join("keys.toml"), ended.stderr.clone() + &all.stderr).expect("writes");
    let checked = shell.run(&["check-config"], &[("API_KEYS_FILE", "keys.toml")]);
    assert_eq!(checked.row("API_KEYS_FILE"), ("keys.toml", "environment"));
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    let shell = Shell::new();
    let mut command = shell.command(&["check-config"], &[]);
    command.env("JWT_ISSUER", std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    ended(command.output().expect("runs")).failed(1, "JWT_ISSUER: ");
}

#[test]
fn bad_usage_ends_with_2() {
    let shell = Shell::new();
    for (args, named) in [
        (&["--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["run"], "unrecognized subcommand 'run'"),
        (&["token"], "the following required arguments"),
        (&["token", "--user", "a b"], "invalid value 'a b'"),
        (&["token", "--user", "u", "--role", "boss"], "invalid value 'boss'"),
        (&["token", "--user", "u", "--ttl", "0s"], "invalid value '0s'"),
        (&["api-key"], "the following required arguments"),
        (&["api-key", "a b"], "invalid value 'a b'"),
        (&["api-key", "a", "--scope", "orders"], "invalid value 'orders'"),
    ] {
        shell.run(args, &[]).failed(2, named);
    }
}

#[test]
fn a_hub_that_others_can_reach_refuses_to_start_without_a_key() {
    let shell = Shell::new();
    for command in ["serve", "check-config", "migrate"] {
        let ended = shell.run(&[command], &[("BIND_ADDR", "0.0.0.0:0")]);
        ended.failed(1, "JWT_SECRET: ");
    }
    shell.run(&["token", "--user", "u"], &[("BIND_ADDR", "[::]:0")]).failed(1, "JWT_SECRET: ");
    shell.run(&["--bind", "0.0.0.0:0"], &[]).failed(1, "JWT_SECRET: ");
    assert!(shell.is_untouched());
}

#[test]
fn a_token_is_refused_where_no_hub_has_made_a_secret() {
    let shell = Shell::new();
    let ended = shell.run(&["token", "--user", "u"], &[]);
    ended.failed(1, "there is no secret to make tokens with, ./data/jwt-secret does not exist: ");
    assert!(ended.stderr.contains("--data-dir"), "{}", ended.stderr);
    let ended = shell.run(&["token", "--user", "u"], &[("DATA_DIR", "elsewhere")]);
    ended
        .failed(1, "there is no secret to make tokens with, elsewhere/jwt-secret does not exist: ");
    assert!(shell.is_untouched(), "a secret was made that no hub knows");
}

#[test]
fn commands_that_only_read_create_no_database() {
    let shell = Shell::new();
    for url in [None, Some("sqlite:here.sqlite3"), Some("sqlite:folder/there.sqlite3")] {
        let variables: Vec<(&str, &str)> =
            url.map(|url| ("DATABASE_URL", url)).into_iter().collect();
        let ended = shell.run(&["migrate", "--status"], &variables);
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        assert!(ended.stdout.lines().count() > 6, "{}", ended.stdout);
        assert!(ended.stdout.lines().all(|line| line.ends_with("  pending")), "{}", ended.stdout);
        assert!(shell.is_untouched(), "{url:?}");
    }
    assert_eq!(shell.run(&["migrate"], &[]).status, 0);
    let ended = shell.run(&["migrate", "--status"], &[]);
    assert!(ended.stdout.lines().all(|line| line.ends_with("  applied")), "{}", ended.stdout);
}

#[test]
fn a_token_on_loopback_is_made_with_the_development_secret() {
    let shell = Shell::new();
    let data = shell.path().join("data");
    let flags = ["--data-dir", data.to_str().expect("UTF-8")];
    Config::from_flags(flags).expect("good settings").prepare().expect("made, as a hub does");
    let args = ["token", "--user", "7", "--name", "Ana", "--role", "driver"];
    let orders = ["--order", "o-2", "--order", "o-1", "--ttl", "90s"];
    let ended = shell.run(&[&args[..], &orders].concat(), &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let identity = judge(&flags, &ended.stdout);
    assert_eq!((identity.user.as_str(), identity.name.as_str()), ("7", "Ana"));
    assert_eq!((identity.role, identity.orders.len()), (Role::Driver, 2));
    let issued = identity.issued_at.expect("iat");
    assert_eq!(identity.expires_at.millis_since(issued), 90_000);

    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("jwt-secret"))), (0o700, 0o600));
    let secret = fs::read(data.join("jwt-secret")).expect("reads");
    shell.run(&["token", "--user", "8"], &[]);
    assert_eq!(fs::read(data.join("jwt-secret")).expect("reads"), secret, "made anew");
}

#[test]
fn a_token_with_a_secret_of_ones_own_makes_no_files() {
    let shell = Shell::new();
    let ended = shell.run(&["token", "--user", "u"], &[("JWT_SECRET", SECRET)]);
    let identity = judge(&["--jwt-secret", SECRET], &ended.stdout);
    assert_eq!((identity.role, identity.orders.len()), (Role::Customer, 0));
    assert!(shell.is_untouched());
}

/// A server that answers one request with this status.
fn answer_once(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("reads") == 1 {
            head.push(byte[0]);
        }
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .expect("writes");
        String::from_utf8(head).expect("UTF-8")
    });
    (address, answering)
}

#[test]
fn healthcheck_exits_with_the_state_of_readyz() {
    let shell = Shell::new();
    for (status, expected) in [("200 OK", 0), ("503 Service Unavailable", 1), ("302 Found", 1)] {
        let (address, answering) = answer_once(status);
        // A proxy for the outside must not be asked about the hub inside.
        let variables = [("BIND_ADDR", address.as_str()), ("http_proxy", "http://192.0.2.1:9")];
        assert_eq!(shell.run(&["healthcheck"], &variables).status, expected, "{status}");
        assert!(answering.join().expect("no panic").starts_with("GET /readyz HTTP/1.1\r\n"));
    }
    shell.run(&["healthcheck", "--bind", "127.0.0.1:0"], &[]).failed(1, "BIND_ADDR: ");
}

#[test]
fn healthcheck_of_a_hub_that_is_not_there_fails() {
    let free = TcpListener::bind("127.0.0.1:0").expect("listens").local_addr().expect("bound");
    let ended = Shell::new().run(&["healthcheck", "--bind", &free.to_string()], &[]);
    ended.failed(1, &format!("http://{free}/readyz does not answer"));
}

/// The settings of the hub in the help of a command.
fn settings_in_help(args: &[&str]) -> Vec<String> {
    let ended = Shell::new().run(args, &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let shown = ended.stdout.split("[env: ").skip(1);
    shown.map(|text| text.split([']', '=']).next().expect("a name").to_owned()).collect()
}

#[test]
fn a_command_shows_the_settings_that_it_uses() {
    let all = settings_in_help(&["--help"]);
    assert!(all.len() > 50, "{all:?}");
    assert_eq!(settings_in_help(&["serve", "--help"]), all);
    for help in [["token", "--help"], ["token", "-h"], ["help", "token"]] {
        let shown = settings_in_help(&help);
        assert!(shown.contains(&"JWT_ROLE_MAP".to_owned()), "{shown:?}");
        assert!(shown.contains(&"DATA_DIR".to_owned()), "{shown:?}");
        assert!(!shown.contains(&"PING_INTERVAL_MS".to_owned()), "{shown:?}");
    }
    assert!(settings_in_help(&["migrate", "--help"]).contains(&"DATABASE_URL".to_owned()));
    assert_eq!(settings_in_help(&["healthcheck", "--help"]), ["BIND_ADDR"]);
    for command in ["api-key", "load", "check-config", "completions", "man"] {
        assert_eq!(settings_in_help(&[command, "--help"]), [""; 0], "{command}");
    }
    assert_eq!(settings_in_help(&["load", "compare", "--help"]), [""; 0]);
    for command in ["token", "api-key", "load", "migrate", "check-config", "healthcheck"] {
        let help = Shell::new().run(&[command, "--help"], &[]).stdout;
        assert!(help.lines().count() < 100, "{command}: {help}");
    }
    // What is not shown is accepted all the same: one environment serves all commands.
    let shell = Shell::new();
    assert_eq!(shell.run(&["migrate", "--status", "--workers", "2"], &[]).status, 0);
}

#[test]
fn the_help_names_the_place_of_a_token_number() {
    let shell = Shell::new();
    let help = shell.run(&["token", "--help"], &[]).stdout;
    assert!(help.contains("--count 3 --user 'user-{n}' --order 'order-{n}'"), "{help}");
    let usage = ["token", "--count", "3", "--user", "user-{n}", "--order", "order-{n}"];
    let made = shell.run(&usage, &[("JWT_SECRET", SECRET)]);
    assert_eq!((made.status, made.stdout.lines().count()), (0, 3), "{}", made.stderr);
}

#[test]
fn a_shell_completes_every_command_and_setting() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shell.run(&["completions", name], &[]);
        assert_eq!((script.status, script.stderr.as_str()), (0, ""), "{name}");
        for word in ["check-config", "database-url", "spread"] {
            assert!(script.stdout.contains(word), "{name} does not know {word}");
        }
    }
    let unknown = shell.run(&["completions", "tcsh"], &[]);
    assert!(unknown.status == 2 && unknown.stderr.contains("tcsh"), "{}", unknown.stderr);
    let page = shell.run(&["man"], &[]);
    assert_eq!((page.status, page.stderr.as_str()), (0, ""));
    for part in [".TH orderhub 1", "DATABASE_URL", "orderhub check\\-config\n"] {
        assert!(part.split('|').any(|part| page.stdout.contains(part)), "{part}");
    }
    assert!(shell.is_untouched());
}

#[test]
fn help_and_version_go_to_stdout() {
    let shell = Shell::new();
    for (args, part) in [
        (&["--help"][..], "check-config"),
        (&["token", "--help"], "--ttl"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let ended = shell.run(args, &[]);
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
}
