//! Session records that are resumed after a stop.

use std::time::Duration;

use actix::Arbiter;
use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use futures_util::future::{join_all, select};
use orderhub::actors::store::{Sharing, Store, StoreError, StoreOptions, TrailOptions};
use orderhub::config::DatabaseUrl;
use orderhub::session::resume::{PushLog, SavedRoom, SessionRecord};
use protocol::ids::{Pid, SessionId, UserId};
use protocol::socketio::Namespace;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, message, order, until};

fn user(id: &str) -> UserId {
    id.parse().expect("an id")
}

fn record(owner: &str, room: &str) -> SessionRecord {
    let mut pushes = PushLog::new(None);
    (1..=20).for_each(|seq| pushes.push(1, seq, 100));
    let rooms = [SavedRoom { order: order(room), joins: 2, subscription: 1, sent_seq: 20 }];
    let pid = Pid::random().expect("randomness");
    SessionRecord::new(pid, user(owner), SessionId::random(), Namespace::Root, 1, rooms, pushes)
}

fn in_secs(secs: i64) -> Timestamp {
    Timestamp::from_millis(Timestamp::now().as_millis() + secs * 1000)
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    rows: i64,
}

fn rows(hub: &Fixture) -> i64 {
    let count = diesel::sql_query("SELECT count(*) AS rows FROM resumes");
    count.get_result::<Count>(&mut hub.connection()).expect("a count").rows
}

#[test]
fn a_session_is_taken_out_once_and_by_its_user_alone() {
    each_database(async |hub: Fixture| {
        let (ann, bob) = (record("ann", "o"), record("bob", "p"));
        let saved =
            hub.store.save_resume_records(vec![ann.clone(), bob.clone()], in_secs(60)).await;
        saved.expect("written");
        let take =
            async |pid, of| hub.store.take_resume_record(pid, user(of)).await.expect("an answer");
        assert_eq!(take(ann.pid, "bob").await, None);
        assert_eq!(take(Pid::random().expect("randomness"), "ann").await, None);
        assert_eq!(take(ann.pid, "ann").await, Some(ann.clone()));
        assert_eq!(take(ann.pid, "ann").await, None);
        assert_eq!(take(bob.pid, "bob").await, Some(bob));
        assert_eq!(rows(&hub), 0);
    });
}

#[test]
fn concurrent_takes_return_each_record_once() {
    each_database(async |hub: Fixture| {
        let records: Vec<_> = (0..300).map(|n| record(&format!("u{n}"), "o")).collect();
        hub.store.save_resume_records(records.clone(), in_secs(60)).await.expect("written");
        let strangers = records.iter().map(|record| (record.pid, user("stranger")));
        let owners = records.iter().map(|record| (record.pid, record.user.clone()));
        let asking: Vec<_> = strangers.chain(owners.clone()).chain(owners).collect();
        let answers =
            join_all(asking.into_iter().map(|(pid, user)| hub.store.take_resume_record(pid, user)))
                .await;
        let taken: Vec<_> = answers.into_iter().map(|taken| taken.expect("an answer")).collect();
        assert!(taken[..300].iter().all(Option::is_none));
        for (n, record) in records.iter().enumerate() {
            let (one, other) = (&taken[300 + n], &taken[600 + n]);
            let got: Vec<_> = one.iter().chain(other).collect();
            assert_eq!(got, [record]);
        }
    });
}

#[test]
fn a_later_record_replaces_an_earlier_one() {
    each_database(async |hub: Fixture| {
        let first = record("ann", "o");
        let (mut second, mut third) = (first.clone(), first.clone());
        (second.last_subscription, third.last_subscription) = (7, 8);
        hub.store.save_resume_records(vec![first], in_secs(-60)).await.expect("written");
        hub.store
            .save_resume_records(vec![second, third.clone()], in_secs(60))
            .await
            .expect("written");
        let taken = hub.store.take_resume_record(third.pid, user("ann")).await.expect("an answer");
        assert_eq!(taken, Some(third));
    });
}

#[test]
fn expired_sessions_are_not_given_and_gone_after_the_next_start() {
    each_database(async |hub: Fixture| {
        let kept = record("ann", "o");
        let expired: Vec<_> = (0..2100).map(|n| record(&format!("u{n}"), "o")).collect();
        let (pid, owner) = (expired[0].pid, expired[0].user.clone());
        hub.store.save_resume_records(expired, in_secs(0)).await.expect("written");
        hub.store.save_resume_records(vec![kept.clone()], in_secs(60)).await.expect("written");
        assert_eq!(hub.store.take_resume_record(pid, owner).await, Ok(None));
        assert_eq!(rows(&hub), 2101);
        let options = StoreOptions {
            url: hub.url.clone(),
            sharing: Sharing::Alone,
            pool_size: 4,
            trail: TrailOptions::default(),
            outbox: None,
            relay: None,
        };
        let next = Store::start(&options, hub.metrics.clone(), &Arbiter::current());
        let next = next.expect("a store");
        until("expired sessions to go", async || rows(&hub) == 1).await;
        let taken = next.take_resume_record(kept.pid, user("ann")).await.expect("an answer");
        assert_eq!(taken, Some(kept));
    });
}

#[test]
fn a_whole_node_is_written_and_chat_does_not_wait_for_it() {
    each_database(async |hub: Fixture| {
        let records: Vec<_> = (0..5000).map(|n| record(&format!("u{n}"), "o")).collect();
        let saving = Box::pin(hub.store.save_resume_records(records, in_secs(60)));
        // The save is begun first, and its parts stand in the same queue as chat.
        let saving = match select(saving, Box::pin(hub.say(message("o", "hello")))).await {
            futures_util::future::Either::Right((said, saving)) => {
                said.expect("stored");
                saving
            }
            futures_util::future::Either::Left(_) => panic!("chat waited for all of it"),
        };
        saving.await.expect("written");
        assert_eq!(rows(&hub), 5000);
    });
}

#[test]
fn a_locked_database_gives_errors_and_loses_no_session() {
    each_database(async |hub: Fixture| {
        let ann = record("ann", "o");
        hub.store.save_resume_records(vec![ann.clone()], in_secs(60)).await.expect("written");
        let mut other = hub.connection();
        let lock = match hub.url {
            DatabaseUrl::Sqlite(_) => "BEGIN EXCLUSIVE",
            DatabaseUrl::Postgres(_) => "BEGIN; LOCK TABLE resumes IN EXCLUSIVE MODE",
        };
        other.batch_execute(lock).expect("locked");
        let taken = hub.store.take_resume_record(ann.pid, user("ann")).await;
        assert!(matches!(taken, Err(StoreError::Unavailable(_))), "{taken:?}");
        // Whoever has gone meanwhile takes nothing with it.
        let gone = hub.store.take_resume_record(ann.pid, user("ann"));
        assert!(tokio::time::timeout(Duration::from_millis(1), gone).await.is_err());
        let saved = hub.store.save_resume_records(vec![record("bob", "o")], in_secs(60)).await;
        assert!(matches!(saved, Err(StoreError::Unavailable(_))), "{saved:?}");
        other.batch_execute("ROLLBACK").expect("released");
        assert_eq!(hub.store.take_resume_record(ann.pid, user("ann")).await, Ok(Some(ann)));
    });
}

#[test]
fn a_record_of_another_version_is_ignored() {
    each_database(async |hub: Fixture| {
        let ann = record("ann", "o");
        hub.store.save_resume_records(vec![ann.clone()], in_secs(60)).await.expect("written");
        hub.connection().batch_execute("UPDATE resumes SET record = '{}'").expect("changed");
        assert_eq!(hub.store.take_resume_record(ann.pid, user("ann")).await, Ok(None));
    });
}
