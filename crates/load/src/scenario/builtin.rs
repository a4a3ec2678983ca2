//! The built-in scenarios.

/// Their names and texts, in the order of the list.
pub const BUILTIN: &[(&str, &str)] = &[
    ("tracking", include_str!("../../../../benches/load/tracking.toml")),
    ("rooms", include_str!("../../../../benches/load/rooms.toml")),
    ("big-room", include_str!("../../../../benches/load/big-room.toml")),
    ("chat", include_str!("../../../../benches/load/chat.toml")),
    ("churn", include_str!("../../../../benches/load/churn.toml")),
    ("reconnect-storm", include_str!("../../../../benches/load/reconnect-storm.toml")),
    ("slow-readers", include_str!("../../../../benches/load/slow-readers.toml")),
    ("cluster", include_str!("../../../../benches/load/cluster.toml")),
    ("soak", include_str!("../../../../benches/load/soak.toml")),
    ("mixed", include_str!("../../../../benches/load/mixed.toml")),
];

/// The text of a built-in scenario.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
