//! Who connects: where a request carries its token, what a good token is, and what it says.

mod api_keys;
mod claims;
mod credentials;
mod jwks;
mod keyring;
mod keys;
mod mint;
mod principal;
mod refresher;
mod reread;
mod revocations;
mod source;
mod verifier;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{OrderId, UserId};
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::role::Role;
use crate::time::Timestamp;

pub use api_keys::{KEY_PREFIX, NewKey, check_name, new_key};
pub use credentials::{Credentials, SUBPROTOCOL, TokenProblem, find_token};
pub use mint::{Grant, mint};
pub use principal::{Principal, Scope, Scopes, Service};
pub use reread::Reread;
pub use verifier::{MAX_TOKEN_BYTES, Verifier};

/// What a good token says about its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub user: UserId,
    /// The name to show: at most 128 characters, none of them a control character; the user's id
    /// where the token has no name.
    pub name: String,
    /// The role that counts here, after the role map and the staff audience.
    pub role: Role,
    /// The orders that the token lets its user join, sorted, each once.
    pub orders: Arc<[OrderId]>,
    /// `exp`.
    pub expires_at: Timestamp,
    /// `exp` plus leeway: from this instant on the token does not count, nor does a session that
    /// was opened with it.
    pub deadline: Timestamp,
    /// `iat`, which revocations compare with.
    pub issued_at: Option<Timestamp>,
}

impl Identity {
    /// How much longer than the token itself it counts.
    pub fn leeway(&self) -> Duration {
        self.deadline.until_from(self.expires_at)
    }

    /// Whether the token was issued before an instant, or may have been: one that does not say when
    /// counts as older than any.
    pub fn is_older_than(&self, instant: Timestamp) -> bool {
        self.issued_at.is_none_or(|issued_at| issued_at < instant)
    }

    /// Whether the token names this order.
    pub fn names(&self, order: &OrderId) -> bool {
        self.orders.binary_search(order).is_ok()
    }
}

/// How long a client waits before it comes back to a hub that has no keys to judge it by.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(2);

/// How long a client waits before it shows the next token, where this one was issued right before a
/// revocation: `iat` counts seconds.
const REVOKED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It is no token of ours. The reason is for the log; it holds nothing of the token.
    #[error("invalid token: {0}")]
    Invalid(Cow<'static, str>),
    /// It was one, and its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is one of those that were revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The same, but so shortly before that it may be newer, by a clock that is behind: the next one
    /// may count.
    #[error("the token was revoked, unless the clock of its back end is behind")]
    RevokedJustNow,
    /// Its key is none that the hub has, which is looking for new ones: see
    /// [`Verifier::settling`].
    #[error("the token's key is being looked for")]
    Pending,
    /// Its key is none that the hub has, and where new ones come from does not answer.
    #[error("the token's key is unknown, and the keys cannot be fetched")]
    Unavailable,
}

impl AuthError {
    /// The code that the client hears.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) | Self::Revoked | Self::RevokedJustNow => ErrorCode::Unauthenticated,
            Self::Expired => ErrorCode::TokenExpired,
            // A client that heard "unauthenticated" would fetch another token of the same key.
            Self::Pending | Self::Unavailable => ErrorCode::Unavailable,
        }
    }
}

impl From<&AuthError> for Failure {
    fn from(error: &AuthError) -> Self {
        match error {
            // The reason stays in the log: it would tell a forger what to mend.
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
