//! Commits a batch of chat in one transaction, and answers its messages.

use std::time::{Duration, Instant};

use super::db_thread::{BatchOutcome, DbThread, QUEUE_TIMEOUT};
use super::error::{ChatWriteError, QueryError};
use super::pending_chat::{PendingChat, ReplyGuard};
use crate::db::commit_batch::{self, ChatRefusal};
use crate::db::connection::DbConnection;
use crate::db::messages::NewMessage;
use crate::metrics::Metrics;
use crate::webhooks::event::EventKind;
use protocol::time::Timestamp;

/// How long a refused batch is retried message by message. After that the rest is given up, so that
/// the queue behind it continues.
const ONE_BY_ONE_LIMIT: Duration = Duration::from_secs(2);

/// Commits these messages and answers their callers.
pub(super) fn commit_chat(
    thread: &DbThread,
    batch: Vec<PendingChat>,
    metrics: &Metrics,
) -> BatchOutcome {
    // All writers may have hung since the batch was handed over. A message that has waited too
    // long is answered `Unavailable` here, and its caller may retry.
    let now = Instant::now();
    let (messages, reply_guards): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .filter(|pending| pending.reply_guard.waited(now) <= QUEUE_TIMEOUT)
        .map(|pending| (pending.message, pending.reply_guard))
        .unzip();
    if messages.is_empty() {
        return BatchOutcome::Served;
    }
    let Err((failure, reply_guards)) = commit(thread, &messages, reply_guards, metrics) else {
        return BatchOutcome::Served;
    };
    thread.report_failure("a batch of chat was not stored", &failure);
    if failure.is_down() {
        BatchOutcome::Down
    } else if messages.len() > 1 {
        commit_one_by_one(thread, &messages, reply_guards, metrics)
    } else {
        refuse(reply_guards, &failure);
        BatchOutcome::Served
    }
}

/// Stores messages in one transaction and answers them; returns all of them if that fails.
fn commit(
    thread: &DbThread,
    messages: &[NewMessage],
    reply_guards: Vec<ReplyGuard>,
    metrics: &Metrics,
) -> Result<(), (QueryError, Vec<ReplyGuard>)> {
    let now = Timestamp::now();
    let listeners = thread.listeners();
    let commit = |connection: &mut DbConnection| {
        commit_batch::commit(connection, messages, listeners.as_deref(), now)
    };
    match thread.try_query_once(commit) {
        Ok(outcomes) => {
            thread.announce(&[EventKind::ChatMessage]);
            thread.relay_chat(&outcomes);
            #[expect(clippy::cast_precision_loss, reason = "at most 256")]
            metrics.chat_batch.observe(messages.len() as f64);
            for ((message, reply_guard), outcome) in messages.iter().zip(reply_guards).zip(outcomes)
            {
                metrics.chat_commit.observe(reply_guard.waited(Instant::now()).as_secs_f64());
                match outcome {
                    Err(ChatRefusal::Outdated) => reply_guard.give_back(message.clone()),
                    outcome => reply_guard.answer(outcome.map_err(ChatWriteError::from)),
                }
            }
            Ok(())
        }
        Err(failure) => Err((failure, reply_guards)),
    }
}

/// Stores each message in a transaction of its own, so that a bad one fails alone.
fn commit_one_by_one(
    thread: &DbThread,
    messages: &[NewMessage],
    reply_guards: Vec<ReplyGuard>,
    metrics: &Metrics,
) -> BatchOutcome {
    let deadline = Instant::now() + ONE_BY_ONE_LIMIT;
    for (message, reply_guard) in messages.iter().zip(reply_guards) {
        if Instant::now() >= deadline {
            // The messages that are left are answered `Unavailable` when they are dropped.
            return BatchOutcome::Down;
        }
        let message = std::slice::from_ref(message);
        if let Err((failure, alone)) = commit(thread, message, vec![reply_guard], metrics) {
            thread.report_failure("a chat message was not stored", &failure);
            if failure.is_down() {
                return BatchOutcome::Down;
            }
            refuse(alone, &failure);
        }
    }
    BatchOutcome::Served
}

/// Answers messages that failed alone although the database works. A refused message would be
/// refused again; after a panic the cause is unknown.
fn refuse(alone: Vec<ReplyGuard>, failure: &QueryError) {
    if matches!(failure, QueryError::Database(_)) {
        for reply_guard in alone {
            reply_guard.answer(Err(ChatWriteError::Refused));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix::{Actor, Context, Handler};
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::sync::oneshot;

    use super::super::health::Health;
    use super::super::pending_chat::{ChatPosted, ChatReply};
    use super::super::queue_limit::QueueLimit;
    use super::*;
    use crate::config::DatabaseUrl;
    use crate::db::instance_lock::Sharing;
    use crate::db::migrate;
    use crate::db::pool::DbPool;
    use crate::metrics::LabelValues;
    use protocol::chat::ChatKind;
    use protocol::role::Role;

    /// A room that receives posted messages.
    struct Room;

    impl Actor for Room {
        type Context = Context<Self>;
    }

    impl Handler<ChatPosted> for Room {
        type Result = ();

        fn handle(&mut self, _: ChatPosted, _: &mut Self::Context) {}
    }

    fn message(text: &str) -> NewMessage {
        NewMessage {
            id: text.to_owned(),
            order_id: "o1".parse().expect("an id"),
            sender_id: "eve".parse().expect("an id"),
            sender_name: "Eve".to_owned(),
            sender_role: Role::Customer,
            kind: ChatKind::Text,
            content: text.to_owned(),
            client_msg_id: None,
            created_at: Timestamp::now(),
            sent_hash: None,
            judged_by: None,
        }
    }

    #[actix::test]
    async fn a_message_that_waited_too_long_for_a_writer_is_not_stored() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
        migrate::bring_up_to_date(&url).expect("tables");
        let metrics = Arc::new(Metrics::new(&LabelValues::default()));
        let health = Arc::new(Health::new(Arc::clone(&metrics)));
        let thread = DbThread::new(DbPool::new(&url, 1, Sharing::Alone), health, None);
        let room = Room.start().recipient();
        let limit = QueueLimit::new(9, 9, Gauge::default());
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        let now = Instant::now();
        let early =
            now.checked_sub(QUEUE_TIMEOUT + Duration::from_secs(1)).expect("an earlier time");
        for (text, admitted) in [("late", early), ("in time", now)] {
            let (done, answer) = oneshot::channel();
            let reply = ChatReply::Caller { tell: room.clone(), done };
            let permit = limit.try_admit(0).expect("room for it");
            let reply_guard = ReplyGuard::new(reply, permit, admitted);
            batch.push(PendingChat { message: message(text), reply_guard });
            answers.push(answer);
        }
        assert_eq!(commit_chat(&thread, batch, &metrics), BatchOutcome::Served);
        let (in_time, late) = (answers.pop().expect("two"), answers.pop().expect("two"));
        assert_eq!(late.await.expect("an answer"), Err(ChatWriteError::Unavailable));
        let stored = in_time.await.expect("an answer").expect("stored");
        assert_eq!((stored.message.seq, stored.message.content.as_str()), (1, "in time"));
    }
}
