//! Behind PgBouncer: a session each is served, a session shared is refused at the start.

use std::process::{Command, Stdio};

use serde_json::json;

use super::support::postgres_server::{PgBouncer, PostgresServer};
use super::support::{Hub, SECRET};

#[tokio::test]
async fn a_pooler_in_session_mode_works() {
    let Some(server) = PostgresServer::start() else { return };
    let pooler = PgBouncer::start(&server, "session");
    let hub = Hub::builder().env("DATABASE_URL", pooler.url()).start();
    let mut client = hub.connect("driver", "driver", &["o1"]).await;
    client.join("o1").await;
    for seq in 1..=3 {
        let said = json!({ "orderId": "o1", "content": "x", "clientMsgId": seq.to_string() });
        assert_eq!(client.request("chat:message", said).await["seq"], seq);
    }
    // Sessions that are ended under the pooler are replaced like others.
    server.execute(
        "hub",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = 'hub' AND pid <> pg_backend_pid()",
    );
    let said = json!({ "orderId": "o1", "content": "x", "clientMsgId": "4" });
    assert_eq!(client.request("chat:message", said).await["seq"], 4);
    assert_eq!(hub.status("/readyz").await, 200);
}

#[tokio::test]
async fn a_pooler_that_shares_sessions_is_refused_by_name() {
    let Some(server) = PostgresServer::start() else { return };
    for pool_mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(&server, pool_mode);
        for _ in 0..3 {
            let folder = tempfile::tempdir().expect("a folder");
            let serve = Command::new(env!("CARGO_BIN_EXE_orderhub"))
                .env_clear()
                .env("DATA_DIR", folder.path())
                .env("BIND_ADDR", "127.0.0.1:0")
                .env("JWT_SECRET", SECRET)
                .env("DATABASE_URL", pooler.url())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program");
            // One that starts after all does not end by itself.
            let id = serve.id().to_string();
            let (ended, end) = std::sync::mpsc::channel::<()>();
            let watch = std::thread::spawn(move || {
                if end.recv_timeout(super::support::TIMEOUT).is_err() {
                    Command::new("kill").arg(id).status().ok();
                }
            });
            let output = serve.wait_with_output().expect("an end");
            ended.send(()).ok();
            watch.join().expect("no panic");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{pool_mode}: {said}");
            assert!(said.contains("pool_mode=session"), "{pool_mode}: {said}");
        }
    }
}
