//! The back end's names for the roles.

use std::collections::HashMap;
use std::str::FromStr;

use protocol::role::Role;

/// `JWT_ROLE_MAP`: a back end's names, each with the role that it means. Names are compared without
/// case. The map takes precedence over the hub's own names: `admin=support` leaves no name for
/// admin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleMap(HashMap<String, Role>);

impl RoleMap {
    /// The role of that name, by the map or by the hub's own names. Of the latter, `admin` and
    /// `service` must match exactly: a back end's `ADMIN` may administer something else.
    pub fn role(&self, name: &str) -> Option<Role> {
        let lower = name.trim().to_lowercase();
        let in_any_case =
            || Role::from_name(&lower).filter(|role| !matches!(role, Role::Admin | Role::Service));
        let mapped = self.0.get(&lower).copied();
        mapped.or_else(|| Role::from_name(name)).or_else(in_any_case)
    }

    /// A name that means this role; none if the map leaves none.
    pub fn name_of(&self, role: Role) -> Option<&str> {
        let own = role.as_str();
        if self.0.get(own).is_none_or(|mapped| *mapped == role) {
            return Some(own);
        }
        self.0.iter().find(|(_, mapped)| **mapped == role).map(|(name, _)| name.as_str())
    }
}

impl FromStr for RoleMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || {
            let names = Role::NAMES.join(", ");
            format!("pairs like COURIER=driver,AGENT=support; the roles are {names}")
        };
        let mut map = HashMap::new();
        for pair in text.split(',') {
            let (theirs, ours) = pair.split_once('=').ok_or_else(allowed)?;
            let role = Role::from_name(ours.trim()).ok_or_else(allowed)?;
            let theirs = theirs.trim().to_lowercase();
            if theirs.is_empty() || map.insert(theirs, role).is_some() {
                return Err(allowed() + ", each name once (upper and lower case are the same)");
            }
        }
        Ok(Self(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_the_map_comes_first() {
        let map: RoleMap = "ROLE_COURIER=driver, admin = support".parse().expect("a map");
        for (name, role) in [
            ("ROLE_COURIER", Some(Role::Driver)),
            ("role_courier", Some(Role::Driver)),
            ("DRIVER", Some(Role::Driver)),
            ("Customer", Some(Role::Customer)),
            ("ADMIN", Some(Role::Support)),
            ("service", Some(Role::Service)),
            ("SERVICE", None),
            ("boss", None),
            ("", None),
        ] {
            assert_eq!(map.role(name), role, "{name}");
        }
        assert_eq!(map.name_of(Role::Driver), Some("driver"));
        assert_eq!(map.name_of(Role::Admin), None);
        for bad in ["", "A", "A=boss", "=driver", "A=driver,a=support"] {
            assert!(bad.parse::<RoleMap>().is_err(), "{bad}");
        }
    }
}
