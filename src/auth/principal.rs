//! Callers of the HTTP API: a user with a token, or a service with an API key; and their rights.

use std::sync::Arc;

use super::Identity;
use protocol::role::Role;

/// A right that an API key can have. Its text form stands in `API_KEYS_FILE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read orders, their members, chat and positions.
    OrdersRead,
    /// Create, change, assign and delete orders, set their status; post positions.
    OrdersWrite,
    /// Send events to rooms and to users.
    EventsWrite,
    /// Write chat messages.
    ChatWrite,
    /// Revoke users' tokens.
    UsersWrite,
    /// Read the state of the node and its rooms.
    AdminRead,
    /// Remove users.
    AdminWrite,
    /// Read the metrics.
    MetricsRead,
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

/// The holder of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The key's name in its file.
    pub name: Arc<str>,
    /// The scopes of the key.
    pub scopes: Scopes,
}

/// A caller of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user with a token.
    Identity(Identity),
    /// A service with an API key, which cannot open a socket.
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

    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == name)
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether the scope is for `/api`; the others are for operation.
    pub fn is_api(self) -> bool {
        !matches!(self, Self::AdminRead | Self::AdminWrite | Self::MetricsRead)
    }
}

// === impl Scopes ===

impl Scopes {
    /// Whether the set contains the scope.
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
    /// Whether the caller has this scope for every order. A token with the role `service` has every
    /// scope of `/api`, `admin` has all scopes, and `support` has [`Scope::AdminRead`]. The routes
    /// decide what participants of an order may do beyond that.
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

    /// The user's id or the name of the API key, for the log.
    pub fn name(&self) -> &str {
        match self {
            Self::Identity(identity) => identity.user.as_str(),
            Self::Service(service) => &service.name,
        }
    }

    /// The user, if the caller is one.
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
    use protocol::time::Timestamp;

    fn may(principal: &Principal) -> Vec<&'static str> {
        let scopes = Scope::ALL.iter().filter(|scope| principal.may(**scope));
        scopes.map(|scope| scope.as_str()).collect()
    }

    fn with_role(role: Role) -> Principal {
        let at = Timestamp::from_secs(1);
        let user = protocol::ids::UserId::new("u").expect("an id");
        let (name, orders) = ("U".to_owned(), Arc::from([]));
        Principal::Identity(Identity {
            user,
            name,
            role,
            orders,
            expires_at: at,
            deadline: at,
            issued_at: None,
            by_hook: false,
            claims: None,
        })
    }

    #[test]
    fn a_role_gives_the_rights_of_a_token() {
        let api = ["orders:read", "orders:write", "events:write", "chat:write", "users:write"];
        assert_eq!(may(&with_role(Role::Service)), api);
        assert_eq!(may(&with_role(Role::Admin)).len(), Scope::ALL.len());
        assert_eq!(may(&with_role(Role::Support)), ["admin:read"]);
        for role in [Role::Customer, Role::Driver] {
            assert_eq!(may(&with_role(role)), [""; 0]);
        }
    }

    #[test]
    fn a_key_has_the_rights_of_its_scopes_only() {
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
