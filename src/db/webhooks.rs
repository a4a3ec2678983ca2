//! The outbox of webhooks: rows that are written with what they tell of, and the turns in which
//! their deliveries are recorded and the next ones are taken.

mod admin;
mod endpoint;
mod insert;
mod leases;
mod turn;

pub use admin::{
    DeadRow, EndpointCounts, MAX_STEP, Replay, counts, dead, delete_dead, delete_done, enable,
    replay, states,
};
pub use insert::{NewEvent, insert, insert_on_postgres, insert_on_sqlite};
pub use turn::{ClaimedOrder, ClaimedRow, OrderResult, TurnOutcome, TurnRequest, take_turn};

/// A condition on the state of rows. The numbers must be in the text of a query, or no partial index
/// is used.
macro_rules! in_state {
    (new) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("state = 0")
    };
    (queued) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("state = 1")
    };
    (dead) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("state = 2")
    };
}
use in_state;

/// The states of a row.
const NEW: i16 = 0;
const QUEUED: i16 = 1;
const DEAD: i16 = 2;
const DELIVERED: i16 = 3;
