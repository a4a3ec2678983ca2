//! Roles: what kind of user a session belongs to.

use serde::{Deserialize, Serialize};

/// The role that a token gives its user.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A user who has ordered something. Also the role of tokens without a role or with an unknown
    /// one.
    #[default]
    Customer,
    /// A user who delivers orders.
    Driver,
    /// Helps customers and drivers; may join every order.
    Support,
    /// Runs the hub; may join every order and use the admin API.
    Admin,
    /// A back end.
    Service,
}

impl Role {
    /// The names of all roles, in the order of their discriminants.
    pub const NAMES: &[&str] = &["customer", "driver", "support", "admin", "service"];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Customer, Self::Driver, Self::Support, Self::Admin, Self::Service]
            .into_iter()
            .find(|role| role.as_str() == name)
    }

    /// Whether the role is support or admin, which see every order.
    pub fn is_staff(self) -> bool {
        matches!(self, Self::Support | Self::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wire_format_agree() {
        for name in Role::NAMES {
            let role = Role::from_name(name).expect("a role");
            assert_eq!(serde_json::to_string(&role).ok(), Some(format!("\"{name}\"")));
        }
        assert_eq!(Role::from_name("boss"), None);
    }
}
