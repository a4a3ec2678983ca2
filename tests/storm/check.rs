//! What must be true when every fault is over and nothing is under way.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::hub::Hub;
use super::world::{Call, Message, World, number};

/// From the end of the last fault until `/readyz` says 200, and until everything is acknowledged
/// and everybody is back.
const READY: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(40);
/// From the last acknowledgement until every member has seen it.
const SEEN: Duration = Duration::from_secs(10);
/// What a hub with fewer than 200 clients may take, in a debug build: MiB, and files.
const MEMORY: usize = 400;
const FILES: usize = 400;

/// Waits until all is quiet, and looks at everything. What is wrong is noted in the world.
pub async fn everything(world: &World, hub: &mut Hub) {
    hub.watch(world).await;
    let ready = Call { path: "/readyz".to_owned(), ..Call::service(Method::GET, "", Value::Null) };
    let is_ready = async || world.call(&ready).await.is_some_and(|(status, _)| status == 200);
    if !within(READY, is_ready).await {
        world.broken(&format!("not ready {READY:?} after the last fault"));
        return;
    }
    if !within(QUIET, async || restless(world).is_empty()).await {
        let restless = restless(world).join(", ");
        world.broken(&format!("not at rest {QUIET:?} after the hub was ready: {restless}"));
        return;
    }
    for order in world.orders.keys() {
        let stored = history(world, order).await;
        judge(world, order, &stored);
        within(SEEN, async || incomplete(world, order, &stored).is_empty()).await;
        for view in incomplete(world, order, &stored) {
            world.broken(&view);
        }
        judge_order(world, order, stored.len()).await;
    }
    let (memory, files) = hub.takes();
    world.note(&format!("at rest: {memory} MiB, {files} files"));
    if memory > MEMORY || files > FILES {
        world.broken(&format!("the hub takes {memory} MiB and {files} files"));
    }
    for line in hub.bad_lines() {
        world.broken(&format!("the log says: {line}"));
    }
}

async fn within(time: Duration, mut reached: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    while !reached().await {
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Those that are not in their rooms, or wait for an acknowledgement.
fn restless(world: &World) -> Vec<String> {
    let gauges = world.gauges.lock().expect("no panic");
    let restless = gauges.iter().filter(|it| !it.live.load(SeqCst) || it.unacked.load(SeqCst) > 0);
    let tell = |unacked: usize, name: &str| format!("{name} ({unacked} unacknowledged)");
    restless.map(|it| tell(it.unacked.load(SeqCst), &it.name)).collect()
}

/// All that an order's chat holds, as the hub reads it from the database.
async fn history(world: &World, order: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let after = found.last().map_or(0, |last| number(&last["seq"]));
        let path = format!("/orders/{order}/messages?afterSeq={after}&limit=200");
        let page = world.insist(&Call::service(Method::GET, &path, Value::Null)).await;
        let mut page: Value = serde_json::from_str(&page).expect("JSON");
        found.append(page["messages"].as_array_mut().expect("messages"));
        if page["hasMore"] == false {
            return found;
        }
    }
}

/// Every acknowledged message is there once, as it was acknowledged, nothing else is, and the
/// numbers have no gap.
fn judge(world: &World, order: &str, stored: &[Value]) {
    let acked = world.acked.lock().expect("no panic").get(order).cloned().unwrap_or_default();
    let mut found = HashMap::new();
    for (place, message) in stored.iter().enumerate() {
        if message["seq"] != place + 1 {
            world.broken(&format!("{order}: at place {} stands {message}", place + 1));
        }
        let content = message["content"].as_str().expect("text");
        if found.insert(content, message).is_some() {
            world.broken(&format!("{order}: stored twice: {content}"));
        }
        if !acked.contains_key(content) {
            world.broken(&format!("{order}: stored and not acknowledged: {message}"));
        }
    }
    for (content, (id, seq)) in &acked {
        let found = found.get(content.as_str());
        if found.is_none_or(|message| message["id"] != id.as_str() || message["seq"] != *seq) {
            world.broken(&format!("{order}: {content} acked as {seq} {id}, stored: {found:?}"));
        }
    }
}

/// Members whose view is not what is stored.
fn incomplete(world: &World, order: &str, stored: &[Value]) -> Vec<String> {
    let text = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let stored: Vec<Message> =
        stored.iter().map(|message| (text(message, "id"), text(message, "content"))).collect();
    let views = world.views.lock().expect("no panic");
    let mut wrong = Vec::new();
    for ((user, _), view) in views.iter().filter(|((_, of), view)| of == order && **view != stored)
    {
        let same = view.iter().zip(&stored).take_while(|(seen, stored)| seen == stored).count();
        let (has, all) = (view.len(), stored.len());
        wrong.push(format!("{order}: {user} has {has} of {all}, the first {same} as stored"));
    }
    wrong
}

/// Status, number of changes and members are what back ends and apps were told.
async fn judge_order(world: &World, order: &str, messages: usize) {
    let path = format!("/orders/{order}");
    let text = world.insist(&Call::service(Method::GET, &path, Value::Null)).await;
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let state = &world.orders[order];
    let status = format!("STEP_{}", state.status_acked.load(SeqCst));
    let changes = state.changes.load(SeqCst);
    if found["status"] != status || found["rev"] != changes || found["lastSeq"] != messages {
        world.broken(&format!(
            "{order}: {status}, {changes} changes and {messages} messages were acknowledged: {found}"
        ));
    }
    let views = world.views.lock().expect("no panic");
    for (user, _) in views.keys().filter(|(_, of)| of == order) {
        let members = found["members"].as_array().expect("members");
        if !members.iter().any(|member| member["userId"] == user.as_str()) {
            world.broken(&format!("{order}: {user} is in it and no member: {found}"));
        }
    }
}
