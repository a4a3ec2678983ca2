//! Who is in the room on each node, on the way and as a room keeps it. A user is present once, on
//! however many nodes.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::RelayedData;
use protocol::events::presence::MemberInfo;
use protocol::ids::{BootId, UserId};
use protocol::role::Role;

/// A user in the room of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteUser {
    /// The user.
    pub user_id: UserId,
    /// The name that is shown.
    pub name: String,
    /// The name of the role that is shown.
    role: String,
}

/// All users in the room of one node: what travels when one of them comes or goes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeMembers {
    /// The number of the room among all of its node.
    #[serde(default)]
    pub room: u64,
    /// The users, those included who have just lost their connection.
    #[serde(default)]
    pub users: Vec<RemoteUser>,
    /// Whether the node's room has ended.
    #[serde(default)]
    pub closed: bool,
}

/// The users in the rooms of the other nodes.
#[derive(Debug, Default)]
pub struct RemoteMembers {
    by_node: BTreeMap<BootId, NodeList>,
}

#[derive(Debug)]
struct NodeList {
    /// The number of the event that told it.
    number: u64,
    users: Vec<RemoteUser>,
    /// When the users of a node that is gone count as gone.
    gone_at: Option<Instant>,
}

/// What a list has changed: users who are on no other node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MembersDiff {
    /// Users who were on none before.
    pub joined: Vec<RemoteUser>,
    /// Users who are on none any more.
    pub left: Vec<RemoteUser>,
}

impl RemoteUser {
    /// A user of this node.
    pub fn of(member: MemberInfo<'_>) -> Self {
        let (user_id, name) = (member.user_id.clone(), member.name.to_owned());
        Self { user_id, name, role: member.role.as_str().to_owned() }
    }

    /// The user as members see it. An unknown role, which a newer version may have written, is shown
    /// as the least one.
    pub fn info(&self) -> MemberInfo<'_> {
        let role = Role::from_name(&self.role).unwrap_or_default();
        MemberInfo { user_id: &self.user_id, name: &self.name, role }
    }
}

impl RelayedData for NodeMembers {}

impl RemoteMembers {
    /// Takes the list of a node, if it is newer than the known one.
    pub fn replace(&mut self, node: BootId, number: u64, users: Vec<RemoteUser>) -> MembersDiff {
        let known = self.by_node.get(&node);
        if known.is_some_and(|known| known.number >= number) {
            return MembersDiff::default();
        }
        let before = self.by_node.remove(&node).map_or_else(Vec::new, |list| list.users);
        let has =
            |users: &[RemoteUser], user: &UserId| users.iter().any(|one| one.user_id == *user);
        let is_new =
            |user: &&RemoteUser| !has(&before, &user.user_id) && !self.contains(&user.user_id);
        let joined = users.iter().filter(is_new).cloned().collect();
        let is_lost =
            |user: &RemoteUser| !has(&users, &user.user_id) && !self.contains(&user.user_id);
        let left = before.into_iter().filter(is_lost).collect();
        self.by_node.insert(node, NodeList { number, users, gone_at: None });
        MembersDiff { joined, left }
    }

    /// A node does not have the room any more. Returns the users who are on no other one.
    pub fn remove(&mut self, node: BootId) -> Vec<RemoteUser> {
        let users = self.by_node.remove(&node).map_or_else(Vec::new, |list| list.users);
        users.into_iter().filter(|user| !self.contains(&user.user_id)).collect()
    }

    /// A node is gone: its users count as gone from this time on, if it does not come back.
    pub fn expire_at(&mut self, node: BootId, gone_at: Instant) {
        if let Some(list) = self.by_node.get_mut(&node) {
            list.gone_at.get_or_insert(gone_at);
        }
    }

    /// The users whose node is gone for too long.
    pub fn expired(&mut self, now: Instant) -> Vec<RemoteUser> {
        if self.next_expiry().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let is_due = |list: &NodeList| list.gone_at.is_some_and(|at| at <= now);
        let due = self.by_node.iter().filter(|(_, list)| is_due(list));
        let nodes: Vec<_> = due.map(|(node, _)| *node).collect();
        nodes.into_iter().flat_map(|node| self.remove(node)).collect()
    }

    /// When the next users expire.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.by_node.values().filter_map(|list| list.gone_at).min()
    }

    /// Whether a user is on another node.
    pub fn contains(&self, user: &UserId) -> bool {
        self.users().any(|one| one.user_id == *user)
    }

    /// The users on other nodes; one who is on several is here as often.
    pub fn users(&self) -> impl Iterator<Item = &RemoteUser> {
        self.by_node.values().flat_map(|list| &list.users)
    }

    /// Whether no user is on another node.
    pub fn is_empty(&self) -> bool {
        self.by_node.values().all(|list| list.users.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(byte: u8) -> BootId {
        BootId::from_bytes([byte; 16])
    }

    fn users(ids: &str) -> Vec<RemoteUser> {
        let user = |id: &str| {
            let user_id = id.parse::<UserId>().expect("an id");
            RemoteUser::of(MemberInfo { user_id: &user_id, name: id, role: Role::Driver })
        };
        ids.split_whitespace().map(user).collect()
    }

    fn ids(users: &[RemoteUser]) -> String {
        users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn told(diff: &MembersDiff) -> (String, String) {
        (ids(&diff.joined), ids(&diff.left))
    }

    fn pair(joined: &str, left: &str) -> (String, String) {
        (joined.to_owned(), left.to_owned())
    }

    #[test]
    fn the_newest_list_of_a_node_replaces_the_one_before() {
        let mut members = RemoteMembers::default();
        assert_eq!(told(&members.replace(node(1), 5, users("ann bob"))), pair("ann bob", ""));
        assert_eq!(told(&members.replace(node(1), 7, users("bob carl"))), pair("carl", "ann"));
        assert_eq!(told(&members.replace(node(1), 6, users("ann"))), pair("", ""), "it is older");
        assert_eq!(told(&members.replace(node(1), 7, users(""))), pair("", ""), "it is the same");
        assert!(members.contains(&"bob".parse().expect("an id")) && !members.is_empty());
    }

    #[test]
    fn a_user_on_several_nodes_is_present_once() {
        let mut members = RemoteMembers::default();
        members.replace(node(1), 1, users("ann"));
        assert_eq!(told(&members.replace(node(2), 1, users("ann bob"))), pair("bob", ""));
        assert_eq!(told(&members.replace(node(1), 2, users(""))), pair("", ""));
        assert_eq!(ids(&members.remove(node(2))), "ann bob");
        assert!(members.is_empty());
    }

    #[test]
    fn the_users_of_a_node_that_is_gone_expire_unless_it_comes_back() {
        let (mut members, now) = (RemoteMembers::default(), Instant::now());
        let later = now + Duration::from_secs(10);
        members.replace(node(1), 1, users("ann"));
        members.replace(node(2), 1, users("bob"));
        members.expire_at(node(1), later);
        members.expire_at(node(2), later);
        assert_eq!((members.expired(now), members.next_expiry()), (Vec::new(), Some(later)));
        members.replace(node(2), 2, users("bob"));
        assert_eq!(ids(&members.expired(later)), "ann");
        assert_eq!((members.expired(later), members.next_expiry()), (Vec::new(), None));
    }

    #[test]
    fn a_newer_version_may_add_fields_and_roles_and_what_is_odd_has_no_effect() {
        let list = NodeMembers { room: 3, users: users("ann"), closed: false };
        assert_eq!(NodeMembers::read(&list.write()), Some(list));
        let newer = br#"{"users":[{"userId":"ann","name":"Ann","role":"cook","x":1}],"y":2}"#;
        let newer = NodeMembers::read(newer).expect("a list");
        assert_eq!(newer.users[0].info().role, Role::default());
        for data in [&b"7"[..], b"{\"users\":[{\"userId\":\"a b\"}]}", b"", b"\xff"] {
            assert_eq!(NodeMembers::read(data), None);
        }
    }
}
