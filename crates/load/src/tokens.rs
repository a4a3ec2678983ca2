//! The users of a run, with tokens that are made for the run or read from a file.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::scenario::{ROLES, Scenario};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The user of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The room, counted from 0.
    pub room: usize,
    /// The user's role in the scenario.
    pub role: Role,
    /// The token's user.
    pub user: UserId,
    /// The token.
    pub token: String,
}

/// The rooms of a run, and their users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct People {
    /// The orders.
    pub rooms: Vec<OrderId>,
    /// All users, room by room.
    pub persons: Vec<Person>,
    /// When the first of their tokens expires, in seconds since 1970, if that can be read.
    pub expires: Option<i64>,
}

/// A line of a file of tokens, as `orderhub token --format ndjson` writes it.
#[derive(Deserialize)]
struct TokenLine {
    user: UserId,
    role: Role,
    #[serde(default)]
    orders: Vec<OrderId>,
    token: String,
}

/// Signs a token for a user in a role who may join one order.
pub type Sign<'a> = dyn Fn(&UserId, Role, &OrderId) -> Result<String, String> + 'a;

impl People {
    /// All users of a scenario, with new tokens.
    ///
    /// # Errors
    /// A sentence if a token cannot be made.
    pub fn from_scenario(scenario: &Scenario, sign: &Sign<'_>) -> Result<Self, String> {
        let mut people = Self { rooms: Vec::new(), persons: Vec::new(), expires: None };
        for room in 0..scenario.rooms.0 as usize {
            let order = id(&format!("{}-{}", scenario.order, room + 1), OrderId::new)?;
            for (role, place) in places(scenario) {
                let user = id(&format!("{order}-{}-{}", role.as_str(), place + 1), UserId::new)?;
                let token = sign(&user, role, &order)?;
                people.persons.push(Person { room, role, user, token });
            }
            people.rooms.push(order);
        }
        Ok(people)
    }

    /// All users of a scenario, from a file of tokens: its orders are the rooms, in the order of
    /// the file.
    ///
    /// # Errors
    /// A sentence with the line that cannot be read or whose token has expired, or with what is
    /// missing.
    pub fn from_token_lines(
        scenario: &Scenario,
        text: &str,
        now: Timestamp,
    ) -> Result<Self, String> {
        let mut rooms: Vec<OrderId> = Vec::new();
        let mut waiting: HashMap<(OrderId, Role), Vec<TokenLine>> = HashMap::new();
        let now = now.as_millis() / 1000;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line: TokenLine = serde_json::from_str(line)
                .map_err(|error| format!("line {}: {}", number + 1, without_place(&error)))?;
            if expiry(&line.token).is_some_and(|expiry| expiry <= now) {
                return Err(format!("line {}: the token has expired", number + 1));
            }
            let Some(order) = line.orders.first().cloned() else {
                return Err(format!("line {}: the token names no order", number + 1));
            };
            let key = (order.clone(), line.role);
            if !ROLES.iter().any(|role| waiting.contains_key(&(order.clone(), *role))) {
                rooms.push(order);
            }
            waiting.entry(key).or_default().push(line);
        }
        let wanted = scenario.rooms.0 as usize;
        if rooms.len() < wanted {
            return Err(format!(
                "it names {} orders, the scenario wants {wanted}: take fewer with --rooms, or make \
                 more tokens",
                rooms.len()
            ));
        }
        rooms.truncate(wanted);
        // Reversed, because tokens are taken from the end: the first of the file comes first.
        for lines in waiting.values_mut() {
            lines.reverse();
        }
        let mut persons: Vec<Person> = Vec::new();
        for (room, order) in rooms.iter().enumerate() {
            for (role, _) in places(scenario) {
                let line = waiting.get_mut(&(order.clone(), role)).and_then(Vec::pop);
                let line = line.ok_or_else(|| {
                    let wanted = scenario.part(role).map_or(0, |part| part.per_room.0);
                    let role = role.as_str();
                    format!(
                        "{order} has too few tokens of the role {role}, each room wants {wanted}"
                    )
                })?;
                persons.push(Person { room, role, user: line.user, token: line.token });
            }
        }
        let expires = persons.iter().filter_map(|person| expiry(&person.token)).min();
        Ok(Self { rooms, persons, expires })
    }
}

/// When a token expires, in seconds since 1970; none if it is not a readable JWT.
fn expiry(token: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    Some(serde_json::from_slice::<Claims>(&payload).ok()?.exp)
}

/// The error of a single line without its position, which would always be "line 1".
fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.rsplit_once(" at line ").map_or(said.clone(), |(what, _)| what.to_owned())
}

/// The members of one room: each role with its number.
fn places(scenario: &Scenario) -> Vec<(Role, u32)> {
    let places = |role| scenario.part(role).map_or(0, |part| part.per_room.0);
    ROLES.into_iter().flat_map(|role| (0..places(role)).map(move |place| (role, place))).collect()
}

fn id<T, E: std::fmt::Display>(text: &str, new: fn(&str) -> Result<T, E>) -> Result<T, String> {
    new(text).map_err(|error| format!("{text}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let text = "name = \"x\"\nrooms = 2\n[driver]\nper-room = 1\n[customer]\nper-room = 2\n";
        Scenario::read(text, &[]).expect("good")
    }

    #[test]
    fn people_are_made_room_by_room() {
        let sign = |user: &UserId, role: Role, order: &OrderId| {
            Ok(format!("{user}/{}/{order}", role.as_str()))
        };
        let people = People::from_scenario(&scenario(), &sign).expect("people");
        assert_eq!(
            people.rooms.iter().map(OrderId::as_str).collect::<Vec<_>>(),
            ["load-1", "load-2"]
        );
        let tokens: Vec<&str> = people.persons.iter().map(|person| &*person.token).collect();
        assert_eq!(tokens.len(), 6);
        assert_eq!(tokens[0], "load-1-driver-1/driver/load-1");
        assert_eq!(tokens[5], "load-2-customer-2/customer/load-2");
    }

    fn line(user: &str, role: &str, order: &str) -> String {
        format!(
            "{{\"user\":\"{user}\",\"role\":\"{role}\",\"orders\":[\"{order}\"],\"token\":\"t-{user}\"}}\n"
        )
    }

    #[test]
    fn people_are_taken_from_a_file_in_its_order() {
        let mut text = String::new();
        for order in ["b", "a", "unused"] {
            text += &line(&format!("{order}1"), "customer", order);
            text += &line(&format!("{order}2"), "customer", order);
            text += &line(&format!("{order}3"), "driver", order);
        }
        let people =
            People::from_token_lines(&scenario(), &text, Timestamp::from_secs(0)).expect("people");
        let users: Vec<&str> = people.persons.iter().map(|person| person.user.as_str()).collect();
        assert_eq!(users, ["b3", "b1", "b2", "a3", "a1", "a2"]);
    }

    #[test]
    fn a_file_with_too_few_tokens_says_which_are_missing() {
        let one = line("u", "driver", "a");
        for (text, part) in [
            ("\n{}\n".to_owned(), "line 2: missing field `user`"),
            (one.clone(), "it names 1 orders, the scenario wants 2"),
            (one.clone() + &line("v", "driver", "b"), "a has too few tokens of the role customer"),
            ("{\"user\":\"u\",\"role\":\"driver\",\"token\":\"t\"}".to_owned(), "names no order"),
        ] {
            let error = People::from_token_lines(&scenario(), &text, Timestamp::from_secs(0))
                .expect_err("bad");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn tokens_that_have_expired_are_named_and_the_first_to_expire_is_known() {
        let token = |exp: i64| {
            let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
            format!("e30.{claims}.x")
        };
        let mut text = String::new();
        for (order, exp) in [("a", 200), ("b", 100)] {
            for role in ["driver", "customer", "customer"] {
                text += &line("u", role, order).replace("t-u", &token(exp));
            }
        }
        let listed = |now| People::from_token_lines(&scenario(), &text, Timestamp::from_secs(now));
        assert_eq!(listed(99).map(|people| people.expires), Ok(Some(100)));
        assert_eq!(listed(100), Err("line 4: the token has expired".to_owned()));
    }
}
