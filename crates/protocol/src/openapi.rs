//! Schemas of ids and times, and descriptions of the events, for the documents of a program that
//! serves them: `OpenAPI` and `AsyncAPI`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::chat::ChatMessage;
use crate::error::Failure;
use crate::events::back_end::BackEndPush;
use crate::events::chat::ChatPush;
use crate::events::join::Snapshot;
use crate::events::location::{Location, RawLocation};
use crate::events::ping::{Ping, Pong};
use crate::ids::{MAX_ID_BYTES, OrderId, SessionId, UserId};
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

/// The answer to an event that was refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is only described here; replies are written piece by piece")]
pub struct Refused {
    /// False.
    ok: bool,
    /// Why.
    error: Failure,
}

/// An event, as a document describes it.
pub struct DescribedEvent {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Its data.
    pub data: DescribedType,
    /// What the reply to a client's event holds beside `ok`; none for events of the hub.
    pub reply: Option<DescribedType>,
}

/// A type with all types that it refers to.
pub struct DescribedType {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its schema and those of the types that it refers to, by name.
    pub schemas: BTreeMap<String, RefOr<Schema>>,
}

impl DescribedType {
    /// The description of a type.
    pub fn of<T: ToSchema>() -> Self {
        let mut schemas = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut schemas);
        Self { name: T::name(), schemas: schemas.into_iter().collect() }
    }
}

/// The schema of another type: what is on the wire has that form.
macro_rules! described_as {
    ($($type:ty: $other:ty;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                <$other>::schema()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                <$other>::name()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                <$other>::schemas(schemas);
            }
        }
    )*};
}

described_as! {
    ChatPush<'_>: ChatMessage;
    Location: RawLocation;
    &Snapshot<'_>: Snapshot<'_>;
    Ping: Anything;
    Pong<'_>: Anything;
}

impl PartialSchema for SessionId {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new().schema_type(Type::String);
        id.description(Some("A session, by the id that the hub gave it")).build().into()
    }
}

impl ToSchema for SessionId {}

/// Any JSON.
struct Anything;

impl PartialSchema for Anything {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(SchemaType::AnyValue).build().into()
    }
}

impl ToSchema for Anything {}

impl PartialSchema for BackEndPush<'_> {
    fn schema() -> RefOr<Schema> {
        let types: SchemaType = [Type::Object, Type::Array].into_iter().collect();
        ObjectBuilder::new().schema_type(types).build().into()
    }
}

impl ToSchema for BackEndPush<'_> {
    fn name() -> Cow<'static, str> {
        "BackEndData".into()
    }
}
