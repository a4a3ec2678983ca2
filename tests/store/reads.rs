//! Reads: pages, orders, positions, bans.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use orderhub::actors::store::{
    Ban, CallerClass, LoadedOrder, MAX_WAITING_READS, PageRange, Revocation,
};
use protocol::ids::BootId;
use protocol::location::Position;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, message, order};

async fn fill(hub: &Fixture, count: u64, content: &str) {
    for token in 0..count {
        assert!(hub.write(token, message("o", content)));
    }
    let answers = hub.answers(usize::try_from(count).expect("small")).await;
    assert!(answers.iter().all(|(_, outcome)| outcome.is_ok()));
}

async fn seqs(hub: &Fixture, range: PageRange, limit: i64) -> (Vec<i64>, bool) {
    let page = hub.store.page(order("o"), range, limit).await.expect("a page");
    (page.messages.iter().map(|message| message.seq).collect(), page.has_more)
}

#[test]
fn pages_are_ascending_and_have_has_more() {
    each_database(async |hub: Fixture| {
        fill(&hub, 20, "x").await;
        for (range, limit, expected, more) in [
            (PageRange::Newest, 3, 18..=20, true),
            (PageRange::Newest, 20, 1..=20, false),
            (PageRange::Before(18), 3, 15..=17, true),
            (PageRange::Before(4), 3, 1..=3, false),
            (PageRange::After(0), 2, 1..=2, true),
            (PageRange::After(17), 3, 18..=20, false),
            (PageRange::Between { after: 4, upto: 8 }, 50, 5..=8, false),
            (PageRange::Between { after: 4, upto: 8 }, 3, 5..=7, true),
        ] {
            assert_eq!(seqs(&hub, range, limit).await, (expected.collect(), more), "{range:?}");
        }
        for empty in [PageRange::Before(1), PageRange::After(20), PageRange::After(i64::MAX)] {
            assert_eq!(seqs(&hub, empty, 9).await, (vec![], false), "{empty:?}");
        }
    });
}

#[test]
fn a_page_ends_at_48_kib() {
    each_database(async |hub: Fixture| {
        fill(&hub, 10, &"x".repeat(15_000)).await;
        assert_eq!(seqs(&hub, PageRange::Newest, 50).await, ((8..=10).collect(), true));
        assert_eq!(seqs(&hub, PageRange::After(2), 50).await, ((3..=5).collect(), true));
        let loaded = hub.store.load_order(order("o"), 50).await.expect("loaded");
        assert_eq!(loaded.recent.len(), 3);
        assert_eq!(loaded.recent.last().map(|message| message.seq), Some(10));
    });
}

#[test]
fn an_unknown_order_has_the_defaults() {
    each_database(async |hub: Fixture| {
        let loaded = hub.store.load_order(order("nobody"), 50).await.expect("loaded");
        assert_eq!(loaded, LoadedOrder::default());
        assert!(!loaded.exists);
        assert_eq!(seqs(&hub, PageRange::Newest, 9).await, (vec![], false));
    });
}

fn position(ms: i64) -> Position {
    Position {
        lat: 52.520_008_123_4,
        lng: -13.404_954,
        timestamp: Timestamp::from_millis(ms),
        driver_id: "dan".parse().expect("an id"),
        accuracy: Some(4.5),
        heading: None,
        speed: Some(0.1),
        altitude: None,
        recorded_at: Some(Timestamp::from_millis(ms - 700)),
    }
}

#[test]
fn the_last_position_comes_back_and_chat_keeps_it() {
    each_database(async |hub: Fixture| {
        hub.store.save_position(order("o"), position(1000)).await.expect("written");
        let loaded = hub.store.load_order(order("o"), 9).await.expect("loaded");
        assert_eq!((loaded.last_position, loaded.last_seq), (Some(position(1000)), 0));
        assert!(loaded.exists);
        hub.say(message("o", "x")).await.expect("stored");
        hub.store.save_position(order("o"), position(2000)).await.expect("written");
        let loaded = hub.store.load_order(order("o"), 9).await.expect("loaded");
        assert_eq!((loaded.last_position, loaded.last_seq), (Some(position(2000)), 1));
    });
}

#[test]
fn positions_are_written_behind() {
    each_database(async |hub: Fixture| {
        for n in 0..600 {
            drop(hub.store.save_position(order(&format!("o{}", n % 300)), position(n)));
        }
        hub.store.drained().await;
        for n in [0, 150, 299] {
            let loaded = hub.store.load_order(order(&format!("o{n}")), 0).await.expect("loaded");
            assert_eq!(loaded.last_position, Some(position(n + 300)));
        }
    });
}

#[test]
fn bans_replace_each_other_and_expire() {
    each_database(async |hub: Fixture| {
        let until = |secs: i64| Timestamp::from_millis(Timestamp::now().as_millis() + secs * 1000);
        let ban = |order_id: Option<&str>, user: &str, secs: i64| Ban {
            order_id: order_id.map(order),
            user_id: user.parse().expect("an id"),
            until: until(secs),
            reason: "rude".into(),
        };
        let (hub_wide, one_order) = (ban(None, "ann", 900), ban(Some("o"), "ann", 900));
        for ban in [&hub_wide, &one_order] {
            hub.store.put_ban(ban.clone(), BootId::random()).await.expect("written");
        }
        let longer = ban(Some("o"), "ann", 1800);
        hub.store.put_ban(longer.clone(), BootId::random()).await.expect("written");
        let mut bans = hub.store.bans().await.expect("read");
        bans.sort_by_key(|ban| ban.order_id.clone());
        assert_eq!(bans, [hub_wide, longer.clone()]);
        hub.store.put_ban(ban(None, "ann", -1), BootId::random()).await.expect("written");
        assert_eq!(hub.store.bans().await.expect("read"), [longer]);
    });
}

#[test]
fn the_store_answers_a_ping() {
    each_database(async |hub: Fixture| hub.store.ping().await.expect("an answer"));
}

#[test]
fn many_rooms_that_read_at_once_are_all_served() {
    each_database(async |hub: Fixture| {
        fill(&hub, 1, "x").await;
        // All ask before any is answered, and there are 1,024 places.
        let pages = (0..1100).map(|_| hub.store.page(order("o"), PageRange::Newest, 1));
        let rooms = (0..1100).map(|_| hub.store.load_order(order("o"), 1));
        let (pages, rooms) = tokio::join!(join_all(pages), join_all(rooms));
        assert_eq!(pages.iter().filter(|page| page.is_err()).count(), 0);
        assert_eq!(rooms.iter().filter(|room| room.is_err()).count(), 0);
    });
}

#[test]
fn reads_of_users_delay_neither_back_ends_nor_admins() {
    each_database(async |hub: Fixture| {
        fill(&hub, 50, &"x".repeat(1000)).await;
        let read = AtomicUsize::new(0);
        // More than may wait.
        let crowd = join_all((0..2 * MAX_WAITING_READS).map(async |_| {
            let page = hub.store.page(order("o"), PageRange::Newest, 50).await;
            read.fetch_add(usize::from(page.is_ok()), Ordering::Relaxed);
            page.is_ok()
        }));
        let back_end = async {
            let store = hub.store.on_behalf_of(CallerClass::BackEnd);
            assert!(store.order(order("o")).await.expect("read").is_some());
            assert!(store.load_order(order("o"), 0).await.expect("read").exists);
            read.load(Ordering::Relaxed)
        };
        let admin = async {
            let until = Timestamp::from_millis(Timestamp::now().as_millis() + 60_000);
            let user_id = "ann".parse().expect("an id");
            let ban = Ban { order_id: None, user_id, until, reason: String::new() };
            hub.store.put_ban(ban, BootId::random()).await.expect("written");
            hub.store.ping().await.expect("an answer");
            let user_id = "ann".parse().expect("an id");
            let revocation = Revocation { user_id, issued_before: Timestamp::now() };
            hub.store
                .revoke(revocation, None, BootId::random())
                .await
                .expect("written")
                .expect("no key");
            read.load(Ordering::Relaxed)
        };
        let (read_in_time, before_back_end, before_admin) = tokio::join!(crowd, back_end, admin);
        let served = read_in_time.iter().filter(|served| **served).count();
        assert!(served > 0, "users are served as well");
        assert!(before_back_end < served / 2, "{before_back_end} of {served} came before");
        assert!(before_admin < served, "{before_admin} of {served} came before");
    });
}
