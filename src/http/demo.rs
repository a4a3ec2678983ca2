//! `/demo`: a page on which a driver, a customer and support take part in one order. The hub plays
//! their back end here: it makes their tokens and sets the order's status.
//!
//! It exists only where the hub made its own secret, and answers only to pages of this machine
//! ([`local::Local`]). Its tokens are for orders whose names begin with [`ORDER_PREFIX`].

mod limits;
mod local;

use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};

pub use self::limits::DemoLimits;
use self::local::Local;
use super::Hub;
use super::api::{change, checked_status, store_problem};
use super::problem::{Problem, other_methods};
use crate::actors::store::ChangeNote;
use crate::auth::{NewToken, mint};
use crate::room::change::{Edit, OrderCommand, OrderPatch, ParticipantsEdit};
use crate::room::order::Participant;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// How the names of the demo's orders begin.
const ORDER_PREFIX: &str = "demo-";
/// How long a token is valid.
const TOKEN_TTL: Duration = Duration::from_secs(3600);
/// Nothing inline, and nothing from other hosts.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page, as `examples/web` builds it.
const PAGE: &str = include_str!("../../examples/web/demo/demo.html");
const SCRIPT: &str = include_str!("../../examples/web/demo/demo.js");
const STYLE: &str = include_str!("../../examples/web/demo/demo.css");

/// The parts that the page plays.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Driver,
    Customer,
    Support,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenQuery {
    order: OrderId,
    r#as: Part,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    order: OrderId,
    status: String,
}

#[derive(Serialize)]
struct NewTokenView {
    token: String,
}

#[derive(Serialize)]
struct StatusView {
    status: String,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    let get = || other_methods("GET");
    let post = || other_methods("POST");
    config
        .service(web::resource("/demo").get(page).default_service(get()))
        .service(web::resource("/demo/demo.js").get(script).default_service(get()))
        .service(web::resource("/demo/demo.css").get(style).default_service(get()))
        .service(web::resource("/demo/token").post(make_token).default_service(post()))
        .service(web::resource("/demo/status").post(set_status).default_service(post()));
}

async fn page(_: Local) -> HttpResponse {
    file("text/html; charset=utf-8", PAGE)
}

async fn script(_: Local) -> HttpResponse {
    file("text/javascript; charset=utf-8", SCRIPT)
}

async fn style(_: Local) -> HttpResponse {
    file("text/css; charset=utf-8", STYLE)
}

fn file(kind: &str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-resource-policy", "same-origin"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .body(text)
}

/// Makes the user of a part a participant of the order, and a token for that user.
async fn make_token(
    _: Local,
    hub: web::Data<Hub>,
    query: web::Query<TokenQuery>,
) -> Result<HttpResponse, Problem> {
    let TokenQuery { order, r#as: part } = query.into_inner();
    check_order(&order)?;
    hub.demo_limits.take_call(Instant::now())?;
    check_is_of_demo(&hub, &order).await?;
    hub.demo_limits.note_order(&order)?;
    let (user, name) = (part.user(&order)?, part.name());
    let is_driver = matches!(part, Part::Driver);
    let patch = OrderPatch {
        driver_id: if is_driver { Edit::Set(user.clone()) } else { Edit::Keep },
        driver_name: if is_driver { Edit::Set(name.to_owned()) } else { Edit::Keep },
        participants: Some(ParticipantsEdit::Put(Participant {
            user_id: user.clone(),
            role: part.role_in_order(),
            name: Some(name.to_owned()),
        })),
        creates: true,
        ..OrderPatch::default()
    };
    let command = OrderCommand::Patch(patch);
    change(&hub, order.clone(), command, ChangeNote::default(), None).await?;
    let grant = NewToken {
        user,
        name: Some(name.to_owned()),
        role: part.role_in_token(),
        orders: vec![order],
        ttl: TOKEN_TTL,
    };
    let token = mint(&hub.shared.config.auth, &grant, Timestamp::now()).map_err(|error| {
        log::error!("no token for the demo: {error}");
        Problem::internal("no token can be made, the log says why")
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(NewTokenView { token }))
}

async fn set_status(
    _: Local,
    hub: web::Data<Hub>,
    query: web::Query<StatusQuery>,
) -> Result<HttpResponse, Problem> {
    let StatusQuery { order, status } = query.into_inner();
    check_order(&order)?;
    hub.demo_limits.take_call(Instant::now())?;
    check_is_of_demo(&hub, &order).await?;
    let status = checked_status(&hub, status)?;
    let patch = OrderPatch { status: Some(status.clone()), ..OrderPatch::default() };
    change(&hub, order, OrderCommand::Patch(patch), ChangeNote::default(), None).await?;
    Ok(HttpResponse::Ok().json(StatusView { status }))
}

fn check_order(order: &OrderId) -> Result<(), Failure> {
    if order.as_str().starts_with(ORDER_PREFIX) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Forbidden, "the demo is for orders whose names begin with demo-"))
}

/// Refuses an order that a back end has made for others, whatever its name.
async fn check_is_of_demo(hub: &Hub, order: &OrderId) -> Result<(), Problem> {
    let stored = hub.shared.store.order(order.clone()).await.map_err(store_problem)?;
    let Some(stored) = stored else { return Ok(()) };
    let own = Part::ALL.map(|part| part.user(order)).into_iter().collect::<Result<Vec<_>, _>>()?;
    if stored.facts.involved_users().all(|user| own.contains(user)) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Forbidden, "others take part in this order").into())
}

// === impl Part ===

impl Part {
    const ALL: [Self; 3] = [Self::Driver, Self::Customer, Self::Support];

    /// Its user in this order. Each order has its own, so that a token opens no other one.
    fn user(self, order: &OrderId) -> Result<UserId, Failure> {
        let part = match self {
            Self::Driver => "driver",
            Self::Customer => "customer",
            Self::Support => "support",
        };
        UserId::new(&format!("{order}-{part}"))
            .map_err(|_| Failure::invalid("order", "is too long for the demo"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Driver => "Dan",
            Self::Customer => "Cleo",
            Self::Support => "Sam",
        }
    }

    fn role_in_order(self) -> Role {
        match self {
            Self::Driver => Role::Driver,
            Self::Customer => Role::Customer,
            Self::Support => Role::Support,
        }
    }

    /// The role `support` in a token would open every order of the hub.
    fn role_in_token(self) -> Role {
        match self {
            Self::Driver => Role::Driver,
            Self::Customer | Self::Support => Role::Customer,
        }
    }
}
