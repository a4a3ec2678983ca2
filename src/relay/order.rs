//! A committed change of an order, on its way to the rooms and users of other nodes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::db::order_changes::{AppliedChange, ChangeNote};
use crate::db::orders::StoredOrder;
use crate::room::order::{OrderFacts, ParticipantState, Participants};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// A change that another node has committed.
#[derive(Debug)]
pub struct RelayedChange {
    /// The order before and after. Its last position is not among it.
    pub changed: AppliedChange,
    /// What the back end adds to it.
    pub note: ChangeNote,
    /// When it was committed, by the other node's clock.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    order_id: Cow<'a, OrderId>,
    rev: i64,
    #[serde(default)]
    version: Option<i64>,
    last_seq: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
    at: Timestamp,
    #[serde(default)]
    created: bool,
    raised: bool,
    before: Facts,
    now: Facts,
    #[serde(default)]
    note_at: Option<Timestamp>,
    #[serde(default, borrow)]
    note_data: Option<Cow<'a, RawValue>>,
}

/// What rights depend on.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    driver_id: Option<UserId>,
    #[serde(default)]
    driver_name: Option<String>,
    #[serde(default)]
    ended_at: Option<Timestamp>,
    #[serde(default)]
    shown_since: Option<Timestamp>,
    #[serde(default)]
    dispatched: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    remade_at: Option<Timestamp>,
    #[serde(default)]
    participants: Vec<TakesPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TakesPart {
    user_id: UserId,
    role: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    removed: bool,
}

/// Writes a change. `None` where it cannot be written, which no change is known to cause.
pub fn write(changed: &AppliedChange, note: &ChangeNote, at: Timestamp) -> Option<Vec<u8>> {
    let order = &changed.order;
    let change = Change {
        order_id: Cow::Borrowed(&order.id),
        rev: order.rev,
        version: order.version,
        last_seq: order.last_seq,
        created_at: order.created_at,
        updated_at: order.updated_at,
        at,
        created: changed.created,
        raised: changed.raised,
        before: Facts::from(&changed.before),
        now: Facts::from(&order.facts),
        note_at: note.at,
        note_data: note.data.as_deref().map(Cow::Borrowed),
    };
    serde_json::to_vec(&change).ok()
}

/// Reads a change.
pub fn read(data: &[u8]) -> Option<RelayedChange> {
    let change: Change<'_> = serde_json::from_slice(data).ok()?;
    let order = StoredOrder {
        id: change.order_id.into_owned(),
        facts: change.now.into(),
        version: change.version,
        rev: change.rev,
        last_seq: change.last_seq,
        last_position: None,
        created_at: change.created_at,
        updated_at: change.updated_at,
    };
    let (before, created, raised) = (change.before.into(), change.created, change.raised);
    let changed = AppliedChange { before, order, created, raised, answer: None };
    let data = change.note_data.map(Cow::into_owned);
    Some(RelayedChange { changed, note: ChangeNote { at: change.note_at, data }, at: change.at })
}

impl From<&OrderFacts> for Facts {
    fn from(facts: &OrderFacts) -> Self {
        let takes_part = |(user, state): (&UserId, &ParticipantState)| TakesPart {
            user_id: user.clone(),
            role: state.role.as_str().to_owned(),
            name: state.name.clone(),
            removed: state.removed,
        };
        Self {
            status: facts.status.clone(),
            driver_id: facts.driver_id.clone(),
            driver_name: facts.driver_name.clone(),
            ended_at: facts.ended_at,
            shown_since: facts.shown_since,
            dispatched: facts.dispatched,
            deleted: facts.deleted,
            remade_at: facts.remade_at,
            participants: facts.participants.all().map(takes_part).collect(),
        }
    }
}

impl From<Facts> for OrderFacts {
    fn from(facts: Facts) -> Self {
        let state = |one: TakesPart| {
            // An unknown role, which a newer version may have written, gives no right.
            let role = Role::from_name(&one.role).unwrap_or_default();
            (one.user_id, ParticipantState { role, name: one.name, removed: one.removed })
        };
        Self {
            status: facts.status,
            driver_id: facts.driver_id,
            driver_name: facts.driver_name,
            ended_at: facts.ended_at,
            shown_since: facts.shown_since,
            dispatched: facts.dispatched,
            deleted: facts.deleted,
            remade_at: facts.remade_at,
            participants: facts.participants.into_iter().map(state).collect::<Participants>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::order::Participant;

    fn change() -> (AppliedChange, ChangeNote) {
        let user = |id: &str| id.parse::<UserId>().expect("an id");
        let mut facts = OrderFacts { dispatched: true, ..OrderFacts::default() };
        let ann = Participant { user_id: user("ann"), role: Role::Customer, name: None };
        facts.participants.put(ann);
        let before = facts.clone();
        facts.participants.remove(user("ann"));
        facts.status = Some("DONE".to_owned());
        facts.driver_id = Some(user("dan"));
        facts.driver_name = Some("Dan".to_owned());
        let at = Timestamp::from_secs(5);
        (facts.ended_at, facts.shown_since, facts.remade_at) = (Some(at), Some(at), Some(at));
        let order = StoredOrder {
            id: OrderId::new("o1").expect("an id"),
            facts,
            version: Some(3),
            rev: 7,
            last_seq: 9,
            last_position: None,
            created_at: at,
            updated_at: Timestamp::from_secs(6),
        };
        let changed = AppliedChange { before, order, created: true, raised: true, answer: None };
        let data = serde_json::value::to_raw_value(&[1, 2]).expect("JSON");
        (changed, ChangeNote { at: Some(at), data: Some(data) })
    }

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let ((changed, note), at) = (change(), Timestamp::from_secs(8));
        let read = read(&write(&changed, &note, at).expect("text")).expect("a change");
        assert_eq!((read.changed, read.at, read.note.at), (changed, at, note.at));
        assert_eq!(read.note.data.map(|data| data.to_string()).as_deref(), Some("[1,2]"));
    }

    #[test]
    fn a_newer_version_may_add_fields_and_roles_and_what_is_odd_has_no_effect() {
        let (changed, note) = change();
        let written = write(&changed, &note, Timestamp::from_secs(8)).expect("text");
        let text = String::from_utf8(written).expect("text");
        let newer = text.replace("\"role\"", "\"new\":1,\"role\"").replace("customer", "cook");
        assert!(text != newer && read(newer.as_bytes()).is_some());
        let odd = text.replace("\"o1\"", "\"o 1\"");
        for data in [odd.as_bytes(), &text.as_bytes()[1..], b"{}", b"null", b"\xff"] {
            assert!(read(data).is_none());
        }
    }
}
