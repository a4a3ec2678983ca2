//! Schemas of what bodies hold, and parameters that many calls share, for the `OpenAPI` document.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use protocol::ids::{OrderId, UserId};
use protocol::openapi::{order_id, user_id};

/// The roles of participants in an order.
const ROLES: [&str; 3] = ["customer", "driver", "support"];

macro_rules! schemas {
    ($($(#[$doc:meta])* $name:ident: $described:expr;)+) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $described.into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )+};
}

schemas! {
    /// An order's id in a body. A number is taken as its text.
    AnyOrderId: order_id(&[Type::String, Type::Integer])
        .description(Some("An order's id; a whole number is taken as its text"));
    /// A user's id in a body. A number is taken as its text.
    AnyUserId: user_id(&[Type::String, Type::Integer])
        .description(Some("A user's id; a whole number is taken as its text"));
    /// A user's name.
    Name: text(128, r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")
        .description(Some("A display name: not blank, without control characters"));
    /// A participant's role.
    RoleName: AnyOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(ROLES)))
        .item(ObjectBuilder::new().schema_type(Type::String))
        .description(Some("One of these, or of your own words for them in `JWT_ROLE_MAP`"));
    /// The status of an order.
    Status: text(40, "^[A-Z0-9_]+$")
        .description(Some("One of `ORDER_STATUSES`, where that is set"))
        .examples(["ON_THE_WAY"]);
    /// The name of a back end's event.
    EventName: text(64, r#"^[^\x00-\x1f\x7f-\x9f"\\]+$"#)
        .description(Some("None of the names of the protocol and of Socket.IO"))
        .examples(["kitchen:ready"]);
}

fn text(longest: usize, pattern: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    text.min_length(Some(1)).max_length(Some(longest))
}

/// Data of a back end, which the hub passes on unchanged.
pub(in crate::http) fn data() -> Schema {
    passed_on().build().into()
}

/// The same, optional.
pub(in crate::http) fn optional_data() -> Schema {
    passed_on().item(ObjectBuilder::new().schema_type(Type::Null)).build().into()
}

/// One schema for each JSON type, with its contents: client generators leave out a list of types
/// without contents, or allow no contents.
fn passed_on() -> AnyOfBuilder {
    let anything = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    let object = ObjectBuilder::new().schema_type(Type::Object);
    let object = object.additional_properties(Some(AdditionalProperties::FreeForm(true)));
    AnyOfBuilder::new()
        .item(object)
        .item(ArrayBuilder::new().items(anything))
        .description(Some("An object or array of up to 16 KiB, passed on as it is"))
        .examples([json!({ "eta": "12:30" })])
}

/// The order that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "for the document alone")]
pub(in crate::http) struct InOrder {
    /// Which order
    order: OrderId,
}

/// The user that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "for the document alone")]
pub(in crate::http) struct OfUser {
    /// Which user
    user: UserId,
}

/// A call with an idempotency key.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "for the document alone")]
pub(in crate::http) struct OnceKey {
    /// Your own key for this call: for 24 hours the same call gets the same answer
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    idempotency_key: Option<String>,
}
