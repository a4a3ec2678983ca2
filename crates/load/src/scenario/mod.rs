//! Scenarios: how many rooms and users, what they send, when they come and go.
//!
//! A scenario is one small TOML file. An unknown key or an invalid value is an error with its line,
//! so that a typing error does not silently measure something else.

mod builtin;
mod values;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use protocol::ids::OrderId;
use protocol::role::Role;

pub use builtin::{BUILTIN, builtin};
pub use values::{Characters, Count, HeadCount, MAX_PEOPLE, Rate, SendWindow, TimeSpan};

/// The roles that take part, in the order in which they are made.
pub const ROLES: [Role; 3] = [Role::Driver, Role::Customer, Role::Support];

/// A scenario.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name in reports.
    pub name: String,
    /// Its purpose, in a sentence.
    #[serde(default)]
    pub about: String,
    /// How many orders.
    pub rooms: Count,
    /// The prefix of the orders' ids: a hyphen and a number from 1 follow.
    #[serde(default = "prefix")]
    pub order: OrderId,
    /// The same seed gives the same schedule.
    #[serde(default = "one")]
    pub seed: u64,
    /// The time in which the members connect, evenly.
    #[serde(default = "secs::<5>")]
    pub ramp_up: TimeSpan,
    /// The time in which all members are connected; only this is measured.
    #[serde(default = "secs::<30>")]
    pub hold: TimeSpan,
    /// The longest wait, at the end, for messages in flight.
    #[serde(default = "secs::<5>")]
    pub settle: TimeSpan,
    /// The time in which the members disconnect.
    #[serde(default = "secs::<1>")]
    pub ramp_down: TimeSpan,
    /// The drivers of a room.
    #[serde(default)]
    pub driver: Option<Part>,
    /// The customers of a room.
    #[serde(default)]
    pub customer: Option<Part>,
    /// The support staff of a room.
    #[serde(default)]
    pub support: Option<Part>,
    /// When all connections break at once.
    #[serde(default)]
    pub storm: Vec<Storm>,
    /// Commands that run during the hold.
    #[serde(default)]
    pub step: Vec<Step>,
}

/// The settings of one role.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Part {
    /// How many members each room has; 0 leaves the role out.
    pub per_room: HeadCount,
    /// Positions per second, on a schedule that never waits (open loop); drivers only.
    #[serde(default)]
    pub locations: Rate,
    /// Positions in flight: the next is sent when one has come back (closed loop); drivers only.
    #[serde(default)]
    pub locations_in_flight: Option<SendWindow>,
    /// Chat messages a second, at random times (open loop).
    #[serde(default)]
    pub chat: Rate,
    /// Chat messages in flight: the next is sent when one is acknowledged (closed loop).
    #[serde(default)]
    pub chat_in_flight: Option<SendWindow>,
    /// How long a chat message is.
    #[serde(default)]
    pub chat_characters: Characters,
    /// How long a connection lasts, plus or minus half of it. Unset: to the end.
    #[serde(default)]
    pub stay: Option<TimeSpan>,
    /// How long a member stays away after that, plus or minus half of it.
    #[serde(default = "secs::<1>")]
    pub away: TimeSpan,
    /// Whether a member leaves properly (`order:leave`, then a close) or just disappears, like a
    /// phone.
    #[serde(default)]
    pub leave: bool,
    /// Whether a member that comes back asks for missed messages (`sinceSeq`).
    #[serde(default = "yes")]
    pub since_seq: bool,
    /// Reads at most this many bytes per second.
    #[serde(default)]
    pub read_bytes_per_second: Option<Count>,
}

/// All connections break at once, and come back.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Storm {
    /// When, counted from the beginning of the hold.
    pub at: TimeSpan,
    /// The time in which they come back; 0 is all at once.
    #[serde(default)]
    pub jitter: TimeSpan,
}

/// A command that runs at a moment, like one that kills a hub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// When, counted from the beginning of the hold.
    pub at: TimeSpan,
    /// The command, for `sh -c`.
    pub run: String,
}

/// Why a scenario cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct BadScenario {
    /// The line of the file, from 1.
    pub line: Option<usize>,
    /// What is wrong there.
    pub problem: String,
}

fn prefix() -> OrderId {
    OrderId::new("load").unwrap_or_else(|_| unreachable!("four letters are an id"))
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

fn secs<const SECS: u64>() -> TimeSpan {
    TimeSpan(Duration::from_secs(SECS))
}

// === impl Scenario ===

impl Scenario {
    /// Reads a scenario and applies changes (`driver.locations=5`).
    ///
    /// # Errors
    /// [`BadScenario`] with the line of an unknown key or an invalid value; without a line if a
    /// change is the cause or if values do not fit together.
    pub fn read(text: &str, changes: &[String]) -> Result<Self, BadScenario> {
        let read = toml::from_str::<Self>(text).map_err(|error| of_file(text, &error));
        let scenario = if changes.is_empty() {
            read?
        } else {
            // An error in the file itself has a line there.
            changed(text, changes).map_err(|error| read.err().unwrap_or(error))?
        };
        scenario.check()?;
        Ok(scenario)
    }

    /// The settings of a role, if it takes part.
    pub fn part(&self, role: Role) -> Option<&Part> {
        match role {
            Role::Driver => self.driver.as_ref(),
            Role::Customer => self.customer.as_ref(),
            Role::Support => self.support.as_ref(),
            Role::Admin | Role::Service => None,
        }
    }

    /// How long the run lasts at most, in all.
    pub fn length(&self) -> Duration {
        [self.ramp_up, self.hold, self.settle, self.ramp_down].iter().map(|span| span.0).sum()
    }

    /// How many connections the run has.
    pub fn people(&self) -> u64 {
        let per_room = ROLES.into_iter().filter_map(|role| self.part(role));
        u64::from(self.rooms.0) * per_room.map(|part| u64::from(part.per_room.0)).sum::<u64>()
    }

    fn check(&self) -> Result<(), BadScenario> {
        let people = self.people();
        if people == 0 {
            return Err(bad("nobody takes part: it needs [driver], [customer] or [support]"));
        }
        if people > u64::from(MAX_PEOPLE) {
            return Err(bad(format!("{people} connections are over {MAX_PEOPLE}")));
        }
        for role in ROLES {
            let Some(part) = self.part(role) else { continue };
            let name = role.as_str();
            let moves = part.locations.0 > 0.0 || part.locations_in_flight.is_some();
            if moves && role != Role::Driver {
                return Err(bad(format!("{name}.locations: only a driver has a position")));
            }
            let both = |rate: Rate, window: Option<SendWindow>| rate.0 > 0.0 && window.is_some();
            if both(part.locations, part.locations_in_flight) {
                return Err(bad(format!("{name}: locations or locations-in-flight, not both")));
            }
            if both(part.chat, part.chat_in_flight) {
                return Err(bad(format!("{name}: chat or chat-in-flight, not both")));
            }
        }
        let storms = self.storm.iter().map(|storm| ("storm", storm.at));
        let mut moments = storms.chain(self.step.iter().map(|step| ("step", step.at)));
        if let Some((key, at)) = moments.find(|(_, at)| at.0 >= self.hold.0) {
            let at = humantime::format_duration(at.0);
            return Err(bad(format!("{key}: at {at} the hold is over")));
        }
        Ok(())
    }
}

fn bad(problem: impl Into<String>) -> BadScenario {
    BadScenario { line: None, problem: problem.into() }
}

/// An error of the TOML reader, in one line and without names of Rust types.
fn plainly(said: &str) -> String {
    let said = said.trim().replace('\n', ", ");
    let words = [
        ("expected f64", "expected a number"),
        ("expected i64", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected a sequence", "expected a list"),
        ("expected struct Part", "expected a table"),
    ];
    words.iter().fold(said, |said, (theirs, ours)| said.replace(theirs, ours))
}

fn of_file(text: &str, error: &toml::de::Error) -> BadScenario {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    BadScenario { line, problem: plainly(error.message()) }
}

/// Applies each `key=value` and reads the scenario.
fn changed(text: &str, changes: &[String]) -> Result<Scenario, BadScenario> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| of_file(text, &error))?;
    for change in changes {
        let refused = |problem: &str| bad(format!("{change:?}: {problem}"));
        let (key, value) = change.split_once('=').ok_or_else(|| refused("it must be key=value"))?;
        // A word without quotes is a text, so that nothing needs quotes for both the shell and
        // TOML.
        let value = value.trim();
        let read = toml::from_str::<toml::Table>(&format!("v = {value}")).ok();
        let value = read.and_then(|mut read| read.remove("v"));
        let value = value.unwrap_or_else(|| toml::Value::String(change_text(change)));
        put(&mut table, key.trim(), value).ok_or_else(|| refused("there is no such table"))?;
    }
    Scenario::deserialize(table).map_err(|error| {
        let said = error.to_string();
        bad(format!("{} (after {})", plainly(&said), changes.join(" ")))
    })
}

fn change_text(change: &str) -> String {
    change.split_once('=').map_or("", |(_, value)| value).trim().to_owned()
}

fn put(table: &mut toml::Table, key: &str, value: toml::Value) -> Option<()> {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Some(());
    };
    let inner = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    put(inner.as_table_mut()?, rest, value)
}

#[cfg(test)]
mod tests;
