//! A JSON Web Key Set (RFC 7517): which of its keys can be used, and why others cannot.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::keys::VerificationKey;

/// The largest set that is read, in bytes. A set with certificates has about 20 KB.
pub(super) const MAX_SET_BYTES: usize = 256 * 1024;
/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// The accepted lengths of an RSA modulus, in bits; shorter ones are too weak.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The usable keys of a set.
pub(super) struct KeySet {
    pub(super) keys: Vec<VerificationKey>,
    /// Why other keys were skipped, a sentence each, for the log.
    pub(super) skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// A key as the set has it. Other members do not affect its use.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Present only in a private key (RFC 7518, sections 6.2.2 and 6.3.2).
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    /// A secret (section 6.4.1).
    k: Option<IgnoredAny>,
}

/// Reads a set. Unusable keys are left out, because a provider may publish other keys too.
///
/// # Errors
/// If it is not a set, too large, or has no usable key.
pub(super) fn parse(json: &[u8]) -> Result<KeySet, String> {
    if json.len() > MAX_SET_BYTES {
        return Err(format!("it is larger than {MAX_SET_BYTES} bytes"));
    }
    let document: Document<'_> = serde_json::from_slice(json)
        .map_err(|_| "it is not a JWKS (a JSON object with a list \"keys\")".to_owned())?;
    if document.keys.len() > MAX_KEYS {
        return Err(format!("it has more than {MAX_KEYS} keys"));
    }
    let mut set = KeySet { keys: Vec::with_capacity(document.keys.len()), skipped: Vec::new() };
    for (index, raw) in document.keys.iter().enumerate() {
        match read(raw, &set.keys) {
            Ok(key) => set.keys.push(key),
            Err(reason) => set.skipped.push(format!("its key {index}{reason}")),
        }
    }
    if set.keys.is_empty() {
        let reasons = set.skipped.join("; ");
        return Err(format!("it holds no key that can be used: {reasons}")
            .trim_end_matches(": ")
            .to_owned());
    }
    Ok(set)
}

/// Reads one key; the error is the rest of a sentence that says why it cannot be used.
fn read(raw: &RawValue, others: &[VerificationKey]) -> Result<VerificationKey, String> {
    // The reader's own error might repeat the text, which may be a private key.
    let jwk: Jwk = serde_json::from_str(raw.get()).map_err(|_| " cannot be read".to_owned())?;
    let refused = |reason: &str| match &jwk.kid {
        Some(kid) => format!(" ({:?}) {reason}", kid.chars().take(64).collect::<String>()),
        None => format!(" {reason}"),
    };
    jwk.check_secrecy().and_then(|()| jwk.check_use()).map_err(&refused)?;
    let (algorithm, decoding) = jwk.public_key().map_err(&refused)?;
    if jwk.alg.as_deref().is_some_and(|alg| !names(alg, algorithm)) {
        return Err(refused("is for an algorithm other than RS256, ES256 and EdDSA"));
    }
    let key = VerificationKey::new(algorithm, decoding).named(jwk.kid.clone());
    // Two keys with one name are ambiguous. Only keys of the same kind conflict, because keys of
    // different kinds may share a name (RFC 7517, section 4.5).
    let is_double = |other: &VerificationKey| {
        other.id.is_some() && other.id == key.id && other.algorithm == algorithm
    };
    if others.iter().any(is_double) {
        return Err(refused("has the kid of another"));
    }
    Ok(key)
}

/// Whether a key's `alg` is this algorithm.
fn names(alg: &str, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::RS256 => alg == "RS256",
        Algorithm::ES256 => alg == "ES256",
        // RFC 9864 gave it a second name.
        Algorithm::EdDSA => alg == "EdDSA" || alg == "Ed25519",
        _ => false,
    }
}

impl Jwk {
    /// Refuses a key that everyone could sign with: a public set with a private part or a secret.
    fn check_secrecy(&self) -> Result<(), &'static str> {
        if self.kty == "oct" || self.k.is_some() {
            return Err("is a symmetric key, which everybody can read there");
        }
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth];
        if private.iter().any(|member| member.is_some()) {
            return Err("is a private key, which everybody can read there");
        }
        Ok(())
    }

    fn check_use(&self) -> Result<(), &'static str> {
        let signs = self.r#use.as_deref().is_none_or(|word| word == "sig");
        let verifies =
            self.key_ops.as_ref().is_none_or(|words| words.iter().any(|word| word == "verify"));
        if signs && verifies { Ok(()) } else { Err("is not for signatures") }
    }

    fn public_key(&self) -> Result<(Algorithm, DecodingKey), &'static str> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => self.rsa().map(|key| (Algorithm::RS256, key)),
            ("EC", Some("P-256")) => self.p256().map(|key| (Algorithm::ES256, key)),
            ("OKP", Some("Ed25519")) => self.ed25519().map(|key| (Algorithm::EdDSA, key)),
            ("EC" | "OKP", _) => Err("is on another curve than P-256 or Ed25519"),
            _ => Err("is of an unknown kind"),
        }
    }

    fn rsa(&self) -> Result<DecodingKey, &'static str> {
        let problem = "has no n or e in base64url";
        let n = bytes(self.n.as_deref()).ok_or(problem)?;
        let e = bytes(self.e.as_deref()).ok_or(problem)?;
        // Some providers put a zero byte in front, as ASN.1 does.
        let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err("is an RSA key of less than 2048 or more than 8192 bits");
        }
        Ok(DecodingKey::from_rsa_raw_components(&n, &e))
    }

    fn p256(&self) -> Result<DecodingKey, &'static str> {
        let problem = "has no x and y of 32 bytes in base64url";
        let (Some(x), Some(y)) = (coordinate(self.x.as_deref()), coordinate(self.y.as_deref()))
        else {
            return Err(problem);
        };
        DecodingKey::from_ec_components(x, y).map_err(|_| problem)
    }

    fn ed25519(&self) -> Result<DecodingKey, &'static str> {
        let problem = "has no x of 32 bytes in base64url";
        DecodingKey::from_ed_components(coordinate(self.x.as_deref()).ok_or(problem)?)
            .map_err(|_| problem)
    }
}

fn bytes(member: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member?).ok()
}

/// The text, if it is 32 bytes in base64url.
fn coordinate(member: Option<&str>) -> Option<&str> {
    bytes(member).filter(|bytes| bytes.len() == 32).and(member)
}
