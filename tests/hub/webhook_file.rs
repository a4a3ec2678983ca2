//! `WEBHOOKS_FILE`: what is refused at the start, and what a new version does while the hub runs.

use std::process::Command;

use serde_json::Value;

use super::support::hooks::{endpoint, endpoint_is, say, telling, writer};
use super::support::receiver::{Reaction, Receiver, WEBHOOK_SECRET, WebhooksFile, entry};
use super::support::{Hub, SECRET, until};

/// Runs the program with this file; its status, and what it says.
fn run(args: &[&str], file: &WebhooksFile) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .args(args)
        .env_clear()
        .env("DATA_DIR", folder.path())
        .env("BIND_ADDR", "127.0.0.1:0")
        .env("JWT_SECRET", SECRET)
        .env("WEBHOOKS_FILE", file.path())
        .output()
        .expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_file_that_cannot_work_is_refused_at_the_start_with_its_line() {
    for (text, problem) in [
        (
            entry("push", "https://shop.example/", "chat.*", "colour = 1"),
            "line 6: unknown field `colour`",
        ),
        (
            entry("push", "https://shop.example/", "chat.said", ""),
            "line 5: the pattern \"chat.said\"",
        ),
        (entry("push", "http://shop.example/", "chat.*", ""), "line 3: the url must be https"),
        (
            entry("push", "https://x/", "chat.*", "").replace(WEBHOOK_SECRET, "whsec_c2hvcnQ="),
            "line 4: a secret must",
        ),
    ] {
        let file = WebhooksFile::new(&text);
        for command in ["serve", "check-config"] {
            let (status, _, said) = run(&[command], &file);
            assert_eq!(status, Some(1), "{said}");
            let expected =
                format!("orderhub: WEBHOOKS_FILE: cannot use {}: {problem}", file.path());
            assert!(said.starts_with(&expected), "{said}");
            assert!(!said.contains(WEBHOOK_SECRET), "{said}");
        }
    }
}

#[tokio::test]
async fn a_new_file_is_used_and_an_invalid_one_changes_nothing() {
    let (first, second) = (Receiver::start(), Receiver::start());
    let file = WebhooksFile::new(&first.entry("first", "chat.message", ""));
    let hub = telling(Hub::builder(), &file).start();
    let mut ann = writer(&hub, &["o1"]).await;
    say(&mut ann, "o1", "one").await;
    first.sent(1).await;
    file.write(&(first.entry("first", "chat.message", "") + &second.entry("second", "chat.*", "")));
    hub.logged("WEBHOOKS_FILE: 2 endpoints of").await;
    say(&mut ann, "o1", "two").await;
    first.sent(2).await;
    assert_eq!(second.sent(1).await[0].data["content"], "two");
    file.write("[[endpoints]]\nname = 7");
    hub.logged("line 2: ").await;
    let log = hub.logged("the previous endpoints stay in use").await;
    assert!(!log.contains("whsec"), "{log}");
    say(&mut ann, "o1", "three").await;
    second.sent(2).await;
    file.write(&second.entry("second", "order.*", ""));
    hub.signal("HUP");
    hub.logged("WEBHOOKS_FILE: 1 endpoints of").await;
    until("the list", async || endpoint(&hub, "first").await == Value::Null).await;
    say(&mut ann, "o1", "four").await;
    endpoint_is(&hub, "second", |second| second["waiting"] == 0).await;
    assert_eq!((first.count(), second.count()), (3, 2));
}

#[test]
fn a_test_sends_one_signed_webhook_and_prints_the_answer() {
    let receiver = Receiver::start();
    let file = WebhooksFile::new(&receiver.entry("push", "chat.*", ""));
    receiver.react(|_| Reaction::With(200, String::new()));
    let (status, said, problem) = run(&["webhook", "test", "push"], &file);
    assert_eq!((status, problem.as_str()), (Some(0), ""));
    let told = receiver.received();
    assert_eq!((told.len(), told[0].kind.as_str()), (1, "webhook.test"));
    assert!(told[0].is_signed);
    assert!(
        said.starts_with(&format!("{}: 200 OK in ", told[0].id)) && said.ends_with("ms\nno\n"),
        "{said}"
    );
    receiver.react(|_| Reaction::Status(500));
    let (status, said, problem) = run(&["webhook", "test", "push"], &file);
    assert_eq!(status, Some(1));
    let (port, failed) = (receiver.addr.port(), "it answers 500 Internal Server Error");
    assert!(said.contains(": 500 Internal Server Error in "), "{said}");
    assert_eq!(problem, format!("orderhub: http://localhost:{port}/hooks: {failed}\n"));
    let (status, _, problem) = run(&["webhook", "test", "pusch"], &file);
    assert_eq!(status, Some(1));
    assert!(problem.contains("has no \"pusch\", it has: push"), "{problem}");
}
