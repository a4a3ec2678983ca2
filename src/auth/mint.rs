//! Makes tokens that this hub accepts: for development, for scripts and for tests.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use crate::config::{AuthConfig, ConfigError};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The content of a new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The token's user.
    pub user: UserId,
    /// The displayed name.
    pub name: Option<String>,
    /// The role.
    pub role: Role,
    /// The orders that the user may join.
    pub orders: Vec<OrderId>,
    /// How long the token is valid, from now.
    pub ttl: Duration,
}

/// Makes a token with the secret, claim names, issuer and audiences of these settings.
///
/// # Errors
/// `JWT_SECRET` if there is none: a public key cannot sign. `JWT_ROLE_MAP` if it leaves no name for
/// the role.
pub fn mint(auth: &AuthConfig, grant: &NewToken, now: Timestamp) -> Result<String, ConfigError> {
    let no_secret = "it must be set to make tokens; a public key only checks them";
    let secret = auth.secret.as_ref().ok_or_else(|| ConfigError::new("JWT_SECRET", no_secret))?;
    let seconds = |time: Timestamp| json!(time.as_millis().div_euclid(1000));
    let mut claims = Map::new();
    let mut say = |claim: &str, value: Value| claims.insert(claim.to_owned(), value);
    say(&auth.role_claim, role_claim(auth, grant.role)?.into());
    if let Some(name) = &grant.name {
        say(&auth.name_claim, name.as_str().into());
    }
    say(auth.user_claim.as_deref().unwrap_or("sub"), grant.user.as_str().into());
    if !grant.orders.is_empty() {
        say("orders", json!(grant.orders));
    }
    if let Some(issuer) = &auth.issuer {
        say("iss", issuer.as_str().into());
    }
    let audiences = audiences(auth, grant.role);
    if !audiences.is_empty() {
        say("aud", json!(audiences));
    }
    say("iat", seconds(now));
    say("exp", seconds(now.plus(grant.ttl)));
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.expose().as_bytes()))
        .map_err(|error| ConfigError::new("JWT_SECRET", format!("cannot sign: {error}")))
}

/// The name that the verifier reads as this role, with the same settings.
fn role_claim(auth: &AuthConfig, role: Role) -> Result<String, ConfigError> {
    auth.role_map.name_of(role).map(ToOwned::to_owned).ok_or_else(|| {
        let problem = format!("it leaves no word for the role {}", role.as_str());
        ConfigError::new("JWT_ROLE_MAP", problem)
    })
}

fn audiences(auth: &AuthConfig, role: Role) -> Vec<&str> {
    let staff = auth.staff_audience.as_deref();
    let staff = staff.filter(|_| matches!(role, Role::Admin | Role::Service));
    let mut audiences: Vec<&str> = auth.audience.as_deref().into_iter().chain(staff).collect();
    audiences.dedup();
    audiences
}
