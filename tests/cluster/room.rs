//! The people of an order, each on a node of its own: the driver on the first, the customer, whose
//! app speaks Socket.IO, on the second, support on the third.

use serde_json::{Value, json};

use super::support::socketio::SocketIoClient;
use super::support::{Client, Hub, back_end, rooms};

pub struct Room {
    pub driver: Client,
    pub customer: SocketIoClient,
    pub support: Client,
}

/// What a member was shown: numbers and contents, in the order in which they came.
pub type Shown = Vec<(i64, String)>;

impl Room {
    /// Lets all three join the order.
    pub async fn enter(nodes: &[Hub; 3], order: &str) -> Self {
        back_end::put(&nodes[0], order, json!({ "status": "NEW" })).await;
        let mut driver = nodes[0].connect("dan", "driver", &[order]).await;
        driver.join(order).await;
        let mut customer = SocketIoClient::login(&nodes[1], "ann", "customer", &[order]).await;
        customer.join(order).await;
        let mut support = nodes[2].connect("sue", "support", &[]).await;
        support.join(order).await;
        Self { driver, customer, support }
    }

    /// One of them says something and is answered.
    pub async fn say(&mut self, who: usize, order: &str, content: &str) {
        match who {
            0 => drop(rooms::say(&mut self.driver, order, content).await),
            1 => drop(self.customer.say(order, content).await),
            _ => drop(rooms::say(&mut self.support, order, content).await),
        }
    }

    /// What each of them is shown of chat, until there are so many messages.
    pub async fn shown(&mut self, count: usize) -> [Shown; 3] {
        let mut customer = Vec::new();
        for _ in 0..count {
            customer.push(place_of(&self.customer.expect("chat:message").await));
        }
        [shown(&mut self.driver, count).await, customer, shown(&mut self.support, count).await]
    }
}

/// What a member is shown of chat, until there are so many messages.
pub async fn shown(client: &mut Client, count: usize) -> Shown {
    let mut shown = Vec::new();
    for _ in 0..count {
        shown.push(place_of(&client.expect("chat:message").await));
    }
    shown
}

/// The number and content of a message.
pub fn place_of(message: &Value) -> (i64, String) {
    let content = message["content"].as_str().expect("text").to_owned();
    (message["seq"].as_i64().expect("a number"), content)
}

/// The users of a snapshot, in its order.
pub fn members(snapshot: &Value) -> Vec<&str> {
    let members = snapshot["members"].as_array().expect("members");
    members.iter().map(|member| member["userId"].as_str().expect("an id")).collect()
}
