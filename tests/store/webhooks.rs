//! The outbox, turn by turn, with the time as the test says: who has which order in hand, and what
//! counts of what a hub reports that was away.

use std::sync::Arc;
use std::time::Duration;

use orderhub::actors::store::NewMessage;
use orderhub::db::commit_batch;
use orderhub::db::connection::DbConnection;
use orderhub::db::unread::{self, Round};
use orderhub::db::webhooks::{
    self, ClaimedOrder, OrderResult, Replay, TurnOutcome, TurnRequest, take_turn,
};
use orderhub::webhooks::endpoints::Endpoints;
use orderhub::webhooks::health::{Admission, Attempt, Failure};
use orderhub::webhooks::outbox::{Listeners, Outbox, OutboxSettings};
use orderhub::webhooks::schedule::RetrySchedule;
use orderhub::webhooks::unread::UnreadRules;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, message};

const FILE: &str = "[[endpoints]]\nname = \"push\"\nurl = \"https://shop.example/\"\n\
     secrets = [\"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]\nevents = [\"chat.*\"]\n";

/// How long a hub has an order in hand.
const LEASE: Duration = Duration::from_secs(10);

/// A hub that takes turns, beside others on the same database.
struct Node {
    connection: DbConnection,
    listeners: Arc<Listeners>,
}

impl Node {
    fn new(fixture: &Fixture) -> Self {
        let endpoints = Endpoints::parse(FILE.as_bytes()).expect("endpoints");
        let outbox = outbox(&endpoints, 1000);
        Self { connection: fixture.connection(), listeners: outbox.listeners() }
    }

    /// Stores messages of orders, with the rows that tell of them.
    fn store(&mut self, messages: &[NewMessage]) {
        let listeners = Some(&*self.listeners);
        let stored = commit_batch::commit(&mut self.connection, messages, listeners, at(0));
        assert_eq!(stored.expect("stored").len(), messages.len());
    }

    fn turn(&mut self, now: Timestamp, request: TurnRequest) -> TurnOutcome {
        take_turn(&mut self.connection, &request, Some(now)).expect("a turn")
    }

    /// Takes what is due.
    fn take(&mut self, now: Timestamp) -> Vec<ClaimedOrder> {
        self.turn(now, request(Vec::new())).orders
    }

    /// Reports results; gives how many were lost.
    fn report(&mut self, now: Timestamp, results: Vec<OrderResult>) -> usize {
        self.turn(now, TurnRequest { most: 0, ..request(results) }).lost
    }

    fn waiting(&mut self) -> i64 {
        let counts = webhooks::counts(&mut self.connection).expect("counted");
        counts.get("push").map_or(0, |counts| counts.waiting)
    }
}

fn outbox(endpoints: &Endpoints, max_rows: i64) -> Outbox {
    let unread = UnreadRules { after: Duration::ZERO, repeat: Duration::ZERO };
    Outbox::new(endpoints, OutboxSettings { max_rows, unread, node: "node".to_owned() })
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + secs)
}

fn request(results: Vec<OrderResult>) -> TurnRequest {
    TurnRequest {
        endpoint: "push".into(),
        entry: "e1".to_owned(),
        report: uuid::Uuid::new_v4().to_string(),
        attempts: Vec::new(),
        results,
        most: 16,
        lease: LEASE,
        schedule: Arc::new(RetrySchedule::parse("5s,5m").expect("a schedule")),
    }
}

/// The result of an order of which these rows were delivered, from the first on.
fn delivered(claimed: &ClaimedOrder, rows: usize) -> OrderResult {
    OrderResult {
        order: claimed.order.clone(),
        token: claimed.token.clone(),
        delivered: claimed.rows.iter().take(rows).map(|row| row.number).collect(),
        dead: None,
        failures: 0,
        wait: Duration::ZERO,
    }
}

fn failed(claimed: &ClaimedOrder, wait: Duration) -> OrderResult {
    let failures = claimed.failures + 1;
    OrderResult { failures, wait, ..delivered(claimed, 0) }
}

/// Orders in hand, each with the contents of its rows.
fn contents(claimed: &[ClaimedOrder]) -> Vec<(String, Vec<String>)> {
    let text = |data: &str| {
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        data["content"].as_str().expect("a text").to_owned()
    };
    let mut orders: Vec<_> = claimed
        .iter()
        .map(|one| (one.order.clone(), one.rows.iter().map(|row| text(&row.data)).collect()))
        .collect();
    orders.sort();
    orders
}

fn is(order: &str, texts: &[&str]) -> (String, Vec<String>) {
    (order.to_owned(), texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn an_order_is_in_one_hand_and_in_its_order() {
    each_database(async |fixture: Fixture| {
        let (mut one, mut two) = (Node::new(&fixture), Node::new(&fixture));
        one.store(&[message("a", "1"), message("b", "1"), message("a", "2")]);
        let taken = one.take(at(0));
        assert_eq!(contents(&taken), [is("a", &["1", "2"]), is("b", &["1"])]);
        // More of an order that is in hand waits, whoever asks.
        two.store(&[message("a", "3"), message("c", "1")]);
        assert_eq!(contents(&two.take(at(1))), [is("c", &["1"])]);
        let done = taken.iter().map(|order| delivered(order, order.rows.len())).collect();
        assert_eq!(one.report(at(2), done), 0);
        assert_eq!(contents(&two.take(at(2))), [is("a", &["3"])]);
        assert_eq!(two.waiting(), 2);
    });
}

#[test]
fn results_of_a_hub_that_hung_for_a_minute_are_not_recorded() {
    each_database(async |fixture: Fixture| {
        let (mut hung, mut other) = (Node::new(&fixture), Node::new(&fixture));
        hung.store(&[message("a", "1"), message("a", "2")]);
        let in_hand = hung.take(at(0));
        assert_eq!(other.take(at(9)), [], "the lease holds");
        let taken = other.take(at(10));
        assert_eq!(contents(&taken), [is("a", &["1", "2"])]);
        // It is back, and reports the first row while the other one has both in hand.
        assert_eq!(hung.report(at(60), vec![delivered(&in_hand[0], 1)]), 1);
        assert_eq!(other.waiting(), 2, "no result of the old lease counts");
        assert_eq!(hung.take(at(15)), []);
        assert_eq!(other.report(at(19), vec![delivered(&taken[0], 2)]), 0);
        assert_eq!(hung.report(at(61), vec![failed(&in_hand[0], LEASE)]), 1);
        assert_eq!((other.waiting(), hung.take(at(90))), (0, Vec::new()));
    });
}

#[test]
fn a_failed_row_waits_and_is_found_by_any_hub() {
    each_database(async |fixture: Fixture| {
        let (mut one, mut two) = (Node::new(&fixture), Node::new(&fixture));
        one.store(&[message("a", "1"), message("b", "1")]);
        let taken = one.take(at(0));
        let a = taken.iter().find(|order| order.order == "a").expect("taken");
        let b = taken.iter().find(|order| order.order == "b").expect("taken");
        one.report(at(1), vec![failed(a, Duration::from_secs(5)), delivered(b, 1)]);
        let outcome = two.turn(at(2), request(Vec::new()));
        assert_eq!((outcome.orders, outcome.next_due), (Vec::new(), Some(Duration::from_secs(4))));
        let again = two.take(at(6));
        assert_eq!((contents(&again), again[0].failures), (vec![is("a", &["1"])], 1));
        let dead = (again[0].rows[0].number, "it answers 400".to_owned());
        let result = OrderResult { dead: Some(dead), ..delivered(&again[0], 0) };
        two.store(&[message("a", "2")]);
        two.report(at(7), vec![result]);
        let next = two.take(at(7));
        assert_eq!((contents(&next), next[0].failures), (vec![is("a", &["2"])], 0));
        two.report(at(8), vec![delivered(&next[0], 1)]);
        let dead = webhooks::dead(&mut two.connection, "push", 0, 10).expect("read");
        assert_eq!((dead.len(), dead[0].error.as_deref()), (1, Some("it answers 400")));
        let id = dead[0].id.clone();
        let replay = Replay::Ids(vec![id.clone()]);
        assert_eq!(webhooks::replay(&mut two.connection, "push", &replay).expect("replayed"), 1);
        let replayed = one.take(at(9));
        assert_eq!(replayed[0].rows[0].id, id);
    });
}

#[test]
fn a_probe_of_one_hub_keeps_the_others_away() {
    each_database(async |fixture: Fixture| {
        let (mut one, mut two) = (Node::new(&fixture), Node::new(&fixture));
        let messages: Vec<_> = (0..9).map(|n| message(&format!("o{n}"), "1")).collect();
        one.store(&messages);
        let taken = one.take(at(0));
        let attempt =
            |at, result| (Attempt { admission: Admission::Open, is_new: true, at, result }, 0.5);
        let failure = || Err(Failure::new("it answers 500"));
        let attempts: Vec<_> = taken.iter().map(|_| attempt(at(1), failure())).collect();
        let results = taken.iter().map(|order| failed(order, Duration::from_secs(5))).collect();
        let down = one.turn(at(1), TurnRequest { attempts, ..request(results) });
        assert_eq!((down.admission, down.orders), (Admission::Closed(at(6)), Vec::new()));
        two.store(&[message("new", "1")]);
        assert_eq!(two.take(at(5)), []);
        let probe = two.turn(at(6), request(Vec::new()));
        assert_eq!(contents(&probe.orders), [is("new", &["1"])], "one that has not failed");
        assert_eq!(one.take(at(7)), []);
        let results = vec![delivered(&probe.orders[0], 1)];
        let success =
            Attempt { admission: Admission::Probe, is_new: true, at: at(8), result: Ok(()) };
        let back =
            two.turn(at(8), TurnRequest { attempts: vec![(success, 0.5)], ..request(results) });
        assert_eq!((back.admission, back.orders.len()), (Admission::Open, 9), "all at once");
    });
}

#[test]
fn old_rows_are_deleted_in_steps() {
    each_database(async |fixture: Fixture| {
        let mut node = Node::new(&fixture);
        node.store(&[message("a", "1"), message("b", "1"), message("c", "1")]);
        let taken = node.take(at(0));
        let of = |order: &str| taken.iter().find(|one| one.order == order).expect("taken");
        let dead = Some((of("b").rows[0].number, "it answers 400".to_owned()));
        let dead = OrderResult { dead, ..delivered(of("b"), 0) };
        node.report(at(1), vec![delivered(of("a"), 1), dead]);
        let known = ["push".to_owned()];
        let mut deleted = |days: i64, known: &[String], left: &[String]| {
            let now = at(days * 86_400 + 60);
            webhooks::delete_done(&mut node.connection, known, left, now).expect("deleted")
        };
        assert_eq!(deleted(0, &known, &[]), 0);
        assert_eq!(deleted(1, &known, &[]), 1, "what was delivered");
        assert_eq!(deleted(13, &known, &[]), 0);
        assert_eq!(deleted(14, &known, &[]), 1, "what died");
        assert_eq!(deleted(99, &known, &[]), 0);
        // Two weeks after the endpoint has left, unless it comes back meanwhile.
        assert_eq!(deleted(100, &[], &known), 0);
        assert_eq!(deleted(113, &known, &[]), 0);
        assert_eq!(deleted(114, &[], &known), 0);
        assert_eq!(deleted(127, &[], &known), 0);
        assert_eq!(deleted(129, &[], &known), 1, "what waits, and its lease");
        assert_eq!(deleted(129, &[], &[]), 0);
        assert_eq!(webhooks::states(&mut node.connection).expect("read").len(), 0);
    });
}

#[test]
fn a_report_that_comes_twice_counts_once() {
    each_database(async |fixture: Fixture| {
        let mut node = Node::new(&fixture);
        let failure = Attempt {
            admission: Admission::Open,
            is_new: true,
            at: at(1),
            result: Err(Failure::new("it answers 500")),
        };
        let report =
            TurnRequest { attempts: vec![(failure.clone(), 0.5); 2], ..request(Vec::new()) };
        for _ in 0..3 {
            let outcome = node.turn(at(1), report.clone());
            assert_eq!((outcome.state.streak, outcome.admission), (2, Admission::Open));
        }
        let next = TurnRequest { attempts: vec![(failure, 0.5)], ..request(Vec::new()) };
        assert_eq!(node.turn(at(1), next).admission, Admission::Closed(at(6)));
    });
}

#[test]
fn a_hub_that_lags_behind_with_its_file_resets_nothing() {
    each_database(async |fixture: Fixture| {
        let (mut old, mut new) = (Node::new(&fixture), Node::new(&fixture));
        let with = |entry: &str| TurnRequest { entry: entry.to_owned(), ..request(Vec::new()) };
        old.turn(at(0), with("e1"));
        let gone = Attempt {
            admission: Admission::Open,
            is_new: true,
            at: at(1),
            result: Err(Failure { is_gone: true, ..Failure::new("it answers 410") }),
        };
        new.turn(at(1), TurnRequest { attempts: vec![(gone, 0.5)], ..with("e2") });
        for second in 2..5 {
            assert_eq!(old.turn(at(second), with("e1")).admission, Admission::Stopped);
            assert_eq!(new.turn(at(second), with("e2")).admission, Admission::Stopped);
        }
        assert_eq!(new.turn(at(5), with("e3")).admission, Admission::Open);
        assert_eq!(old.turn(at(6), with("e1")).admission, Admission::Open);
    });
}

#[test]
fn an_endpoint_that_takes_nothing_takes_no_room_from_others() {
    each_database(async |fixture: Fixture| {
        let other = FILE.replace("push", "other");
        let endpoints = Endpoints::parse((FILE.to_owned() + &other).as_bytes()).expect("good");
        let outbox = outbox(&endpoints, 2);
        let mut node = Node { connection: fixture.connection(), listeners: outbox.listeners() };
        outbox.queue_of("push").expect("there").set_waiting(1);
        let messages: Vec<_> = (0..3).map(|n| message("a", &n.to_string())).collect();
        node.store(&messages);
        let mut counted = || {
            let counts = webhooks::counts(&mut node.connection).expect("counted");
            ["push", "other"].map(|name| (counts[name].waiting, counts[name].dead))
        };
        assert_eq!(counted(), [(1, 2), (2, 1)]);
        let mut connection = fixture.connection();
        assert_eq!(webhooks::delete_dead(&mut connection, "push", 1).expect("deleted"), 1);
        assert_eq!(counted(), [(1, 1), (2, 1)]);
        let dead = webhooks::dead(&mut connection, "push", 0, 9).expect("read");
        assert_eq!(dead[0].id, messages[2].id, "the oldest goes");
    });
}

#[test]
fn a_message_that_comes_while_its_order_is_looked_at_is_not_forgotten() {
    each_database(async |fixture: Fixture| {
        let unread = UnreadRules { after: Duration::from_secs(600), repeat: Duration::ZERO };
        let file = FILE.replace("chat.*", "chat.unread");
        let endpoints = Endpoints::parse(file.as_bytes()).expect("endpoints");
        let settings = OutboxSettings { max_rows: 1000, unread, node: "node".to_owned() };
        let outbox = Outbox::new(&endpoints, settings);
        let mut node = Node { connection: fixture.connection(), listeners: outbox.listeners() };
        let round = |secs: i64, settled| {
            let until = at(secs).plus(Duration::from_secs(30));
            let round = Round { settled, most: 9, until, ..Round::default() };
            unread::take_round(&mut fixture.connection(), &round, at(secs)).expect("a round")
        };
        node.store(&[message("a", "1")]);
        assert_eq!(round(599, Vec::new()), []);
        let taken = round(600, Vec::new());
        assert_eq!(taken.len(), 1);
        // Its own time is later than the end of the claim.
        let (later, listeners) = (message("a", "2"), Some(&*node.listeners));
        commit_batch::commit(&mut node.connection, &[later], listeners, at(600)).expect("stored");
        let (order, version) = taken[0].clone();
        assert_eq!(round(601, vec![(order.clone(), version, None)]), []);
        let again = round(630, Vec::new());
        assert_eq!(again.len(), 1, "it is looked at once more");
        assert_eq!(round(631, vec![(order, again[0].1, None)]), []);
        assert_eq!(round(9999, Vec::new()), []);
    });
}
