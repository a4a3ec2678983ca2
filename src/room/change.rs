//! Applies a back end's change to an order. All such decisions are made here.

use serde::{Deserialize, Deserializer};

use super::order::{OrderFacts, Participant, Participants};
use super::policy::Rules;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// A change of an optional value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Edit<T> {
    /// The value stays.
    #[default]
    Keep,
    /// The value is removed.
    Clear,
    /// The value is set.
    Set(T),
}

/// A back end's change of an order. Absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderPatch {
    /// The new status.
    pub status: Option<String>,
    /// The assigned driver.
    pub driver_id: Edit<UserId>,
    /// The driver's name.
    pub driver_name: Edit<String>,
    /// The change of the participants.
    pub participants: Option<ParticipantsEdit>,
    /// The back end's own version of the order.
    pub version: Option<i64>,
    /// Whether a missing order is created.
    pub creates: bool,
}

/// A change of the participants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParticipantsEdit {
    /// These are the participants; all others are removed.
    Replace(Vec<Participant>),
    /// This one is added or changed.
    Put(Participant),
    /// This one is removed, whatever a token says.
    Remove(UserId),
}

/// A back end's command for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderCommand {
    /// Changes or creates the order.
    Patch(OrderPatch),
    /// Deletes the order, with all that belongs to it.
    Delete,
}

/// The stored state of an order, as far as a change depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredState {
    /// Its facts.
    pub facts: OrderFacts,
    /// The back end's own version of it.
    pub version: Option<i64>,
    /// Whether the order exists.
    pub exists: bool,
}

// === impl Edit ===

impl<T: Clone> Edit<T> {
    fn apply(&self, known: Option<&T>) -> Option<T> {
        match self {
            Self::Keep => known.cloned(),
            Self::Clear => None,
            Self::Set(new) => Some(new.clone()),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Edit<T> {
    /// `null` clears. An absent field needs a default.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|new| new.map_or(Self::Clear, Self::Set))
    }
}

// === impl Rules ===

impl Rules {
    /// The new state of an order. Where it equals the old one, nothing has to be written, or only
    /// the version.
    ///
    /// # Errors
    /// `not_found`, `stale` for an older version, `order_closed` where a terminal status would be
    /// left, `conflict` where too many would take part.
    pub fn decide(
        &self,
        known: &StoredState,
        command: &OrderCommand,
        now: Timestamp,
    ) -> Result<StoredState, Failure> {
        let patch = match command {
            OrderCommand::Delete if known.exists => {
                let facts = OrderFacts { deleted: true, ..OrderFacts::default() };
                // The version stays, so that a change older than the deletion does not restore the
                // order.
                return Ok(StoredState { facts, version: known.version, exists: false });
            }
            OrderCommand::Patch(patch) if known.exists || patch.creates => patch,
            _ => return Err(Failure::new(ErrorCode::NotFound, "no such order")),
        };
        if patch.version.is_some_and(|version| known.version.is_some_and(|last| version < last)) {
            return Err(Failure::new(ErrorCode::Stale, "a newer version is known"));
        }
        let remade_at = known.facts.deleted.then_some(now);
        let mut facts = if known.exists {
            known.facts.clone()
        } else {
            OrderFacts { remade_at, ..OrderFacts::default() }
        };
        self.set_status(&mut facts, patch, now)?;
        set_driver(&mut facts, patch, now);
        set_participants(&mut facts.participants, patch)?;
        Ok(StoredState { facts, version: patch.version.or(known.version), exists: true })
    }

    fn set_status(
        &self,
        facts: &mut OrderFacts,
        patch: &OrderPatch,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(status) = patch.status.as_ref().filter(|new| facts.status.as_ref() != Some(new))
        else {
            return Ok(());
        };
        if facts.status.as_ref().is_some_and(|status| self.terminal_statuses.contains(status)) {
            return Err(Failure::new(
                ErrorCode::OrderClosed,
                "the order has ended: its status cannot change",
            ));
        }
        facts.ended_at = self.terminal_statuses.contains(status).then_some(now);
        // `shown_since` stays between two statuses that show the driver.
        facts.shown_since = self.shows_driver(status).then(|| facts.shown_since.unwrap_or(now));
        facts.status = Some(status.clone());
        Ok(())
    }
}

fn set_driver(facts: &mut OrderFacts, patch: &OrderPatch, now: Timestamp) {
    let driver = patch.driver_id.apply(facts.driver_id.as_ref());
    if driver != facts.driver_id {
        // The name was that of the previous driver.
        facts.driver_name = None;
        if driver.is_some() {
            facts.dispatched = true;
            // Positions of this driver before the assignment were not for this order's customers.
            facts.shown_since = facts.shown_since.map(|_| now);
        }
        facts.driver_id = driver;
    }
    let name = patch.driver_name.apply(facts.driver_name.as_ref());
    facts.driver_name = name.filter(|_| facts.driver_id.is_some());
}

fn set_participants(participants: &mut Participants, patch: &OrderPatch) -> Result<(), Failure> {
    match &patch.participants {
        Some(ParticipantsEdit::Replace(all)) => participants.replace(all.clone()),
        Some(ParticipantsEdit::Put(one)) => participants.put(one.clone()),
        Some(ParticipantsEdit::Remove(user)) => participants.remove(user.clone()),
        None => return Ok(()),
    }
    if participants.are_too_many() {
        return Err(Failure::new(
            ErrorCode::Conflict,
            "too many participants, or too many removed users",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rules() -> Rules {
        Rules { terminal_statuses: BTreeSet::from(["DELIVERED".to_owned()]), ..Rules::default() }
    }

    fn user(id: &str) -> UserId {
        id.parse().expect("id")
    }

    fn put(patch: OrderPatch) -> OrderCommand {
        OrderCommand::Patch(OrderPatch { creates: true, ..patch })
    }

    fn status(status: &str) -> OrderPatch {
        OrderPatch { status: Some(status.to_owned()), ..OrderPatch::default() }
    }

    fn driver(id: Option<&str>) -> OrderPatch {
        let driver_id = id.map_or(Edit::Clear, |id| Edit::Set(user(id)));
        OrderPatch { driver_id, ..OrderPatch::default() }
    }

    /// The states of an order after one command after the other.
    fn after(commands: &[OrderCommand]) -> Result<StoredState, ErrorCode> {
        commands.iter().try_fold(StoredState::default(), |known, command| {
            rules().decide(&known, command, Timestamp::from_secs(9)).map_err(|failure| failure.code)
        })
    }

    #[test]
    fn absent_fields_stay_and_a_repeated_put_changes_nothing() {
        let known = after(&[put(status("NEW")), put(driver(Some("dan")))]).expect("changed");
        assert_eq!(known.facts.status.as_deref(), Some("NEW"));
        assert_eq!(known.facts.driver_id, Some(user("dan")));
        let again = rules().decide(&known, &put(status("NEW")), Timestamp::from_secs(10));
        assert_eq!(again.map_err(|failure| failure.code), Ok(known));
    }

    #[test]
    fn shown_since_is_set_when_customers_begin_to_see_the_driver() {
        let visible = ["NEAR", "THERE", "DELIVERED"].map(ToOwned::to_owned);
        let rules = Rules { location_visible: Some(BTreeSet::from(visible)), ..rules() };
        let mut known = StoredState::default();
        let mut shown_after = |status: &str, at| {
            let command = put(OrderPatch { status: Some(status.into()), ..OrderPatch::default() });
            known = rules.decide(&known, &command, Timestamp::from_secs(at)).expect("changed");
            known.facts.shown_since.map_or(0, |since| since.as_millis() / 1000)
        };
        let moves = [("NEW", 1), ("NEAR", 2), ("THERE", 3), ("NEW", 4), ("NEAR", 5)];
        assert_eq!(moves.map(|(status, at)| shown_after(status, at)), [0, 2, 2, 0, 5]);
        assert_eq!(shown_after("DELIVERED", 6), 0, "after the end no user does");
    }

    #[test]
    fn a_new_driver_is_shown_since_the_assignment() {
        let mut known = StoredState::default();
        let mut shown_after = |patch: OrderPatch, at| {
            known = rules().decide(&known, &put(patch), Timestamp::from_secs(at)).expect("changed");
            known.facts.shown_since.map_or(0, |since| since.as_millis() / 1000)
        };
        assert_eq!(shown_after(driver(Some("dan")), 1), 0, "there is no status that shows him");
        assert_eq!(shown_after(status("NEW"), 2), 2);
        assert_eq!(shown_after(driver(Some("dan")), 3), 2, "the same one");
        assert_eq!(shown_after(driver(None), 4), 2);
        assert_eq!(shown_after(driver(Some("eve")), 5), 5);
    }

    #[test]
    fn an_older_version_is_stale_and_the_same_is_not() {
        let version = |number| put(OrderPatch { version: Some(number), ..status("NEW") });
        assert_eq!(after(&[version(7), version(7)]).map(|known| known.version), Ok(Some(7)));
        assert_eq!(after(&[version(7), version(6)]), Err(ErrorCode::Stale));
        let unversioned = after(&[version(7), put(status("OLD"))]);
        assert_eq!(unversioned.map(|known| known.version), Ok(Some(7)), "no version is any");
    }

    #[test]
    fn a_terminal_status_is_not_left_and_an_order_ends_once() {
        let ended = after(&[put(status("DELIVERED"))]).expect("changed");
        assert_eq!(ended.facts.ended_at, Some(Timestamp::from_secs(9)));
        assert_eq!(
            after(&[put(status("DELIVERED")), put(status("NEW"))]),
            Err(ErrorCode::OrderClosed)
        );
        let late = rules().decide(&ended, &put(status("DELIVERED")), Timestamp::from_secs(99));
        assert_eq!(late.map_err(|failure| failure.code), Ok(ended));
    }

    #[test]
    fn the_name_goes_with_its_driver() {
        let named = OrderPatch { driver_name: Edit::Set("Dan".into()), ..driver(Some("dan")) };
        let name = |commands: &[OrderCommand]| after(commands).map(|known| known.facts.driver_name);
        assert_eq!(name(&[put(named.clone()), put(driver(Some("dan")))]), Ok(Some("Dan".into())));
        assert_eq!(name(&[put(named.clone()), put(driver(Some("eve")))]), Ok(None));
        let known = after(&[put(named), put(driver(None))]).expect("changed");
        assert!(known.facts.dispatched && known.facts.driver_name.is_none());
    }

    #[test]
    fn only_a_put_creates_an_order_and_a_deleted_one_starts_afresh() {
        assert_eq!(after(&[OrderCommand::Patch(status("NEW"))]), Err(ErrorCode::NotFound));
        assert_eq!(after(&[OrderCommand::Delete]), Err(ErrorCode::NotFound));
        let deleted = after(&[put(driver(Some("dan"))), OrderCommand::Delete]).expect("deleted");
        assert!(deleted.facts.deleted && !deleted.exists);
        let anew = after(&[put(driver(Some("dan"))), OrderCommand::Delete, put(status("NEW"))]);
        let shown_since = Some(Timestamp::from_secs(9));
        let status_new = Some("NEW".into());
        let remade_at = Some(Timestamp::from_secs(9));
        let expected =
            OrderFacts { status: status_new, shown_since, remade_at, ..OrderFacts::default() };
        assert_eq!(anew.map(|known| known.facts), Ok(expected));
        let version = |number| put(OrderPatch { version: Some(number), ..status("NEW") });
        assert_eq!(after(&[version(7), OrderCommand::Delete, version(6)]), Err(ErrorCode::Stale));
    }
}
