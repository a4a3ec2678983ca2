//! The identity of a session over time: the end of its token, and its next token.

use std::sync::Arc;
use std::time::Instant;

use super::session::{Session, expiry};
use crate::actors::peer::Answer;
use crate::actors::shared::rate_limited;
use crate::auth::Identity;
use crate::rate_limit::users::RateKind;
use protocol::client::Reply;
use protocol::error::{ErrorCode, Failure};
use protocol::events::refresh::{Expiring, Refresh, Refreshed};
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

impl Session {
    pub(super) fn send_expiring(&self) {
        let expires_at = self.identity.expires_at;
        let in_ms = expires_at.millis_since(Timestamp::now());
        self.peer.tell(&ServerEvent::Expiring(Expiring { expires_at, in_ms })).ok();
    }

    /// Takes a new token of the same user: its role and orders count from now on, in every room.
    /// The caller arms the alarm for its end.
    pub(super) fn refresh(&mut self, refresh: &Refresh, answer: Answer, now: Instant) {
        let identity = match self.shared.authenticate_user(&refresh.token) {
            Ok(identity) if identity.user == self.identity.user => identity,
            Ok(_) => {
                return answer.refuse(Failure::new(
                    ErrorCode::Forbidden,
                    "the token belongs to another user",
                ));
            }
            Err(failure) => return answer.refuse(failure),
        };
        if let Err(wait) = self.rates.take(RateKind::Login, now) {
            return answer.refuse(rate_limited("too many logins", wait));
        }
        let expires_at = identity.expires_at;
        self.set_identity(identity);
        answer.ok(Reply::Refresh(Refreshed { expires_at }));
    }

    /// Whether its token was revoked since it was verified.
    pub(super) fn is_revoked(&self) -> bool {
        self.shared.verifier.has_revoked(&self.identity)
    }

    fn set_identity(&mut self, identity: Identity) {
        self.expiry = expiry(&identity, Instant::now());
        self.count(-1);
        self.identity = Arc::new(identity);
        self.count(1);
        self.refusals.clear();
        self.renewals += 1;
        for (order, subscription) in self.subscriptions.iter() {
            self.update_identity(order, subscription);
        }
    }
}
