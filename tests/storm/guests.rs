//! Guests, who are barred in every way there is and come back at once: what a bar was
//! acknowledged for holds until it is lifted.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Call, Rng, World, now_secs};

/// Where a guest stands.
pub struct GuestAccess(Mutex<Inner>);

struct Inner {
    /// Counts the changes.
    version: u64,
    state: State,
    /// When its token is issued.
    token_from: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// It is being barred or let in again: both may be seen.
    Changing,
    /// Since the answer, by which way.
    Barred(Timestamp, Way),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By an admin, from the hub or from the order.
    Ban,
    OrderBan,
    /// By a back end.
    Removal,
    Revocation,
}

/// A look at where a guest stands; two looks are equal where nothing happened in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    version: u64,
    state: State,
}

impl Bar {
    pub fn is_free(&self) -> bool {
        self.state == State::Free
    }

    /// Whether it must not even connect.
    pub fn keeps_out(&self) -> bool {
        matches!(self.state, State::Barred(_, Way::Ban | Way::Revocation))
    }

    /// Since when it must not read anything.
    pub fn since(&self) -> Option<Timestamp> {
        match self.state {
            State::Barred(since, _) => Some(since),
            _ => None,
        }
    }
}

impl GuestAccess {
    pub fn new() -> Self {
        Self(Mutex::new(Inner { version: 0, state: State::Free, token_from: now_secs() }))
    }

    pub fn bar(&self) -> Bar {
        let inner = self.0.lock().expect("no panic");
        Bar { version: inner.version, state: inner.state }
    }

    pub fn token_from(&self) -> i64 {
        self.0.lock().expect("no panic").token_from
    }

    fn set(&self, state: State) {
        let mut inner = self.0.lock().expect("no panic");
        inner.version += 1;
        inner.state = state;
    }
}

/// Bars a guest and lets it in again, until the run is over.
pub async fn keep(
    world: Arc<World>,
    user: String,
    order: String,
    standing: Arc<GuestAccess>,
    n: u64,
) {
    let mut rng = Rng::new(world.seed, n + 1000);
    let gauge = world.gauge(&format!("the keeper of {user}"));
    gauge.live.store(true, SeqCst);
    while !world.is_over() {
        tokio::time::sleep(rng.millis(200, 4000)).await;
        if !world.talks() {
            continue;
        }
        gauge.unacked.store(1, SeqCst);
        let way = *rng.pick(&[Way::Ban, Way::OrderBan, Way::Removal, Way::Revocation]);
        standing.set(State::Changing);
        world.insist(&bar(way, &user, &order, 3600)).await;
        standing.set(State::Barred(Timestamp::now(), way));
        let end = tokio::time::Instant::now() + rng.millis(500, 6000);
        while world.talks() && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        standing.set(State::Changing);
        if way == Way::Revocation {
            // A token of the second of the revocation does not count either.
            tokio::time::sleep(Duration::from_millis(2100)).await;
            standing.0.lock().expect("no panic").token_from = now_secs();
        } else if way == Way::Removal {
            let path = format!("/orders/{order}/participants/{user}");
            let role = json!({ "role": "customer" });
            world.insist(&Call::service(Method::PUT, &path, role)).await;
        } else {
            world.insist(&bar(way, &user, &order, 0)).await;
        }
        if way == Way::Removal {
            world.orders[&order].changes.fetch_add(2, SeqCst);
        }
        standing.set(State::Free);
        gauge.unacked.store(0, SeqCst);
    }
}

/// The call that bars; of an admin's, with 0 seconds, the one that lifts it.
fn bar(way: Way, user: &str, order: &str, secs: u32) -> Call<'static> {
    let admin =
        |path| Call { role: "admin", path, ..Call::service(Method::DELETE, "", Value::Null) };
    match way {
        Way::Ban => admin(format!("/admin/v1/users/{user}/sessions?banSecs={secs}")),
        Way::OrderBan => admin(format!("/admin/v1/rooms/{order}/members/{user}?banSecs={secs}")),
        Way::Removal => {
            let path = format!("/orders/{order}/participants/{user}");
            Call::service(Method::DELETE, &path, Value::Null)
        }
        Way::Revocation => {
            Call::service(Method::POST, &format!("/users/{user}/revoke"), Value::Null)
        }
    }
}
