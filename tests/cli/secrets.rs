//! What stands in an address never reaches a terminal: passwords, keys in a query.

use super::Shell;

/// Stands in every address here, where it must not be shown.
const HIDDEN: &str = "hunter2";

/// Commands that read the settings.
const COMMANDS: &[&[&str]] =
    &[&["check-config"], &["serve"], &["migrate"], &["token", "--user", "u"]];

#[test]
fn an_invalid_database_url_is_shown_without_its_password() {
    let shell = Shell::new();
    for (url, said) in [
        ("postgres://hub:5%hunter2@127.0.0.1:1/db", "two hexadecimal digits"),
        ("postgres://hub:hunter2%@127.0.0.1:1/db", "two hexadecimal digits"),
        ("postgres://hub:x@hunter2@127.0.0.1:1/db", "its host cannot be read"),
        ("postgres://hub:hunter2/x@127.0.0.1:1/db", "its port must be a number"),
        ("postgres://hub:1/hunter2@127.0.0.1:1/db", "an @ after its host"),
        ("postgres://hub:hunter2@127.0.0.1:99999/db", "its port must be a number"),
        ("postgres://127.0.0.1:1/db?pasword=hunter2", "libpq knows no parameter pasword"),
        ("postgres://127.0.0.1:1/db?password=a=hunter2", "NAME=VALUE"),
        ("postgres://hub:hunter2@127.0.0.1:1/db?sslmode=always", "sslmode must be"),
    ] {
        for command in COMMANDS {
            let ended = shell.run(command, &[("DATABASE_URL", url)]);
            ended.failed(1, "DATABASE_URL: ");
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
            assert!(!ended.stderr.contains(HIDDEN), "{}", ended.stderr);
        }
        std::fs::write(shell.path().join("url"), url).expect("writes");
        let ended = shell.run(&["check-config"], &[("DATABASE_URL_FILE", "url")]);
        ended.failed(1, "DATABASE_URL_FILE: ");
        assert!(!ended.stderr.contains(HIDDEN), "{}", ended.stderr);
    }
}

#[test]
fn an_unreachable_server_is_shown_without_its_password() {
    let shell = Shell::new();
    // As it is written, as it is meant, and as a name that libpq repeats.
    for url in [
        "postgres://hub:hunter2%25@127.0.0.1:1/db",
        "postgres://hunter2:hunter2@127.0.0.1:1/db",
        "postgres://hub:hunter2@%2Fhunter2/db",
        "postgres://hub:hunter2@hunter2.invalid/db",
        "postgres://127.0.0.1:1/db?password=hunter2&user=hub",
    ] {
        for command in ["serve", "migrate"] {
            let ended = shell.run(&[command], &[("DATABASE_URL", url), ("RUST_LOG", "trace")]);
            assert_eq!((ended.status, ended.stdout.as_str()), (1, ""));
            assert!(ended.stderr.contains("orderhub: DATABASE_URL: "), "{}", ended.stderr);
            assert!(!ended.stderr.contains(HIDDEN), "{}", ended.stderr);
        }
    }
}

#[cfg(not(feature = "postgres-tls"))]
#[test]
fn tls_that_was_not_built_in_names_its_feature() {
    let shell = Shell::new();
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("postgres://hub:hunter2@127.0.0.1:1/db?sslmode={mode}");
        let ended = shell.run(&["check-config"], &[("DATABASE_URL", &url)]);
        ended.failed(1, &format!("DATABASE_URL: sslmode={mode} needs a program that was built"));
        assert!(ended.stderr.contains("--features postgres-tls"), "{}", ended.stderr);
    }
}

/// A server that answers a client's first message with a refusal in these words, as PostgreSQL does.
#[cfg(not(feature = "postgres-tls"))]
fn server_that_says(words: &str) -> (String, std::thread::JoinHandle<()>) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let url = format!("postgres://hub@{}/db", listener.local_addr().expect("an address"));
    let fields = format!("SFATAL\0C28000\0M{words}\0\0");
    let length = u32::try_from(fields.len() + 4).expect("short").to_be_bytes();
    let answer = [b"E", &length[..], fields.as_bytes()].concat();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("a length");
        let rest = usize::try_from(u32::from_be_bytes(length)).expect("fits") - length.len();
        stream.read_exact(&mut vec![0; rest]).expect("a message");
        stream.write_all(&answer).expect("writes");
    });
    (url, serving)
}

#[cfg(not(feature = "postgres-tls"))]
#[test]
fn tls_that_the_server_requires_names_its_feature() {
    let shell = Shell::new();
    for words in [
        "no pg_hba.conf entry for host \"10.0.0.7\", user \"hub\", database \"db\", no encryption",
        "SSL required",
    ] {
        let (url, serving) = server_that_says(words);
        let ended = shell.run(&["migrate"], &[("DATABASE_URL", &url)]);
        serving.join().expect("no panic");
        assert_eq!(ended.status, 1);
        let said =
            format!("{words}; TLS needs a program that was built with --features postgres-tls");
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    }
    let variables = [("DATABASE_URL", "postgres://hub@127.0.0.1:1/db"), ("PGSSLMODE", "require")];
    let ended = shell.run(&["migrate"], &variables);
    assert!(ended.stderr.contains("--features postgres-tls"), "{}", ended.stderr);
    let ended = shell.run(&["migrate"], &variables[..1]);
    assert!(!ended.stderr.contains("postgres-tls"), "{}", ended.stderr);
}

#[test]
fn the_address_of_keys_is_shown_without_its_query() {
    let shell = Shell::new();
    let url = "http://127.0.0.1:1/jwks.json?key=hunter2";
    let ended = shell.run(&["check-config"], &[("JWT_JWKS", url)]);
    assert_eq!(ended.row("JWT_JWKS"), ("http://127.0.0.1:1/jwks.json?***", "environment"));
    assert!(!ended.stdout.contains(HIDDEN), "{}", ended.stdout);
    let bad = "http://hub:hunter2@127.0.0.1:1/jwks.json?key=hunter2";
    let ended = shell.run(&["check-config"], &[("JWT_JWKS", bad)]);
    ended.failed(1, "JWT_JWKS: \"http://***@127.0.0.1:1/jwks.json?***\" is refused");
    let ended = shell.run(&["--help"], &[("JWT_JWKS", url)]);
    assert!(ended.stdout.contains("JWT_JWKS") && !ended.stdout.contains(HIDDEN));
}

#[test]
fn an_address_in_the_wrong_place_is_shown_without_its_password() {
    let shell = Shell::new();
    let url = "postgres://hub:hunter2@db.example/orders";
    for args in [&[url][..], &["serve", url], &["check-config", "--workers", url]] {
        let ended = shell.run(args, &[]);
        assert_ne!(ended.status, 0);
        assert!(!ended.stderr.contains(HIDDEN), "{}", ended.stderr);
    }
}

#[test]
fn errors_are_no_panic_where_nothing_reads_them() {
    let shell = Shell::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = shell.command(&["check-config"], &[("WORKERS", "many")]);
    let status = command.stderr(writer).status().expect("runs");
    assert_eq!(status.code(), Some(1), "101 is a panic");
}
