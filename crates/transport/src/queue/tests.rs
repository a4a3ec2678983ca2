//! What waits, in which order, and what replaces what.

use std::time::Duration;

use super::*;

const A: LatestKey = LatestKey(1);
const B: LatestKey = LatestKey(2);

fn frame(text: &str) -> Frame {
    Frame::raw(bytes::Bytes::copy_from_slice(text.as_bytes()))
}

fn content(queue: &Queue) -> String {
    let all: Vec<u8> = queue.slices().flat_map(|slice| slice.to_vec()).collect();
    assert_eq!(all.len(), queue.bytes());
    String::from_utf8(all).expect("text")
}

fn queue() -> Queue {
    let mut queue = Queue::default();
    queue.push(frame("one "), None);
    assert_eq!(queue.push_latest(A, frame("a1 "), true), 0);
    queue.push(frame("two "), None);
    assert_eq!(queue.push_latest(B, frame("b1 "), true), 0);
    queue
}

#[test]
fn a_latest_frame_is_replaced_where_it_stands() {
    let mut queue = queue();
    assert_eq!(queue.push_latest(A, frame("a22 "), true), 1);
    assert_eq!(content(&queue), "one a22 two b1 ");
    assert_eq!(queue.len(), 4);
}

#[test]
fn a_socket_that_keeps_up_gets_every_frame_and_one_that_stops_only_the_newest() {
    let mut queue = Queue::default();
    for text in ["a1 ", "a2 ", "a3 "] {
        assert_eq!(queue.push_latest(A, frame(text), false), 0);
    }
    queue.push(frame("one "), None);
    assert_eq!(content(&queue), "a1 a2 a3 one ");
    queue.advance(3);
    assert_eq!(queue.push_latest(A, frame("a4 "), true), 2);
    assert_eq!(content(&queue), "a4 one ");
    queue.push_latest(A, frame("a5 "), false);
    queue.discard_latest(A);
    assert_eq!((content(&queue).as_str(), queue.latest), ("one ", 0));
}

#[test]
fn a_latest_frame_that_has_begun_to_leave_is_finished_and_not_replaced() {
    let mut queue = queue();
    queue.advance(5);
    assert_eq!(queue.push_latest(A, frame("a2 "), true), 0);
    queue.discard_latest(B);
    assert_eq!(content(&queue), "1 two a2 ");
    assert!(queue.drop_oldest_latest());
    assert!(!queue.drop_oldest_latest());
    assert_eq!(content(&queue), "1 two ");
    queue.advance(6);
    assert!(queue.is_empty() && queue.latest == 0 && !queue.entries.owns_memory());
}

#[test]
fn the_oldest_latest_frame_goes_first() {
    let mut queue = queue();
    assert!(queue.drop_oldest_latest());
    assert_eq!(content(&queue), "one two b1 ");
}

#[test]
fn leaving_a_room_removes_its_latest_frame() {
    let mut queue = queue();
    queue.discard_latest(A);
    queue.discard_latest(A);
    assert_eq!(content(&queue), "one two b1 ");
    assert!(queue.entries.owns_memory());
    queue.discard_latest(B);
    (0..2).for_each(|_| queue.pop());
    assert!(queue.is_empty() && !queue.entries.owns_memory());
}

#[test]
fn a_ping_goes_before_all_that_has_not_begun_to_leave() {
    let mut queue = queue();
    assert_eq!(queue.push_ping(frame("ping "), true), Some(5));
    assert_eq!(content(&queue), "ping one a1 two b1 ");
    queue.advance(7);
    assert_eq!(queue.push_ping(frame("again "), true), Some(2 + 6));
    assert_eq!(content(&queue), "e again a1 two b1 ");
    queue.advance(2);
    assert_eq!(content(&queue), "again a1 two b1 ");
    assert_eq!(queue.push_ping(frame("third "), true), None);
    queue.pop();
    assert_eq!(content(&queue), "a1 two b1 ");
}

#[test]
fn at_most_one_ping_waits_and_of_pongs_the_newest_once_the_socket_is_blocked() {
    let mut queue = Queue::default();
    assert_eq!(queue.push_ping(frame("ping "), false), Some(5));
    assert_eq!(queue.push_ping(frame("again "), false), None);
    queue.push_pong(frame("p1 "), false);
    queue.push_pong(frame("p2 "), false);
    assert_eq!(content(&queue), "ping p1 p2 ");
    queue.push(frame("chat "), None);
    queue.push_pong(frame("p3 "), true);
    queue.push_pong(frame("p4 "), true);
    assert_eq!(content(&queue), "ping chat p4 ");
}

#[test]
fn the_first_bytes_are_cut_off_where_they_are_enough() {
    let mut queue = queue();
    queue.advance(2);
    let first = |queue: &Queue, most| -> Vec<Vec<u8>> {
        queue.first_bytes(most).map(|slice| slice.to_vec()).collect()
    };
    assert_eq!(first(&queue, 4), [b"e ".to_vec(), b"a1".to_vec()]);
    assert_eq!(first(&queue, 2), [b"e ".to_vec()]);
    assert_eq!(first(&queue, 100).concat(), b"e a1 two b1 ");
}

#[test]
fn an_overrun_keeps_only_the_frame_that_is_half_written() {
    let mut untouched = queue();
    untouched.drop_unstarted();
    assert!(untouched.is_empty() && untouched.bytes() == 0);

    let mut torn = queue();
    torn.advance(2);
    torn.drop_unstarted();
    assert_eq!(content(&torn), "e ");
    torn.push(frame("close"), None);
    assert_eq!(content(&torn), "e close");

    let mut torn_latest = queue();
    torn_latest.advance(6);
    torn_latest.drop_unstarted();
    assert_eq!(content(&torn_latest), " ");
    torn_latest.advance(1);
    assert!(torn_latest.is_empty() && torn_latest.latest == 0);
}

#[test]
fn only_reliable_frames_wait_and_each_since_its_own_time() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let mut queue = queue();
    assert_eq!(queue.waiting_since(), None);
    queue.stamp(start);
    queue.push(frame("three"), Some(later));
    queue.stamp(later);
    assert_eq!(queue.waiting_since(), Some(start));
    queue.advance(4 + 3 + 3);
    assert_eq!(queue.waiting_since(), Some(start), "a part that leaves resets nothing");
    queue.advance(1);
    assert_eq!(queue.waiting_since(), Some(later));
    queue.advance(3 + 5);
    assert_eq!(queue.waiting_since(), None);
}
