//! Keys that change: a rotation without a restart, a source that is down, slow or lies, and tokens
//! that try to pass with the wrong key.

use std::fs;

use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::support::keys::{KeyServer, ServerBehavior, Signer, hour, set};
use super::support::raw::UpgradeRequest;
use super::support::tls::AUTHORITY;
use super::support::{Hub, SECRET, TIMEOUT, claims, token, until};

/// What a client hears that comes with this token.
async fn status(hub: &Hub, token: &str) -> u16 {
    UpgradeRequest::bearer(token).ask(hub).await.status
}

fn hub_of(source: &str) -> Hub {
    Hub::builder().env("LOGINS_PER_SECOND", 0).env("JWT_JWKS", source).start()
}

/// Waits until the token counts, or does not any more.
async fn until_status(hub: &Hub, token: &str, expected: u16) {
    let what = format!("{expected}");
    until(&what, async || status(hub, token).await == expected).await;
}

#[tokio::test]
async fn a_key_rotation_needs_no_restart_and_keeps_sessions() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = KeyServer::start(ServerBehavior::Serve(set(&[&old])));
    let hub = hub_of(&server.url());
    let mut client = hub.connect_with(&old.token("ann")).await;
    client.expect("connected").await;
    server.conduct(ServerBehavior::Serve(set(&[&new])));
    // The login waits for the keys, and ten at once make the hub ask once.
    let token = new.token("bob");
    let logins = (0..10).map(|_| status(&hub, &token));
    assert_eq!(futures_util::future::join_all(logins).await, [101; 10]);
    assert_eq!(server.hits(), 2);
    assert_eq!(status(&hub, &old.token("ann")).await, 401, "the old key is gone");
    assert_eq!(client.request("ping", json!(1)).await["ok"], true, "sessions go on");
    // Strangers cannot make the hub ask all the time.
    for kid in ["x", "y", "z"] {
        assert_eq!(status(&hub, &Signer::new(kid).token("eve")).await, 401);
    }
    let browser = UpgradeRequest::browser(&Signer::new("x").token("eve"));
    let (mut raw, _) = browser.open(&hub).await;
    assert_eq!(raw.ending().await.announced(), 4401);
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_401_once_the_source_has_been_asked() {
    let server = KeyServer::start(ServerBehavior::Serve(set(&[&Signer::new("k")])));
    let hub = hub_of(&server.url());
    let answer = UpgradeRequest::bearer(&Signer::new("x").token("eve")).ask(&hub).await;
    assert_eq!(answer.problem(), (401, "unauthenticated"));
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn an_unreachable_key_server_refuses_only_tokens_with_unknown_keys() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let mut server = KeyServer::start(ServerBehavior::Serve(set(&[&old])));
    let hub = hub_of(&server.url());
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    server.die();
    let answer = UpgradeRequest::bearer(&new.token("bob")).ask(&hub).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    assert_eq!(answer.header("retry-after"), Some("2"));
    let (mut raw, _) = UpgradeRequest::browser(&new.token("bob")).open(&hub).await;
    assert_eq!(raw.ending().await.announced(), 1013);
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    assert_eq!(status(&hub, &token("ann", "customer", &[])).await, 101, "by the secret");
    hub.logged("the previous keys stay in use").await;
    server.conduct(ServerBehavior::Serve(set(&[&old, &new])));
    server.come_back();
    until_status(&hub, &new.token("bob"), 101).await;
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    hub.logged("can be read again").await;
}

#[tokio::test]
async fn a_hub_starts_without_its_source_and_finds_it_later() {
    let signer = Signer::new("k");
    let mut server = KeyServer::start(ServerBehavior::Serve(set(&[&signer])));
    server.die();
    let hub = hub_of(&server.url());
    assert_eq!(status(&hub, &signer.token("ann")).await, 503);
    assert_eq!(status(&hub, &token("ann", "customer", &[])).await, 101, "by the secret");
    let mut client = hub.connect("ann", "customer", &[]).await;
    let refused = client.request("auth:refresh", json!({ "token": signer.token("ann") })).await;
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
    server.come_back();
    until_status(&hub, &signer.token("ann"), 101).await;
    let refreshed = client.request("auth:refresh", json!({ "token": signer.token("ann") })).await;
    assert_eq!(refreshed["ok"], true, "{refreshed}");
}

#[tokio::test]
async fn an_invalid_answer_of_the_key_server_keeps_the_previous_keys() {
    let good = Signer::new("good");
    let elsewhere = KeyServer::start(ServerBehavior::Serve(set(&[&good])));
    let mut private = good.public();
    private["d"] = "AAAA".into();
    let oct = json!({ "kty": "oct", "kid": "good", "k": "AAAA", "alg": "HS256" });
    let keys = |keys: Value| ServerBehavior::Serve(json!({ "keys": keys }).to_string());
    for (said, conduct) in [
        ("500 Internal Server Error", ServerBehavior::Status("500 Oops", set(&[&good]))),
        ("404 Not Found", ServerBehavior::Status("404 Not Found", set(&[&good]))),
        ("redirects are not followed", ServerBehavior::Redirect(elsewhere.url())),
        ("larger than 262144 bytes", ServerBehavior::Endless),
        ("is a private key", keys(json!([private]))),
        ("is a symmetric key", keys(json!([oct]))),
        ("no key that can be used", keys(json!([]))),
        ("no key that can be used", keys(json!([{ "kty": "AKP", "alg": "ML-DSA-44" }]))),
        ("it is not a JWKS", ServerBehavior::Serve("<html>".to_owned())),
        ("it is not a JWKS", ServerBehavior::Serve(String::new())),
    ] {
        let server = KeyServer::start(conduct);
        let hub = hub_of(&server.url());
        assert_eq!(status(&hub, &good.token("ann")).await, 503, "{said}");
        hub.logged(said).await;
    }
    assert_eq!(elsewhere.hits(), 0);
}

#[tokio::test]
async fn a_source_that_takes_its_time_does_not_hold_up_the_others() {
    let good = Signer::new("good");
    for conduct in [ServerBehavior::Stall, ServerBehavior::Trickle] {
        let server = KeyServer::start(conduct);
        let hub = hub_of(&server.url());
        assert_eq!(status(&hub, &token("ann", "customer", &[])).await, 101, "by the secret");
        let answer = UpgradeRequest::bearer(&good.token("ann")).ask(&hub).await;
        assert_eq!(answer.problem(), (503, "unavailable"));
        server.conduct(ServerBehavior::Serve(set(&[&good])));
        until_status(&hub, &good.token("ann"), 101).await;
    }
}

#[tokio::test]
async fn a_key_that_is_bad_does_not_take_the_others_with_it() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = KeyServer::start(ServerBehavior::Serve(set(&[&old])));
    let hub = hub_of(&server.url());
    let mut private = new.public();
    private["d"] = "AAAA".into();
    server.conduct(ServerBehavior::Serve(json!({ "keys": [private, old.public()] }).to_string()));
    assert_eq!(status(&hub, &new.token("ann")).await, 401);
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    let log = hub.logged("its key 0 (\"new\") is a private key").await;
    assert!(!log.contains("AAAA"), "{log}");
}

#[tokio::test]
async fn keys_of_a_file_are_noticed_and_a_broken_file_changes_nothing() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let dir = tempfile::tempdir().expect("a folder");
    let (path, draft) = (dir.path().join("jwks.json"), dir.path().join("draft"));
    let put = |text: &str| {
        fs::write(&draft, text).expect("writes");
        fs::rename(&draft, &path).expect("replaces");
    };
    put(&set(&[&old]));
    let hub = hub_of(path.to_str().expect("UTF-8"));
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    put(&set(&[&new]));
    // Whoever comes with the new key makes the hub look, or waits for a look that had begun before.
    until_status(&hub, &new.token("ann"), 101).await;
    assert_eq!(status(&hub, &old.token("ann")).await, 401);
    // And without anybody the hub looks by itself.
    put(&set(&[&old]));
    until_status(&hub, &new.token("ann"), 401).await;
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    for (broken, said) in [("{", "it is not a JWKS"), ("{\"keys\":[]}", "no key that can be used")]
    {
        put(broken);
        hub.logged(said).await;
        assert_eq!(status(&hub, &old.token("ann")).await, 101);
    }
    fs::remove_file(&path).expect("removes");
    hub.logged("No such file").await;
    assert_eq!(status(&hub, &old.token("ann")).await, 101);
    put(&set(&[&new]));
    until_status(&hub, &new.token("ann"), 101).await;
}

#[tokio::test]
async fn keys_come_over_tls_from_a_server_whose_authority_is_known() {
    let signer = Signer::new("k");
    let server = KeyServer::start_tls(ServerBehavior::Serve(set(&[&signer])));
    let known = Hub::builder().env("JWT_JWKS", server.url()).env("JWT_JWKS_CA", AUTHORITY).start();
    assert_eq!(status(&known, &signer.token("ann")).await, 101);
    let stranger = hub_of(&server.url());
    assert_eq!(status(&stranger, &signer.token("ann")).await, 503);
    stranger.logged("UnknownIssuer").await;
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The next Socket.IO packet; none where the connection ends.
async fn packet(socket: &mut Socket) -> Option<String> {
    let packet = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && text.starts_with('4')
            {
                return Some(text.to_string());
            }
        }
        None
    };
    tokio::time::timeout(TIMEOUT, packet).await.expect("a packet or the end")
}

/// A Socket.IO client on a WebSocket that sends CONNECT with this token, and does not wait for the
/// answer before it says something.
async fn eager(hub: &Hub, token: &str) -> Socket {
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", hub.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("a socket");
    let connect = format!("40/events,{}", json!({ "token": token }));
    for packet in [connect.as_str(), "42/events,7[\"ping\",\"early\"]"] {
        socket.send(Message::text(packet)).await.expect("sends");
    }
    socket
}

#[tokio::test]
async fn on_socket_io_a_login_waits_for_keys_or_ends_so_that_stock_clients_come_back() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let mut server = KeyServer::start(ServerBehavior::Serve(set(&[&old])));
    let hub = hub_of(&server.url());
    server.conduct(ServerBehavior::Late(set(&[&new])));
    let mut client = eager(&hub, &new.token("ann")).await;
    let welcome = packet(&mut client).await.expect("a welcome");
    assert!(welcome.starts_with("40/events,{\"sid\""), "{welcome}");
    let answers =
        [packet(&mut client).await, packet(&mut client).await].map(Option::unwrap_or_default);
    assert!(answers.iter().any(|answer| answer.starts_with("43/events,7[")), "{answers:?}");
    let refused = packet(&mut eager(&hub, &old.token("ann")).await).await.expect("a refusal");
    assert!(refused.starts_with("44/events,") && refused.contains("unauthenticated"), "{refused}");
    server.die();
    let hub = hub_of(&server.url());
    assert_eq!(packet(&mut eager(&hub, &new.token("ann")).await).await, None, "the close alone");
}

#[tokio::test]
async fn the_previous_secret_is_accepted_while_it_is_set() {
    let hub = Hub::start();
    let old = claims(hour("ann"));
    assert_eq!(status(&hub, &old).await, 101);
    let next = "the-next-secret-of-these-tests-0123456789";
    let rotated = Hub::builder().env("JWT_SECRET", next).env("JWT_SECRET_PREVIOUS", SECRET).start();
    let key = EncodingKey::from_secret(next.as_bytes());
    let new = encode(&Header::default(), &hour("ann"), &key).expect("a token");
    assert_eq!((status(&rotated, &old).await, status(&rotated, &new).await), (101, 101));
    let done = Hub::builder().env("JWT_SECRET", next).start();
    assert_eq!((status(&done, &old).await, status(&done, &new).await), (401, 101));
}

#[tokio::test]
async fn no_token_passes_with_the_key_of_another_algorithm() {
    let signer = Signer::new("k");
    let server = KeyServer::start(ServerBehavior::Serve(set(&[&signer])));
    let hub = hub_of(&server.url());
    let good = signer.token("ann");
    assert_eq!(status(&hub, &good).await, 101);
    let mut parts = good.split('.');
    let (header, payload) = (parts.next().expect("a header"), parts.next().expect("a payload"));
    let by_secret = |header: &Header, secret: &[u8]| {
        encode(header, &hour("ann"), &EncodingKey::from_secret(secret)).expect("a token")
    };
    let named = Header { kid: Some("k".to_owned()), ..Header::default() };
    let jwk = signer.public();
    let impostor = Signer::new("k");
    let own = Header {
        jwk: serde_json::from_value(impostor.public()).expect("a key"),
        kid: Some("k".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    let own = encode(&own, &hour("ann"), &impostor.key).expect("a token");
    for (case, forged) in [
        ("none", format!("eyJhbGciOiJub25lIn0.{payload}.")),
        // {"alg":"none","kid":"k"}
        ("none with a name", format!("eyJhbGciOiJub25lIiwia2lkIjoiayJ9.{payload}.")),
        // {"alg":"none","alg":"ES256","kid":"k"}
        (
            "a doubled algorithm",
            format!("eyJhbGciOiJub25lIiwiYWxnIjoiRVMyNTYiLCJraWQiOiJrIn0.{payload}."),
        ),
        ("12 kB", format!("{header}.{}.AA", "A".repeat(12_000))),
        ("without its signature", format!("{header}.{payload}.")),
        ("the set as a secret", by_secret(&named, set(&[&signer]).as_bytes())),
        ("the key as a secret", by_secret(&named, jwk.to_string().as_bytes())),
        ("a coordinate as a secret", by_secret(&named, jwk["x"].to_string().as_bytes())),
        ("no secret", by_secret(&named, b"")),
        ("its own key", own),
        ("another's key of the same name", impostor.token("ann")),
    ] {
        let answer = UpgradeRequest::bearer(&forged).ask(&hub).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{case}");
    }
    assert_eq!(server.hits(), 1, "none of them made the hub ask");
}

#[tokio::test]
async fn an_admin_token_without_the_staff_audience_is_refused() {
    let hub = Hub::builder().env("JWT_STAFF_AUDIENCE", "back-office").start();
    for (audience, expected) in [("back-office", 200), ("app", 403)] {
        let mut said = hour("root");
        said["role"] = "admin".into();
        said["aud"] = json!([audience]);
        let request = reqwest::Client::new().get(hub.url("/admin/v1/stats"));
        let answer = request.bearer_auth(claims(said)).send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{audience}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let hub = Hub::start();
    let (one, other) = (token("ann", "customer", &[]), token("bob", "customer", &[]));
    for second in [&one, &other] {
        let upgrade =
            UpgradeRequest::bearer(&one).header("Authorization", format!("Bearer {second}"));
        assert_eq!(upgrade.ask(&hub).await.problem(), (401, "unauthenticated"));
    }
    let admin = token("root", "admin", &[]);
    let request = reqwest::Client::new().get(hub.url("/admin/v1/stats"));
    let request = request.bearer_auth(&admin).header("authorization", format!("Bearer {one}"));
    assert_eq!(request.send().await.expect("an answer").status(), 401);
}
