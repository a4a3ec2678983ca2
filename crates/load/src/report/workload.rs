//! The workload: how many rooms, what was sent per second, and every setting of the scenario.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scenario::{Part, ROLES, Scenario};

/// The workload of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Orders.
    pub rooms: u32,
    /// Positions per second that were scheduled.
    pub locations_per_second: f64,
    /// Chat messages per second that were scheduled.
    pub chat_per_second: f64,
    /// Positions in flight at once, in a closed loop.
    pub locations_in_flight: u64,
    /// Chat messages in flight at once, in a closed loop.
    pub chat_in_flight: u64,
    /// The scenario with all changes, by the keys of its file; a role's settings follow a dot.
    pub settings: BTreeMap<String, Value>,
}

/// Not settings: a scenario's name and purpose.
const NAMES: [&str; 2] = ["name", "about"];

impl Workload {
    /// The workload of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let rooms = scenario.rooms.0;
        let mut this = Self { rooms, ..Self::default() };
        for part in ROLES.into_iter().filter_map(|role| scenario.part(role)) {
            this.add(part);
        }
        let scenario = serde_json::to_value(scenario).unwrap_or_default();
        flatten(&mut this.settings, "", scenario);
        this.settings.retain(|key, _| !NAMES.contains(&key.as_str()));
        this
    }

    fn add(&mut self, part: &Part) {
        let people = u64::from(self.rooms) * u64::from(part.per_room.0);
        self.locations_per_second += part.locations.0 * super::float(people);
        self.chat_per_second += part.chat.0 * super::float(people);
        let window = |window: Option<crate::scenario::SendWindow>| {
            people * window.map_or(0, |window| u64::from(window.0))
        };
        self.locations_in_flight += window(part.locations_in_flight);
        self.chat_in_flight += window(part.chat_in_flight);
    }

    /// A description in one line, with this many connections.
    pub fn words(&self, connections: usize) -> String {
        let plural = if self.rooms == 1 { "" } else { "s" };
        let mut parts =
            vec![format!("{} room{plural}", self.rooms), format!("{connections} connections")];
        for (rate, in_flight, what) in [
            (self.locations_per_second, self.locations_in_flight, "positions"),
            (self.chat_per_second, self.chat_in_flight, "chat messages"),
        ] {
            if rate > 0.0 {
                parts.push(format!("{} {what} a second", shown(rate)));
            }
            if in_flight > 0 {
                parts.push(format!("{in_flight} {what} under way at once"));
            }
        }
        if let Some(hold) = self.settings.get("hold").and_then(Value::as_str) {
            parts.push(format!("for {hold}"));
        }
        parts.join(", ")
    }
}

/// A rate without needless digits.
fn shown(rate: f64) -> String {
    let digits = if rate < 10.0 { 2 } else { 0 };
    let text = format!("{rate:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0') } else { &text };
    text.trim_end_matches('.').to_owned()
}

/// Flattens the values of tables into one map. Unset values are left out.
fn flatten(into: &mut BTreeMap<String, Value>, prefix: &str, value: Value) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                flatten(into, &key, value);
            }
        }
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        value => {
            into.insert(prefix.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(changes: &[&str]) -> Workload {
        let text = "name = \"x\"\nrooms = 4\n[driver]\nper-room = 1\nlocations = 1\n\
                    [customer]\nper-room = 2\nchat = 0.05\nstay = \"90s\"\n";
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        Workload::new(&Scenario::read(text, &changes).expect("a scenario"))
    }

    #[test]
    fn a_workload_has_rooms_rates_and_every_setting() {
        let workload = workload(&[]);
        assert_eq!((workload.rooms, workload.locations_in_flight), (4, 0));
        assert!((workload.chat_per_second - 0.4).abs() < 1e-9);
        let setting = |key: &str| workload.settings.get(key);
        assert_eq!(setting("rooms"), Some(&json!(4)));
        assert_eq!(setting("hold"), Some(&json!("30s")));
        assert_eq!(setting("customer.chat"), Some(&json!(0.05)));
        assert_eq!(setting("customer.stay"), Some(&json!("1m 30s")));
        assert_eq!((setting("name"), setting("storm"), setting("driver.stay")), (None, None, None));
    }

    #[test]
    fn a_workload_is_described_in_a_line() {
        let words = |changes: &[&str]| workload(changes).words(12);
        assert_eq!(
            words(&[]),
            "4 rooms, 12 connections, 4 positions a second, 0.4 chat messages a second, for 30s"
        );
        let closed = ["driver.locations=0", "driver.locations-in-flight=3", "customer.chat=25"];
        assert_eq!(
            words(&[&closed[..], &["rooms=1", "hold=2m"]].concat()),
            "1 room, 12 connections, 3 positions under way at once, 50 chat messages a second, \
             for 2m"
        );
    }

    #[test]
    fn a_workload_can_be_run_again() {
        let workload = workload(&["storm=[{at=\"5s\"}]", "driver.read-bytes-per-second=2048"]);
        let changes: Vec<String> = workload
            .settings
            .iter()
            .map(|(key, value)| format!("{key}={}", toml_of(value)))
            .collect();
        let again = Scenario::read("name = \"x\"\n", &changes).expect("the same scenario");
        assert_eq!(Workload::new(&again), workload);
    }

    /// A JSON value in TOML: only tables are written differently.
    fn toml_of(value: &Value) -> String {
        value.to_string().replace("\":", "\"=")
    }
}
