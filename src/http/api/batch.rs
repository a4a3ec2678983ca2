//! `POST /api/v1/orders:batch`: many orders, a line each, and a result for each line.

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::Serialize;

use super::caller::Writer;
use super::forms::OrderForm;
use super::json::{Lines, read_form};
use super::orders::words;
use super::{begin_change, failure, passed_on};
use crate::actors::store::Note;
use crate::http::Hub;
use crate::http::problem::Problem;
use crate::ids::OrderId;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::json;
use crate::room::change::{OrderPatch, Wish};

/// The most lines of a batch.
const MAX_LINES: usize = 5000;
/// How many lines of a batch wait for the store at once: others have to get their turn.
const MOST_WAITING: usize = 64;

/// What became of a line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LineResult<'a> {
    line: usize,
    order_id: Option<&'a OrderId>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

/// A line that was read.
struct Line {
    /// Its place in the body, from 1.
    number: usize,
    order: Option<OrderId>,
    patch: Result<OrderPatch, Failure>,
}

pub(super) async fn put_all(
    _: Writer,
    hub: web::Data<Hub>,
    Lines(text): Lines,
) -> Result<HttpResponse, Problem> {
    let lines: Vec<(usize, &str)> =
        (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
    if lines.len() > MAX_LINES {
        return Err(Failure::new(ErrorCode::InvalidPayload, "are more than 5,000 lines").into());
    }
    let mut results = Vec::new();
    for part in lines.chunks(MOST_WAITING) {
        let part: Vec<Line> = part.iter().map(|(number, text)| read(&hub, *number, text)).collect();
        put_part(&hub, &part, &mut results).await;
    }
    passed_on(&hub).await?;
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(results))
}

fn read(hub: &Hub, number: usize, text: &str) -> Line {
    let (mut order, words) = (None, words(hub));
    let patch = read_form::<OrderForm>(text, "line").and_then(|mut form| {
        order = form.take_order();
        form.patch(words)
    });
    let patch = match (&order, patch) {
        (None, Ok(_)) => Err(Failure::invalid("orderId", "is missing")),
        (_, patch) => patch,
    };
    Line { number, order, patch }
}

/// Has the good lines stored, all at once, and writes a result for every line.
async fn put_part(hub: &Hub, part: &[Line], results: &mut Vec<u8>) {
    let stored = part.iter().map(|line| {
        let change = match (&line.order, &line.patch) {
            (Some(order), Ok(patch)) => {
                let wish = Wish::Patch(patch.clone());
                Ok(begin_change(hub, order.clone(), wish, Note::default()))
            }
            (_, Err(failure)) => Err(failure.clone()),
            (None, Ok(_)) => Err(Failure::invalid("orderId", "is missing")),
        };
        async { change?.await.unwrap_or_else(|error| Err(failure(&error))) }
    });
    for (line, outcome) in part.iter().zip(join_all(stored).await) {
        let changed = outcome.as_ref().ok().map(|change| &change.changed);
        let result = LineResult {
            line: line.number,
            order_id: line.order.as_ref(),
            ok: outcome.is_ok(),
            created: changed.map(|changed| changed.created),
            changed: changed.map(|changed| changed.raised),
            error: outcome.as_ref().err(),
        };
        json::write(&result, results);
        results.push(b'\n');
    }
}
