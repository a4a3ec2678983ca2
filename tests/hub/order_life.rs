//! An order's life, from the back end's first call to its last: the customer's app is on Socket.IO,
//! the driver's phone and the support desk are on plain sockets, and the back end is on HTTP.

use protocol::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::rooms::{code, say, seqs};
use super::support::socketio::SocketIoClient;
use super::support::{Client, Database, Hub, each_database, token};

const ORDER: &str = "order-4711";
/// Seconds between two fixes of the ride.
const STEP: usize = 3;
/// Fixes that the phone has taken while the app slept.
const ASLEEP: usize = 12;

/// The ride, as the phone's fixes, the last of them now: through town, with a red light on the way.
fn ride() -> Vec<Value> {
    let fixes: Vec<[f64; 5]> =
        serde_json::from_str(include_str!("testdata/ride.json")).expect("fixes");
    let now = Timestamp::now().as_millis();
    let fix = |(number, [lat, lng, speed, heading, accuracy]): (usize, &[f64; 5])| {
        let ago = i64::try_from((fixes.len() - number) * STEP * 1000).expect("small");
        json!({
            "lat": lat, "lng": lng, "speed": speed, "heading": heading, "accuracy": accuracy,
            "recordedAt": Timestamp::from_millis(now - ago).to_string(),
        })
    };
    fixes.iter().enumerate().map(fix).collect()
}

/// The same fixes as if they were taken from now on, a moment after each other: what was recorded
/// before the driver is shown no customer sees.
fn recorded_now(ride: &[Value]) -> Vec<Value> {
    let now = Timestamp::now().as_millis();
    let again = |(ms, fix): (i64, &Value)| {
        let mut fix = fix.clone();
        fix["recordedAt"] = json!(Timestamp::from_millis(now + ms).to_string());
        fix
    };
    (0..).zip(ride).map(again).collect()
}

/// What the back end does, which must work.
async fn back_end(hub: &Hub, method: Method, path: &str, body: Value) -> Value {
    let path = format!("/orders/{ORDER}{path}");
    let (status, answer) = call(hub, method, &path, body).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    answer
}

async fn set_status(hub: &Hub, status: &str, version: u32) {
    let body = json!({ "status": status, "version": version });
    let changed = back_end(hub, Method::POST, "/status", body).await;
    assert_eq!((&changed["status"], &changed["changed"]), (&json!(status), &json!(true)));
}

/// The same again, which changes nothing.
async fn set_again(hub: &Hub, status: &str, version: u32) {
    let again = json!({ "status": status, "version": version });
    assert_eq!(back_end(hub, Method::POST, "/status", again).await["changed"], false);
}

/// A hub on which nobody is held up, and nobody sees the driver too early.
fn hub_on(database: &Database) -> Hub {
    let unlimited = database.hub().without_rates();
    let settings = unlimited.env("LOCATION_VISIBLE_STATUSES", "ON_THE_WAY");
    settings.env("TRAIL_INTERVAL_SECS", 10).env("ROOM_IDLE_SECS", 1).start()
}

/// Those who have come together over the order.
struct Room {
    hub: Hub,
    customer: SocketIoClient,
    driver: Client,
    support: Client,
}

impl Room {
    /// The order is made, the customer's app and the support desk look at it, and a driver is found.
    async fn open(database: &Database) -> Self {
        let hub = hub_on(database);
        let ana = json!({ "userId": "ana", "role": "customer", "name": "Ana" });
        let order = json!({ "status": "NEW", "version": 1, "participants": [ana] });
        assert_eq!(back_end(&hub, Method::PUT, "", order).await["changed"], true);

        let mut customer = SocketIoClient::login(&hub, "ana", "customer", &[]).await;
        let shown = customer.join(ORDER).await;
        assert_eq!((&shown["status"], &shown["driverId"]), (&json!("NEW"), &Value::Null));
        let mut support = hub.connect("sue", "support", &[]).await;
        support.join(ORDER).await;
        assert_eq!(customer.expect("presence:joined").await["userId"], "sue");

        // Whoever is not part of it stays outside, until he is.
        let mut driver = hub.connect("dan", "driver", &[]).await;
        let refused = driver.request("order:join", json!({ "orderId": ORDER })).await;
        assert_eq!(code(&refused), "forbidden");
        let assignment = json!({ "driverId": "dan", "driverName": "Dan", "version": 2 });
        back_end(&hub, Method::POST, "/assign", assignment).await;
        for assigned in
            [customer.expect("order:assigned").await, driver.expect("order:assigned").await]
        {
            assert_eq!(
                (&assigned["orderId"], &assigned["driverId"]),
                (&json!(ORDER), &json!("dan"))
            );
        }
        let shown = driver.join(ORDER).await;
        assert_eq!(shown["members"].as_array().map(Vec::len), Some(3), "{shown}");
        assert_eq!(customer.expect("presence:joined").await["userId"], "dan");
        Self { hub, customer, driver, support }
    }

    /// A status that everybody hears of, once.
    async fn moves_on(&mut self, status: &str, version: u32) {
        set_status(&self.hub, status, version).await;
        set_again(&self.hub, status, version).await;
        let said = [
            self.customer.expect("order:status").await,
            self.driver.expect("order:status").await,
            self.support.expect("order:status").await,
        ];
        for said in said {
            assert_eq!((&said["orderId"], &said["status"]), (&json!(ORDER), &json!(status)));
        }
        assert_eq!(self.customer.drain("order:status").await, [] as [Value; 0]);
    }

    /// The driver goes to the restaurant, which the support desk sees and the customer does not.
    async fn fetch_the_food(&mut self, ride: &[Value]) {
        let posted = self.post(ride).await;
        assert_eq!(posted, json!({ "accepted": ride.len(), "stale": 0, "rejected": [] }));
        let seen = self.support.expect("location:updated").await;
        let newest = ride.last().expect("a fix");
        assert_eq!((&seen["lat"], &seen["lng"]), (&newest["lat"], &newest["lng"]));
        assert_eq!(self.customer.drain("location:updated").await, [] as [Value; 0]);
    }

    /// What the phone has kept of its way, as it posts that by itself.
    async fn post(&self, ride: &[Value]) -> Value {
        let phone = reqwest::Client::new().post(self.hub.url("/api/v1/drivers/me/locations"));
        let phone = phone.bearer_auth(token("dan", "driver", &[]));
        let posted = phone.json(&json!({ "locations": ride })).send().await.expect("an answer");
        posted.json().await.expect("JSON")
    }

    /// The driver comes, and everybody sees every step in order.
    async fn drive(&mut self, ride: &[Value]) {
        for fix in ride {
            let mut fix = fix.clone();
            fix["orderId"] = json!(ORDER);
            let ack = self.driver.request("driver:location", fix).await;
            assert_eq!((&ack["ok"], &ack["accepted"]), (&json!(true), &json!(1)), "{ack}");
        }
        let by_customer = self.customer.drain("location:updated").await;
        let by_support = self.support.drain("location:updated").await;
        let place =
            |fix: &Value| (fix["lat"].clone(), fix["lng"].clone(), fix["recordedAt"].clone());
        let driven: Vec<_> = ride.iter().map(place).collect();
        assert_eq!(by_customer.iter().map(place).collect::<Vec<_>>(), driven);
        assert_eq!(by_support.iter().map(place).collect::<Vec<_>>(), driven);
        // The phone posts them once more: they are for the trail, and nobody hears them again.
        let posted = self.post(&ride[..ride.len() - 1]).await;
        assert_eq!(posted, json!({ "accepted": 0, "stale": ride.len() - 1, "rejected": [] }));
        assert_eq!(self.customer.drain("location:updated").await, [] as [Value; 0]);
    }

    /// They talk, the back end too, and see that they have read it.
    async fn talk(&mut self) {
        let asked = self.customer.say(ORDER, "third floor, please").await;
        assert_eq!(asked["seq"], 1);
        assert_eq!(self.driver.expect("chat:message").await["content"], "third floor, please");
        let read = json!({ "orderId": ORDER, "seq": 1 });
        assert_eq!(self.driver.request("chat:read", read).await["ok"], true);
        let read = self.customer.expect("chat:read").await;
        assert_eq!((&read["userId"], &read["seq"]), (&json!("dan"), &json!(1)));
        self.driver.send("chat:typing", json!({ "orderId": ORDER, "typing": true })).await;
        assert_eq!(self.customer.expect("chat:typing").await["typing"], true);
        say(&mut self.driver, ORDER, "two minutes").await;
        let system = json!({ "type": "SYSTEM", "content": "Your driver is near" });
        assert_eq!(back_end(&self.hub, Method::POST, "/messages", system).await["seq"], 3);
        let place = |seq| (ORDER.to_owned(), seq);
        assert_eq!(self.customer.hear(3).await, [place(1), place(2), place(3)]);
        let asked = json!({ "orderId": ORDER, "afterSeq": 0 });
        let history = self.support.request("chat:history", asked).await;
        assert_eq!(seqs(&history["messages"]), [1, 2, 3]);
        assert_eq!(history["messages"][2]["type"], "SYSTEM");
    }

    /// The customer's phone goes through a tunnel: what was said meanwhile is there behind it.
    async fn lose_the_customer_for_a_moment(mut self) -> Self {
        let memory = self.customer.cut();
        say(&mut self.driver, ORDER, "I am at the door").await;
        self.customer =
            SocketIoClient::again(&self.hub, &token("ana", "customer", &[]), &memory).await;
        assert!(self.customer.memory().recovered, "it goes on where it was");
        assert_eq!(self.customer.hear(1).await, [(ORDER.to_owned(), 4)]);
        assert_eq!(self.support.drain("presence:left").await, [] as [Value; 0]);
        self
    }

    /// The order has ended: no more positions, but still a word of thanks.
    async fn after_the_end(&mut self) {
        let late = json!({ "orderId": ORDER, "lat": 45.2, "lng": 13.6 });
        let refused = self.driver.request("driver:location", late).await;
        assert_eq!(code(&refused), "order_closed");
        assert_eq!(self.customer.say(ORDER, "thank you!").await["seq"], 5);
        assert_eq!(self.customer.join(ORDER).await["lastLocation"], Value::Null);
        let (status, refused) = call(
            &self.hub,
            Method::POST,
            &format!("/orders/{ORDER}/status"),
            json!({ "status": "NEW" }),
        )
        .await;
        assert_eq!((status, &refused["code"]), (409, &json!("order_closed")));
    }

    /// The back end has another look at all of it, and then has it forgotten.
    async fn close(&mut self, ride: &[Value]) {
        let trail = back_end(&self.hub, Method::GET, "/locations", Value::Null).await;
        let points = trail["locations"].as_array().expect("points");
        // One in ten seconds: every fourth, where there is a fix every three.
        let kept = ride.len() / 4 + 1;
        assert!((kept - 1..=kept + 2).contains(&points.len()), "{} {trail}", points.len());
        assert!(points.iter().all(|point| point["driverId"] == "dan"), "{trail}");
        let messages = back_end(&self.hub, Method::GET, "/messages", Value::Null).await;
        assert_eq!(seqs(&messages["messages"]), [1, 2, 3, 4, 5]);
        let order = back_end(&self.hub, Method::GET, "", Value::Null).await;
        assert_eq!((&order["status"], &order["lastSeq"]), (&json!("DELIVERED"), &json!(5)));
        assert_eq!(order["members"].as_array().map(Vec::len), Some(3), "{order}");

        back_end(&self.hub, Method::DELETE, "", Value::Null).await;
        let left = [
            self.customer.expect("order:left").await,
            self.driver.expect("order:left").await,
            self.support.expect("order:left").await,
        ];
        for left in left {
            assert_eq!(left, json!({ "orderId": ORDER, "reason": "closed" }));
        }
        let (status, _) =
            call(&self.hub, Method::GET, &format!("/orders/{ORDER}"), Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let refused = self.customer.request("order:join", json!({ "orderId": ORDER })).await;
        assert_eq!(code(&refused), "forbidden");
        self.hub.until_admin("/admin/v1/rooms", |_, list| list["rooms"] == json!([])).await;
    }
}

#[tokio::test]
async fn an_orders_life() {
    each_database(async |database: Database| {
        let ride = ride();
        let (fetching, coming) = ride.split_at(ASLEEP);
        let mut room = Room::open(&database).await;
        room.moves_on("COOKING", 3).await;
        room.fetch_the_food(fetching).await;
        room.moves_on("ON_THE_WAY", 4).await;
        room.drive(&recorded_now(coming)).await;
        room.talk().await;
        let mut room = room.lose_the_customer_for_a_moment().await;
        room.moves_on("DELIVERED", 5).await;
        room.after_the_end().await;
        room.close(fetching).await;
    })
    .await;
}
