//! Which sequences of events break which promise.

use super::Promise::{Answered, ChatOnce, ChatOrder, ChatSame, ChatSeen, LocationForward};
use super::*;

/// An event of one of two members, 0 and 1, of one room.
enum Step {
    Join(MemberId, i64),
    /// The member, `since`, the newest number, whether everything came, and what came.
    Return(MemberId, i64, i64, bool, &'static [(i64, Key)]),
    Ask(MemberId),
    Left(MemberId),
    Acked(i64, Key),
    Heard(MemberId, i64, Key),
    Located(MemberId, u64),
    Unanswered,
}
use Step::{Acked, Ask, Heard, Join, Left, Located, Return, Unanswered};

fn told(steps: &[Step]) -> Vec<(Promise, u64)> {
    let mut checker = Checker::new(1, [0, 0]);
    for step in steps {
        match *step {
            Join(id, last_seq) => {
                let messages = &[];
                checker
                    .joined(id, Joined { last_seq, since_seq: None, recovered: false, messages });
            }
            Return(id, since, last_seq, recovered, messages) => {
                let since_seq = Some(since);
                checker.joined(id, Joined { last_seq, since_seq, recovered, messages });
            }
            Ask(id) => checker.joins(id),
            Left(id) => checker.left(id),
            Acked(seq, key) => checker.acked(0, seq, key),
            Heard(id, seq, key) => checker.heard(id, seq, key),
            Located(id, stamp) => checker.located(id, 0, stamp),
            Unanswered => checker.unanswered(0, "chat:message"),
        }
    }
    checker.finish();
    checker.breaches().map(|(promise, breach)| (promise, breach.count)).collect()
}

#[test]
fn a_hub_that_keeps_its_word_breaks_no_promise() {
    for steps in [
        vec![],
        vec![Join(0, 0), Join(1, 0), Heard(0, 1, 9), Acked(1, 9), Heard(1, 1, 9)],
        // A member need not see messages from before its join, or from after it left.
        vec![
            Join(0, 5),
            Acked(6, 9),
            Heard(0, 6, 9),
            Ask(1),
            Join(1, 6),
            Left(1),
            Acked(7, 8),
            Heard(0, 7, 8),
        ],
        // For a message that was never acknowledged, only the order is promised.
        vec![Join(0, 0), Join(1, 0), Heard(0, 1, 9)],
        // A member is back with everything, or knows that something is missing.
        vec![
            Join(1, 0),
            Left(1),
            Acked(1, 7),
            Acked(2, 8),
            Ask(1),
            Return(1, 0, 2, true, &[(1, 7), (2, 8)]),
        ],
        vec![Join(1, 0), Left(1), Acked(9, 7), Ask(1), Return(1, 0, 9, false, &[(9, 7)])],
        // A message of another sender.
        vec![
            Join(0, 0),
            Join(1, 0),
            Heard(0, 1, 0),
            Heard(1, 1, 0),
            Acked(2, 9),
            Heard(0, 2, 9),
            Heard(1, 2, 9),
        ],
        vec![Join(0, 0), Located(0, 1), Located(0, 2), Left(0), Join(0, 0), Located(0, 2)],
        // What comes after the member left does not count.
        vec![Join(0, 0), Left(0), Heard(0, 1, 9), Heard(0, 1, 9)],
    ] {
        assert_eq!(told(&steps), []);
    }
}

#[test]
fn each_promise_can_be_broken() {
    for (steps, broken) in [
        (vec![Join(0, 0), Join(1, 0), Acked(1, 9), Heard(0, 1, 9)], (ChatSeen, 1)),
        (vec![Join(0, 0), Acked(4, 9)], (ChatSeen, 4)),
        (vec![Join(1, 0), Heard(1, 1, 7), Heard(1, 3, 9)], (ChatSeen, 1)),
        (vec![Join(1, 0), Heard(1, 3, 9), Left(1)], (ChatSeen, 2)),
        (
            vec![Join(0, 0), Acked(1, 9), Heard(0, 1, 9), Ask(1), Join(1, 0), Heard(1, 1, 9)],
            (ChatSeen, 1),
        ),
        (vec![Join(0, 0), Heard(0, 1, 9), Heard(0, 1, 9)], (ChatOnce, 1)),
        (vec![Join(1, 4), Heard(1, 4, 9)], (ChatOnce, 1)),
        (vec![Join(0, 0), Heard(0, 2, 9), Heard(0, 1, 8)], (ChatOrder, 1)),
        (vec![Join(0, 0), Join(1, 0), Heard(0, 1, 9), Heard(1, 1, 8)], (ChatSame, 1)),
        (vec![Join(0, 0), Heard(0, 1, 9), Acked(1, 8)], (ChatSame, 1)),
        (vec![Join(0, 0), Left(0), Return(0, 0, 2, true, &[(2, 9)])], (ChatSeen, 1)),
        (vec![Join(0, 0), Left(0), Return(0, 0, 2, true, &[(1, 9)])], (ChatSeen, 1)),
        (vec![Join(0, 0), Left(0), Return(0, 0, 1, true, &[(1, 9), (1, 9)])], (ChatOnce, 1)),
        (vec![Join(0, 0), Located(0, 5), Located(0, 4)], (LocationForward, 1)),
        (vec![Join(0, 0), Located(0, 5), Located(0, 5)], (LocationForward, 1)),
        (vec![Unanswered], (Answered, 1)),
    ] {
        assert_eq!(told(&steps), [broken]);
    }
}

#[test]
fn numbers_that_no_hub_has_do_no_harm() {
    for steps in [
        vec![Join(0, i64::MAX), Heard(0, i64::MAX, 9), Heard(0, i64::MIN, 9)],
        vec![Join(0, i64::MIN), Heard(0, i64::MAX, 9), Acked(i64::MAX, 9), Left(0)],
        vec![Join(0, 0), Left(0), Return(0, i64::MAX, i64::MAX, true, &[(i64::MAX, 9), (0, 1)])],
        vec![Join(0, 0), Acked(i64::MAX, 9)],
    ] {
        assert!(!told(&steps).is_empty());
    }
}

#[test]
fn the_first_cases_are_listed_and_clients_behind_are_named() {
    let mut checker = Checker::new(2, [0, 1]);
    let nothing = Joined { last_seq: 0, since_seq: None, recovered: false, messages: &[] };
    checker.joined(1, nothing);
    checker.acked(1, 1, 9);
    assert_eq!(checker.behind(), 1);
    checker.heard(1, 1, 9);
    assert_eq!((checker.behind(), checker.last_seq(1)), (0, Some(1)));
    for _ in 0..9 {
        checker.heard(1, 1, 9);
    }
    let (promise, breach) = checker.breaches().next().expect("one");
    assert_eq!((promise, breach.count, breach.examples.len()), (ChatOnce, 9, EXAMPLES));
    assert_eq!(breach.examples[0], "room 2, connection 2: seq 1 came again");
}
