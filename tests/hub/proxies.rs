//! Behind proxies: whose word about a client's address counts.

use serde_json::Value;

use super::support::raw::{HttpAnswer, RawConnection, UpgradeRequest};
use super::support::{Hub, token};

/// The address in the log of a session that says it was forwarded.
async fn logged(hub: &Hub, user: &str, forwarded: &[&str]) -> String {
    let mut upgrade = UpgradeRequest::bearer(&token(user, "customer", &[]));
    for line in forwarded {
        upgrade = upgrade.header("X-Forwarded-For", *line);
    }
    let (mut raw, answer): (RawConnection, HttpAnswer) = upgrade.open(hub).await;
    assert_eq!(answer.status, 101);
    assert_eq!(raw.event().await["event"], "connected");
    let log = hub.logged(&format!("\"user\":\"{user}\"")).await;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines = lines.filter(|line| line["msg"] == "session started" && line["user"] == user);
    lines.next().expect("a line")["remote"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn the_client_address_comes_from_trusted_proxies() {
    let trusting = Hub::builder().env("LOG_FORMAT", "json");
    let hub = trusting.env("TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8").start();
    for (user, forwarded, remote) in [
        ("u1", &["203.0.113.7"][..], "203.0.113.7"),
        ("u2", &["198.51.100.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("u3", &["10.1.2.3"], "127.0.0.1"),
        ("u4", &[], "127.0.0.1"),
        ("u5", &["2001:db8::7"], "2001:db8::7"),
        // What a client made up stands in the first line, what the proxy saw in the last.
        ("u6", &["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        // Some proxies write the port, and IPv6 in brackets.
        ("u8", &["198.51.100.1:4000, 203.0.113.7:51234"], "203.0.113.7"),
        ("u9", &["203.0.113.7:51234, 10.1.2.3:80"], "203.0.113.7"),
        ("u10", &["[2001:db8::7]:443"], "2001:db8::7"),
        ("u11", &["[2001:db8::7]"], "2001:db8::7"),
        ("u12", &["203.0.113.7:70000"], "127.0.0.1"),
        // Behind something that is no address anybody may have written the rest.
        ("u7", &["198.51.100.1, unknown"], "127.0.0.1"),
    ] {
        assert_eq!(logged(&hub, user, forwarded).await, remote, "{user}");
    }
    let wary = Hub::builder().env("LOG_FORMAT", "json").start();
    assert_eq!(logged(&wary, "u1", &["203.0.113.7"]).await, "127.0.0.1");
}
