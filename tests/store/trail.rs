//! The trail and last positions in the database: thinned, in pages, and never of a deleted order.

use std::time::Duration;

use orderhub::actors::store::{OrderFilter, TrailRange};
use orderhub::db::{order_changes, trail};
use orderhub::room::change::{OrderCommand, OrderPatch};
use orderhub::room::policy::Rules;
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, on_postgres, order, until};

const SECOND: i64 = 1000;
const INTERVAL: Duration = Duration::from_secs(10);

/// A driver's position of so many seconds ago, with the whole of what a phone may know.
fn position(driver: &str, now: Timestamp, secs_ago: i64) -> Position {
    let at = Timestamp::from_millis(now.as_millis() - secs_ago * SECOND);
    Position {
        lat: 45.123_456_789_012_3,
        lng: -13.7,
        timestamp: now,
        driver_id: UserId::new(driver).expect("an id"),
        accuracy: Some(5.5),
        heading: Some(270.25),
        speed: None,
        altitude: Some(-3.0),
        recorded_at: Some(at),
    }
}

fn range(limit: i64) -> TrailRange {
    let (since, until) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    TrailRange { since, until, limit }
}

/// How many seconds ago the points of an order are, oldest first.
async fn ages(fixture: &Fixture, id: &str, now: Timestamp) -> Vec<i64> {
    let page = fixture.store.trail(order(id), range(1000)).await.expect("a page");
    page.points.iter().map(|point| (now.as_millis() - point.at.as_millis()) / SECOND).collect()
}

#[test]
fn a_point_is_read_as_it_was_written_and_only_where_there_is_room_for_it() {
    each_database(async |fixture| {
        let now = Timestamp::now();
        let keep = async |driver: &str, ago: &[i64]| {
            let points: Vec<_> = ago.iter().map(|ago| position(driver, now, *ago)).collect();
            fixture.store.write_positions(order("o1"), None, &points).await.expect("written");
        };
        keep("dan", &[100, 50]).await;
        keep("dan", &[109, 91, 90, 60, 41, 40]).await;
        assert_eq!(ages(&fixture, "o1", now).await, [100, 90, 60, 50, 40]);
        keep("ann", &[100, 95]).await;
        let page = fixture.store.trail(order("o1"), range(1)).await.expect("a page");
        let drivers: Vec<_> = page.points.iter().map(|point| point.driver_id.as_str()).collect();
        assert_eq!(drivers, ["ann", "dan"], "both of one moment");
        let next = page.next.expect("more").as_millis();
        assert_eq!(next, now.as_millis() - 90 * SECOND);
        let (written, read) = (position("dan", now, 100), &page.points[1]);
        assert_eq!((read.lat, read.lng, read.at), (written.lat, written.lng, written.taken_at()));
        assert_eq!((read.accuracy, read.heading), (written.accuracy, written.heading));
        assert_eq!((read.speed, read.altitude), (None, Some(-3.0)));
    });
}

#[test]
fn a_batch_of_a_thousand_is_whole_when_it_is_answered() {
    each_database(async |fixture| {
        let now = Timestamp::now();
        let points: Vec<_> = (0..1000).rev().map(|n| position("dan", now, n * 10)).collect();
        let last = points.last().cloned();
        fixture.store.write_positions(order("o1"), last.clone(), &points).await.expect("written");
        assert_eq!(ages(&fixture, "o1", now).await.len(), 1000);
        let loaded = fixture.store.load_order(order("o1"), 0).await.expect("loaded");
        assert_eq!((loaded.last_position, loaded.exists), (last, true));
    });
}

#[test]
fn points_without_a_waiting_caller_are_written_soon() {
    each_database(async |fixture| {
        let now = Timestamp::now();
        fixture.store.write_position_behind(&order("o1"), &position("dan", now, 5));
        fixture.store.write_position_behind(&order("o1"), &position("dan", now, 0));
        fixture.store.drained().await;
        assert_eq!(ages(&fixture, "o1", now).await, [5], "the other is too near");
        let loaded = fixture.store.load_order(order("o1"), 0).await.expect("loaded");
        let last = loaded.last_position.expect("a position");
        assert_eq!(last.taken_at(), now);
        assert_eq!(fixture.metrics.positions_lost.get(), 0);
    });
}

#[test]
fn a_point_on_its_way_to_a_deleted_order_is_left_out() {
    each_database(async |fixture| {
        let mut connection = fixture.connection();
        let rules = std::sync::Arc::new(Rules::default());
        let mut change = |command: OrderCommand| {
            let rules = std::sync::Arc::clone(&rules);
            let decide =
                move |known: &_, command: &_| rules.decide(known, command, Timestamp::now());
            let decide = std::sync::Arc::new(decide);
            let change = order_changes::OrderChange {
                order: order("o1"),
                command,
                decide,
                note: order_changes::ChangeNote::default(),
                idempotent: None,
            };
            let outcomes = order_changes::apply(&mut connection, &[change], None, Timestamp::now());
            assert!(outcomes.expect("applied")[0].is_ok());
        };
        change(OrderCommand::Patch(OrderPatch { creates: true, ..OrderPatch::default() }));
        change(OrderCommand::Delete);
        let now = Timestamp::now();
        let point = position("dan", now, 0);
        fixture
            .store
            .write_positions(order("o1"), Some(point.clone()), &[point])
            .await
            .expect("no error");
        assert_eq!(ages(&fixture, "o1", now).await, [0; 0]);
        let listed = fixture.store.list_orders(OrderFilter::default(), None, 10).await;
        assert_eq!(listed.expect("a list"), [], "and does not come back by it");
    });
}

#[test]
fn expired_points_are_deleted_step_by_step() {
    each_database(async |fixture| {
        let (now, mut connection) = (Timestamp::now(), fixture.connection());
        let points: Vec<(OrderId, Position)> =
            (0..1001).map(|n| (order(&format!("o{n}")), position("dan", now, n))).collect();
        trail::save(&mut connection, &[], &points, INTERVAL, now).expect("written");
        let mut step = || trail::delete_expired(&mut connection, now).expect("deleted");
        assert_eq!([step(), step(), step()], [true, true, false]);
        until("nothing else", async || ages(&fixture, "o0", now).await == [0]).await;
        assert_eq!(ages(&fixture, "o1", now).await, [0; 0]);
    });
}

#[test]
fn a_last_position_is_not_replaced_by_an_older_one_of_another_node() {
    on_postgres(async |fixture| {
        let now = Timestamp::now();
        let taken = |secs_ago: i64| {
            let timestamp = Timestamp::from_millis(now.as_millis() - secs_ago * SECOND);
            Position { timestamp, ..position("dan", now, secs_ago) }
        };
        // The last one was stored by a node whose clock was ahead, and counts no more.
        for (stored, expected) in [(20, 20), (30, 20), (10, 10), (-3600, -3600), (5, 5)] {
            fixture.store.save_position(order("o1"), taken(stored)).await.expect("written");
            let loaded = fixture.store.load_order(order("o1"), 0).await.expect("loaded");
            assert_eq!(loaded.last_position, Some(taken(expected)));
        }
    });
}
