//! What holds for every input of a parser. Each property takes good inputs with a few changes, from
//! a fixed seed; `tests/fuzz` runs them for long.

mod envelope;
mod fixes;
#[path = "../common/mutate.rs"]
mod mutate;
mod scenario;
mod settings;
mod socketio;
mod tokens;
mod trackers;
mod tracks;

/// An id as it may be.
const ID: &str = "[A-Za-z0-9._:~-]{1,40}";
