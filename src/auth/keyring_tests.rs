//! Which key verifies a token, and the answer to a token with an unknown key.

use std::fs;
use std::path::PathBuf;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AuthError, Verifier};
use crate::config::Config;
use protocol::error::{ErrorCode, Failure};
use protocol::time::Timestamp;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PREVIOUS: &str = "fedcba9876543210fedcba9876543210";
const NOW: i64 = 1_800_000_000;

const RSA: &str = include_str!("testdata/rsa.pem");
const EC: &str = include_str!("testdata/p256.pem");
const ED: &str = include_str!("testdata/ed25519.pem");

fn signer(algorithm: Algorithm) -> EncodingKey {
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RSA.as_bytes()),
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC.as_bytes()),
        _ => EncodingKey::from_ed_pem(ED.as_bytes()),
    };
    key.expect("a key")
}

fn public(algorithm: Algorithm, kid: Option<&str>) -> Value {
    let jwk = Jwk::from_encoding_key(&signer(algorithm), algorithm).expect("a public half");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    if let Some(kid) = kid {
        jwk["kid"] = kid.into();
    }
    jwk
}

/// Another key on P-256, whose private half is not in these tests.
fn stranger(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        // RFC 7517, appendix A.1.
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

/// A file with these keys.
fn file(keys: Value) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("jwks.json");
    fs::write(&path, json!({ "keys": keys }).to_string()).expect("writes");
    (dir, path)
}

fn verifier(keys: Value, flags: &[&str]) -> Verifier {
    let (_dir, path) = file(keys);
    let set = ["--jwt-jwks", path.to_str().expect("UTF-8")];
    let config = Config::from_flags([&set[..], flags].concat()).expect("good settings");
    Verifier::new(&config.auth).expect("keys")
}

fn token(algorithm: Algorithm, kid: Option<&str>) -> String {
    with_header(&Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) })
}

fn with_header(header: &Header) -> String {
    encode(header, &json!({"sub": "u", "exp": NOW + 1}), &signer(header.alg)).expect("signs")
}

fn by_secret(secret: &str, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::default() };
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&header, &json!({"sub": "u", "exp": NOW + 1}), &key).expect("signs")
}

fn judge(verifier: &Verifier, token: &str) -> Result<(), AuthError> {
    verifier.verify(token, Timestamp::from_secs(NOW)).map(drop)
}

#[track_caller]
fn assert_invalid(verdict: Result<(), AuthError>) {
    assert!(matches!(verdict, Err(AuthError::Invalid(_))), "{verdict:?}");
}

#[test]
fn a_token_is_checked_with_the_key_that_it_names() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let verifier = verifier(json!([stranger("other"), public(algorithm, Some("k"))]), &[]);
        assert_eq!(judge(&verifier, &token(algorithm, Some("k"))), Ok(()));
        assert!(verifier.algorithms().any(|known| known == algorithm));
    }
    let verifier = verifier(json!([stranger("k"), public(Algorithm::ES256, Some("mine"))]), &[]);
    assert_invalid(judge(&verifier, &token(Algorithm::ES256, Some("k"))));
}

#[test]
fn a_token_without_a_key_id_is_checked_only_with_a_single_key() {
    let one = public(Algorithm::ES256, Some("k"));
    let nameless = token(Algorithm::ES256, None);
    let alone = verifier(json!([one, public(Algorithm::RS256, Some("r"))]), &[]);
    assert_eq!(judge(&alone, &nameless), Ok(()));
    let two = verifier(json!([one, stranger("other")]), &[]);
    assert!(judge(&two, &nameless).is_err());
    // An unknown key name differs from a missing one.
    let unnamed = verifier(json!([public(Algorithm::ES256, None)]), &[]);
    assert_eq!(judge(&unnamed, &nameless), Ok(()));
    assert!(judge(&unnamed, &token(Algorithm::ES256, Some("k"))).is_err());
}

#[test]
fn no_key_is_used_for_another_algorithm() {
    let keys = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(|a| public(a, Some("k")));
    let published = json!({"keys": keys}).to_string();
    let verifier = verifier(json!(keys), &[]);
    // Published values must not work as a secret, in any form.
    for secret in [&published, RSA, keys[0]["n"].as_str().expect("a text")] {
        for kid in [None, Some("k")] {
            assert_invalid(judge(&verifier, &by_secret(secret, kid)));
        }
    }
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(algorithm) };
        let claims = json!({"sub": "u", "exp": NOW + 1});
        let forged = encode(&header, &claims, &signer(Algorithm::RS256)).expect("signs");
        assert_invalid(judge(&verifier, &forged));
    }
    // {"alg":"none","kid":"k"}
    let payload = token(Algorithm::EdDSA, Some("k"));
    let payload = payload.split('.').nth(1).expect("three parts");
    assert_invalid(judge(&verifier, &format!("eyJhbGciOiJub25lIiwia2lkIjoiayJ9.{payload}.")));
}

#[test]
fn a_token_cannot_bring_its_own_key() {
    let verifier = verifier(json!([stranger("k")]), &[]);
    let own = Jwk::from_encoding_key(&signer(Algorithm::ES256), Algorithm::ES256).expect("a key");
    let header = Header {
        kid: Some("k".to_owned()),
        jwk: Some(own),
        jku: Some("https://evil.example/jwks.json".to_owned()),
        x5u: Some("https://evil.example/x.pem".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    assert_invalid(judge(&verifier, &with_header(&header)));
}

#[test]
fn the_secrets_and_the_key_of_the_settings_count_beside() {
    let dir = tempfile::tempdir().expect("a directory");
    let pem = dir.path().join("key.pem");
    fs::write(&pem, include_str!("testdata/rsa.pub.pem")).expect("writes");
    let pem = ["--jwt-public-key", pem.to_str().expect("UTF-8")];
    let secrets = ["--jwt-secret", SECRET, "--jwt-secret-previous", PREVIOUS];
    let verifier = verifier(json!([stranger("k")]), &[&pem[..], &secrets].concat());
    for kid in [None, Some("k"), Some("whatever")] {
        for good in [by_secret(SECRET, kid), by_secret(PREVIOUS, kid), token(Algorithm::RS256, kid)]
        {
            assert_eq!(judge(&verifier, &good), Ok(()), "{kid:?}");
        }
        assert_invalid(judge(&verifier, &by_secret("another secret of thirty-two bytes", kid)));
    }
}

#[test]
fn an_unknown_key_is_asked_for_and_only_it_has_to_wait() {
    let verifier =
        verifier(json!([public(Algorithm::ES256, Some("k"))]), &["--jwt-secret", SECRET]);
    assert!(verifier.wait_for_keys().is_none());
    // None of these causes a fetch: a source has no secrets, and the named key is known.
    assert_invalid(judge(&verifier, &by_secret("another secret of thirty-two bytes", Some("x"))));
    let known = token(Algorithm::ES256, Some("k"));
    let torn = format!("{}AAAA", &known[..known.len() - 4]);
    assert_invalid(judge(&verifier, &torn));
    assert!(verifier.wait_for_keys().is_none());

    for _ in 0..3 {
        let verdict = judge(&verifier, &token(Algorithm::EdDSA, Some("new")));
        assert_eq!(verdict, Err(AuthError::Pending));
        assert!(verifier.wait_for_keys().is_some());
    }
    assert_eq!(judge(&verifier, &known), Ok(()));
    assert_eq!(judge(&verifier, &by_secret(SECRET, None)), Ok(()));
}

#[test]
fn keys_are_unknown_until_a_server_has_answered() {
    let flags = ["--jwt-jwks=https://id.example/jwks.json", "--jwt-secret", SECRET];
    let config = Config::from_flags(flags).expect("good settings");
    let verifier = Verifier::new(&config.auth).expect("connects to nothing");
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let verdict = judge(&verifier, &token(algorithm, Some("k")));
        assert_eq!(verdict, Err(AuthError::Pending));
    }
    assert_eq!(judge(&verifier, &by_secret(SECRET, None)), Ok(()));
    assert_invalid(judge(&verifier, "no token"));
    for error in [AuthError::Pending, AuthError::Unavailable] {
        let failure = Failure::from(&error);
        assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::Unavailable, Some(2000)));
    }
}

#[test]
fn an_unusable_file_is_an_error_at_the_start() {
    let (dir, path) = file(json!([public(Algorithm::ES256, Some("k"))]));
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, "no certificate").expect("writes");
    let keys = dir.path().join("keys.toml");
    fs::write(&keys, "[[keys]]\nname = 7").expect("writes");
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let url = "https://id.example/x".to_owned();
    for (flags, blamed) in [
        (vec!["--jwt-jwks".to_owned(), "/no/such/file".to_owned()], "JWT_JWKS"),
        (vec!["--jwt-jwks".to_owned(), text(&keys)], "JWT_JWKS"),
        (vec!["--jwt-jwks".to_owned(), dir.path().display().to_string()], "JWT_JWKS"),
        (vec!["--jwt-jwks".to_owned(), url, "--jwt-jwks-ca".to_owned(), text(&ca)], "JWT_JWKS_CA"),
        (
            vec!["--jwt-jwks".to_owned(), text(&path), "--api-keys-file".to_owned(), text(&keys)],
            "API_KEYS_FILE",
        ),
    ] {
        let config = Config::from_flags(&flags).expect("good settings");
        let error = Verifier::new(&config.auth).err().expect("is refused");
        assert_eq!(error.variable, blamed, "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
