//! `/api/v1/orders/{id}/messages`: chat that back ends and participants write and read over HTTP.

use std::time::Instant;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::{acquire_read, store_for};
use super::forms::{AllowedValues, checked_name};
use super::idempotency::{IdempotentBody, check_same_body, message_key};
use super::json::Json;
use super::orders::allowed_values;
use super::{await_forwarded, store_problem};
use crate::actors::hooks::{ChatHook, Decision};
use crate::actors::shared::{chat_failure, hook_failure, rate_limited, unavailable};
use crate::actors::store::{ChatWriteError, LoadedOrder, NewMessage, Page, PageRange};
use crate::auth::{Identity, Principal, Scope};
use crate::http::Hub;
use crate::http::authorization::Reach;
use crate::http::openapi::problems::{
    BadBody, BadRequest, ChatConflict, KeyReused, NotFound, RateLimited, Refused,
};
use crate::http::openapi::schemas::{AnyUserId, InOrder, Name, OnceKey, RoleName};
use crate::http::path_id::PathId;
use crate::http::problem::Problem;
use crate::rate_limit::users::RateKind;
use crate::room::order::OrderFacts;
use crate::room::policy::{Action, chat_has_closed};
use protocol::chat::{ChatKind, ChatMessage, check_client_msg_id, check_content};
use protocol::error::{ErrorCode, Failure};
use protocol::events::checked_seq;
use protocol::events::history::{DEFAULT_PAGE, History, checked_history};
use protocol::ids::{OrderId, UserId};
use protocol::json_number;
use protocol::role::Role;
use protocol::time::Timestamp;

/// The sender's id of a back end's message by default.
const SYSTEM: &str = "system";
/// The sender's name of a back end's message by default.
const SYSTEM_NAME: &str = "System";

/// A message to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({ "type": "SYSTEM", "content": "Your order is on its way" }))]
pub(super) struct MessageForm {
    /// The text; for a picture its address or key.
    #[schema(min_length = 1, max_length = 4000)]
    content: String,
    /// The kind of content.
    #[serde(rename = "type")]
    kind: Option<ChatKind>,
    /// The sender, if it is not the caller.
    #[schema(value_type = Option<AnyUserId>)]
    sender_id: Option<UserId>,
    /// The sender's name.
    #[schema(value_type = Option<Name>)]
    sender_name: Option<String>,
    /// The sender's role.
    #[schema(value_type = Option<RoleName>)]
    sender_role: Option<String>,
    /// The sender's own key, by which a retry is recognised.
    #[serde(default, deserialize_with = "json_number::optional_text")]
    #[schema(min_length = 1, max_length = 64)]
    client_msg_id: Option<String>,
}

/// A message that is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredView {
    /// The message's id.
    id: String,
    /// The message's number in the order.
    seq: i64,
    /// When the hub admitted it.
    created_at: Timestamp,
    /// Whether it was stored by an earlier call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    duplicate: bool,
}

/// The requested page of an order's chat.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessagesQuery {
    /// The page that ends before this message
    #[param(nullable = false, maximum = 9_007_199_254_740_991_u64)]
    before_seq: Option<u64>,
    /// The page that begins after this message; 0 is the beginning. Not with `beforeSeq`
    #[param(nullable = false, maximum = 9_007_199_254_740_991_u64)]
    after_seq: Option<u64>,
    /// How many messages at most
    #[param(nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// A page of an order's chat.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessagesView {
    /// Messages in order of `seq`.
    messages: Vec<ChatMessage>,
    /// Whether there are more messages in that direction.
    has_more: bool,
}

/// The author of a message.
struct Author {
    id: UserId,
    name: String,
    role: Role,
}

/// Writes a message to an order's chat
///
/// The message is stored, numbered and sent to the room like one from a phone. Users who may write
/// to the order's chat can use this too, as themselves only.
#[utoipa::path(
    post, path = "/api/v1/orders/{order}/messages", tag = "Chat", operation_id = "post_message",
    security(("token" = []), ("apiKey" = ["chat:write"])), params(InOrder, OnceKey),
    request_body = MessageForm,
    responses(
        (status = 201, description = "Stored, now or by the same call before", body = StoredView),
        BadBody, NotFound, ChatConflict, KeyReused, RateLimited, Refused))]
pub(super) async fn post(
    caller: Principal,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
    IdempotentBody { body: Json(form), call }: IdempotentBody<Json<MessageForm>>,
) -> Result<HttpResponse, Problem> {
    let (PathId(order), now) = (order.into_inner(), Timestamp::now());
    let kind = form.kind.unwrap_or_default();
    check_content(kind, &form.content)?;
    check_client_msg_id(form.client_msg_id.as_deref())?;
    if hub.shared.is_draining() {
        return Err(unavailable("the hub restarts").into());
    }
    let reach = caller.reach(Scope::ChatWrite)?;
    let store = store_for(&hub, &reach);
    let known = store.load_order(order.clone(), 0).await.map_err(store_problem)?;
    let author = match reach {
        Reach::EveryOrder => author_of_service(&hub, &caller, &known, &form)?,
        Reach::OrdersOf(user) => author_of_user(&hub, user, &order, &known, &form)?,
    };
    check_same_body(&store, call.as_ref()).await?;
    let message = NewMessage {
        id: uuid::Uuid::now_v7().to_string(),
        order_id: order,
        sender_id: author.id,
        sender_name: author.name,
        sender_role: author.role,
        kind,
        content: form.content,
        client_msg_id: form.client_msg_id.or_else(|| call.as_ref().map(message_key)),
        created_at: now,
        sent_hash: None,
        judged_by: None,
    };
    let message = match (&hub.shared.hooks.chat, caller.reach(Scope::ChatWrite)?) {
        (Some(hook), Reach::OrdersOf(user)) => match ask(&hub, hook, user, message).await? {
            Asked::Store(message) => *message,
            Asked::Duplicate(stored) => return Ok(created(*stored, call.is_none())),
        },
        _ => message,
    };
    let tell = hub.supervisor().addr.clone().recipient();
    let stored = hub.shared.store.post_chat(message, tell).await.map_err(chat_failure)?;
    await_forwarded(&hub).await?;
    // An idempotent call gets the same answer as the first one, without `duplicate`.
    Ok(created(stored.message, stored.duplicate && call.is_none()))
}

fn created(stored: ChatMessage, duplicate: bool) -> HttpResponse {
    let ChatMessage { id, seq, created_at, .. } = stored;
    HttpResponse::Created().json(StoredView { id, seq, created_at, duplicate })
}

/// What becomes of a user's message about which the back end was asked.
enum Asked {
    /// It is to be stored.
    Store(Box<NewMessage>),
    /// It was stored before.
    Duplicate(Box<ChatMessage>),
}

/// Asks the back end about a user's message, and then judges the user's rights again.
async fn ask(
    hub: &Hub,
    hook: &ChatHook,
    user: &Identity,
    message: NewMessage,
) -> Result<Asked, Problem> {
    let (store, order) = (&hub.shared.store, message.order_id.clone());
    let decision = hook.decide(store, message).await;
    let known = store.load_order(order.clone(), 0).await.map_err(store_problem)?;
    if hub.shared.is_draining() {
        return Err(unavailable("the hub restarts").into());
    }
    if hub.shared.verifier.has_revoked(user) {
        return Err(Failure::forbidden().into());
    }
    hub.shared.rights_of(user, &order, &known.facts).to(Action::Chat)?;
    match decision {
        Decision::Store(message) => Ok(Asked::Store(message)),
        Decision::Duplicate(stored) => Ok(Asked::Duplicate(stored)),
        Decision::Conflict => Err(chat_failure(ChatWriteError::Conflict).into()),
        Decision::Rejected(reason) => Err(hook_failure(reason).into()),
        Decision::Unavailable => Err(unavailable("the message cannot be checked now").into()),
    }
}

/// The author of a back end's message: the system, a user that it names, or the user of its token.
fn author_of_service(
    hub: &Hub,
    caller: &Principal,
    known: &LoadedOrder,
    form: &MessageForm,
) -> Result<Author, Failure> {
    if !known.exists {
        return Err(Failure::new(ErrorCode::NotFound, "no such order"));
    }
    let name = checked_name(form.sender_name.clone(), "senderName".to_owned())?;
    if form.kind == Some(ChatKind::System) {
        if form.sender_role.is_some() {
            return Err(Failure::invalid(
                "senderRole",
                "only a back end may send a SYSTEM message",
            ));
        }
        let system = || UserId::new(SYSTEM).map_err(|_| Failure::invalid("senderId", "is missing"));
        let id = form.sender_id.clone().map_or_else(system, Ok)?;
        let name = name.unwrap_or_else(|| SYSTEM_NAME.to_owned());
        return Ok(Author { id, name, role: Role::Service });
    }
    if chat_has_closed(&hub.shared.rules, &known.facts, Timestamp::now()) {
        return Err(Failure::new(ErrorCode::OrderClosed, "the order has ended"));
    }
    match (&form.sender_id, caller.identity()) {
        (Some(id), _) => author_named_by_service(
            allowed_values(hub),
            id,
            name,
            form.sender_role.as_deref(),
            &known.facts,
        ),
        (None, Some(identity)) if name.is_none() && form.sender_role.is_none() => {
            Ok(Author::from(identity))
        }
        (None, _) => {
            Err(Failure::invalid("senderId", "is missing: a back end must name the sender"))
        }
    }
}

/// An author that a back end names, completed with what the order knows of that user.
fn author_named_by_service(
    allowed_values: AllowedValues<'_>,
    user: &UserId,
    name: Option<String>,
    role: Option<&str>,
    facts: &OrderFacts,
) -> Result<Author, Failure> {
    let drives = facts.driver_id.as_ref() == Some(user);
    let standing = facts.participants.get(user);
    let role = match role {
        Some(role) => allowed_values.role(role, "senderRole")?,
        None if drives => Role::Driver,
        None => standing.map(|standing| standing.role).unwrap_or_default(),
    };
    let named = standing.and_then(|standing| standing.name.clone());
    let driver_name = || facts.driver_name.clone().filter(|_| drives);
    let name = name.or(named).or_else(driver_name).unwrap_or_else(|| user.to_string());
    Ok(Author { id: user.clone(), name, role })
}

/// A user writes as himself, with the same rights and rate as on a socket.
fn author_of_user(
    hub: &Hub,
    identity: &Identity,
    order: &OrderId,
    known: &LoadedOrder,
    form: &MessageForm,
) -> Result<Author, Failure> {
    let forbidden = |message: &'static str| Failure::new(ErrorCode::Forbidden, message);
    let rights = hub.shared.rights_of(identity, order, &known.facts);
    rights.to(Action::Chat).map_err(|failure| tell_staff_if_missing(failure, identity, known))?;
    if !known.exists && !rights.subject.named && !hub.shared.rules.open {
        return Err(Failure::new(ErrorCode::NotFound, "no such order"));
    }
    if form.kind == Some(ChatKind::System) {
        return Err(forbidden("only services write SYSTEM messages"));
    }
    let is_other = form.sender_id.as_ref().is_some_and(|sender| *sender != identity.user);
    if is_other || form.sender_name.is_some() || form.sender_role.is_some() {
        return Err(forbidden("only services say who a message is from"));
    }
    let now = Instant::now();
    let rates = hub.shared.user_rates.of(&identity.user, now);
    rates
        .take(RateKind::Event, now)
        .and_then(|()| rates.take(RateKind::Chat, now))
        .map_err(|wait| rate_limited("too many messages", wait))?;
    Ok(Author::from(identity))
}

/// Reads a page of an order's chat
///
/// Users who may read the chat can use this too.
#[utoipa::path(
    get, path = "/api/v1/orders/{order}/messages", tag = "Chat", operation_id = "list_messages",
    security(("token" = []), ("apiKey" = ["orders:read"])), params(InOrder, MessagesQuery),
    responses((status = 200, description = "In order of `seq`", body = MessagesView), BadRequest,
        NotFound, RateLimited, Refused))]
pub(super) async fn list(
    caller: Principal,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
    query: web::Query<MessagesQuery>,
) -> Result<HttpResponse, Problem> {
    let PathId(order) = order.into_inner();
    let (range, limit) = query.into_inner().range(&order)?;
    let reach = caller.reach(Scope::OrdersRead)?;
    let _turn = acquire_read(&hub, &reach).await?;
    let store = store_for(&hub, &reach);
    let known = store.load_order(order.clone(), 0).await.map_err(store_problem)?;
    if let Reach::OrdersOf(identity) = reach {
        let rights = hub.shared.rights_of(identity, &order, &known.facts);
        rights
            .to(Action::Read)
            .map_err(|failure| tell_staff_if_missing(failure, identity, &known))?;
    }
    if !known.exists {
        return Err(Failure::new(ErrorCode::NotFound, "no such order").into());
    }
    let page = store.page(order, range, limit).await.map_err(store_problem)?;
    let Page { messages, has_more } = page;
    Ok(HttpResponse::Ok().json(MessagesView { messages, has_more }))
}

/// Support and admins may see every order, so they may learn that an order does not exist.
fn tell_staff_if_missing(failure: Failure, identity: &Identity, known: &LoadedOrder) -> Failure {
    if identity.role.is_staff() && known.facts.deleted {
        return Failure::new(ErrorCode::NotFound, "no such order");
    }
    failure
}

// === impl MessagesQuery ===

impl MessagesQuery {
    /// The range of messages, and their largest number.
    fn range(self, order: &OrderId) -> Result<(PageRange, i64), Failure> {
        let asked = checked_history(History {
            order_id: order.clone(),
            before_seq: self.before_seq.map(|seq| checked_seq(seq, "beforeSeq")).transpose()?,
            after_seq: self.after_seq.map(|seq| checked_seq(seq, "afterSeq")).transpose()?,
            limit: self.limit.unwrap_or(DEFAULT_PAGE),
        })?;
        let range = match (asked.before_seq, asked.after_seq) {
            (Some(seq), _) => PageRange::Before(seq),
            (None, Some(seq)) => PageRange::After(seq),
            (None, None) => PageRange::Newest,
        };
        Ok((range, asked.limit))
    }
}

// === impl Author ===

impl From<&Identity> for Author {
    fn from(identity: &Identity) -> Self {
        let Identity { user, name, role, .. } = identity;
        Self { id: user.clone(), name: name.clone(), role: *role }
    }
}
