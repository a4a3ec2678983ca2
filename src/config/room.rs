//! Settings of rooms.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use super::parse::{hours, list, secs, statuses};

/// Who may join an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinPolicy {
    /// Participants, whom the token or the back end names, and staff.
    Members,
    /// Every authenticated user.
    Open,
}

/// Rules of the rooms.
#[derive(Debug, Clone, Args)]
pub struct RoomConfig {
    /// Who may join an order: members (users with a right to it), or open (every logged-in user)
    ///
    /// `JOIN_POLICY`, `members` or `open`, default `members`. `open` is for moving over from a
    /// gateway whose tokens name no orders; the hub warns of it at start.
    #[arg(long, env = "JOIN_POLICY", value_name = "POLICY")]
    #[arg(default_value = "members", value_parser = join_policy)]
    pub join_policy: JoinPolicy,

    /// How long a Socket.IO session can be resumed (seconds); 0 switches resume off
    ///
    /// `RESUME_SECS`, seconds, default 120, counted from its unclean end. Long times cost memory:
    /// what a session would need to go on is kept until then.
    #[arg(long = "resume-secs", env = "RESUME_SECS", value_name = "SECS")]
    #[arg(default_value = "120", value_parser = secs(0, 3600))]
    pub resume: Duration,

    /// From an unclean end to presence:left (seconds)
    ///
    /// `PRESENCE_GRACE_SECS`, seconds, default 15. 0 tells of every lost signal at once.
    #[arg(long = "presence-grace-secs", env = "PRESENCE_GRACE_SECS", value_name = "SECS")]
    #[arg(default_value = "15", value_parser = secs(0, 3600))]
    pub presence_grace: Duration,

    /// An empty room is forgotten after this time (seconds)
    ///
    /// `ROOM_IDLE_SECS`, seconds, default 60. 0 forgets it at once: the next join reads the
    /// database again. Long times cost memory.
    #[arg(long = "room-idle-secs", env = "ROOM_IDLE_SECS", value_name = "SECS")]
    #[arg(default_value = "60", value_parser = secs(0, 86_400))]
    pub room_idle: Duration,

    /// Statuses that end an order, with commas
    ///
    /// `TERMINAL_STATUSES`, default `DELIVERED,CANCELLED`. Compared as they are written.
    #[arg(long, env = "TERMINAL_STATUSES", value_name = "STATUSES")]
    #[arg(default_value = "DELIVERED,CANCELLED", value_parser = list)]
    pub terminal_statuses: BTreeSet<String>,

    /// Statuses that back ends may set, with commas
    ///
    /// `ORDER_STATUSES`, default: every word of up to 40 of the characters A to Z, 0 to 9 and _.
    /// With a list, a back end that mistypes one is told.
    #[arg(long, env = "ORDER_STATUSES", value_name = "STATUSES", value_parser = statuses)]
    pub order_statuses: Option<BTreeSet<String>>,

    /// Statuses in which customers see where the driver is, with commas
    ///
    /// `LOCATION_VISIBLE_STATUSES`, default: every status that is not terminal, and none at all.
    /// The driver and support see positions in every status. After the end no user does.
    #[arg(long, env = "LOCATION_VISIBLE_STATUSES", value_name = "STATUSES")]
    #[arg(value_parser = statuses)]
    pub location_visible_statuses: Option<BTreeSet<String>>,

    /// From one stored point of a driver's trail to the next (seconds)
    ///
    /// `TRAIL_INTERVAL_SECS`, seconds, default 10. Short ones cost writes; where the last position
    /// is written behind, it is every so often too, but at least every 10 s.
    #[arg(long = "trail-interval-secs", env = "TRAIL_INTERVAL_SECS", value_name = "SECS")]
    #[arg(default_value = "10", value_parser = secs(1, 3600))]
    pub trail_interval: Duration,

    /// A stored point of a driver's trail is deleted after this time (hours)
    ///
    /// `LOCATION_RETENTION_HOURS`, hours, default 24. 0: there is no trail, and one from before is
    /// deleted; the last position of an order is kept all the same.
    #[arg(long = "location-retention-hours", env = "LOCATION_RETENTION_HOURS")]
    #[arg(value_name = "HOURS", default_value = "24", value_parser = hours(0, 87_600))]
    pub location_retention: Duration,

    /// Chat stays open so long after an order has ended (hours)
    ///
    /// `CHAT_OPEN_HOURS`, hours, default 24. 0 closes it with the order.
    #[arg(long = "chat-open-hours", env = "CHAT_OPEN_HOURS", value_name = "HOURS")]
    #[arg(default_value = "24", value_parser = hours(0, 87_600))]
    pub chat_open: Duration,
}

fn join_policy(text: &str) -> Result<JoinPolicy, String> {
    match text {
        "members" => Ok(JoinPolicy::Members),
        "open" => Ok(JoinPolicy::Open),
        _ => Err("members or open".to_owned()),
    }
}
