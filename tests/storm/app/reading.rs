//! What an app has on its screen, and the promises that it sees broken there.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::Value;

use super::App;
use super::talk::Talk;
use crate::world::{Message, number};

impl App {
    pub(super) fn snapshot(&mut self, order: &str, data: &Value, status: usize) {
        for message in data["messages"].as_array().into_iter().flatten() {
            self.take(order, message);
        }
        self.status(order, &data["status"], status);
        let (last, has) = (number(&data["lastSeq"]), self.has(order));
        if has > last || (data["recovered"] == true && has < last) {
            let recovered = &data["recovered"];
            self.broken(&format!("{order}: has {has}, lastSeq {last}, recovered {recovered}"));
        }
        if has >= last {
            self.joined.insert(order.to_owned());
        }
    }

    /// A message of a page or a live one, in its place.
    pub(super) fn show(&mut self, order: &str, message: &Value, live: bool, talk: &mut Talk) {
        let (seq, has) = (number(&message["seq"]), self.has(order));
        if live && self.joined.contains(order) && seq != has + 1 {
            let fault = if seq > has { "a hole before" } else { "again" };
            self.broken(&format!("{order}: has {has}, and hears {fault} {message}"));
        }
        if seq > has + 1 {
            talk.ahead.insert((order.to_owned(), seq), as_seen(message));
            return;
        }
        self.take(order, message);
        if self.joined.contains(order) {
            self.catch_up(order, talk);
        }
    }

    /// Takes what came live meanwhile behind a page.
    pub(super) fn catch_up(&mut self, order: &str, talk: &mut Talk) {
        let key = (self.person.user.clone(), order.to_owned());
        let mut views = self.world.views.lock().expect("no panic");
        let view = views.entry(key).or_default();
        while let Some(next) = talk.ahead.remove(&(order.to_owned(), view.len() + 1)) {
            view.push(next);
        }
        drop(views);
        self.joined.insert(order.to_owned());
    }

    /// The next message, or one that must be the same as before.
    pub(super) fn take(&mut self, order: &str, message: &Value) {
        let seq = number(&message["seq"]);
        let key = (self.person.user.clone(), order.to_owned());
        let mut views = self.world.views.lock().expect("no panic");
        let view = views.entry(key).or_default();
        let seen = as_seen(message);
        if seq == view.len() + 1 {
            view.push(seen);
        } else if view.get(seq - 1) != Some(&seen) {
            let had = view.get(seq - 1);
            self.broken(&format!("{order}: had {had:?} of {}, now {message}", view.len()));
        }
    }

    pub(super) fn fix(&mut self, order: String, data: &Value) {
        let recorded = data["recordedAt"].as_str().unwrap_or_default().to_owned();
        let before = self.newest_fix.entry(order).or_default();
        if *before > recorded {
            let before = before.clone();
            self.broken(&format!("saw the position of {before}, and then {data}"));
        } else {
            *before = recorded;
        }
    }

    /// A status: never older than the one before, than one that was acknowledged before it was
    /// asked for, nor newer than what was sent.
    pub(super) fn status(&mut self, order: &str, status: &Value, acked: usize) {
        let number = status.as_str().and_then(|text| text.strip_prefix("STEP_")?.parse().ok());
        let number = number.unwrap_or(0);
        let sent = self.world.orders[order].status_sent.load(SeqCst);
        let before = self.newest_status.insert(order.to_owned(), number).unwrap_or(0).max(acked);
        if number < before || number > sent {
            self.broken(&format!("{order}: status {number} after {before}, sent up to {sent}"));
        }
    }
}

fn as_seen(message: &Value) -> Message {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    (text("id"), text("content"))
}
