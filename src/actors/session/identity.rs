//! Who the client is, while the login lasts: the token's end, and the next token.

use std::sync::Arc;
use std::time::Instant;

use super::login::{Login, expiry};
use crate::actors::order_room::Rejudge;
use crate::actors::peer::Answer;
use crate::actors::shared::too_fast;
use crate::auth::Identity;
use crate::protocol::client::Refresh;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::{Expiring, Reply, ServerEvent};
use crate::session::users::Kind;
use crate::time::Timestamp;

impl Login {
    pub(super) fn warn_of_expiry(&self) {
        let expires_at = self.identity.expires_at;
        let in_ms = expires_at.millis_since(Timestamp::now());
        self.peer.tell(&ServerEvent::Expiring(Expiring { expires_at, in_ms })).ok();
    }

    /// Goes on with a new token of the same user: its role and orders count from now on, in every
    /// room. Its end is for the caller to wait for.
    pub(super) fn refresh(&mut self, refresh: &Refresh, answer: Answer, now: Instant) {
        let identity = match self.shared.verifier.verify(&refresh.token, Timestamp::now()) {
            Ok(identity) if identity.user == self.identity.user => identity,
            Ok(_) => {
                return answer.refuse(Failure::new(ErrorCode::Forbidden, "the token is another's"));
            }
            Err(error) => return answer.refuse(Failure::from(&error)),
        };
        if let Err(wait) = self.rates.take(Kind::Login, now) {
            return answer.refuse(too_fast("too many logins", wait));
        }
        let expires_at = identity.expires_at;
        self.adopt(identity);
        answer.ok(Reply::Refreshed { expires_at });
    }

    /// Whether its token was revoked since it was found good.
    pub(super) fn is_revoked(&self) -> bool {
        self.shared.verifier.has_revoked(&self.identity)
    }

    fn adopt(&mut self, identity: Identity) {
        self.expiry = expiry(&identity, Instant::now());
        self.count(-1);
        self.identity = Arc::new(identity);
        self.count(1);
        self.refusals.clear();
        for room in self.links.values().filter_map(|link| link.room()) {
            let (session, identity) = (self.peer.id, Arc::clone(&self.identity));
            room.addr.do_send(Rejudge { session, identity });
        }
    }
}
