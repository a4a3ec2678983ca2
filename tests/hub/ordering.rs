//! Everything in order: what a member sees has no gap and nothing twice, whenever it came in.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::{Value, json};

use super::support::orders_table::sql;
use super::support::rooms::{code, fix, say, seqs};
use super::support::{Client, Hub};

/// How many messages each of the senders says.
const SAID: usize = 40;
const SENDERS: usize = 3;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Stored messages 1 to `count` of an order, of `bytes` each.
fn history(hub: &Hub, order: &str, count: usize, bytes: usize) {
    sql(
        hub,
        &format!(
            "INSERT INTO orders (id, last_seq, created_at_ms, updated_at_ms) \
             VALUES ('{order}', {count}, 0, 0)"
        ),
    );
    sql(
        hub,
        &format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) \
             INSERT INTO messages (order_id, seq, id, sender_id, sender_name, sender_role, kind, \
             content, client_msg_id, created_at_ms) \
             SELECT '{order}', n, '{order}-' || n, 'bob', 'Bob', 'customer', 'TEXT', \
             printf('%0{bytes}d', n), NULL, 0 FROM n"
        ),
    );
}

/// Says so many messages as fast as acks allow, and gives their seqs.
async fn talk(mut client: Client, order: &'static str) -> Vec<i64> {
    let mut acked = Vec::new();
    for number in 0..SAID {
        let ack = say(&mut client, order, &format!("{number}")).await;
        acked.push(ack["seq"].as_i64().expect("a seq"));
    }
    assert!(acked.is_sorted(), "acks of one sender rise: {acked:?}");
    acked
}

/// Joins, and gives the snapshot; nothing of the room may come before it.
async fn join(client: &mut Client, asked: Value) -> Value {
    let id = client.ask("order:join", asked).await;
    loop {
        let mut message = client.next().await;
        if message["event"] == "ack" && message["id"] == id {
            let shown = message["data"].take();
            assert_eq!(shown["ok"], true, "{shown}");
            return shown;
        }
        assert_ne!(message["event"], "chat:message", "before its snapshot");
    }
}

/// Comes and goes until the last message was seen, each time at another moment.
async fn visit(mut client: Client, order: &'static str, mut dice: Dice, end: i64) {
    let mut last: Option<i64> = None;
    while last != Some(end) {
        let since = last.filter(|_| dice.roll(3) > 0);
        let limit = [200, 200, 20][usize::try_from(dice.roll(3)).expect("small")];
        let shown =
            join(&mut client, json!({ "orderId": order, "sinceSeq": since, "limit": limit }));
        let shown = shown.await;
        let cut = shown["lastSeq"].as_i64().expect("a seq");
        let page = seqs(&shown["messages"]);
        let first = page.first().copied().unwrap_or(cut + 1);
        assert_eq!(page, (first..=cut).collect::<Vec<_>>(), "no gap up to lastSeq");
        if shown["recovered"] == true {
            assert_eq!(Some(first), since.map(|since| since + 1), "everything since");
        } else {
            let whole = i64::try_from(page.len()).expect("small") == limit;
            assert!(whole || first == 1 || since.is_some() || page.len() >= 12, "{first}..={cut}");
        }
        let mut seen = cut;
        let stay = dice.roll(12);
        for _ in 0..stay {
            if seen == end {
                break;
            }
            let live = client.expect("chat:message").await;
            assert_eq!(live["seq"], seen + 1, "live follows the snapshot without a gap");
            seen += 1;
        }
        client.request("order:leave", json!({ "orderId": order })).await;
        // What came between the last look and the leave goes on in order too.
        for live in client.drain("chat:message").await {
            assert_eq!(live["seq"], seen + 1);
            seen += 1;
        }
        last = Some(seen);
    }
}

/// Senders talk while visitors come and go in an order that begins with this history.
async fn crowd(hub: &Hub, order: &'static str, before: usize, bytes: usize) {
    if before > 0 {
        history(hub, order, before, bytes);
    }
    let end = i64::try_from(before + SAID * SENDERS).expect("small");
    let mut stayer = hub.connect("stayer", "customer", &[order]).await;
    let shown = join(&mut stayer, json!({ "orderId": order, "limit": 1 })).await;
    assert_eq!(shown["lastSeq"], before);
    let (mut senders, mut visitors) = (Vec::new(), Vec::new());
    for number in 0..SENDERS {
        let sender = hub.connect(&format!("sender{number}"), "customer", &[order]).await;
        senders.push(tokio::spawn(talk(sender, order)));
    }
    for seed in 0..5 {
        let visitor = hub.connect(&format!("visitor{seed}"), "customer", &[order]).await;
        visitors.push(tokio::spawn(visit(visitor, order, Dice(seed), end)));
    }
    let mut acked = Vec::new();
    for sender in senders {
        acked.extend(sender.await.expect("a sender"));
    }
    acked.sort_unstable();
    let said = i64::try_from(before).expect("small") + 1..=end;
    assert_eq!(acked, said.clone().collect::<Vec<_>>(), "dense, each acknowledged once");
    for visitor in visitors {
        visitor.await.expect("a visitor");
    }
    let heard = stayer.drain("chat:message").await;
    let heard: Vec<_> = heard.iter().map(|live| live["seq"].as_i64().expect("a seq")).collect();
    assert_eq!(heard, said.collect::<Vec<_>>(), "one who stays hears all");
}

#[tokio::test]
async fn a_join_during_chat_misses_and_duplicates_nothing() {
    crowd(&Hub::without_rates(), "o1", 0, 0).await;
}

#[tokio::test]
async fn a_join_during_chat_misses_nothing_with_more_messages_than_a_room_keeps() {
    crowd(&Hub::without_rates(), "o1", 300, 10).await;
}

#[tokio::test]
async fn a_join_during_chat_misses_nothing_with_more_bytes_than_a_room_keeps() {
    crowd(&Hub::without_rates(), "o1", 60, 4000).await;
}

#[tokio::test]
async fn chat_during_a_snapshot_read_follows_the_snapshot() {
    let hub = Hub::without_rates();
    history(&hub, "o1", 300, 10);
    let mut sender = hub.connect("ann", "driver", &["o1"]).await;
    let mut joiner = hub.connect("bob", "customer", &["o1"]).await;
    let chat = json!({ "orderId": "o1", "content": "meanwhile" });
    for round in 0..20 {
        // Both at once, and never waited for: the read of the snapshot meets the commit.
        let first = joiner.ask("order:join", json!({ "orderId": "o1", "limit": 150 })).await;
        let said = sender.ask("chat:message", chat.clone()).await;
        let again = joiner.ask("order:join", json!({ "orderId": "o1", "limit": 149 })).await;
        let first = joiner.reply(first).await;
        let cut = first["lastSeq"].as_i64().expect("a seq");
        assert_eq!(seqs(&first["messages"]), (cut - 149..=cut).collect::<Vec<_>>());
        let second = joiner.reply(again).await;
        assert_eq!(second["messages"].as_array().map(Vec::len), Some(149));
        let seq = sender.reply(said).await["seq"].as_i64().expect("a seq");
        assert_eq!(seq, 301 + round);
        let live = if cut < seq { vec![json!(seq)] } else { vec![] };
        if cut < seq {
            // It may be on its way still.
            let event = joiner.expect("chat:message").await;
            joiner.seen.push_front(json!({ "event": "chat:message", "data": event }));
        }
        let heard = joiner.drain("chat:message").await;
        assert_eq!(heard.iter().map(|one| one["seq"].clone()).collect::<Vec<_>>(), live);
        joiner.request("order:leave", json!({ "orderId": "o1", "all": true })).await;
    }
}

#[tokio::test]
async fn a_leave_and_join_during_a_snapshot_read_answer_with_the_second_snapshot() {
    let hub = Hub::builder().without_rates().env("OUTBOX_BYTES", 64 << 20).start();
    history(&hub, "o1", 300, 10);
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    let mut reader = hub.connect("ann", "driver", &["o1"]).await;
    reader.join("o1").await;
    for _ in 0..5 {
        // What others read comes first, so the first snapshot is not there before the second join.
        let mut reads = Vec::new();
        for _ in 0..40 {
            let page = json!({ "orderId": "o1", "limit": 200 });
            reads.push(reader.ask("chat:history", page).await);
        }
        // Answered by the session itself: then all of them are on their way.
        reader.drain("pong").await;
        let order = json!({ "orderId": "o1" });
        let first = client.ask("order:join", json!({ "orderId": "o1", "limit": 120 })).await;
        let left = client.ask("order:leave", order.clone()).await;
        let second = client.ask("order:join", json!({ "orderId": "o1", "limit": 121 })).await;
        let first = client.reply(first).await;
        let shown = first["messages"].as_array().map(Vec::len);
        assert!(shown == Some(120) || code(&first) == "unavailable", "{first}");
        assert_eq!(client.reply(left).await["remaining"], 0);
        let second = client.reply(second).await;
        assert_eq!(second["messages"].as_array().map(Vec::len), Some(121), "{second}");
        assert_eq!(client.request("order:leave", order).await["remaining"], 0);
        for read in reads {
            assert_eq!(reader.reply(read).await["ok"], true);
        }
    }
}

#[tokio::test]
async fn a_join_without_a_snapshot_is_not_counted_and_keeps_earlier_joins() {
    let hub = Hub::without_rates();
    history(&hub, "o1", 300, 10);
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    let mut fresh = hub.connect("carl", "customer", &["o1"]).await;
    let join = |limit: u32| json!({ "orderId": "o1", "limit": limit });
    client.request("order:join", join(1)).await;
    sql(&hub, "ALTER TABLE messages RENAME TO away");
    assert_eq!(code(&client.request("order:join", join(200)).await), "unavailable");
    assert_eq!(code(&fresh.request("order:join", join(200)).await), "unavailable");
    client.request("driver:location", fix("o1", 1.0)).await;
    sql(&hub, "ALTER TABLE away RENAME TO messages");
    say(&mut fresh, "o1", "let me in").await;
    assert_eq!(client.expect("chat:message").await["seq"], 301, "still a member");
    assert_eq!(fresh.drain("chat:message").await.len(), 0, "never was one");
    let leave = json!({ "orderId": "o1" });
    assert_eq!(client.request("order:leave", leave.clone()).await["remaining"], 0);
    assert_eq!(code(&fresh.request("order:leave", leave).await), "not_joined");
}

#[tokio::test]
async fn acks_come_in_the_order_of_their_events() {
    let hub = Hub::without_rates();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    driver.join("o1").await;
    let (mut chats, mut places) = (Vec::new(), Vec::new());
    for number in 0..30 {
        let chat = json!({ "orderId": "o1", "content": format!("message {number}") });
        chats.push(driver.ask("chat:message", chat).await);
        places.push(driver.ask("driver:location", fix("o1", f64::from(number))).await);
    }
    let mut acks = Vec::new();
    while acks.len() < chats.len() + places.len() {
        let ack = driver.find(|message| message["event"] == "ack").await;
        assert_eq!(ack["data"]["ok"], true, "{ack}");
        acks.push(ack["id"].as_u64().expect("an id"));
    }
    let of = |ids: &[u64]| acks.iter().filter(|id| ids.contains(id)).copied().collect::<Vec<_>>();
    assert_eq!((of(&chats), of(&places)), (chats, places));
    let heard = driver.drain("chat:message").await;
    let contents: Vec<_> = heard.iter().map(|one| one["content"].clone()).collect();
    assert_eq!(contents, (0..30).map(|n| json!(format!("message {n}"))).collect::<Vec<_>>());
    let places = driver.drain("location:updated").await;
    let lngs: Vec<_> =
        places.iter().map(|place| place["lng"].as_f64().expect("a number")).collect();
    assert!(lngs.is_sorted() && lngs.last() == Some(&29.0), "{lngs:?}");
}

#[tokio::test]
async fn a_location_never_waits_for_a_commit() {
    let hub = Hub::without_rates();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    driver.join("o1").await;
    say(&mut driver, "o1", "the database answers").await;
    let file = hub.data_dir().join("orderhub.sqlite3");
    let mut lock = SqliteConnection::establish(file.to_str().expect("a path")).expect("it");
    lock.batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE").expect("a lock");
    let said = driver.ask("chat:message", json!({ "orderId": "o1", "content": "held" })).await;
    let since = Instant::now();
    let taken = driver.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(taken["accepted"], 1);
    driver.expect("location:updated").await;
    assert!(since.elapsed() < Duration::from_millis(1500), "the lock is waited for 2 s");
    assert!(
        driver.seen.iter().all(|one| one["event"] != "chat:message" || one["data"]["seq"] == 1)
    );
    lock.batch_execute("ROLLBACK").expect("unlocked");
    assert_eq!(driver.reply(said).await["seq"], 2);
}
