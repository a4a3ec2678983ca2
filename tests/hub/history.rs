//! What was said: pages in both directions, and retries that store nothing twice.

use serde_json::{Value, json};

use super::support::rooms::{code, say, seqs};
use super::support::{Client, Hub};

async fn page(client: &mut Client, cursor: Value) -> (Vec<i64>, bool) {
    let mut asked = cursor.clone();
    asked["orderId"] = json!("o1");
    let page = client.request("chat:history", asked).await;
    assert_eq!(page["ok"], true, "{cursor}: {page}");
    (seqs(&page["messages"]), page["hasMore"].as_bool().expect("hasMore"))
}

#[tokio::test]
async fn history_pages_both_ways_without_a_gap() {
    let hub = Hub::without_rates();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    for number in 1..=11 {
        say(&mut client, "o1", &format!("message {number}")).await;
    }
    // Without a cursor it is the newest page; from there backwards.
    let (mut seen, mut more) = page(&mut client, json!({ "limit": 4 })).await;
    assert_eq!((seen.as_slice(), more), ([8, 9, 10, 11].as_slice(), true));
    while more {
        let before = json!({ "beforeSeq": seen[0], "limit": 4 });
        let (mut older, further) = page(&mut client, before).await;
        older.append(&mut seen);
        (seen, more) = (older, further);
    }
    assert_eq!(seen, (1..=11).collect::<Vec<_>>());
    // And forwards from the beginning.
    let (mut seen, mut more) = (Vec::new(), true);
    while more {
        let after = json!({ "afterSeq": seen.last().copied().unwrap_or(0), "limit": 4 });
        let (newer, further) = page(&mut client, after).await;
        seen.extend(newer);
        more = further;
    }
    assert_eq!(seen, (1..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cursor_at_an_end_finds_nothing_more() {
    let hub = Hub::without_rates();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    assert_eq!(page(&mut client, json!({})).await, (vec![], false), "before the first message");
    for _ in 0..3 {
        say(&mut client, "o1", "again").await;
    }
    for (cursor, seen, more) in [
        (json!({ "limit": 3 }), vec![1, 2, 3], false),
        (json!({ "beforeSeq": 1 }), vec![], false),
        (json!({ "beforeSeq": 99, "limit": 1 }), vec![3], true),
        (json!({ "afterSeq": 3 }), vec![], false),
        (json!({ "afterSeq": 99 }), vec![], false),
        (json!({ "afterSeq": 0, "limit": 3 }), vec![1, 2, 3], false),
    ] {
        assert_eq!(page(&mut client, cursor.clone()).await, (seen, more), "{cursor}");
    }
    let both = json!({ "orderId": "o1", "beforeSeq": 2, "afterSeq": 1 });
    assert_eq!(code(&client.request("chat:history", both).await), "invalid_payload");
}

#[tokio::test]
async fn a_page_ends_at_its_bytes_and_the_rest_is_found() {
    let hub = Hub::without_rates();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    let long = "x".repeat(4000);
    for _ in 0..40 {
        say(&mut client, "o1", &long).await;
    }
    let (mut seen, mut more) = page(&mut client, json!({ "limit": 200 })).await;
    assert!(more && seen.len() < 15, "48 KiB a page: {seen:?}");
    while more {
        let before = json!({ "beforeSeq": seen[0], "limit": 200 });
        let (mut older, further) = page(&mut client, before).await;
        older.append(&mut seen);
        (seen, more) = (older, further);
    }
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
    // A gap that does not fit is said to be one, with the newest page.
    let join = json!({ "orderId": "o1", "sinceSeq": 1, "limit": 200 });
    let shown = client.request("order:join", join).await;
    let shown_seqs = seqs(&shown["messages"]);
    assert_eq!((&shown["recovered"], shown_seqs.last()), (&json!(false), Some(&40)));
    assert!(shown_seqs.len() < 20);
}

#[tokio::test]
async fn a_retry_gets_the_first_ack_and_is_delivered_once() {
    let hub = Hub::start();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    client.join("o1").await;
    let chat = |content: &str| json!({ "orderId": "o1", "content": content, "clientMsgId": "k1" });
    let first = client.request("chat:message", chat("hello")).await;
    assert_eq!(first.get("duplicate"), None);
    let mut again = client.request("chat:message", chat("hello")).await;
    assert_eq!(again["duplicate"].take(), true);
    for field in ["id", "seq", "createdAt"] {
        assert_eq!(first[field], again[field], "{field}");
    }
    let other = client.request("chat:message", chat("something else")).await;
    assert_eq!(code(&other), "conflict");
    // The key is its sender's own.
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    assert_eq!(driver.request("chat:message", chat("hello")).await["seq"], 2);
    let heard = client.drain("chat:message").await;
    assert_eq!(heard.iter().map(|one| &one["seq"]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(heard[0]["clientMsgId"], "k1");
}
