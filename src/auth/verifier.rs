//! Judges tokens: signature first, then every claim by the rules of the protocol.

use std::collections::HashMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, decode, decode_header};
use serde_json::value::RawValue;

use super::claims::{ClaimNames, Claims, invalid};
use super::keys::{Key, keys};
use super::{AuthError, Identity};
use crate::config::{AuthConfig, ConfigError};
use crate::protocol::role::Role;
use crate::time::Timestamp;

/// The longest token that is looked at, in bytes. A token with the most orders that make sense
/// fits several times.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// Judges tokens. Made once; judging needs no lock and touches nothing outside.
pub struct Verifier {
    keys: Vec<Key>,
    names: ClaimNames,
    issuer: Option<String>,
    audience: Option<String>,
    staff_audience: Option<String>,
    leeway: Duration,
    role_map: HashMap<String, Role>,
}

impl Verifier {
    /// A judge by these settings.
    ///
    /// # Errors
    /// `JWT_SECRET` where there is no key at all (on loopback: before the settings were
    /// prepared), `JWT_PUBLIC_KEY` where the file holds no key that can be used.
    pub fn new(auth: &AuthConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            keys: keys(auth)?,
            names: ClaimNames::new(auth),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            staff_audience: auth.staff_audience.clone(),
            leeway: auth.leeway,
            role_map: auth.role_map.clone(),
        })
    }

    /// The algorithms that a token may be signed with.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.keys.iter().map(|key| key.algorithm)
    }

    /// Judges a token at an instant.
    ///
    /// # Errors
    /// [`AuthError::Expired`] where only its time is over, else [`AuthError::Invalid`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("it is longer than 8192 bytes"));
        }
        let payload = self.signed_payload(token)?;
        let claims = self.names.find(payload.get())?;
        self.check_origin(&claims, now)?;
        let user = claims.user()?;
        let expires_at = claims.expires_at()?;
        let identity = Identity {
            name: claims.name().unwrap_or_else(|| user.to_string()),
            user,
            role: self.role(&claims),
            orders: claims.orders()?,
            expires_at,
            deadline: expires_at.plus(self.leeway),
            issued_at: claims.issued_at()?,
        };
        // Last, so that "expired" is only said of tokens that were good once: the client answers
        // it with a fresh token, and would do so for ever.
        if now >= identity.deadline { Err(AuthError::Expired) } else { Ok(identity) }
    }

    /// The payload, once the signature is known to be good.
    fn signed_payload(&self, token: &str) -> Result<Box<RawValue>, AuthError> {
        // `none` and every unknown algorithm end here.
        let header = decode_header(token).map_err(|_| invalid("it is no JWT"))?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: not understood, so not valid.
            return Err(invalid("it has critical headers"));
        }
        let key = self.keys.iter().find(|key| key.algorithm == header.alg);
        let key = key.ok_or_else(|| {
            AuthError::Invalid(format!("there is no key for {:?}", header.alg).into())
        })?;
        let decoded = decode::<Box<RawValue>>(token, &key.decoding, &key.validation);
        decoded.map(|token| token.claims).map_err(|_| invalid("its signature is wrong"))
    }

    /// Who made the token, for whom, and from when on it counts.
    fn check_origin(&self, claims: &Claims<'_>, now: Timestamp) -> Result<(), AuthError> {
        if self.issuer.as_deref().is_some_and(|issuer| !claims.issuer_is(issuer)) {
            return Err(invalid("its iss is not JWT_ISSUER"));
        }
        if self.audience.as_deref().is_some_and(|audience| !claims.is_for(audience)) {
            return Err(invalid("its aud is not JWT_AUDIENCE"));
        }
        match claims.not_before()? {
            Some(not_before) if not_before > now.plus(self.leeway) => {
                Err(invalid("it does not count yet (nbf)"))
            }
            _ => Ok(()),
        }
    }

    /// The role that counts: an unknown one is the least, and the two that may do everything
    /// under `/api` ask for their audience where one is set.
    fn role(&self, claims: &Claims<'_>) -> Role {
        let said = claims.role().unwrap_or_default();
        let mapped = self.role_map.get(&said).copied();
        let role = mapped.or_else(|| Role::from_name(&said)).unwrap_or_default();
        match (role, self.staff_audience.as_deref()) {
            (Role::Admin | Role::Service, Some(audience)) if !claims.is_for(audience) => {
                Role::Customer
            }
            _ => role,
        }
    }
}
