//! The bodies that back ends send, as typed forms. Each form is checked here once and becomes a
//! command.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::actors::store::ChangeNote;
use crate::config::RoleMap;
use crate::http::openapi::schemas as docs;
use crate::room::change::{Edit, OrderPatch, ParticipantsEdit};
use crate::room::order::{Participant, Participants};
use protocol::back_end::checked_data;
use protocol::error::Failure;
use protocol::ids::{OrderId, UserId};
use protocol::json_number::{self, MAX_SAFE_INTEGER};
use protocol::order::is_status;
use protocol::role::Role;
use protocol::text::visible_name;
use protocol::time::Timestamp;

/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 128;

/// The statuses and roles that the hub's settings allow.
#[derive(Clone, Copy)]
pub(super) struct AllowedValues<'a> {
    /// The allowed statuses; `None` allows all.
    pub(super) statuses: Option<&'a BTreeSet<String>>,
    /// The names that back ends use for roles.
    pub(super) roles: &'a RoleMap,
}

/// An order to create or to merge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({ "status": "NEW", "version": 1,
    "participants": [{ "userId": "customer-1", "role": "customer", "name": "Ana" }] }))]
pub(super) struct OrderForm {
    /// The order's id. Where the path names it, the same id or absent.
    #[schema(value_type = Option<docs::AnyOrderId>)]
    order_id: Option<OrderId>,
    /// Absent: unchanged.
    #[schema(value_type = Option<docs::Status>)]
    status: Option<String>,
    /// Absent: unchanged; null: no driver.
    #[serde(default)]
    #[schema(value_type = Option<docs::AnyUserId>, required = false)]
    driver_id: Edit<UserId>,
    /// Absent: unchanged; null: no name.
    #[serde(default)]
    #[schema(value_type = Option<docs::Name>, required = false)]
    driver_name: Edit<String>,
    /// Replaces the list: participants that are not in it are removed.
    #[schema(max_items = 100)]
    participants: Option<Vec<ListedForm>>,
    /// Your own version number of the order: a number below the known one is refused.
    #[serde(default, deserialize_with = "json_number::optional")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    version: Option<u64>,
}

/// A new status.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({ "status": "ON_THE_WAY", "version": 3, "data": { "eta": "12:30" } }))]
pub(super) struct StatusForm {
    #[schema(value_type = docs::Status)]
    status: String,
    /// When it happened, for display.
    at: Option<Timestamp>,
    /// As in the order.
    #[serde(default, deserialize_with = "json_number::optional")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    version: Option<u64>,
    /// An object or array of up to 16 KiB, which is sent unchanged with `order:status`.
    #[schema(schema_with = docs::optional_data)]
    data: Option<Box<RawValue>>,
}

/// A driver to assign, or null.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({ "driverId": "driver-1", "driverName": "Dan" }))]
pub(super) struct AssignForm {
    /// Null takes the driver away. The field must be present.
    #[serde(deserialize_with = "Edit::deserialize")]
    #[schema(value_type = Option<docs::AnyUserId>, required)]
    driver_id: Edit<UserId>,
    #[schema(value_type = Option<docs::Name>)]
    driver_name: Option<String>,
    /// When it happened, for display.
    at: Option<Timestamp>,
    /// As in the order.
    #[serde(default, deserialize_with = "json_number::optional")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    version: Option<u64>,
}

/// A participant's role and name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ParticipantForm {
    #[schema(value_type = docs::RoleName)]
    role: String,
    #[schema(value_type = Option<docs::Name>)]
    name: Option<String>,
}

/// One participant of an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListedForm {
    #[schema(value_type = docs::AnyUserId)]
    user_id: UserId,
    #[schema(value_type = docs::RoleName)]
    role: String,
    #[schema(value_type = Option<docs::Name>)]
    name: Option<String>,
}

// === impl OrderForm ===

impl OrderForm {
    /// Takes the order's id out of the form.
    pub(super) fn take_order(&mut self) -> Option<OrderId> {
        self.order_id.take()
    }

    /// The order's changes.
    pub(super) fn patch(self, allowed_values: AllowedValues<'_>) -> Result<OrderPatch, Failure> {
        let participants =
            self.participants.map(|listed| allowed_values.roll(listed)).transpose()?;
        Ok(OrderPatch {
            status: self.status.map(|status| allowed_values.status(status)).transpose()?,
            driver_id: self.driver_id,
            driver_name: checked_driver_name(self.driver_name)?,
            participants,
            version: self.version.map(checked_version).transpose()?,
            creates: true,
        })
    }
}

// === impl StatusForm ===

impl StatusForm {
    /// The order's change, and its note for the event.
    pub(super) fn patch(
        self,
        allowed_values: AllowedValues<'_>,
    ) -> Result<(OrderPatch, ChangeNote), Failure> {
        let patch = OrderPatch {
            status: Some(allowed_values.status(self.status)?),
            version: self.version.map(checked_version).transpose()?,
            ..OrderPatch::default()
        };
        Ok((patch, ChangeNote { at: self.at, data: self.data.map(checked_data).transpose()? }))
    }
}

// === impl AssignForm ===

impl AssignForm {
    /// The order's change, and its note for the event.
    pub(super) fn patch(self) -> Result<(OrderPatch, ChangeNote), Failure> {
        let name = self.driver_name.map_or(Edit::Keep, Edit::Set);
        let patch = OrderPatch {
            driver_id: self.driver_id,
            driver_name: checked_driver_name(name)?,
            version: self.version.map(checked_version).transpose()?,
            ..OrderPatch::default()
        };
        Ok((patch, ChangeNote { at: self.at, data: None }))
    }
}

// === impl ParticipantForm ===

impl ParticipantForm {
    /// The change that makes this user a participant.
    pub(super) fn patch(
        self,
        user: UserId,
        allowed_values: AllowedValues<'_>,
    ) -> Result<OrderPatch, Failure> {
        let listed = ListedForm { user_id: user, role: self.role, name: self.name };
        let participants = Some(ParticipantsEdit::Put(allowed_values.participant(listed, "")?));
        Ok(OrderPatch { participants, ..OrderPatch::default() })
    }
}

// === impl AllowedValues ===

impl AllowedValues<'_> {
    pub(super) fn status(self, status: String) -> Result<String, Failure> {
        if !is_status(&status) {
            return Err(Failure::invalid("status", "must be 1 to 40 of A-Z, 0-9 and _"));
        }
        if self.statuses.is_some_and(|known| !known.contains(&status)) {
            return Err(Failure::invalid("status", "is none of ORDER_STATUSES"));
        }
        Ok(status)
    }

    fn roll(self, listed: Vec<ListedForm>) -> Result<ParticipantsEdit, Failure> {
        if listed.len() > Participants::MOST {
            return Err(Failure::invalid("participants", "are more than 100"));
        }
        let mut users = BTreeSet::new();
        let mut participants = Vec::with_capacity(listed.len());
        for (place, one) in listed.into_iter().enumerate() {
            let path = format!("participants[{place}].");
            if !users.insert(one.user_id.clone()) {
                return Err(Failure::invalid(path + "userId", "is there twice"));
            }
            participants.push(self.participant(one, &path)?);
        }
        Ok(ParticipantsEdit::Replace(participants))
    }

    fn participant(self, form: ListedForm, path: &str) -> Result<Participant, Failure> {
        let ListedForm { user_id, role, name } = form;
        let role = self.role(&role, format!("{path}role"))?;
        Ok(Participant { user_id, role, name: checked_name(name, format!("{path}name"))? })
    }

    /// A role that a participant may have.
    pub(super) fn role(
        self,
        name: &str,
        field: impl Into<Cow<'static, str>>,
    ) -> Result<Role, Failure> {
        let role = self.roles.role(name);
        let allowed = |role: &Role| matches!(role, Role::Customer | Role::Driver | Role::Support);
        role.filter(allowed)
            .ok_or_else(|| Failure::invalid(field, "must be customer, driver or support"))
    }
}

pub(super) fn checked_name(name: Option<String>, field: String) -> Result<Option<String>, Failure> {
    let is_bad = |name: &String| {
        name.trim().is_empty()
            || name.chars().count() > MAX_NAME_CHARS
            || name.chars().any(char::is_control)
    };
    match name {
        Some(name) if is_bad(&name) => {
            Err(Failure::invalid(field, "must be 1 to 128 characters without control characters"))
        }
        // A name without visible characters counts as absent.
        name => Ok(name.and_then(|name| visible_name(&name).map(Cow::into_owned))),
    }
}

fn checked_driver_name(name: Edit<String>) -> Result<Edit<String>, Failure> {
    match name {
        Edit::Set(name) => checked_name(Some(name), "driverName".to_owned())
            .map(|name| name.map_or(Edit::Keep, Edit::Set)),
        name => Ok(name),
    }
}

fn checked_version(version: u64) -> Result<i64, Failure> {
    let exact = Some(version).filter(|version| *version <= MAX_SAFE_INTEGER);
    exact
        .and_then(|version| i64::try_from(version).ok())
        .ok_or_else(|| Failure::invalid("version", "must be 0 to 2^53 - 1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::api::json::read_form;
    use protocol::back_end::MAX_DATA_BYTES;

    fn patch(text: &str) -> Result<OrderPatch, String> {
        let roles = "COURIER=driver".parse().expect("a map");
        let statuses = BTreeSet::from(["NEW".to_owned()]);
        let allowed_values = AllowedValues { statuses: Some(&statuses), roles: &roles };
        let form = read_form::<OrderForm>(text, "body").and_then(|form| form.patch(allowed_values));
        form.map_err(|failure| failure.field.unwrap_or_default().into_owned())
    }

    #[test]
    fn null_takes_away_and_absent_leaves_as_it_is() {
        let driver = |text| patch(text).map(|patch| (patch.driver_id, patch.driver_name));
        assert_eq!(driver("{}"), Ok((Edit::Keep, Edit::Keep)));
        let nobody = r#"{"driverId":null,"driverName":null}"#;
        assert_eq!(driver(nobody), Ok((Edit::Clear, Edit::Clear)));
        let dan = "7".parse().expect("an id");
        assert_eq!(driver(r#"{"driverId":7}"#), Ok((Edit::Set(dan), Edit::Keep)));
    }

    #[test]
    fn a_version_may_be_a_whole_double() {
        let version = |text| patch(text).map(|patch| patch.version);
        assert_eq!(version(r#"{"version":7.0}"#), Ok(Some(7)));
        assert_eq!(version(r#"{"version":null}"#), Ok(None));
        assert_eq!(version(r#"{"version":7.5}"#), Err("version".to_owned()));
    }

    #[test]
    fn roles_are_those_of_the_hub_or_of_the_back_end() {
        let role = |text: &str| {
            let text = format!(r#"{{"participants":[{{"userId":"u","role":"{text}"}}]}}"#);
            patch(&text).map(|patch| match patch.participants {
                Some(ParticipantsEdit::Replace(all)) => all.first().map(|one| one.role),
                _ => None,
            })
        };
        assert_eq!(role("COURIER"), Ok(Some(Role::Driver)));
        assert_eq!(role("customer"), Ok(Some(Role::Customer)));
        for bad in ["admin", "service", "WIZARD", ""] {
            assert_eq!(role(bad), Err("participants[0].role".to_owned()), "{bad}");
        }
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let long = "x".repeat(129);
        let long = format!(r#"{{"driverName":"{long}"}}"#);
        let deep = format!(r#"{{"status":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
        for (text, field) in [
            ("[]", "body"),
            ("{} {}", "body"),
            (deep.as_str(), "body"),
            (r#"{"status":"new"}"#, "status"),
            (r#"{"status":"OTHER"}"#, "status"),
            (r#"{"status":7}"#, "status"),
            (r#"{"driverId":"a b"}"#, "driverId"),
            (r#"{"driverName":""}"#, "driverName"),
            (r#"{"driverName":"a\u0000b"}"#, "driverName"),
            (long.as_str(), "driverName"),
            (r#"{"version":-1}"#, "version"),
            (r#"{"version":9007199254740992}"#, "version"),
            (r#"{"colour":"red"}"#, "colour"),
            (r#"{"participants":[{"userId":"u"}]}"#, "participants[0]"),
            (r#"{"participants":[{"userId":"u","role":"customer","x":1}]}"#, "participants[0].x"),
            (
                r#"{"participants":[{"userId":"u","role":"driver"},{"userId":"u","role":"driver"}]}"#,
                "participants[1].userId",
            ),
        ] {
            assert_eq!(patch(text).map(drop), Err(field.to_owned()), "{text}");
        }
    }

    #[test]
    fn details_of_a_status_are_an_object_of_bounded_size() {
        let data = |data: &str| {
            let allowed_values = AllowedValues { statuses: None, roles: &RoleMap::default() };
            let text = format!(r#"{{"status":"NEW","data":{data}}}"#);
            let form =
                read_form::<StatusForm>(&text, "body").and_then(|form| form.patch(allowed_values));
            form.map(|(_, note)| note.data.map(|data| data.get().to_owned()))
                .map_err(|failure| failure.field.unwrap_or_default().into_owned())
        };
        assert_eq!(data(r#"{"eta":"12:30"}"#), Ok(Some(r#"{"eta":"12:30"}"#.to_owned())));
        assert_eq!(data("null"), Ok(None));
        assert_eq!(data("\"text\""), Err("data".to_owned()));
        assert_eq!(data(&format!("[\"{}\"]", "x".repeat(MAX_DATA_BYTES))), Err("data".to_owned()));
    }

    #[test]
    fn an_assignment_names_a_driver_or_clears_it() {
        let driver = |text| {
            let form = read_form::<AssignForm>(text, "body").and_then(AssignForm::patch);
            form.map(|(patch, _)| patch.driver_id)
                .map_err(|failure| failure.field.unwrap_or_default().into_owned())
        };
        assert_eq!(driver(r#"{"driverId":null}"#), Ok(Edit::Clear));
        assert_eq!(driver("{}"), Err("driverId".to_owned()));
    }
}

#[cfg(test)]
#[path = "forms_properties.rs"]
mod properties;
