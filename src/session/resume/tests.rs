//! Tests of what a client has, by the last offset that it saw.

use super::*;

/// How many pushes these sessions keep.
const MOST: usize = 128;

fn order(id: &str) -> OrderId {
    OrderId::new(id).expect("an id")
}

fn room(id: &str, subscription: u64, sent_seq: i64) -> SavedRoom {
    SavedRoom { order: order(id), joins: 1, subscription, sent_seq }
}

fn record(rooms: impl IntoIterator<Item = SavedRoom>, pushes: PushLog) -> SessionRecord {
    let (pid, user) = (Pid::random().expect("randomness"), UserId::new("ann").expect("an id"));
    SessionRecord::new(pid, user, SessionId::random(), Namespace::Events, 9, rooms, pushes)
}

fn pushed(begin: Option<(&str, i64)>, log: &[(u64, i64)]) -> PushLog {
    let mut pushes = PushLog::new(begin.map(|(id, seq)| (order(id), seq)));
    for (subscription, seq) in log {
        pushes.push(*subscription, *seq, MOST);
    }
    pushes
}

/// The marks alone, and whether they are certain.
fn point_at(record: &SessionRecord, offset: Option<(&str, i64)>) -> (Vec<i64>, bool) {
    let offset = offset.map(|(id, seq)| (order(id), seq));
    let point = record.resume_point(offset.as_ref().map(|(order, seq)| (order, *seq)));
    let orders = point.marks.iter().map(|(order, _)| order);
    assert!(orders.eq(record.rooms().iter().map(|room| &room.order)));
    (point.marks.into_iter().map(|(_, seq)| seq).collect(), point.found)
}

#[test]
fn one_offset_tells_the_last_seq_of_every_room() {
    // c had no push, d had no snapshot, e was joined late.
    let log = pushed(None, &[(1, 5), (2, 3), (1, 6), (2, 4), (1, 7), (5, 1)]);
    let rooms = [room("a", 1, 7), room("b", 2, 4), room("c", 3, 9), room("d", 4, -1)];
    let record = record(rooms.into_iter().chain([room("e", 5, 1)]), log);
    for (offset, marks, found) in [
        (None, [4, 2, 9, -1, 0], true),
        (Some(("a", 5)), [5, 2, 9, -1, 0], true),
        (Some(("b", 3)), [5, 3, 9, -1, 0], true),
        (Some(("a", 6)), [6, 3, 9, -1, 0], true),
        (Some(("b", 4)), [6, 4, 9, -1, 0], true),
        (Some(("a", 7)), [7, 4, 9, -1, 0], true),
        (Some(("e", 1)), [7, 4, 9, -1, 1], true),
        // The numbers belong to another room.
        (Some(("b", 6)), [7, 4, 9, -1, 1], false),
        (Some(("a", 3)), [3, 4, 9, -1, 1], false),
        // These were only in the snapshot, and pushes followed.
        (Some(("c", 9)), [7, 4, 9, -1, 1], false),
        (Some(("c", 8)), [7, 4, 8, -1, 1], false),
        (Some(("d", 3)), [7, 4, 9, -1, 1], false),
        // These were never joined, or never sent.
        (Some(("x", 5)), [7, 4, 9, -1, 1], false),
        (Some(("a", 0)), [0, 4, 9, -1, 1], false),
        (Some(("a", -1)), [7, 4, 9, -1, 1], false),
        (Some(("d", -1)), [7, 4, 9, -1, 1], false),
        (Some(("a", i64::MIN)), [7, 4, 9, -1, 1], false),
        (Some(("a", i64::MAX)), [7, 4, 9, -1, 1], false),
    ] {
        assert_eq!(point_at(&record, offset), (marks.to_vec(), found), "{offset:?}");
    }
}

#[test]
fn the_pushes_of_a_left_room_still_tell_the_seq_of_others() {
    let mut log = pushed(None, &[(1, 5), (2, 3), (1, 6), (2, 4)]);
    log.end_subscription(1, &order("a"));
    log.end_subscription(1, &order("a"));
    log.end_subscription(8, &order("silent"));
    let record_of = |rooms: &[SavedRoom]| record(rooms.to_vec(), log.clone());
    let gone = record_of(&[room("b", 2, 4)]);
    assert_eq!(point_at(&gone, Some(("a", 5))), (vec![2], true));
    assert_eq!(point_at(&gone, Some(("a", 6))), (vec![3], true));
    assert_eq!(point_at(&gone, Some(("b", 4))), (vec![4], true));
    assert_eq!(point_at(&gone, Some(("a", 4))), (vec![4], false));
    // Left and joined again: the offset is of the old subscription, the mark of the new one.
    let again = record_of(&[room("a", 3, 8), room("b", 2, 4)]);
    assert_eq!(point_at(&again, Some(("a", 6))), (vec![8, 3], true));
    assert_eq!(again.pushes.left.len(), 1);
}

#[test]
fn a_seq_that_two_subscriptions_pushed_means_the_first_push() {
    let mut log = pushed(None, &[(1, 5), (2, 3), (3, 5)]);
    log.end_subscription(1, &order("a"));
    let record = record([room("a", 3, 5), room("b", 2, 3)], log);
    assert_eq!(point_at(&record, Some(("a", 5))), (vec![4, 2], true));
}

#[test]
fn an_offset_from_before_the_log_is_not_found() {
    let count = i64::try_from(MOST).expect("small");
    let rooms = || [room("a", 1, count), room("b", 2, 3)];
    let numbers: Vec<_> = (1..=count).map(|seq| (1, seq)).collect();
    let full = record(rooms(), pushed(Some(("a", 0)), &numbers));
    assert_eq!(point_at(&full, None), (vec![0, 3], true));
    assert_eq!(point_at(&full, Some(("a", 0))), (vec![0, 3], true));
    let over = [&[(2, 3)], &numbers[..]].concat();
    let over = record(rooms(), pushed(Some(("a", 0)), &over));
    assert_eq!(over.pushes.len(), MOST);
    assert_eq!(point_at(&over, None), (vec![count, 3], false));
    assert_eq!(point_at(&over, Some(("a", 0))), (vec![0, 3], false));
    assert_eq!(point_at(&over, Some(("b", 3))), (vec![count, 3], false));
    assert_eq!(point_at(&over, Some(("a", 1))), (vec![1, 3], true), "b was before all of these");
    assert_eq!(point_at(&over, Some(("a", count))), (vec![count, 3], true));
}

#[test]
fn a_left_room_is_dropped_with_its_last_push() {
    let mut pushes = PushLog::default();
    for subscription in 0..1000 {
        pushes.push(subscription, 1, MOST);
        pushes.push(subscription, 2, MOST);
        pushes.end_subscription(subscription, &order(&format!("o{subscription}")));
        assert!(pushes.len() <= MOST && pushes.left.len() <= MOST / 2 + 1);
    }
    let record = record([], pushes);
    assert_eq!(point_at(&record, Some(("o999", 1))), (vec![], true));
    assert_eq!(point_at(&record, Some(("o0", 1))), (vec![], false));
}

#[test]
fn the_same_offset_is_found_repeatedly() {
    // The client saw a/5 and lost its connection; b/3 and a/6 were on the way.
    let first = record([room("a", 1, 6), room("b", 2, 3)], pushed(None, &[(1, 5), (2, 3), (1, 6)]));
    let mut marks = vec![5, 2];
    assert_eq!(point_at(&first, Some(("a", 5))), (marks.clone(), true));
    // It comes back, and loses the connection before any of it arrives, three times.
    for round in 0..3 {
        let (a, b) = (3 + 2 * round, 4 + 2 * round);
        // First before it is in its rooms,
        let rooms = [room("a", a, marks[0]), room("b", b, marks[1])];
        let empty = record(rooms, pushed(Some(("a", 5)), &[]));
        assert_eq!(point_at(&empty, Some(("a", 5))), (marks.clone(), true));
        // then after all was pushed again.
        let log = pushed(Some(("a", 5)), &[(b, 3), (a, 6), (a, 7)]);
        let again = record([room("a", a, 7), room("b", b, 3)], log);
        assert_eq!(point_at(&again, Some(("a", 5))), (marks.clone(), true));
        assert_eq!(point_at(&again, Some(("b", 3))), (vec![5, 3], true));
        assert_eq!(point_at(&again, Some(("a", 6))), (vec![6, 3], true));
        marks = vec![5, 2];
    }
    // The last message that it saw is of a room that it has left since.
    let away = record([room("b", 20, 3)], pushed(Some(("a", 5)), &[(20, 4)]));
    assert_eq!(point_at(&away, Some(("a", 5))), (vec![3], true));
}

#[test]
fn an_offset_that_only_the_snapshot_covers_is_found() {
    let record = record([room("a", 1, 6), room("b", 2, 3), room("c", 3, -1)], PushLog::default());
    for (offset, marks, found) in [
        (None, [6, 3, -1], true),
        (Some(("a", 6)), [6, 3, -1], true),
        (Some(("b", 3)), [6, 3, -1], true),
        (Some(("b", 6)), [6, 3, -1], false),
        (Some(("b", 2)), [6, 2, -1], false),
        (Some(("c", -1)), [6, 3, -1], false),
    ] {
        assert_eq!(point_at(&record, offset), (marks.to_vec(), found), "{offset:?}");
    }
}

/// A client that has seen some of a random session's pushes gets exactly the others.
#[test]
fn in_random_histories_the_marks_are_what_the_client_saw() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    for _ in 0..300 {
        let mut rooms: Vec<SavedRoom> = Vec::new();
        let (mut subscription, mut pushes, mut all) = (0, PushLog::default(), Vec::new());
        for _ in 0..below(400) {
            let id = format!("o{}", below(5));
            let at = rooms.iter().position(|room| room.order.as_str() == id);
            match (at, below(12)) {
                (None, _) => {
                    subscription += 1;
                    // The numbers of a new subscription are above those of the old one.
                    let last = all.iter().filter(|(o, _, _)| *o == id).map(|(_, _, seq)| *seq);
                    rooms.push(room(&id, subscription, last.max().unwrap_or(3) + 2));
                }
                (Some(at), 0) => {
                    pushes.end_subscription(rooms[at].subscription, &rooms[at].order);
                    rooms.remove(at);
                }
                (Some(at), _) => {
                    rooms[at].sent_seq += 1;
                    pushes.push(rooms[at].subscription, rooms[at].sent_seq, MOST);
                    all.push((id, rooms[at].subscription, rooms[at].sent_seq));
                }
            }
        }
        let text = record(rooms, pushes).to_json().expect("text");
        let record = SessionRecord::from_json(&text).expect("a record");
        for seen in all.len().saturating_sub(MOST).max(1)..=all.len() {
            let (id, _, seq) = &all[seen - 1];
            let in_log = all.len() - seen < MOST;
            let (marks, found) = point_at(&record, Some((id, *seq)));
            assert_eq!(found, in_log);
            for (room, mark) in record.rooms().iter().zip(marks).filter(|_| in_log) {
                let of = |part: &[(String, u64, i64)]| {
                    part.iter().filter(|push| push.1 == room.subscription).map(|push| push.2).min()
                };
                let after = of(&all[seen..]).map(|seq| seq - 1);
                assert_eq!(mark, after.unwrap_or(room.sent_seq));
            }
        }
    }
}

#[test]
fn a_record_is_read_back_from_its_json() {
    let mut log = pushed(Some(("a", 5)), &[(1, 6), (7, 2)]);
    log.end_subscription(7, &order("b"));
    let record_before = record([room("a", 1, 6)], log);
    let text = record_before.to_json().expect("text");
    assert_eq!(SessionRecord::from_json(&text).ok(), Some(record_before));
    assert!(text.ends_with(
        r#""namespace":"/events","lastLink":9,"rooms":[["a",1,1,6]],"pushes":{"begin":["a",5],"log":[[1,6],[7,2]],"left":[[7,"b"]]}}"#
    ));
    assert!(SessionRecord::from_json("{}").is_err());
}

#[test]
fn the_largest_record_stays_below_its_bound() {
    let longest = |n: u64| format!("{n:0>128}");
    let mut log = PushLog::new(Some((order(&longest(0)), i64::MIN)));
    for n in 0..5000 {
        log.push(u64::MAX - n, i64::MIN, usize::MAX);
        log.end_subscription(u64::MAX - n, &order(&longest(n)));
    }
    let most = KnownOrder {
        status: Some("S".repeat(40).into()),
        driver: Some(UserId::new(&longest(1)).expect("an id")),
    };
    for n in 0..1500 {
        log.begin_send(
            u64::MAX - n,
            Unconfirmed { order: Some(most.clone()), ..snapshot(Some(i64::MIN), 200) },
        );
    }
    let rooms = (0..1500)
        .map(|n| SavedRoom { joins: u32::MAX, ..room(&longest(n), u64::MAX - n, i64::MIN) });
    let known = (0..1500).map(|n| (u64::MAX - n, most.clone()));
    let mut largest = record(rooms, log).with_known_orders(known);
    largest.user = UserId::new(&longest(1)).expect("an id");
    assert_eq!(largest.rooms().len(), MAX_ROOMS);
    let text = largest.to_json().expect("text");
    assert!(text.len() <= MAX_JSON_BYTES, "{}", text.len());
    assert!(largest.size() >= 1000 * 128 && largest.size() <= MAX_JSON_BYTES);
}

#[test]
fn confirmed_pushes_leave_the_log_except_the_last() {
    let mut pushes = pushed(Some(("a", 1)), &[(1, 5), (2, 3), (1, 6)]);
    pushes.mark_ping();
    pushes.push(2, 4, MOST);
    pushes.confirm_until(std::time::Instant::now());
    assert_eq!(pushes.len(), 2);
    let record = record([room("a", 1, 6), room("b", 2, 4)], pushes.clone());
    assert_eq!(point_at(&record, Some(("a", 6))), (vec![6, 3], true));
    assert_eq!(point_at(&record, Some(("b", 4))), (vec![6, 4], true));
    assert!(!point_at(&record, Some(("b", 3))).1, "it has said that it has more");
    // A pong that confirms nothing new, and one after everything.
    pushes.confirm_until(std::time::Instant::now());
    assert_eq!(pushes.len(), 2);
    pushes.mark_ping();
    pushes.confirm_until(std::time::Instant::now());
    assert_eq!(pushes.len(), 1);
}

#[test]
fn removed_orders_are_kept_unless_joined_again() {
    let many = (0..60).map(|number| order(&format!("gone-{number}")));
    let record = record([room("back", 1, 4)], PushLog::new(None));
    let record = record.with_removed([order("back"), order("gone")]);
    assert_eq!(record.removed().collect::<Vec<_>>(), [&order("gone")]);
    let text = record.to_json().expect("text");
    assert_eq!(SessionRecord::from_json(&text).expect("a record"), record);
    assert_eq!(record.with_removed(many).removed().count(), MAX_REMOVED);
}

fn snapshot(since: Option<i64>, limit: i64) -> Unconfirmed {
    Unconfirmed { snapshot: Some(SnapshotRequest { since, limit }), order: None }
}

fn known(status: &str) -> Unconfirmed {
    let known = KnownOrder { status: Some(status.into()), driver: None };
    Unconfirmed { snapshot: None, order: Some(known) }
}

/// What is unconfirmed in room `a` for a client that saw this last.
fn unconfirmed_after(pushes: &PushLog, offset: Option<(&str, i64)>) -> Unconfirmed {
    let record = record([room("a", 1, 9), room("b", 2, 9)], pushes.clone());
    let offset = offset.map(|(id, seq)| (order(id), seq));
    let point = record.resume_point(offset.as_ref().map(|(order, seq)| (order, *seq)));
    point.unconfirmed.into_iter().next().expect("two rooms")
}

#[test]
fn events_after_the_last_seen_push_are_unconfirmed() {
    let (mut pushes, now) = (pushed(None, &[(2, 1)]), std::time::Instant::now());
    pushes.begin_send(1, snapshot(Some(7), 20));
    assert_eq!(
        unconfirmed_after(&pushes, Some(("b", 1))),
        snapshot(Some(7), 20),
        "not in the outbox"
    );
    pushes.mark_sent(1, now);
    pushes.push(2, 2, MOST);
    pushes.begin_send(1, known("A"));
    pushes.mark_sent(1, now);
    pushes.push(2, 3, MOST);
    let both = Unconfirmed { order: known("A").order, ..snapshot(Some(7), 20) };
    for (offset, due) in [
        (None, both.clone()),
        (Some(("b", 1)), both.clone()),
        (Some(("b", 2)), known("A")),
        (Some(("b", 3)), Unconfirmed::default()),
        (Some(("b", 99)), both),
    ] {
        assert_eq!(unconfirmed_after(&pushes, offset), due, "{offset:?}");
    }
    // Begun once more, from what the client certainly knows of each.
    pushes.begin_send(1, snapshot(Some(9), 50));
    pushes.begin_send(1, known("B"));
    assert_eq!(
        unconfirmed_after(&pushes, Some(("b", 3))),
        Unconfirmed { order: known("A").order, ..snapshot(Some(7), 50) }
    );
    pushes.begin_send(1, snapshot(None, 1));
    assert_eq!(unconfirmed_after(&pushes, Some(("b", 3))).snapshot, snapshot(None, 50).snapshot);
    pushes.end_subscription(1, &order("a"));
    assert_eq!(unconfirmed_after(&pushes, Some(("b", 3))), Unconfirmed::default());
}

#[test]
fn unconfirmed_events_keep_their_position_when_pushes_leave_the_log() {
    let (mut pushes, now) = (PushLog::default(), std::time::Instant::now());
    let later = now + std::time::Duration::from_secs(1);
    pushes.begin_send(1, snapshot(None, 50));
    pushes.confirm_until(later);
    assert_eq!(unconfirmed_after(&pushes, None), snapshot(None, 50), "not in the outbox");
    pushes.mark_sent(1, later);
    pushes.confirm_until(now);
    assert_eq!(unconfirmed_after(&pushes, None), snapshot(None, 50), "sent behind the ping");
    for seq in 1..=200 {
        pushes.push(2, seq, MOST);
    }
    assert_eq!(
        unconfirmed_after(&pushes, Some(("b", 72))),
        snapshot(None, 50),
        "too long ago to tell"
    );
    assert_eq!(unconfirmed_after(&pushes, Some(("b", 73))), Unconfirmed::default());
    pushes.confirm_until(later);
    assert_eq!(unconfirmed_after(&pushes, None), Unconfirmed::default());
}

#[test]
fn the_known_order_is_unconfirmed_unless_the_push_log_says_otherwise() {
    let mut pushes = pushed(None, &[(1, 9)]);
    let record_of = |pushes: &PushLog| {
        let known = known("C").order.expect("an order");
        record([room("a", 1, 9), room("b", 2, 9)], pushes.clone()).with_known_orders([(1, known)])
    };
    let unconfirmed = |pushes: &PushLog| {
        let text = record_of(pushes).to_json().expect("text");
        SessionRecord::from_json(&text).expect("a record").resume_point(None).unconfirmed
    };
    assert_eq!(unconfirmed(&pushes), [known("C"), Unconfirmed::default()]);
    pushes.begin_send(1, known("B"));
    assert_eq!(unconfirmed(&pushes), [known("B"), Unconfirmed::default()]);
}
