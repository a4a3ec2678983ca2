//! `POST /api/v1/orders:batch`: many orders, as lines or as an array, with a result for each.

use std::sync::Arc;

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::forms::OrderForm;
use super::idempotency::{IdempotentBody, check_same_body};
use super::json::{ARRAY, NdJson, read_form};
use super::orders::allowed_values;
use super::{await_forwarded, begin_change, store_failure};
use crate::actors::store::{
    AppliedChange, CallerClass, ChangeNote, Idempotent, IdempotentCall, StoredAnswer,
};
use crate::http::Hub;
use crate::http::authorization::{May, WriteOrders};
use crate::http::openapi::problems::{BadBody, KeyReused, Refused};
use crate::http::openapi::schemas::OnceKey;
use crate::http::problem::Problem;
use crate::room::change::{OrderCommand, OrderPatch};
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::json;

/// The media type of an answer in lines.
const LINES: &str = "application/x-ndjson";
/// The most orders of one call.
const MAX_LINES: usize = 5000;
/// How many orders of one call wait for the store at once, so that other callers get their turn.
const MAX_IN_FLIGHT: usize = 64;

/// The result of one line.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LineResult<'a> {
    /// The line's number in the body, from 1.
    line: usize,
    /// Null where the line could not be read.
    #[schema(required)]
    order_id: Option<&'a OrderId>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    created: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Failure>, nullable = false)]
    error: Option<&'a Failure>,
}

/// A parsed line.
struct BulkLine {
    /// The line's number in the body, from 1.
    number: usize,
    order: Option<OrderId>,
    patch: Result<OrderPatch, Failure>,
}

/// Creates or merges many orders
///
/// Each is as for `PUT /api/v1/orders/{order}`, with its `orderId`; at most 5,000. Each one has a
/// result, and a bad one does not affect the others. The call is not one transaction: repeat what
/// failed.
///
/// Instead of an array the body may be lines (`application/x-ndjson`), one object each; then the
/// answer is in lines too.
#[utoipa::path(post, path = "/api/v1/orders:batch", tag = "Orders", operation_id = "put_orders",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(OnceKey),
    request_body(content = Vec<OrderForm>, content_type = "application/json",
        description = "An array, or lines",
        example = json!([{ "orderId": "order-1", "status": "NEW" }, { "orderId": "order-2" }])),
    responses((status = 200, description = "A result for each, in their order",
            body = Vec<LineResult<'_>>, content_type = "application/json", example = json!([
                { "line": 1, "orderId": "order-1", "ok": true, "created": true, "changed": true }])),
        BadBody, KeyReused, Refused))]
pub(super) async fn put_all(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    request: HttpRequest,
    IdempotentBody { body: NdJson(text), call }: IdempotentBody<NdJson>,
) -> Result<HttpResponse, Problem> {
    let is_array = request.content_type().eq_ignore_ascii_case(ARRAY);
    let lines: Vec<(usize, &str)> = if is_array {
        let orders: Vec<&RawValue> = serde_json::from_str(&text)
            .map_err(|_| Failure::invalid("body", "must be an array of orders"))?;
        (1..).zip(orders.into_iter().map(RawValue::get)).take(MAX_LINES + 1).collect()
    } else {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        lines.take(MAX_LINES + 1).collect()
    };
    if lines.len() > MAX_LINES {
        return Err(Failure::new(ErrorCode::InvalidPayload, "are more than 5,000 lines").into());
    }
    check_same_body(&hub.shared.store.on_behalf_of(CallerClass::BackEnd), call.as_ref()).await?;
    let mut results = Vec::new();
    for part in lines.chunks(MAX_IN_FLIGHT) {
        let part: Vec<BulkLine> =
            part.iter().map(|(number, text)| read(&hub, *number, text)).collect();
        store_chunk(&hub, &part, call.as_ref(), &mut results).await;
    }
    await_forwarded(&hub).await?;
    let kind = if is_array { ARRAY } else { LINES };
    let results = if is_array { array_of(&results) } else { results };
    Ok(HttpResponse::Ok().content_type(kind).body(results))
}

/// Converts lines of JSON to an array. A line of JSON contains no line break.
fn array_of(lines: &[u8]) -> Vec<u8> {
    let between = |byte: &u8| if *byte == b'\n' { b',' } else { *byte };
    let items = lines.trim_ascii_end().iter().map(between);
    [b'['].into_iter().chain(items).chain([b']']).collect()
}

fn read(hub: &Hub, number: usize, text: &str) -> BulkLine {
    let (mut order, allowed_values) = (None, allowed_values(hub));
    let patch = read_form::<OrderForm>(text, "line").and_then(|mut form| {
        order = form.take_order();
        form.patch(allowed_values)
    });
    let patch = match (&order, patch) {
        (None, Ok(_)) => Err(Failure::invalid("orderId", "is missing")),
        (_, patch) => patch,
    };
    BulkLine { number, order, patch }
}

/// Stores the valid lines concurrently, and writes a result for every line.
async fn store_chunk(
    hub: &Hub,
    part: &[BulkLine],
    call: Option<&IdempotentCall>,
    results: &mut Vec<u8>,
) {
    let stored = part.iter().map(|line| {
        let change = match (&line.order, &line.patch) {
            (Some(order), Ok(patch)) => {
                let command = OrderCommand::Patch(patch.clone());
                let idempotent = call.map(|call| line.idempotent(call, order));
                Ok(begin_change(hub, order.clone(), command, ChangeNote::default(), idempotent))
            }
            (_, Err(failure)) => Err(failure.clone()),
            (None, Ok(_)) => Err(Failure::invalid("orderId", "is missing")),
        };
        async { change?.await.unwrap_or_else(|error| Err(store_failure(&error))) }
    });
    for (line, outcome) in part.iter().zip(join_all(stored).await) {
        match outcome.as_ref().map(|change| &change.changed) {
            Ok(AppliedChange { answer: Some(answer), .. }) => {
                results.extend(answer.body.as_bytes());
            }
            Ok(changed) => {
                json::write(&stored_line(line.number, &changed.order.id, changed), results);
            }
            Err(failure) => json::write(&line.refused(failure), results),
        }
        results.push(b'\n');
    }
}

// === impl BulkLine ===

impl BulkLine {
    /// The line's own key, in a call with an `Idempotency-Key`: it is stored once.
    fn idempotent(&self, call: &IdempotentCall, order: &OrderId) -> Idempotent<AppliedChange> {
        let route = format!("{}#{}", call.route, self.number);
        let (number, order) = (self.number, order.clone());
        let answer = move |changed: &AppliedChange| {
            let mut body = Vec::new();
            json::write(&stored_line(number, &order, changed), &mut body);
            StoredAnswer { status: 200, body: String::from_utf8(body).unwrap_or_default() }
        };
        Idempotent { call: IdempotentCall { route, ..call.clone() }, answer: Arc::new(answer) }
    }

    fn refused<'a>(&'a self, failure: &'a Failure) -> LineResult<'a> {
        LineResult {
            line: self.number,
            order_id: self.order.as_ref(),
            ok: false,
            created: None,
            changed: None,
            error: Some(failure),
        }
    }
}

fn stored_line<'a>(line: usize, order: &'a OrderId, changed: &AppliedChange) -> LineResult<'a> {
    LineResult {
        line,
        order_id: Some(order),
        ok: true,
        created: Some(changed.created),
        changed: Some(changed.raised),
        error: None,
    }
}
