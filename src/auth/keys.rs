//! The keys that verify tokens, each for one algorithm.

use jsonwebtoken::{Algorithm, DecodingKey};

use crate::config::{AuthConfig, ConfigError, PublicKeyPem};

/// A key and its one algorithm. A public key cannot be used as an HS256 secret, because a token's
/// own `alg` only chooses among the keys, and never how a key is used.
pub(super) struct VerificationKey {
    pub(super) algorithm: Algorithm,
    /// Its name in tokens (`kid`); keys of the settings have no name.
    pub(super) id: Option<String>,
    pub(super) decoding: DecodingKey,
}

/// The algorithms of a secret. Some libraries choose the hash by the length of the secret, so a
/// secret is accepted with all of them; a longer hash is not weaker.
const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// The keys of these settings.
pub(super) fn keys(auth: &AuthConfig) -> Result<Vec<VerificationKey>, ConfigError> {
    let secrets = auth.secret.iter().chain(&auth.previous_secret).flat_map(|secret| {
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        HMAC.map(|algorithm| VerificationKey::new(algorithm, key.clone()))
    });
    let public = auth.public_key.as_ref().map(public_key).transpose()?;
    let keys: Vec<VerificationKey> = secrets.chain(public).collect();
    if auth.secret.is_none() && public_keys_missing(auth) {
        let problem =
            "it must be set, at least 32 bytes (or JWT_SECRET_FILE, JWT_PUBLIC_KEY or JWT_JWKS)";
        return Err(ConfigError::new("JWT_SECRET", problem));
    }
    Ok(keys)
}

fn public_keys_missing(auth: &AuthConfig) -> bool {
    auth.public_key.is_none() && auth.jwks.is_none()
}

impl VerificationKey {
    /// A key without a name.
    pub(super) fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self { algorithm, id: None, decoding }
    }

    /// The same key with this name, or without one.
    pub(super) fn named(self, id: Option<String>) -> Self {
        Self { id, ..self }
    }
}

/// Finds the algorithm from the kind of key.
fn public_key(public: &PublicKeyPem) -> Result<VerificationKey, ConfigError> {
    let refused = |what: &str| {
        let problem = format!(
            "{} {what}; it must be a public key in PEM: RSA of at least 2048 bits, EC on P-256, \
             or Ed25519",
            public.path.display()
        );
        ConfigError::new("JWT_PUBLIC_KEY", problem)
    };
    if public.pem.contains("PRIVATE KEY") {
        return Err(refused("holds a private key, which the hub must not have"));
    }
    if !public.pem.contains("PUBLIC KEY-----") {
        return Err(refused("holds no public key"));
    }
    let pem = public.pem.as_bytes();
    let bytes = |key: &DecodingKey| key.try_get_as_bytes().map_or(0, <[u8]>::len);
    // Ed25519 and EC first, because the reader of RSA keys is less strict.
    if let Ok(key_found) = DecodingKey::from_ed_pem(pem) {
        return Ok(VerificationKey::new(Algorithm::EdDSA, key_found));
    }
    if let Ok(key_found) = DecodingKey::from_ec_pem(pem) {
        return if is_p256(&public.pem) {
            Ok(VerificationKey::new(Algorithm::ES256, key_found))
        } else {
            Err(refused("holds an EC key on another curve"))
        };
    }
    match DecodingKey::from_rsa_pem(pem) {
        // A modulus of 2048 bits has 256 bytes, and the exponent comes on top.
        Ok(key_found) if bytes(&key_found) > 256 => {
            Ok(VerificationKey::new(Algorithm::RS256, key_found))
        }
        Ok(_) => Err(refused("holds an RSA key that is too short")),
        Err(_) => Err(refused("cannot be read")),
    }
}

/// Whether a PEM contains a key on P-256, the curve of ES256. The PEM reader does not check the
/// curve, and every token would fail later. All such keys begin with the same 27 bytes (RFC 5480,
/// section 2: the two object identifiers, then the mark of an uncompressed point), which fill whole
/// characters of Base64.
fn is_p256(pem: &str) -> bool {
    let body = pem.split("-----").nth(2).unwrap_or_default();
    let body: String = body.split_whitespace().collect();
    body.starts_with("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
}
