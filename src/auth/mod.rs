//! Authentication: finds the token of a request, verifies it, and reads its claims.

mod api_keys;
mod claims;
mod credentials;
mod jwks;
mod key_source;
mod keyring;
mod keys;
mod mint;
mod principal;
mod refresher;
mod reread;
mod revocations;
mod verifier;
mod watched_source;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

pub use api_keys::{KEY_PREFIX, NewKey, check_name, new_key};
pub use credentials::{Credentials, SUBPROTOCOL, TokenProblem, basic_password, find_token};
pub use mint::{NewToken, mint};
pub use principal::{Principal, Scope, Scopes, Service};
pub use reread::Reread;
pub use verifier::{MAX_TOKEN_BYTES, Verifier};
pub use watched_source::WatchedSource;

/// What a valid token says about its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub user: UserId,
    /// The displayed name: at most 128 characters without control characters; the user's id if the
    /// token has no name.
    pub name: String,
    /// The role after the role map and the staff audience were applied.
    pub role: Role,
    /// The orders that the token lets its user join, sorted, without duplicates.
    pub orders: Arc<[OrderId]>,
    /// `exp`.
    pub expires_at: Timestamp,
    /// `exp` plus leeway. From this instant on the token is invalid, and so is a session that was
    /// opened with it.
    pub deadline: Timestamp,
    /// `iat`, which revocations compare with.
    pub issued_at: Option<Timestamp>,
    /// Whether the back end let the user in when it was asked, for one order only. Then a removal goes
    /// before every role.
    pub by_hook: bool,
    /// The JSON of all claims, kept where the back end is asked about joins.
    pub claims: Option<Arc<str>>,
}

impl Identity {
    /// How much longer the token is valid than it says.
    pub fn leeway(&self) -> Duration {
        self.deadline.until_from(self.expires_at)
    }

    /// Whether the token was issued before an instant, or may have been: a token without `iat`
    /// counts as older than any.
    pub fn may_be_issued_before(&self, instant: Timestamp) -> bool {
        self.issued_at.is_none_or(|issued_at| issued_at < instant)
    }

    /// The same user with the right to an order, in this role: the back end said so.
    #[must_use]
    pub fn admitted_to(&self, order: &OrderId, role: Role) -> Self {
        let mut orders = self.orders.to_vec();
        if let Err(place) = orders.binary_search(order) {
            orders.insert(place, order.clone());
        }
        Self { role, orders: orders.into(), by_hook: true, ..self.clone() }
    }

    /// Whether the token names this order.
    pub fn names(&self, order: &OrderId) -> bool {
        self.orders.binary_search(order).is_ok()
    }
}

/// How long a client waits before it returns to a hub that lacks the keys to verify its token.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(2);

/// How long a client waits before it sends its next token, if this one was issued right before a
/// revocation: `iat` counts whole seconds.
const REVOKED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is invalid. The reason is for the log; it contains nothing of the token.
    #[error("invalid token: {0}")]
    Invalid(Cow<'static, str>),
    /// The token was valid once, and has expired.
    #[error("the token has expired")]
    Expired,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The token was revoked, but issued so shortly before that it may be newer, by a clock that is
    /// behind. The next one may be accepted.
    #[error("the token was revoked, unless the clock of its back end is behind")]
    RevokedJustNow,
    /// The hub does not have the token's key and is fetching keys: see [`Verifier::wait_for_keys`].
    #[error("the token's key is being fetched")]
    Pending,
    /// The hub does not have the token's key, and the source of keys does not answer.
    #[error("the token's key is unknown, and the keys cannot be fetched")]
    Unavailable,
}

impl AuthError {
    /// The code for the client.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) | Self::Revoked | Self::RevokedJustNow => ErrorCode::Unauthenticated,
            Self::Expired => ErrorCode::TokenExpired,
            // On "unauthenticated" a client would fetch another token with the same key.
            Self::Pending | Self::Unavailable => ErrorCode::Unavailable,
        }
    }
}

impl From<&AuthError> for Failure {
    fn from(error: &AuthError) -> Self {
        match error {
            // The reason stays in the log, because it would help a forger.
            AuthError::Invalid(_) => Self::new(error.code(), "the token is not valid"),
            AuthError::Expired => Self::new(error.code(), "the token has expired"),
            AuthError::Revoked => Self::new(error.code(), "the token was revoked"),
            AuthError::RevokedJustNow => {
                let message = "the token was revoked: one whose iat is in a later second counts";
                Self::new(error.code(), message).retry_after(REVOKED_RETRY_AFTER)
            }
            AuthError::Pending | AuthError::Unavailable => {
                Self::unavailable("the token cannot be checked now", KEYS_RETRY_AFTER)
            }
        }
    }
}

impl From<TokenProblem> for Failure {
    fn from(problem: TokenProblem) -> Self {
        Self::new(ErrorCode::Unauthenticated, problem.to_string())
    }
}

#[cfg(test)]
mod jwks_tests;
#[cfg(test)]
mod keyring_tests;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
