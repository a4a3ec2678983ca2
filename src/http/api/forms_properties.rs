//! Properties of every body of a back end's call; `tests/fuzz` checks them for longer.

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::super::json::read_form;
use super::*;
use crate::mutate;
use protocol::error::ErrorCode;

const BODIES: &[&str] = &[
    r#"{"status":"NEW","version":1,"participants":[{"userId":"c1","role":"customer","name":"Ana"},{"userId":7,"role":"support"}]}"#,
    r#"{"orderId":"o1","driverId":"d1","driverName":"Dan"}"#,
    r#"{"driverId":null,"driverName":null,"version":9007199254740991}"#,
    r#"{"status":"ON_THE_WAY","at":"2026-05-04T12:30:00Z","data":{"eta":"12:30","n":[1,[2]]}}"#,
    r#"{"driverId":"d2","at":"2026-05-04T12:30:00+02:00"}"#,
];

const WORDS: &[&str] = &[
    "\"status\":",
    "\"participants\":[",
    "\"userId\":\"c1\"",
    "\"role\":\"admin\"",
    "\"driverId\":null",
    "\"data\":",
    "\"version\":",
    "\"DONE\"",
];

/// Parses a body as the routes do.
fn read<T: DeserializeOwned>(
    body: &str,
    patch: impl FnOnce(T, AllowedValues<'_>) -> Result<OrderPatch, Failure>,
) -> Result<OrderPatch, Failure> {
    let (statuses, roles) = (None, RoleMap::default());
    patch(read_form(body, "body")?, AllowedValues { statuses, roles: &roles })
}

fn check_name(name: Option<&String>) -> Result<(), TestCaseError> {
    let good = |name: &String| !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARS;
    prop_assert!(name.is_none_or(|name| good(name) && !name.chars().any(char::is_control)));
    Ok(())
}

proptest! {
    #![proptest_config(mutate::config())]

    #[test]
    fn a_change_keeps_every_limit_and_a_refusal_names_a_field(body in mutate::mutated(BODIES, WORDS)) {
        for read in [
            read(&body, |form: OrderForm, allowed_values| form.patch(allowed_values)),
            read(&body, |form: StatusForm, allowed_values| form.patch(allowed_values).map(|(patch, _)| patch)),
            read(&body, |form: AssignForm, _| form.patch().map(|(patch, _)| patch)),
        ] {
            let patch = match read {
                Ok(patch) => patch,
                Err(failure) => {
                    prop_assert_eq!(failure.code, ErrorCode::InvalidPayload);
                    // A text that is not JSON has no fields.
                    let is_json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
                    prop_assert!(!is_json || failure.field.is_some());
                    continue;
                }
            };
            prop_assert!(patch.version.is_none_or(|version| (0..1 << 53).contains(&version)));
            let status = |status: String| (1..=40).contains(&status.len()) && status.is_ascii();
            prop_assert!(patch.status.is_none_or(status));
            if let Edit::Set(name) = &patch.driver_name {
                check_name(Some(name))?;
            }
            let Some(ParticipantsEdit::Replace(listed)) = patch.participants else { continue };
            let users: BTreeSet<_> = listed.iter().map(|one| &one.user_id).collect();
            prop_assert!(listed.len() <= 100 && users.len() == listed.len());
            for one in &listed {
                prop_assert!(one.role != Role::Admin && one.role != Role::Service);
                check_name(one.name.as_ref())?;
            }
        }
    }
}

#[test]
fn the_inputs_are_good() {
    for body in BODIES {
        let order = read(body, |form: OrderForm, allowed_values| form.patch(allowed_values));
        let status = read(body, |form: StatusForm, allowed_values| {
            form.patch(allowed_values).map(|(patch, _)| patch)
        });
        let driver = read(body, |form: AssignForm, _| form.patch().map(|(patch, _)| patch));
        assert!(order.is_ok() || status.is_ok() || driver.is_ok(), "{body}");
    }
}
