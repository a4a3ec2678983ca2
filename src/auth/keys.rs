//! The keys that tokens are signed with, each for one algorithm.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::config::{AuthConfig, ConfigError, PublicKeyPem};

/// A key and the one algorithm it is for. A public key cannot be passed off as an HS256 secret,
/// because a token's own `alg` only chooses among the keys and never how a key is used.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
}

/// The keys of these settings.
pub(super) fn keys(auth: &AuthConfig) -> Result<Vec<Key>, ConfigError> {
    let secret = auth
        .secret
        .as_ref()
        .map(|secret| key(Algorithm::HS256, DecodingKey::from_secret(secret.expose().as_bytes())));
    let public = auth.public_key.as_ref().map(public_key).transpose()?;
    let keys: Vec<Key> = secret.into_iter().chain(public).collect();
    if keys.is_empty() {
        let problem = "it must be set, at least 32 bytes (or JWT_SECRET_FILE, or JWT_PUBLIC_KEY)";
        return Err(ConfigError::new("JWT_SECRET", problem));
    }
    Ok(keys)
}

fn key(algorithm: Algorithm, decoding: DecodingKey) -> Key {
    let mut validation = Validation::new(algorithm);
    // Only the signature is checked there. The claims are checked here, against a clock that is
    // an argument, and without the library's own ideas (60 s of leeway, `aud` refused where none
    // is configured).
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    Key { algorithm, decoding, validation }
}

/// Tells the algorithm by the kind of key.
fn public_key(public: &PublicKeyPem) -> Result<Key, ConfigError> {
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
    let size = |key: &DecodingKey| key.try_get_as_bytes().map_or(0, <[u8]>::len);
    // Ed25519 and EC first: the reader of RSA keys looks less closely.
    if let Ok(key_found) = DecodingKey::from_ed_pem(pem) {
        return Ok(key(Algorithm::EdDSA, key_found));
    }
    if let Ok(key_found) = DecodingKey::from_ec_pem(pem) {
        // An uncompressed point of P-256 (SEC 1, section 2.3.3); P-384 has 97 bytes.
        return match size(&key_found) {
            65 => Ok(key(Algorithm::ES256, key_found)),
            _ => Err(refused("holds an EC key on another curve")),
        };
    }
    match DecodingKey::from_rsa_pem(pem) {
        // A modulus of 2048 bits has 256 bytes, and the exponent comes on top.
        Ok(key_found) if size(&key_found) > 256 => Ok(key(Algorithm::RS256, key_found)),
        Ok(_) => Err(refused("holds an RSA key that is too short")),
        Err(_) => Err(refused("cannot be read")),
    }
}
