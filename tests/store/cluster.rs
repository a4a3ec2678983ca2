//! What the nodes of a cluster share: the log that each of them follows, and who is there.

use std::sync::Arc;
use std::time::Duration;

use diesel::RunQueryDsl as _;
use futures_util::future::join_all;
use orderhub::actors::store::{Ban, Revocation};
use orderhub::db::cluster_log::{self, Entry};
use orderhub::db::connection::DbConnection;
use orderhub::db::nodes::NodeRow;
use protocol::ids::{BootId, UserId};
use protocol::time::Timestamp;

use crate::fixture::{Fixture, on_postgres};

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

fn ban(name: &str) -> Ban {
    let until = Timestamp::now().plus(Duration::from_secs(60));
    Ban { order_id: None, user_id: user(name), until, reason: "rude".to_owned() }
}

fn node(boot: BootId, prefix: &str) -> NodeRow {
    let (name, version) = ("hub".to_owned(), "1".to_owned());
    NodeRow { boot, name, prefix: prefix.to_owned(), version, connections: 3, rooms: 2 }
}

#[test]
fn an_entry_is_written_with_what_it_tells_of_and_names_who_must_carry_it_out() {
    on_postgres(async |hub: Fixture| {
        let boot = BootId::random();
        let ban = ban("ann");
        let first = hub.store.put_ban(ban.clone(), boot).await.expect("written");
        let revocation = Revocation { user_id: user("bob"), issued_before: Timestamp::now() };
        let revoked = hub.store.revoke(revocation.clone(), None, boot).await;
        let (_, _, second) = revoked.expect("written").expect("no key");
        let rows = hub.store.log_after(0).await.expect("a page").rows;
        let entries: Vec<_> =
            rows.iter().map(|row| (row.id, row.author, row.entry.clone())).collect();
        let (first, second) = (first.expect("an entry"), second.expect("an entry"));
        assert_eq!((first.nodes.len(), second.nodes.len()), (0, 0));
        let (first, second) = (first.number, second.number);
        let expected = [
            (first, Some(boot), Some(ban.entry())),
            (second, Some(boot), Some(revocation.entry())),
        ];
        assert_eq!(entries, expected);
        assert_eq!(hub.store.last_log_entry().await, Ok(second));
        assert_eq!(hub.store.log_after(first).await.expect("a page").rows.len(), 1);
        for there in [boot, BootId::random()] {
            hub.store.enter_cluster(node(there, "a")).await.expect("entered");
        }
        let third = hub.store.put_ban(ban.clone(), boot).await.expect("written").expect("an entry");
        assert_eq!(third.nodes.len(), 2);
        assert!(third.nodes.iter().any(|node| node.boot == boot && &*node.name == "hub"));
    });
}

#[test]
fn numbers_rise_in_the_order_of_commits() {
    on_postgres(async |hub: Fixture| {
        let boot = BootId::random();
        // Its transaction has a number and is not committed.
        let mut slow = hub.connection();
        let entry = ban("slow").entry();
        let DbConnection::Postgres(postgres) = &mut slow else { panic!("PostgreSQL") };
        diesel::sql_query("BEGIN").execute(postgres).expect("begun");
        let earlier = cluster_log::add(postgres, boot, &entry).expect("added");
        let store = hub.store.clone();
        let other = actix_rt::spawn(async move { store.put_ban(ban("fast"), boot).await });
        // Whoever reads now sees neither.
        for _ in 0..5 {
            assert_eq!(hub.store.log_after(0).await.expect("a page").rows, []);
        }
        diesel::sql_query("COMMIT").execute(postgres).expect("committed");
        let later = other.await.expect("no panic").expect("written").expect("an entry");
        assert!(earlier.number < later.number);
    });
}

#[test]
fn an_entry_of_a_newer_version_and_a_lost_number_are_told() {
    on_postgres(async |hub: Fixture| {
        let newer = "INSERT INTO cluster_log (boot_id, entry) VALUES ('x', '{\"do\":\"new\"}')";
        diesel::sql_query(newer).execute(&mut hub.connection()).expect("written");
        let page = hub.store.log_after(0).await.expect("a page");
        assert_eq!((page.rows[0].author, &page.rows[0].entry), (None, &None::<Entry>));
        assert!(!page.is_behind);
        assert!(hub.store.log_after(page.rows[0].id + 1).await.expect("a page").is_behind);
    });
}

#[test]
fn old_entries_are_deleted() {
    on_postgres(async |hub: Fixture| {
        let boot = BootId::random();
        hub.store.put_ban(ban("old"), boot).await.expect("written");
        let age = "UPDATE cluster_log SET created_at = now() - interval '25 hours'";
        diesel::sql_query(age).execute(&mut hub.connection()).expect("old");
        let kept = hub.store.put_ban(ban("new"), boot).await.expect("written");
        assert_eq!(cluster_log::delete_old(&mut hub.connection()), Ok(1));
        let rows = hub.store.log_after(0).await.expect("a page").rows;
        let kept = kept.expect("an entry").number;
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [kept]);
    });
}

#[test]
fn nodes_with_one_prefix_enter_and_one_with_another_does_not() {
    on_postgres(async |hub: Fixture| {
        let (one, two, other) = (BootId::random(), BootId::random(), BootId::random());
        assert_eq!(hub.store.enter_cluster(node(one, "a")).await, Ok(None));
        assert_eq!(hub.store.enter_cluster(node(two, "a")).await, Ok(None));
        let refusing = hub.store.enter_cluster(node(other, "b")).await.expect("an answer");
        assert_eq!(refusing.map(|node| (node.boot, node.prefix)), Some((one, "a".to_owned())));
        let seen = hub.store.beat(node(two, "a")).await.expect("nodes");
        assert_eq!(seen.iter().map(|node| node.boot).collect::<Vec<_>>(), [one, two]);
        assert!(seen.iter().all(|node| node.silent_for < Duration::from_secs(5)));
        assert_eq!((seen[1].connections, seen[1].rooms), (3, 2));
        hub.store.leave_cluster(one).await.expect("gone");
        let silent = "UPDATE nodes SET beat_at = now() - interval '6 seconds'";
        diesel::sql_query(silent).execute(&mut hub.connection()).expect("silent");
        assert_eq!(hub.store.enter_cluster(node(other, "b")).await, Ok(None));
    });
}

#[test]
fn of_nodes_that_enter_at_once_with_two_prefixes_only_those_of_one_do() {
    on_postgres(async |hub: Fixture| {
        let store = Arc::new(hub.store.clone());
        let enter = |n: usize| {
            let (store, prefix) = (Arc::clone(&store), ["a", "b"][n % 2]);
            async move {
                let entered = store.enter_cluster(node(BootId::random(), prefix)).await;
                entered.expect("an answer").is_none().then_some(prefix)
            }
        };
        let entered: Vec<_> = join_all((0..8).map(enter)).await.into_iter().flatten().collect();
        assert!(entered.len() == 4 && entered.iter().all(|prefix| *prefix == entered[0]));
    });
}

#[test]
fn the_id_of_the_cluster_is_stored_once() {
    on_postgres(async |hub: Fixture| {
        let ids = join_all((0..4).map(|_| hub.store.cluster_id())).await;
        let first = ids[0].clone().expect("an id");
        assert_eq!(first.len(), 32);
        assert!(ids.into_iter().all(|id| id.as_ref() == Ok(&first)));
    });
}
