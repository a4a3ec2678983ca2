//! Who asks over HTTP: somebody with a token, or a service with an API key; and what each may do.

use std::sync::Arc;

use super::Identity;
use crate::protocol::role::Role;

/// What an API key can be made for. The text form stands in `API_KEYS_FILE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read orders, their members, chat and positions.
    OrdersRead,
    /// Create, change, assign, move on and delete orders; post positions.
    OrdersWrite,
    /// Send events to rooms and to users.
    EventsWrite,
    /// Write chat messages.
    ChatWrite,
    /// Revoke users' tokens.
    UsersWrite,
    /// Look at the node and its rooms.
    AdminRead,
    /// Remove users.
    AdminWrite,
    /// Read the metrics.
    MetricsRead,
}

/// Several scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

/// Somebody with an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What the key is called in its file.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
}

/// Whoever asks over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Somebody with a token.
    Identity(Identity),
    /// Somebody with an API key, which opens no socket.
    Service(Service),
}

// === impl Scope ===

impl Scope {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::EventsWrite,
        Self::ChatWrite,
        Self::UsersWrite,
        Self::AdminRead,
        Self::AdminWrite,
        Self::MetricsRead,
    ];

    /// The scope in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::EventsWrite => "events:write",
            Self::ChatWrite => "chat:write",
            Self::UsersWrite => "users:write",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
            Self::MetricsRead => "metrics:read",
        }
    }

    /// The scope that is written so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == name)
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether it is for `/api`; the others are for operation.
    pub fn is_api(self) -> bool {
        !matches!(self, Self::AdminRead | Self::AdminWrite | Self::MetricsRead)
    }
}

// === impl Scopes ===

impl Scopes {
    /// Whether the scope is among them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u16) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | (1 << scope as u16)))
    }
}

// === impl Principal ===

impl Principal {
    /// Whether it may do what the scope names, whatever the order. A token's role `service` may
    /// everything under `/api`, `admin` everything, `support` look on; what participants of an
    /// order may do there beyond that is for the routes to say.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Service(service) => service.scopes.contains(scope),
            Self::Identity(identity) => match identity.role {
                Role::Admin => true,
                Role::Service => scope.is_api(),
                Role::Support => scope == Scope::AdminRead,
                Role::Customer | Role::Driver => false,
            },
        }
    }

    /// Its user's id, or what its API key is called: for the log.
    pub fn name(&self) -> &str {
        match self {
            Self::Identity(identity) => identity.user.as_str(),
            Self::Service(service) => &service.name,
        }
    }

    /// The user, where it is one.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Identity(identity) => Some(identity),
            Self::Service(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn may(principal: &Principal) -> Vec<&'static str> {
        let scopes = Scope::ALL.iter().filter(|scope| principal.may(**scope));
        scopes.map(|scope| scope.as_str()).collect()
    }

    fn with_role(role: Role) -> Principal {
        let at = Timestamp::from_secs(1);
        let user = crate::ids::UserId::new("u").expect("an id");
        let (name, orders) = ("U".to_owned(), Arc::from([]));
        Principal::Identity(Identity {
            user,
            name,
            role,
            orders,
            expires_at: at,
            deadline: at,
            issued_at: None,
        })
    }

    #[test]
    fn a_role_says_what_a_token_may_do() {
        let api = ["orders:read", "orders:write", "events:write", "chat:write", "users:write"];
        assert_eq!(may(&with_role(Role::Service)), api);
        assert_eq!(may(&with_role(Role::Admin)).len(), Scope::ALL.len());
        assert_eq!(may(&with_role(Role::Support)), ["admin:read"]);
        for role in [Role::Customer, Role::Driver] {
            assert_eq!(may(&with_role(role)), [""; 0]);
        }
    }

    #[test]
    fn a_key_may_what_its_scopes_say_and_nothing_else() {
        for only in Scope::ALL.iter().copied() {
            let service = Service { name: "shop".into(), scopes: Scopes::from_iter([only]) };
            let principal = Principal::Service(service);
            assert_eq!(may(&principal), [only.as_str()]);
            assert_eq!((principal.name(), principal.identity()), ("shop", None));
            assert_eq!(Scope::from_name(only.as_str()), Some(only));
        }
        assert_eq!(Scope::from_name("orders"), None);
    }
}
