//! The events that webhooks tell of, and the patterns by which an endpoint chooses among them.

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:literal $kind:ident,)*) => {
        /// What an event tells of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The `type` of the webhook.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

event_kinds! {
    /// A back end created an order.
    "order.created" OrderCreated,
    /// An order has another status.
    "order.status" OrderStatus,
    /// An order has another driver, or none any more.
    "order.assigned" OrderAssigned,
    /// An order was deleted.
    "order.deleted" OrderDeleted,
    /// A user takes part in an order, or has another role there.
    "participant.added" ParticipantAdded,
    /// A user was removed from an order.
    "participant.removed" ParticipantRemoved,
    /// A message was stored.
    "chat.message" ChatMessage,
    /// A user has read an order's chat further than before.
    "chat.read" ChatRead,
    /// A user has not been shown a message for a while.
    "chat.unread" ChatUnread,
    /// A user is in an order's room.
    "member.joined" MemberJoined,
    /// A user is not in it any more.
    "member.left" MemberLeft,
    /// An order's driver is connected to its room.
    "driver.online" DriverOnline,
    /// An order's driver is not connected any more.
    "driver.offline" DriverOffline,
    /// An order's driver has sent no position for a while.
    "driver.stale" DriverStale,
    /// The driver sends positions again.
    "driver.fresh" DriverFresh,
    /// A hub has started.
    "hub.started" HubStarted,
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventSet(u32);

// === impl EventKind ===

impl EventKind {
    /// Those that changes of orders are told as.
    pub const OF_ORDERS: &[Self] = &[
        Self::OrderCreated,
        Self::OrderStatus,
        Self::OrderAssigned,
        Self::OrderDeleted,
        Self::ParticipantAdded,
        Self::ParticipantRemoved,
    ];
}

// === impl EventSet ===

impl EventSet {
    /// Whether it holds this kind.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// The kinds of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds that a pattern names: a kind, all of a group (`chat.*`), or all (`*`). `None` if it
    /// names none.
    pub fn matching(pattern: &str) -> Option<Self> {
        let group =
            pattern.strip_suffix('*').filter(|group| group.is_empty() || group.ends_with('.'));
        let named = |kind: &&EventKind| match group {
            Some(group) => kind.as_str().starts_with(group),
            None => kind.as_str() == pattern,
        };
        let kinds: Self = EventKind::ALL.iter().filter(named).copied().collect();
        (kinds != Self::default()).then_some(kinds)
    }
}

impl FromIterator<EventKind> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | (1 << kind as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> Vec<&'static str> {
        let kinds = EventSet::matching(pattern).unwrap_or_default();
        let kinds = EventKind::ALL.iter().filter(|kind| kinds.contains(**kind));
        kinds.map(|kind| kind.as_str()).collect()
    }

    #[test]
    fn a_pattern_names_a_kind_a_group_or_all() {
        assert_eq!(names("chat.message"), ["chat.message"]);
        assert_eq!(names("chat.*"), ["chat.message", "chat.read", "chat.unread"]);
        assert_eq!(names("*").len(), EventKind::ALL.len());
        for none in ["", "chat", "chat*", "chat.", "chat.mess*", "*.message", "CHAT.*", "x.*", "**"]
        {
            assert_eq!(EventSet::matching(none), None, "{none}");
        }
    }
}
