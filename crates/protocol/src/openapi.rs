//! Schemas of ids and times, for the `OpenAPI` document of a program that serves them.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ids::{MAX_ID_BYTES, OrderId, UserId};
use crate::time::Timestamp;

macro_rules! id {
    ($type:ty, $name:literal, $schema:ident, $description:literal, $example:literal) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let id = $schema(&[Type::String]).description(Some($description));
                id.examples([$example]).build().into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    };
}

id!(OrderId, "OrderId", order_id, "An order, by the id that your back end gave it", "order-1");
id!(UserId, "UserId", user_id, "A user, by the id in the token", "customer-1");

/// An order's id, where these JSON types are taken for it.
pub fn order_id(types: &[Type]) -> ObjectBuilder {
    id_of(types, "^[A-Za-z0-9._:~-]+$")
}

/// A user's id, where these JSON types are taken for it.
pub fn user_id(types: &[Type]) -> ObjectBuilder {
    id_of(types, "^[A-Za-z0-9._:~@+|=-]+$")
}

fn id_of(types: &[Type], pattern: &str) -> ObjectBuilder {
    let id = ObjectBuilder::new().schema_type(types.iter().cloned().collect::<SchemaType>());
    let id = id.pattern(Some(pattern));
    id.min_length(Some(1)).max_length(Some(MAX_ID_BYTES))
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        let time = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, with a zone; the hub says UTC with milliseconds"));
        time.examples(["2026-11-26T12:00:00.000Z"]).build().into()
    }
}

impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}
