//! Rights in the room: who may enter, and what a session may do.

use std::sync::Arc;

use super::OrderRoom;
use super::members::{LocationRight, RoomSession};
use crate::actors::shared::unavailable;
use crate::auth::Identity;
use crate::room::policy::{Action, Rights};
use crate::room::visibility::Visibility;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::SessionId;

impl OrderRoom {
    /// The rights of a user here.
    pub(super) fn rights_of<'a>(&'a self, identity: &'a Identity) -> Rights<'a> {
        self.shared.rights_of(identity, &self.order, &self.facts)
    }

    /// The identity of a session in the room, if it may do `action`.
    pub(super) fn authorize(
        &self,
        session: SessionId,
        action: Action,
    ) -> Result<&Arc<Identity>, Failure> {
        let identity = &self.session(session)?.identity;
        self.rights_of(identity).to(action)?;
        Ok(identity)
    }

    /// A session in the room, member or sender.
    pub(super) fn session(&self, session: SessionId) -> Result<&RoomSession, Failure> {
        let member = self.members.get(&session).map(|member| &member.session);
        member.or_else(|| self.senders.get(&session)).ok_or_else(not_in_the_room)
    }

    /// Whether a user may be here. `known` is set for sessions that were in before.
    pub(super) fn authorize_entry(&self, identity: &Identity, known: bool) -> Result<(), Failure> {
        if self.facts.deleted && identity.role.is_staff() {
            return Err(no_such_order());
        }
        let rights = self.rights_of(identity);
        rights.to(Action::Join)?;
        // Staff may see every order, so they may be told that an order does not exist. Other users
        // come with a right that names the order, and an order that only a token names exists from
        // its first write.
        let others = self.relay.as_ref().is_some_and(|relay| !relay.members.is_empty());
        let exists = self.exists || others || !self.roster.is_empty();
        if known || rights.subject.named || exists || self.shared.rules.open {
            return Ok(());
        }
        Err(no_such_order())
    }
}

/// The driver for whom the positions of a session with these rights count.
pub(super) fn location_right(rights: Rights<'_>) -> LocationRight {
    rights.to(Action::Locate)?;
    Ok(rights.subject.user.clone())
}

/// Which positions a member with these rights may see.
pub(super) fn visibility(rights: Rights<'_>) -> Visibility {
    rights.visible_positions().unwrap_or(Visibility::NONE)
}

/// The refusal of an event whose session has left.
pub(super) fn not_in_the_room() -> Failure {
    unavailable("the session is not in the room any more")
}

fn no_such_order() -> Failure {
    Failure::new(ErrorCode::NotFound, "no such order")
}
