//! What a change of an order is told as.

use serde::Serialize;
use serde_json::value::RawValue;

use super::event::{EventKind, EventSet};
use super::payload::text;
use crate::room::order::OrderFacts;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// A committed change, as far as it is told.
#[derive(Clone, Copy)]
pub struct ChangeToTell<'a> {
    /// The order.
    pub order_id: &'a OrderId,
    /// What it was before.
    pub before: &'a OrderFacts,
    /// What it is now.
    pub now: &'a OrderFacts,
    /// Its revision now.
    pub rev: i64,
    /// The back end's version of it.
    pub version: Option<i64>,
    /// Whether this change created it.
    pub created: bool,
    /// When it happened.
    pub at: Timestamp,
    /// What the back end added about a new status.
    pub data: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    order_id: &'a OrderId,
    status: Option<&'a str>,
    driver_id: Option<&'a UserId>,
    driver_name: Option<&'a str>,
    participants: Vec<TakesPart<'a>>,
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(flatten)]
    when: When,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusChange<'a> {
    order_id: &'a OrderId,
    status: &'a str,
    previous_status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(flatten)]
    when: When,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Assigned<'a> {
    order_id: &'a OrderId,
    driver_id: Option<&'a UserId>,
    driver_name: Option<&'a str>,
    previous_driver_id: Option<&'a UserId>,
    #[serde(flatten)]
    when: When,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    order_id: &'a OrderId,
    #[serde(flatten)]
    when: When,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added<'a> {
    order_id: &'a OrderId,
    #[serde(flatten)]
    who: TakesPart<'a>,
    #[serde(flatten)]
    when: When,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Removed<'a> {
    order_id: &'a OrderId,
    user_id: &'a UserId,
    #[serde(flatten)]
    when: When,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TakesPart<'a> {
    user_id: &'a UserId,
    role: Role,
    name: Option<&'a str>,
}

/// By these a receiver knows the newer of two events of an order.
#[derive(Serialize, Clone, Copy)]
struct When {
    rev: i64,
    at: Timestamp,
}

// === impl ChangeToTell ===

impl ChangeToTell<'_> {
    /// The events of this change that are among `wanted`, in the order in which they are told.
    pub fn events(&self, wanted: EventSet) -> Vec<(EventKind, String)> {
        let mut events = Vec::new();
        let mut add = |kind, data: &dyn Fn() -> String| {
            if wanted.contains(kind) {
                events.push((kind, data()));
            }
        };
        if self.now.deleted {
            add(EventKind::OrderDeleted, &|| self.deleted());
        } else if self.created {
            add(EventKind::OrderCreated, &|| self.created());
        } else {
            if self.now.status.is_some() && self.now.status != self.before.status {
                add(EventKind::OrderStatus, &|| self.status());
            }
            if self.now.driver_id != self.before.driver_id {
                add(EventKind::OrderAssigned, &|| self.assigned());
            }
            self.participants(&mut add);
        }
        events
    }

    fn participants(&self, add: &mut impl FnMut(EventKind, &dyn Fn() -> String)) {
        let (before, when) = (&self.before.participants, self.when());
        for (user_id, state) in self.now.participants.all() {
            if state.removed && !before.has_removed(user_id) {
                let removed = Removed { order_id: self.order_id, user_id, when };
                add(EventKind::ParticipantRemoved, &|| text(&removed));
            } else if !state.removed && before.role_of(user_id) != Some(state.role) {
                let who = TakesPart { user_id, role: state.role, name: state.name.as_deref() };
                let added = Added { order_id: self.order_id, who, when };
                add(EventKind::ParticipantAdded, &|| text(&added));
            }
        }
    }

    fn when(&self) -> When {
        When { rev: self.rev, at: self.at }
    }

    fn created(&self) -> String {
        let participants = self.now.participants.present();
        let participants = participants.map(|(user_id, state)| TakesPart {
            user_id,
            role: state.role,
            name: state.name.as_deref(),
        });
        text(&Created {
            order_id: self.order_id,
            status: self.now.status.as_deref(),
            driver_id: self.now.driver_id.as_ref(),
            driver_name: self.now.driver_name.as_deref(),
            participants: participants.collect(),
            version: self.version,
            data: self.data,
            when: self.when(),
        })
    }

    fn status(&self) -> String {
        text(&StatusChange {
            order_id: self.order_id,
            status: self.now.status.as_deref().unwrap_or_default(),
            previous_status: self.before.status.as_deref(),
            data: self.data,
            when: self.when(),
        })
    }

    fn assigned(&self) -> String {
        text(&Assigned {
            order_id: self.order_id,
            driver_id: self.now.driver_id.as_ref(),
            driver_name: self.now.driver_name.as_deref(),
            previous_driver_id: self.before.driver_id.as_ref(),
            when: self.when(),
        })
    }

    fn deleted(&self) -> String {
        text(&Deleted { order_id: self.order_id, when: self.when() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::room::order::Participant;

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    fn facts(
        status: Option<&str>,
        driver: Option<&str>,
        participants: &[(&str, Role)],
    ) -> OrderFacts {
        let mut facts = OrderFacts {
            status: status.map(ToOwned::to_owned),
            driver_id: driver.map(user),
            ..OrderFacts::default()
        };
        for (id, role) in participants {
            facts.participants.put(Participant { user_id: user(id), role: *role, name: None });
        }
        facts
    }

    /// The events of a change to revision 7, without what all of them have.
    fn told(before: &OrderFacts, now: &OrderFacts, created: bool) -> Vec<(&'static str, Value)> {
        let data = serde_json::value::to_raw_value(&json!({"eta": 5})).expect("JSON");
        let change = ChangeToTell {
            order_id: &"o".parse().expect("an id"),
            before,
            now,
            rev: 7,
            version: Some(3),
            created,
            at: Timestamp::from_millis(9),
            data: Some(&data),
        };
        let all = EventSet::matching("*").expect("all");
        let without_common = |(kind, data): (EventKind, String)| {
            let mut data: Value = serde_json::from_str(&data).expect("JSON");
            let fields = data.as_object_mut().expect("an object");
            let common = ["orderId", "rev", "at"].map(|field| fields.remove(field));
            assert_eq!(common, [json!("o"), json!(7), json!("1970-01-01T00:00:00.009Z")].map(Some));
            (kind.as_str(), data)
        };
        change.events(all).into_iter().map(without_common).collect()
    }

    #[test]
    fn a_new_order_is_one_event_with_all_that_the_first_put_said() {
        let now = facts(Some("NEW"), Some("dan"), &[("ann", Role::Customer)]);
        let created = json!({"status": "NEW", "driverId": "dan", "driverName": null, "version": 3,
            "participants": [{"userId": "ann", "role": "customer", "name": null}],
            "data": {"eta": 5}});
        let events = told(&OrderFacts::default(), &now, true);
        assert_eq!(events, [("order.created", created)]);
    }

    #[test]
    fn a_change_is_one_event_for_each_part() {
        use Role::{Customer, Driver, Support};
        let before = facts(Some("NEW"), Some("dan"), &[("ann", Customer), ("bob", Support)]);
        let mut now =
            facts(Some("READY"), None, &[("ann", Customer), ("bob", Driver), ("cy", Support)]);
        now.participants.remove(user("ann"));
        now.participants.remove(user("eve"));
        let events = told(&before, &now, false);
        let added = |id, role| json!({"userId": id, "role": role, "name": null});
        let (status, assigned) = (
            json!({"status": "READY", "previousStatus": "NEW", "data": {"eta": 5}}),
            json!({"driverId": null, "driverName": null, "previousDriverId": "dan"}),
        );
        let expected = [
            ("order.status", status),
            ("order.assigned", assigned),
            ("participant.removed", json!({"userId": "ann"})),
            ("participant.added", added("bob", "driver")),
            ("participant.added", added("cy", "support")),
            ("participant.removed", json!({"userId": "eve"})),
        ];
        assert_eq!(events, expected);
        assert_eq!(told(&now, &now, false), []);
    }

    #[test]
    fn the_end_of_an_order_is_one_event() {
        let before = facts(Some("NEW"), Some("dan"), &[("ann", Role::Customer)]);
        let now = OrderFacts { deleted: true, ..OrderFacts::default() };
        assert_eq!(told(&before, &now, false), [("order.deleted", json!({}))]);
    }
}
