//! Chat: dense numbers, retries, bad messages, bounds.

use std::collections::HashMap;

use orderhub::actors::store::{ChatWriteError, ChatWritten, NewMessage, PageRange};
use orderhub::db::commit_batch::{self, StoredChat};
use protocol::chat::ChatKind;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, keyed, message, on_postgres, order};

fn seq_of(outcome: &crate::fixture::Outcome) -> (i64, bool) {
    let stored = outcome.as_ref().expect("stored");
    (stored.message.seq, stored.duplicate)
}

#[test]
fn numbers_are_dense_per_order_under_concurrent_batches() {
    each_database(async |hub: Fixture| {
        let orders: Vec<_> = (0..17).map(|n| format!("o{n}")).collect();
        for n in 0..1700_u64 {
            let order = &orders[usize::try_from(n % 17).expect("small")];
            assert!(hub.write(n, message(order, &n.to_string())));
        }
        let mut seqs: HashMap<_, Vec<_>> = HashMap::new();
        for (token, outcome) in hub.answers(1700).await {
            let stored = outcome.expect("stored");
            assert_eq!(stored.message.content, token.to_string());
            seqs.entry(stored.message.order_id).or_default().push(stored.message.seq);
        }
        for (order, seqs) in seqs {
            // In the order of admission, which is that of the tokens.
            assert_eq!(seqs, (1..=100).collect::<Vec<_>>(), "{order}");
            let loaded = hub.store.load_order(order, 5).await.expect("loaded");
            assert_eq!(loaded.last_seq, 100);
        }
        assert_eq!(hub.store.queued(), 0);
    });
}

#[test]
fn a_stored_message_is_read_back_unchanged() {
    each_database(async |hub: Fixture| {
        let mut written = keyed("o", "k", "https://example.com/ä.png\n🚚");
        written.kind = ChatKind::Image;
        let stored = hub.say(written.clone()).await.expect("stored").message;
        assert_eq!(stored, written.numbered(1));
        let page = hub.store.page(order("o"), PageRange::Newest, 10).await.expect("a page");
        assert_eq!(page.messages, [stored]);
    });
}

#[test]
fn a_rolled_back_batch_gives_its_numbers_back() {
    each_database(async |hub: Fixture| {
        let first = message("o", "first");
        assert_eq!(seq_of(&hub.say(first.clone()).await), (1, false));
        let mut connection = hub.connection();
        let twice = [message("o", "x"), message("new", "x"), first];
        let now = Timestamp::now();
        commit_batch::commit(&mut connection, &twice, None, now).expect_err("an id stored before");
        let written =
            commit_batch::commit(&mut connection, &[message("o", "y")], None, now).expect("stored");
        let [Ok(StoredChat { message, duplicate: false })] = &written[..] else {
            panic!("{written:?}");
        };
        assert_eq!(message.seq, 2);
        assert!(!hub.store.load_order(order("new"), 1).await.expect("loaded").exists);
    });
}

#[test]
fn a_retry_gets_the_first_ones_row_and_another_content_conflicts() {
    each_database(async |hub: Fixture| {
        let first = hub.say(keyed("o", "k", "hello")).await.expect("stored");
        assert_eq!((first.message.seq, first.duplicate), (1, false));
        let retry = hub.say(keyed("o", "k", "hello")).await.expect("stored");
        assert_eq!((retry.message, retry.duplicate), (first.message, true));
        assert_eq!(hub.say(keyed("o", "k", "bye")).await, Err(ChatWriteError::Conflict));
        let mut image = keyed("o", "k", "hello");
        image.kind = ChatKind::Image;
        assert_eq!(hub.say(image).await, Err(ChatWriteError::Conflict));
        // The key is the sender's own and the order's.
        let mut other = keyed("o", "k", "bye");
        other.sender_id = "bob".parse().expect("an id");
        assert_eq!(seq_of(&hub.say(other).await), (2, false));
        assert_eq!(seq_of(&hub.say(keyed("p", "k", "bye")).await), (1, false));
    });
}

#[test]
fn twins_in_one_batch_are_stored_once() {
    each_database(async |hub: Fixture| {
        let batch = [
            keyed("o", "k", "hello"),
            keyed("o", "k", "hello"),
            keyed("o", "k", "bye"),
            keyed("o", "l", "hello"),
        ];
        let written = commit_batch::commit(&mut hub.connection(), &batch, None, Timestamp::now());
        let short: Vec<_> = written
            .expect("stored")
            .iter()
            .map(|written| {
                Some((written.as_ref().ok()?.message.seq, written.as_ref().ok()?.duplicate))
            })
            .collect();
        assert_eq!(short, [Some((1, false)), Some((1, true)), None, Some((2, false))]);
    });
}

/// Hands in the first message, which starts a batch, and then the others, which wait together.
async fn one_bad_among_good(hub: &Fixture, bad: NewMessage) {
    hub.say(message("o", "before")).await.expect("stored");
    for token in 0..40 {
        let next = if token == 20 { bad.clone() } else { message("o", "good") };
        assert!(hub.write(token, next));
    }
    let answers = hub.answers(40).await;
    let (bad, good): (Vec<_>, Vec<_>) = answers.iter().partition(|(token, _)| *token == 20);
    assert_eq!(bad[0].1, Err(ChatWriteError::Refused), "not to be said again");
    let seqs: Vec<_> = good.iter().map(|(_, outcome)| seq_of(outcome).0).collect();
    assert_eq!(seqs, (2..=40).collect::<Vec<_>>());
    assert!(hub.metrics.store_errors.get() > 0);
}

#[test]
fn one_bad_message_fails_alone() {
    each_database(async |hub: Fixture| {
        let twin = message("elsewhere", "the id is taken");
        hub.say(twin.clone()).await.expect("stored");
        one_bad_among_good(&hub, twin).await;
    });
}

#[test]
fn a_text_that_postgres_cannot_store_fails_alone() {
    on_postgres(async |hub: Fixture| one_bad_among_good(&hub, message("o", "a\0b")).await);
}

#[test]
fn beyond_so_many_waiting_messages_a_message_comes_back() {
    each_database(async |hub: Fixture| {
        // Nothing is committed before the first await: the batcher runs on this thread.
        let admitted = (0..5000).filter(|&token| hub.write(token, message("o", "x"))).count();
        assert_eq!((admitted, hub.store.queued()), (4096, 4096));
        hub.store.drained().await;
        assert_eq!(hub.store.queued(), 0);
        let answers = hub.answers(4096).await;
        assert!(answers.iter().all(|(_, outcome)| outcome.is_ok()));
        assert!(hub.write(0, message("o", "there is room again")));
    });
}

#[test]
fn beyond_so_many_waiting_bytes_a_message_comes_back() {
    each_database(async |hub: Fixture| {
        let large = "x".repeat(16 * 1024);
        let admitted = (0..1000).filter(|&token| hub.write(token, message("o", &large))).count();
        assert!((500..=512).contains(&admitted), "{admitted}");
        assert_eq!(hub.answers(admitted).await.len(), admitted);
    });
}

#[test]
fn an_asker_that_went_away_cancels_nothing() {
    each_database(async |hub: Fixture| {
        struct Leaver;
        impl actix::Actor for Leaver {
            type Context = actix::Context<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                actix::ActorContext::stop(ctx);
            }
        }
        impl actix::Handler<ChatWritten> for Leaver {
            type Result = ();
            fn handle(&mut self, _: ChatWritten, _: &mut Self::Context) {}
        }
        let leaver = actix::Actor::start(Leaver);
        let reply = leaver.recipient();
        hub.store.write_chat(message("o", "x"), 0, reply).expect("admitted");
        hub.store.drained().await;
        assert_eq!(hub.store.load_order(order("o"), 0).await.expect("loaded").last_seq, 1);
    });
}
