//! Verifies tokens: the signature first, then every claim by the rules of the protocol. Also
//! recognises API keys.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::verify;
use jsonwebtoken::{Algorithm, decode_header};
use serde_json::value::RawValue;

use super::api_keys::{self, ApiKeys};
use super::claims::{ClaimNames, Claims, invalid};
use super::credentials::without_scheme;
use super::jwks;
use super::key_source::KeySource;
use super::keyring::{FetchState, FetchedKeys, Keyring};
use super::keys::keys;
use super::principal::Principal;
use super::refresher::{KeyRefresher, RefreshedSource};
use super::reread::Reread;
use super::revocations::Revocations;
use super::{AuthError, Identity};
use crate::config::{AuthConfig, ConfigError, RoleMap};
use crate::log_once::LogOnce;
use protocol::ids::UserId;
use protocol::role::Role;
use protocol::time::Timestamp;

/// The longest token that is verified, in bytes: several times the size of a token with as many
/// orders as is reasonable.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// How long a login waits for keys at most.
const KEYS_TIMEOUT: Duration = Duration::from_secs(6);

/// Verifies tokens. Made once; verification neither waits nor does I/O.
pub struct Verifier {
    keys: Keyring,
    /// `JWT_JWKS`.
    jwks: Option<Arc<KeySource>>,
    api_keys: Arc<ArcSwap<ApiKeys>>,
    /// `API_KEYS_FILE`.
    api_keys_file: Option<Arc<KeySource>>,
    /// Requests to read both again.
    reread: Arc<Reread>,
    names: ClaimNames,
    issuer: Option<String>,
    audience: Option<String>,
    staff_audience: Option<String>,
    leeway: Duration,
    /// `JWT_ROLE_CLAIM`.
    role_claim: String,
    /// `JWT_ROLE_MAP`.
    role_map: RoleMap,
    /// Unknown roles in tokens that were logged already.
    unknown_roles: LogOnce,
    /// Users whose older tokens are not valid.
    revocations: Revocations,
    /// Whether identities hold the claims of their tokens.
    keeps_claims: bool,
}

impl Verifier {
    /// A verifier for these settings. Reads the files that they name, and connects to nothing: keys
    /// of a server arrive once [`Self::watch_keys`] has fetched them.
    ///
    /// # Errors
    /// `JWT_SECRET` if there is no key at all (on loopback: before the settings were prepared),
    /// `JWT_PUBLIC_KEY` or `JWT_JWKS` if the file has no usable key, `JWT_JWKS_CA` or
    /// `API_KEYS_FILE` if that file is unusable.
    pub fn new(auth: &AuthConfig) -> Result<Self, ConfigError> {
        let fixed = keys(auth)?;
        let (jwks, fetched) = jwks_source(auth)?.unzip();
        let file = auth.api_keys.as_deref();
        let file = file.map(|path| KeySource::file(path, api_keys::MAX_FILE_BYTES));
        let api_keys =
            file.as_ref().map(|file| first_reading("API_KEYS_FILE", file, ApiKeys::parse));
        Ok(Self {
            keys: Keyring::new(fixed, fetched.map(Arc::new)),
            jwks: jwks.map(Arc::new),
            api_keys: Arc::new(ArcSwap::from_pointee(api_keys.transpose()?.unwrap_or_default())),
            api_keys_file: file.map(Arc::new),
            reread: Arc::default(),
            names: ClaimNames::new(auth),
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            staff_audience: auth.staff_audience.clone(),
            leeway: auth.leeway,
            role_claim: auth.role_claim.clone(),
            role_map: auth.role_map.clone(),
            unknown_roles: LogOnce::default(),
            revocations: Revocations::default(),
            keeps_claims: false,
        })
    }

    /// The same verifier, which keeps the claims of tokens if they are needed.
    #[must_use]
    pub fn keeping_claims(self, keeps_claims: bool) -> Self {
        Self { keeps_claims, ..self }
    }

    /// The algorithm of each key, key by key.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.keys.algorithms().into_iter()
    }

    /// Watches the keys that can change, `JWT_JWKS` and `API_KEYS_FILE`, for as long as the
    /// verifier lives. Must be called once.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn watch_keys(&self) -> std::io::Result<()> {
        let jwks = self.jwks.as_ref().zip(self.keys.fetched()).map(|(source, fetched)| {
            RefreshedSource::new(Arc::clone(source), "JWT_JWKS", Arc::downgrade(fetched))
        });
        let api_keys = self.api_keys_file.as_ref().map(|source| {
            RefreshedSource::new(
                Arc::clone(source),
                "API_KEYS_FILE",
                Arc::downgrade(&self.api_keys),
            )
        });
        if jwks.is_none() && api_keys.is_none() {
            return Ok(());
        }
        KeyRefresher { jwks, api_keys, reread: Arc::clone(&self.reread) }.start()
    }

    /// Requests to read changeable keys again at once, once they are watched.
    pub fn reread(&self) -> Arc<Reread> {
        Arc::clone(&self.reread)
    }

    /// If keys are being fetched, a future that resolves when that is done or has taken too long. A
    /// token that was [`AuthError::Pending`] should be verified again then.
    pub fn wait_for_keys(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut states = self.keys.fetched()?.watch();
        let is_asked = *states.borrow() == FetchState::Asked;
        is_asked.then_some(async move {
            let settled = states.wait_for(|state| *state != FetchState::Asked);
            // The next verification of the token shows the result.
            tokio::time::timeout(KEYS_TIMEOUT, settled).await.ok();
        })
    }

    /// From now on tokens of this user are valid only if they were issued then or later.
    pub fn revoke(&self, user: UserId, issued_before: Timestamp) {
        self.revocations.insert(user, issued_before);
    }

    /// Whether a token that was valid has been revoked since.
    pub fn has_revoked(&self, identity: &Identity) -> bool {
        self.revocations.refuse(identity)
    }

    /// Whether the tokens that a user had at this time were revoked since.
    pub fn has_revoked_since(&self, user: &UserId, since: Timestamp) -> bool {
        self.revocations.has_one_since(user, since)
    }

    /// Verifies an API key or a token of an HTTP request.
    ///
    /// # Errors
    /// Those of [`Self::verify`].
    pub fn principal(&self, presented: &str, now: Timestamp) -> Result<Principal, AuthError> {
        let presented = without_scheme(presented);
        if !api_keys::is_api_key(presented) {
            return self.verify(presented, now).map(Principal::Identity);
        }
        let service = self.api_keys.load().find(presented);
        service
            .map(Principal::Service)
            .ok_or_else(|| invalid("it is not an API key of API_KEYS_FILE"))
    }

    /// Verifies a token at an instant.
    ///
    /// # Errors
    /// [`AuthError::Expired`] if only its time is over; [`AuthError::Revoked`] or
    /// [`AuthError::RevokedJustNow`] if it was revoked; [`AuthError::Pending`] or
    /// [`AuthError::Unavailable`] if its key may be one that the hub does not have yet; else
    /// [`AuthError::Invalid`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let token = without_scheme(token);
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
            by_hook: false,
            claims: self.keeps_claims.then(|| payload.get().into()),
        };
        // Last, so that only tokens that were valid once are "expired": a client answers this code
        // with a fresh token, and would do so forever.
        if now >= identity.deadline {
            return Err(AuthError::Expired);
        }
        self.revocations.judge(&identity, now)?;
        Ok(identity)
    }

    /// The payload, after the signature was verified.
    fn signed_payload(&self, token: &str) -> Result<Box<RawValue>, AuthError> {
        // `none` and every unknown algorithm are refused here.
        let header = decode_header(token).map_err(|_| invalid("it is not a JWT"))?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: a header that is not understood makes the token invalid.
            return Err(invalid("it has critical headers"));
        }
        let (message, signature) =
            token.rsplit_once('.').ok_or_else(|| invalid("it is not a JWT"))?;
        // The library only verifies the signature. Its `decode` would read the header once more and
        // the claims twice, and has defaults of its own for them (60 s of leeway, no `aud` unless
        // it is told which).
        self.keys.try_keys(header.alg, header.kid.as_deref(), |key| {
            let good = verify(signature, message.as_bytes(), &key.decoding, key.algorithm);
            good.is_ok_and(|good| good).then(|| payload_of(message)).flatten()
        })
    }

    /// Checks the issuer, the audience and the time from which the token is valid.
    fn check_origin(&self, claims: &Claims<'_>, now: Timestamp) -> Result<(), AuthError> {
        if self.issuer.as_deref().is_some_and(|issuer| !claims.issuer_is(issuer)) {
            return Err(invalid("its iss is not JWT_ISSUER"));
        }
        if self.audience.as_deref().is_some_and(|audience| !claims.is_for(audience)) {
            return Err(invalid("its aud is not JWT_AUDIENCE"));
        }
        match claims.not_before()? {
            Some(not_before) if not_before > now.plus(self.leeway) => {
                Err(invalid("it is not valid yet (nbf)"))
            }
            _ => Ok(()),
        }
    }

    /// The user's role: of several the most powerful one; an unknown role is the least. `admin` and
    /// `service`, which may do everything under `/api`, require their audience if one is set.
    fn role(&self, claims: &Claims<'_>) -> Role {
        let said = claims.roles(&self.role_claim);
        let known = said.iter().filter_map(|name| self.role_map.role(name));
        let for_staff = |audience: &String| claims.is_for(audience);
        let staff_counts = self.staff_audience.as_ref().is_none_or(for_staff);
        let counts = |role: &Role| staff_counts || !matches!(role, Role::Admin | Role::Service);
        let mut known = known.peekable();
        if known.peek().is_none() && !said.is_empty() {
            self.log_unknown_role(&said.join(", "));
        }
        known.filter(counts).max().unwrap_or_default()
    }

    /// Logs each unknown role once: without that, its users would silently be customers.
    fn log_unknown_role(&self, said: &str) {
        if let Some(shown) = self.unknown_roles.first(said) {
            log::warn!(
                "a token has the unknown role {shown}; its user is treated as a customer (JWT_ROLE_MAP)"
            );
        }
    }
}

/// The source `JWT_JWKS`, and the keys that are known from the start: those of a file.
fn jwks_source(auth: &AuthConfig) -> Result<Option<(KeySource, FetchedKeys)>, ConfigError> {
    let Some(from) = &auth.jwks else { return Ok(None) };
    let source = KeySource::jwks(from, auth, jwks::MAX_SET_BYTES)?;
    let known = source.is_file().then(|| first_reading("JWT_JWKS", &source, jwks::parse));
    Ok(Some((source, FetchedKeys::new(known.transpose()?.map(|set| set.keys)))))
}

fn first_reading<K>(
    variable: &str,
    source: &KeySource,
    parse: impl FnOnce(&[u8]) -> Result<K, String>,
) -> Result<K, ConfigError> {
    source
        .read()
        .and_then(|content| parse(&content))
        .map_err(|problem| ConfigError::new(variable, format!("cannot use {source}: {problem}")))
}

/// The claims of a token without its signature, as JSON.
fn payload_of(message: &str) -> Option<Box<RawValue>> {
    let (_, payload) = message.rsplit_once('.')?;
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&json).ok()
}
