//! Authentication: whom a token or an API key names. It is the same for `/ws`, for a CONNECT of
//! Socket.IO, for the next token of a session, and for the HTTP API.

use super::shared::Shared;
use crate::auth::{AuthError, Identity, Principal};
use protocol::error::{ErrorCode, Failure};
use protocol::time::Timestamp;

impl Shared {
    /// The caller whom a token or an API key names.
    ///
    /// # Errors
    /// `unauthenticated` or `token_expired` for the token; `forbidden` to a user whom an admin
    /// removed; `unavailable` where the hub does not have the token's key. If it is fetching keys
    /// (`Verifier::wait_for_keys`), the same token may be good after that.
    pub fn authenticate(&self, token: &str) -> Result<Principal, Failure> {
        let now = Timestamp::now();
        let principal = self.verifier.principal(token, now).map_err(|error| refused(&error))?;
        let user = principal.identity().map(|identity| &identity.user);
        match user.and_then(|user| self.bans.from_hub(user, now)) {
            Some(_) => Err(Failure::new(ErrorCode::Forbidden, "removed by an admin")),
            None => Ok(principal),
        }
    }

    /// The user whom a token names. An API key names none.
    ///
    /// # Errors
    /// Those of [`Self::authenticate`].
    pub fn authenticate_user(&self, token: &str) -> Result<Identity, Failure> {
        match self.authenticate(token)? {
            Principal::Identity(identity) => Ok(identity),
            Principal::Service(_) => Err(refused(&AuthError::Invalid("it is an API key".into()))),
        }
    }
}

/// The client's view of an invalid token. Only the log has the reason.
fn refused(error: &AuthError) -> Failure {
    if let AuthError::Invalid(reason) = error {
        log::debug!("a token was refused: {reason}");
    }
    Failure::from(error)
}
