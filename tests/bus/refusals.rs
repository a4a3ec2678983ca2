//! A Redis that cannot be used: the start fails in time, and says which setting to change.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use orderhub::bus::redis::RedisOptions;

use crate::redis_server::{RedisServer, free_port};
use crate::support::{TestNode, exchange, options, order, refusal, try_start};

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/testdata/ca.pem");
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/testdata/server.pem");
const PRIVATE_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/testdata/server.key.pem");

/// The start is refused in time, by this setting and with these words.
async fn refused(url: &str, ca: Option<&str>, setting: &str, words: &str) {
    let (error, took) = refusal(url, ca).await;
    assert!(error.starts_with(&format!("{setting}: ")) && error.contains(words), "{error}");
    assert!(!error.contains('\n') && !error.contains("secret"), "{error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A server that says these things, one for each thing that it is told, and then no more.
fn talker(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            for answer in answers {
                let mut buffer = [0; 1024];
                if stream.read(&mut buffer).is_err() || stream.write_all(answer.as_bytes()).is_err()
                {
                    break;
                }
            }
            open.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn an_address_that_is_no_redis_is_refused_in_time() {
    let nothing = format!("redis://127.0.0.1:{}", free_port());
    refused(&nothing, None, "REDIS_URL", "refused").await;
    refused("redis://no-such-host.invalid", None, "REDIS_URL", "no-such-host.invalid").await;
    refused(&talker(&[]), None, "REDIS_URL", "no answer").await;
    let web = talker(&["HTTP/1.1 400 Bad Request\r\n\r\n"]);
    refused(&web, None, "REDIS_URL", "does not speak Redis").await;
}

/// A server before RESP3; the first `HELLO` has the name of the library behind it.
const REDIS_5: &[&str] =
    &["-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n-ERR no\r\n-ERR no\r\n"];
/// A server without sharded channels.
const REDIS_6: &[&str] = &[
    "%1\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n+OK\r\n+OK\r\n",
    "%2\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n",
];

#[tokio::test]
async fn a_redis_older_than_7_is_refused() {
    refused(&talker(REDIS_5), None, "REDIS_URL", "too old").await;
    refused(&talker(REDIS_6), None, "REDIS_URL", "Redis 6.2.14 is too old").await;
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_are_refused() {
    let Some(server) = RedisServer::start(&["--requirepass", "secret-1"]) else { return };
    for login in ["", ":secret-2@", "hub:secret-1@"] {
        let url = format!("redis://{login}127.0.0.1:{}", server.port);
        refused(&url, None, "REDIS_URL", "docs/cluster.md").await;
    }
    TestNode::start(&server.url_of(":secret-1")).await;
    TestNode::start(&server.url_of("default:secret-1")).await;
}

#[tokio::test]
async fn a_user_needs_the_rights_that_the_manual_lists_and_no_others() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let commands = ["hello", "publish", "subscribe", "unsubscribe"];
    let user = |without: &str, channels: &str| {
        let rights = commands.iter().filter(|command| **command != without);
        let rights: Vec<_> = rights.map(|command| format!("+{command}")).collect();
        let rights = format!("ACL SETUSER hub reset on >secret {} {channels}", rights.join(" "));
        let _: String = server.tell(&rights);
    };
    let url = server.url_of("hub:secret");
    for command in &commands[1..] {
        user(command, "&orderhub:*");
        refused(&url, None, "REDIS_URL", &format!("'{command}'")).await;
    }
    user("", "&shop:*");
    refused(&url, None, "REDIS_URL", "channel").await;
    user("", "&orderhub:*");
    let (one, two) = (TestNode::start(&url).await, TestNode::start(&url).await);
    let _there = one.subscribe(&order("o1")).await;
    let _back = two.subscribe(&order("o1")).await;
    exchange(&one, &two, &order("o1"), "allowed").await;
}

#[tokio::test]
async fn tls_needs_a_trusted_authority() {
    let files = ["--tls-cert-file", CERTIFICATE, "--tls-key-file", PRIVATE_KEY];
    let tls = ["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"];
    let files = [&files[..], &["--tls-ca-cert-file", AUTHORITY], &tls].concat();
    let Some(server) = RedisServer::start(&files) else { return };
    refused(&server.url(), None, "REDIS_URL", "REDIS_CA").await;
    refused(&server.url(), Some("/no/such/file"), "REDIS_CA", "/no/such/file").await;
    refused(&server.url(), Some(file!()), "REDIS_CA", "no certificate").await;
    // A certificate for localhost does not count for the address.
    let by_address = server.url().replace("localhost", "127.0.0.2");
    refused(&by_address, Some(AUTHORITY), "REDIS_URL", "").await;
    let without_tls = server.url().replace("rediss", "redis");
    refused(&without_tls, None, "REDIS_URL", "").await;
    let with_ca = || RedisOptions { ca: Some(AUTHORITY.into()), ..options(&server.url()) };
    let one = try_start(with_ca()).await.expect("a node");
    let two = try_start(with_ca()).await.expect("a node");
    let _there = one.subscribe(&order("o1")).await;
    let _back = two.subscribe(&order("o1")).await;
    exchange(&one, &two, &order("o1"), "by TLS").await;
}

#[tokio::test]
async fn a_replica_and_a_sentinel_are_refused_as_what_they_are() {
    let Some(master) = RedisServer::start(&[]) else { return };
    let port = master.port.to_string();
    let Some(replica) = RedisServer::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    refused(&replica.url(), None, "REDIS_URL", "replica").await;
    // Of several servers the one that is the master is taken.
    let both = format!("{},127.0.0.1:{port}", replica.url());
    TestNode::start(&both).await;
    let Some(sentinel) = RedisServer::sentinel(master.port) else { return };
    refused(&sentinel.url(), None, "REDIS_URL", "redis+sentinel://").await;
    let unknown = format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port);
    refused(&unknown, None, "REDIS_URL", "Sentinels").await;
}

#[tokio::test]
async fn a_server_that_starts_a_moment_later_is_waited_for() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
    server.kill();
    let url = server.url();
    let starting = tokio::spawn(async move { TestNode::start(&url).await });
    let again = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = again.await.expect("started");
    starting.await.expect("a node");
}
