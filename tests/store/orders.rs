//! Orders as back ends change them: what is stored, what is told, and by how many at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler, Recipient};
use orderhub::actors::store::{
    ChangeNote, ChangeOutcome, ChangeRequest, ChatWriteError, NewMessage, OrderChange,
    OrderChanged, OrderFilter, Store, StoreError, StoredChat, StoredOrder,
};
use orderhub::db::commit_batch::{self, ChatRefusal};
use orderhub::room::change::{Edit, OrderCommand, OrderPatch, ParticipantsEdit};
use orderhub::room::order::{OrderFacts, Participant};
use orderhub::room::policy::Rules;
use protocol::error::ErrorCode;
use protocol::ids::UserId;
use protocol::location::Position;
use protocol::role::Role;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, message, order, until};

/// Somebody who is told of changes.
#[derive(Clone)]
struct Witness {
    told: Arc<Mutex<Vec<(String, i64)>>>,
    tell: Recipient<OrderChanged>,
}

struct ChangeListener(Arc<Mutex<Vec<(String, i64)>>>);

impl Actor for ChangeListener {
    type Context = Context<Self>;
}

impl Handler<OrderChanged> for ChangeListener {
    type Result = ();

    fn handle(&mut self, OrderChanged(change): OrderChanged, _: &mut Self::Context) {
        let order = &change.changed.order;
        self.0.lock().expect("no panic").push((order.id.to_string(), order.rev));
    }
}

impl Witness {
    fn new() -> Self {
        let told = Arc::<Mutex<Vec<_>>>::default();
        Self { tell: ChangeListener(Arc::clone(&told)).start().recipient(), told }
    }

    fn told(&self) -> Vec<(String, i64)> {
        self.told.lock().expect("no panic").clone()
    }

    fn write(
        &self,
        store: &Store,
        id: &str,
        command: OrderCommand,
    ) -> impl Future<Output = Result<ChangeOutcome, StoreError>> + use<> {
        let terminal_statuses = BTreeSet::from(["DELIVERED".to_owned()]);
        let rules = Rules { terminal_statuses, ..Rules::default() };
        let decide =
            Arc::new(move |known: &_, command: &_| rules.decide(known, command, Timestamp::now()));
        let (order, note) = (order(id), ChangeNote::default());
        let change = OrderChange { order, command, decide, note, idempotent: None };
        store.change_order(ChangeRequest { change, tell: self.tell.clone() })
    }

    /// Whether a change was committed, or why not, and whether rights have changed.
    async fn change(
        &self,
        store: &Store,
        id: &str,
        command: OrderCommand,
    ) -> Result<bool, ErrorCode> {
        let outcome = self.write(store, id, command).await.expect("written");
        outcome.map(|change| change.changed.raised).map_err(|failure| failure.code)
    }
}

fn user(id: &str) -> UserId {
    id.parse().expect("an id")
}

fn put(patch: OrderPatch) -> OrderCommand {
    OrderCommand::Patch(OrderPatch { creates: true, ..patch })
}

fn status(status: &str) -> OrderCommand {
    put(OrderPatch { status: Some(status.into()), ..OrderPatch::default() })
}

fn driver(id: Option<&str>) -> OrderCommand {
    let driver_id = id.map_or(Edit::Clear, |id| Edit::Set(user(id)));
    put(OrderPatch { driver_id, ..OrderPatch::default() })
}

fn roll(roll: ParticipantsEdit) -> OrderCommand {
    put(OrderPatch { participants: Some(roll), ..OrderPatch::default() })
}

fn customer(id: &str) -> Participant {
    Participant { user_id: user(id), role: Role::Customer, name: Some(format!("Näme of {id}")) }
}

/// Has an order's status set.
pub async fn set_status(hub: &Fixture, id: &str, to: &str) {
    let outcome = Witness::new().write(&hub.store, id, status(to)).await.expect("committed");
    outcome.expect("changed");
}

async fn stored(hub: &Fixture, id: &str) -> StoredOrder {
    hub.store.order(order(id)).await.expect("read").expect("an order")
}

#[test]
fn changes_of_back_ends_are_stored_and_raise_the_revision() {
    each_database(async |hub: Fixture| {
        let witness = Witness::new();
        let change = async |command| witness.change(&hub.store, "o", command).await;
        assert_eq!(change(status("NEW")).await, Ok(true));
        assert_eq!(change(status("NEW")).await, Ok(false), "the same again");
        assert_eq!(change(driver(Some("dan"))).await, Ok(true));
        let both = ParticipantsEdit::Replace(vec![customer("ann"), customer("bob")]);
        assert_eq!(change(roll(both.clone())).await, Ok(true));
        assert_eq!(change(roll(both)).await, Ok(false));
        assert_eq!(change(roll(ParticipantsEdit::Remove(user("bob")))).await, Ok(true));
        let versioned = put(OrderPatch { version: Some(7), ..OrderPatch::default() });
        assert_eq!(change(versioned).await, Ok(false), "a version alone gives no rights");
        let found = stored(&hub, "o").await;
        assert_eq!((found.rev, found.version, found.last_seq), (4, Some(7), 0));
        let facts = &found.facts;
        assert_eq!((facts.status.as_deref(), facts.dispatched), (Some("NEW"), true));
        assert_eq!(facts.driver_id, Some(user("dan")));
        let present: Vec<_> = facts.participants.present().collect();
        assert_eq!(present.len(), 1);
        assert_eq!(present[0].1.name.as_deref(), Some("Näme of ann"));
        assert!(facts.participants.has_removed(&user("bob")));
        let loaded = hub.store.load_order(order("o"), 9).await.expect("loaded");
        assert_eq!((&loaded.facts, loaded.rev, loaded.exists), (facts, 4, true));
        until("the news", async || witness.told().len() == 7).await;
        let revs: Vec<_> = witness.told().into_iter().map(|(_, rev)| rev).collect();
        assert_eq!(revs, [1, 1, 2, 3, 3, 4, 4], "in the order of the commits");
    });
}

#[test]
fn a_refused_change_changes_nothing_and_affects_no_other() {
    each_database(async |hub: Fixture| {
        let witness = Witness::new();
        let version = |number, word: &str| {
            let status = Some(word.to_owned());
            put(OrderPatch { version: Some(number), status, ..OrderPatch::default() })
        };
        let nobody = OrderCommand::Patch(OrderPatch { creates: false, ..OrderPatch::default() });
        // All at once, so that they meet in one transaction.
        let commands = [
            ("o1", version(5, "DELIVERED"), Ok(true)),
            ("o1", version(4, "NEW"), Err(ErrorCode::Stale)),
            ("o1", version(6, "NEW"), Err(ErrorCode::OrderClosed)),
            ("o2", nobody, Err(ErrorCode::NotFound)),
            ("o3", OrderCommand::Delete, Err(ErrorCode::NotFound)),
            ("o4", status("NEW"), Ok(true)),
        ];
        let all: Vec<_> = commands
            .iter()
            .map(|(id, command, _)| witness.write(&hub.store, id, command.clone()))
            .collect();
        for (outcome, (id, command, expected)) in all.into_iter().zip(&commands) {
            let outcome = outcome.await.expect("written");
            let found = outcome.map(|one| one.changed.raised).map_err(|failure| failure.code);
            assert_eq!(found, *expected, "{id} {command:?}");
        }
        let found = stored(&hub, "o1").await;
        assert_eq!((found.rev, found.version), (1, Some(5)));
        assert!(found.facts.ended_at.is_some());
        for id in ["o2", "o3"] {
            assert!(!hub.store.load_order(order(id), 0).await.expect("read").exists, "{id}");
        }
    });
}

#[test]
fn a_deleted_order_is_gone_with_its_chat_and_goes_on_from_its_numbers() {
    each_database(async |hub: Fixture| {
        let witness = Witness::new();
        let change = async |command| witness.change(&hub.store, "o", command).await;
        change(driver(Some("dan"))).await.expect("made");
        change(roll(ParticipantsEdit::Remove(user("eve")))).await.expect("changed");
        for token in 0..1200 {
            assert!(hub.write(token, message("o", "x")));
        }
        hub.answers(1200).await;
        hub.say(message("other", "stays")).await.expect("stored");
        hub.store.save_position(order("o"), position()).await.expect("written");
        assert_eq!(change(OrderCommand::Delete).await, Ok(true));
        assert_eq!(hub.store.order(order("o")).await, Ok(None));
        hub.store.purge(order("o")).await.expect("removed");
        let count = |hub: &Fixture| {
            use diesel::prelude::*;
            use orderhub::db::schema::messages;
            messages::table.count().get_result::<i64>(&mut hub.connection()).expect("a count")
        };
        assert_eq!(count(&hub), 1);
        assert!(hub.write(1, message("o", "too late")) && hub.write(2, message("other", "not")));
        let answers = hub.answers(2).await;
        assert_eq!(answers[0].1, Err(ChatWriteError::Gone));
        assert_eq!(answers[1].1.as_ref().map(|stored| stored.message.seq), Ok(2));
        assert_eq!(change(OrderCommand::Delete).await, Err(ErrorCode::NotFound), "once");
        let loaded = hub.store.load_order(order("o"), 9).await.expect("loaded");
        assert_eq!((loaded.last_seq, loaded.rev, loaded.exists), (1200, 3, false));
        assert_eq!(loaded.facts, OrderFacts { deleted: true, ..OrderFacts::default() });
        assert_eq!(change(status("NEW")).await, Ok(true));
        let found = stored(&hub, "o").await;
        assert_eq!((found.rev, found.last_seq, found.last_position.as_ref()), (4, 1200, None));
        assert_eq!(found.facts.participants.all().count(), 0, "nobody is remembered");
        assert_eq!(hub.say(message("o", "again")).await.expect("stored").message.seq, 1201);
        hub.store.purge(order("o")).await.expect("nothing to do");
        assert_eq!(count(&hub), 3, "what was said since stays");
    });
}

fn position() -> Position {
    Position {
        lat: 1.0,
        lng: 2.0,
        timestamp: Timestamp::from_millis(1000),
        driver_id: user("dan"),
        accuracy: None,
        heading: None,
        speed: None,
        altitude: None,
        recorded_at: None,
    }
}

#[test]
fn the_next_start_removes_the_chat_that_the_last_process_did_not() {
    each_database(async |hub: Fixture| {
        let witness = Witness::new();
        witness.change(&hub.store, "o", status("NEW")).await.expect("made");
        hub.say(message("o", "x")).await.expect("stored");
        witness.change(&hub.store, "o", OrderCommand::Delete).await.expect("deleted");
        // As if this process had ended here.
        let next = Fixture::start(hub.url.clone());
        until("the chat to go", async || {
            let page = orderhub::actors::store::PageRange::Newest;
            next.store.page(order("o"), page, 9).await.expect("a page").messages.is_empty()
        })
        .await;
    });
}

#[test]
fn lists_are_filtered_and_stay_whole_while_orders_are_made() {
    each_database(async |hub: Fixture| {
        let witness = Witness::new();
        for n in 0..10 {
            let (id, word) = (format!("o{n}"), if n % 2 == 0 { "NEW" } else { "READY" });
            witness.change(&hub.store, &id, status(word)).await.expect("made");
            if n % 3 == 0 {
                witness.change(&hub.store, &id, driver(Some("dan"))).await.expect("changed");
                let bob = roll(ParticipantsEdit::Put(customer("bob")));
                witness.change(&hub.store, &id, bob).await.expect("changed");
            }
        }
        let bob = roll(ParticipantsEdit::Remove(user("bob")));
        witness.change(&hub.store, "o9", bob).await.expect("changed");
        witness.change(&hub.store, "o8", OrderCommand::Delete).await.expect("deleted");
        let list = async |filter: OrderFilter, after: Option<&str>, limit| {
            let found =
                hub.store.list_orders(filter, after.map(order), limit).await.expect("a list");
            found.iter().map(|order| order.id.to_string()).collect::<Vec<_>>()
        };
        let filter = |status: Option<&str>, driver: Option<&str>, participant: Option<&str>| {
            let status = status.map(ToOwned::to_owned);
            OrderFilter { status, driver: driver.map(user), participant: participant.map(user) }
        };
        let new = list(filter(Some("NEW"), None, None), None, 99).await;
        assert_eq!(new, ["o0", "o2", "o4", "o6"], "the deleted one is not shown");
        assert_eq!(list(filter(None, Some("dan"), None), None, 2).await, ["o0", "o3"]);
        assert_eq!(list(filter(None, None, Some("bob")), None, 99).await, ["o0", "o3", "o6"]);
        let all = filter(Some("READY"), Some("dan"), Some("bob"));
        assert_eq!(list(all, None, 99).await, ["o3"]);
        assert_eq!(list(OrderFilter::default(), None, 3).await, ["o0", "o1", "o2"]);
        witness.change(&hub.store, "o1b", status("NEW")).await.expect("made");
        assert_eq!(list(OrderFilter::default(), Some("o2"), 2).await, ["o3", "o4"]);
        assert!(list(OrderFilter::default(), Some("o9"), 9).await.is_empty());
    });
}

#[test]
fn two_nodes_that_change_the_same_orders_beside_chat_lose_nothing() {
    each_database(async |one: Fixture| {
        const ROUNDS: usize = 40;
        let two = Fixture::start(one.url.clone());
        let witness = Witness::new();
        let ids = ["a", "b", "c"];
        let mut changes = Vec::new();
        for round in 0..ROUNDS {
            for (place, hub) in [&one, &two].into_iter().enumerate() {
                for id in ids {
                    let name = format!("u{place}-{}", round % 20);
                    let command = match round % 2 {
                        0 => roll(ParticipantsEdit::Put(customer(&name))),
                        _ => driver(Some(&name)),
                    };
                    changes.push(witness.write(&hub.store, id, command));
                    assert!(hub.write(0, message(id, "between")));
                }
            }
        }
        for change in changes {
            change.await.expect("written").expect("not refused");
        }
        for hub in [&one, &two] {
            let answers = hub.answers(ROUNDS * ids.len()).await;
            assert!(answers.iter().all(|(_, outcome)| outcome.is_ok()), "{answers:?}");
        }
        for id in ids {
            let found = stored(&one, id).await;
            until("the news", async || {
                let told = witness.told();
                told.iter().any(|(order, rev)| order == id && *rev == found.rev)
            })
            .await;
            let mut revs: Vec<_> =
                witness.told().into_iter().filter(|(order, _)| order == id).collect();
            revs.sort_unstable();
            // One that changed nothing is told with the revision that was there.
            revs.dedup();
            let expected: Vec<_> = (1..=found.rev).map(|rev| (id.to_owned(), rev)).collect();
            assert_eq!(revs, expected, "each revision was one change");
            assert_eq!(found.facts.participants.present().count(), 20);
            assert_eq!(found.last_seq, i64::try_from(2 * ROUNDS).expect("small"));
        }
    });
}

#[test]
fn a_message_judged_by_an_outdated_order_is_given_back_and_takes_no_number() {
    each_database(async |hub: Fixture| {
        let (witness, now) = (Witness::new(), Timestamp::now());
        assert_eq!(witness.change(&hub.store, "o", status("NEW")).await, Ok(true));
        let rev = hub.store.load_order(order("o"), 0).await.expect("loaded").rev;
        assert_eq!(witness.change(&hub.store, "o", status("DONE")).await, Ok(true));
        let judged_by = |rev| NewMessage { judged_by: Some(rev), ..message("o", "x") };
        let batch = [judged_by(rev), judged_by(rev + 1), message("o", "any")];
        let written =
            commit_batch::commit(&mut hub.connection(), &batch, None, now).expect("stored");
        let seq =
            |stored: &Result<StoredChat, _>| stored.as_ref().map(|chat| chat.message.seq).ok();
        assert_eq!(written[0], Err(ChatRefusal::Outdated));
        assert_eq!([seq(&written[1]), seq(&written[2])], [Some(1), Some(2)]);
        assert_eq!(hub.say(judged_by(rev)).await, Err(ChatWriteError::Outdated));
    });
}
