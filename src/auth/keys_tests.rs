//! Which keys are accepted, and that none can be used with another algorithm.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::{AuthError, Verifier};
use crate::config::{AuthConfig, Config, ConfigError, PublicKeyPem};
use protocol::time::Timestamp;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;

const RSA: &str = include_str!("testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("testdata/rsa.pub.pem");
const RSA_PUBLIC_PKCS1: &str = include_str!("testdata/rsa-pkcs1.pub.pem");
const RSA_SHORT: &str = include_str!("testdata/rsa1024.pub.pem");
const EC: &str = include_str!("testdata/p256.pem");
const EC_PUBLIC: &str = include_str!("testdata/p256.pub.pem");
const EC_P384: &str = include_str!("testdata/p384.pub.pem");
const EC_BITCOIN: &str = include_str!("testdata/secp256k1.pub.pem");
const ED: &str = include_str!("testdata/ed25519.pem");
const ED_PUBLIC: &str = include_str!("testdata/ed25519.pub.pem");

fn settings(secret: bool, pem: Option<&str>) -> AuthConfig {
    let flags = ["--jwt-secret", SECRET];
    let mut auth =
        Config::from_flags(flags.iter().take(if secret { 2 } else { 0 })).expect("good").auth;
    auth.public_key =
        pem.map(|pem| PublicKeyPem { path: PathBuf::from("key.pem"), pem: pem.to_owned() });
    auth
}

fn verifier(secret: bool, pem: Option<&str>) -> Result<Verifier, ConfigError> {
    Verifier::new(&settings(secret, pem))
}

fn signed(header: &Header, key: &EncodingKey) -> String {
    encode(header, &json!({"sub": "u", "exp": NOW + 1}), key).expect("signs")
}

fn accepts(verifier: &Verifier, token: &str) -> bool {
    match verifier.verify(token, Timestamp::from_secs(NOW)) {
        Ok(_) => true,
        Err(AuthError::Invalid(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

fn signers() -> [(Algorithm, EncodingKey); 6] {
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    [
        (Algorithm::HS256, secret.clone()),
        (Algorithm::HS384, secret.clone()),
        (Algorithm::HS512, secret),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(RSA.as_bytes()).expect("a key")),
        (Algorithm::ES256, EncodingKey::from_ec_pem(EC.as_bytes()).expect("a key")),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(ED.as_bytes()).expect("a key")),
    ]
}

#[test]
fn each_kind_of_key_takes_the_tokens_of_its_algorithm_and_no_others() {
    let hmac = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let hmac_and_ed = [hmac.as_slice(), &[Algorithm::EdDSA]].concat();
    for (secret, pem, algorithms) in [
        (true, None, hmac.as_slice()),
        (false, Some(RSA_PUBLIC), &[Algorithm::RS256]),
        (false, Some(RSA_PUBLIC_PKCS1), &[Algorithm::RS256]),
        (false, Some(EC_PUBLIC), &[Algorithm::ES256]),
        (false, Some(ED_PUBLIC), &[Algorithm::EdDSA]),
        (true, Some(ED_PUBLIC), &hmac_and_ed),
    ] {
        let verifier = verifier(secret, pem).expect("a key");
        assert_eq!(verifier.algorithms().collect::<Vec<_>>(), algorithms);
        for (algorithm, key) in signers() {
            let token = signed(&Header::new(algorithm), &key);
            let good = algorithms.contains(&algorithm);
            assert_eq!(accepts(&verifier, &token), good, "{algorithm:?} {algorithms:?}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    for pem in [RSA_PUBLIC, EC_PUBLIC, ED_PUBLIC] {
        for hash in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(pem.as_bytes());
            let forged = signed(&Header::new(hash), &key);
            assert!(!accepts(&verifier(false, Some(pem)).expect("a key"), &forged));
            assert!(!accepts(&verifier(true, Some(pem)).expect("a key"), &forged));
        }
    }
}

#[test]
fn none_and_critical_headers_are_refused() {
    let verifier = verifier(true, None).expect("a key");
    // {"alg":"none"} and {"alg":"None","typ":"JWT"} with {"sub":"u","exp":1800000001}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIiwidHlwIjoiSldUIn0"] {
        for signature in ["", "AA"] {
            let token = format!("{header}.eyJzdWIiOiJ1IiwiZXhwIjoxODAwMDAwMDAxfQ.{signature}");
            assert!(!accepts(&verifier, &token));
        }
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let critical = Header { crit: Some(vec!["b64".to_owned()]), ..Header::default() };
    assert!(!accepts(&verifier, &signed(&critical, &key)));
    assert!(accepts(&verifier, &signed(&Header::default(), &key)));
}

#[test]
fn keys_that_cannot_work_are_refused_at_start() {
    let certificate = RSA_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE");
    let broken = RSA_PUBLIC.replacen('M', "!", 1);
    for pem in
        [RSA, EC, ED, RSA_SHORT, EC_P384, EC_BITCOIN, &certificate, &broken, "", "no key at all"]
    {
        let error = verifier(false, Some(pem)).err().map(|error| error.variable);
        assert_eq!(error.as_deref(), Some("JWT_PUBLIC_KEY"), "{pem}");
    }
}

#[test]
fn without_any_key_there_is_no_judge() {
    let error = verifier(false, None).err().map(|error| error.variable);
    assert_eq!(error.as_deref(), Some("JWT_SECRET"));
}
