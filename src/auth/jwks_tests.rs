//! Which keys of a set are accepted, and why others are skipped.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::jwks::{KeySet, MAX_SET_BYTES, parse};

const RSA: &str = include_str!("testdata/rsa.pem");
const EC: &str = include_str!("testdata/p256.pem");
const ED: &str = include_str!("testdata/ed25519.pem");

/// The public half of the key in a PEM file, as a provider publishes it.
fn public(algorithm: Algorithm, kid: &str) -> Value {
    let pem = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RSA.as_bytes()),
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC.as_bytes()),
        _ => EncodingKey::from_ed_pem(ED.as_bytes()),
    };
    let jwk = Jwk::from_encoding_key(&pem.expect("a key"), algorithm).expect("a public half");
    with(&serde_json::to_value(jwk).expect("JSON"), json!({"kid": kid}))
}

/// The same key with other members; `null` removes one.
fn with(key: &Value, changes: Value) -> Value {
    let mut key = key.clone();
    let members = key.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        members.insert(name.clone(), value.clone());
    }
    members.retain(|_, value| !value.is_null());
    key
}

fn read(keys: Value) -> Result<KeySet, String> {
    parse(json!({ "keys": keys }).to_string().as_bytes())
}

/// Why a key is skipped in a set that also has a valid key.
fn skipped(key: &Value) -> String {
    let good = public(Algorithm::EdDSA, "good");
    let mut set = read(json!([good, key])).expect("one is good");
    assert_eq!((set.keys.len(), set.skipped.len()), (1, 1), "{key} {:?}", set.skipped);
    set.skipped.remove(0)
}

#[test]
fn each_kind_of_key_is_taken_for_its_algorithm_by_its_name() {
    let algorithms = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let keys: Vec<Value> = algorithms.iter().map(|algorithm| public(*algorithm, "k")).collect();
    // Keys of different kinds may share a name.
    let set = read(json!(keys)).expect("good");
    assert_eq!(set.skipped, [""; 0]);
    let taken: Vec<_> = set.keys.iter().map(|key| (key.algorithm, key.id.as_deref())).collect();
    assert_eq!(taken, algorithms.map(|algorithm| (algorithm, Some("k"))));
}

#[test]
fn unknown_members_of_a_key_are_ignored() {
    let key = public(Algorithm::RS256, "k");
    let padded = {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let n = URL_SAFE_NO_PAD.decode(key["n"].as_str().expect("a text")).expect("base64url");
        URL_SAFE_NO_PAD.encode([vec![0], n].concat())
    };
    for changes in [
        json!({"alg": null, "use": null}),
        json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]}),
        json!({"kid": null}),
        json!({"x5c": ["MII"], "x5t": "abc", "issuer": {"a": [1]}}),
        json!({"n": padded}),
    ] {
        assert!(read(json!([with(&key, changes.clone())])).is_ok(), "{changes}");
    }
    let ed = public(Algorithm::EdDSA, "k");
    assert!(read(json!([with(&ed, json!({"alg": "Ed25519"}))])).is_ok());
}

#[test]
fn keys_that_are_no_secret_any_more_are_refused() {
    for (algorithm, member) in [
        (Algorithm::RS256, "d"),
        (Algorithm::RS256, "p"),
        (Algorithm::RS256, "oth"),
        (Algorithm::ES256, "d"),
        (Algorithm::EdDSA, "d"),
    ] {
        let said = skipped(&with(&public(algorithm, "k"), json!({member: "c2VjcmV0"})));
        assert!(said.starts_with("its key 1 (\"k\") is a private key"), "{said}");
        assert!(!said.contains("c2VjcmV0"), "{said}");
    }
    let oct = json!({"kty": "oct", "kid": "k", "alg": "HS256", "k": "c2VjcmV0"});
    assert!(skipped(&oct).contains("is a symmetric key"));
    let both = with(&public(Algorithm::RS256, "k"), json!({"k": "c2VjcmV0"}));
    assert!(skipped(&both).contains("is a symmetric key"));
}

#[test]
fn keys_that_cannot_be_used_are_left_out_with_the_reason() {
    let (rsa, ec) = (public(Algorithm::RS256, "k"), public(Algorithm::ES256, "k"));
    let ed = public(Algorithm::EdDSA, "k");
    let short = "AQAB".repeat(40);
    for (key, reason) in [
        (with(&rsa, json!({"use": "enc"})), "is not for signatures"),
        (with(&rsa, json!({"key_ops": ["encrypt"]})), "is not for signatures"),
        (with(&rsa, json!({"alg": "RS512"})), "is for an algorithm other"),
        (with(&rsa, json!({"alg": "PS256"})), "is for an algorithm other"),
        (with(&rsa, json!({"alg": "HS256"})), "is for an algorithm other"),
        (with(&rsa, json!({"alg": "none"})), "is for an algorithm other"),
        (with(&ec, json!({"alg": "RS256"})), "is for an algorithm other"),
        (with(&rsa, json!({"n": short})), "is an RSA key of less than 2048"),
        (with(&rsa, json!({"n": ""})), "is an RSA key of less than 2048"),
        (with(&rsa, json!({"n": "A".repeat(1000)})), "is an RSA key of less than 2048"),
        (with(&rsa, json!({"n": "AQAB".repeat(500)})), "more than 8192 bits"),
        (with(&rsa, json!({"n": "+/+/"})), "has no n or e"),
        (with(&rsa, json!({"e": null})), "has no n or e"),
        (with(&ec, json!({"crv": "P-384"})), "is on another curve"),
        (with(&ec, json!({"crv": null})), "is on another curve"),
        (with(&ec, json!({"x": "AQAB"})), "has no x and y of 32 bytes"),
        (with(&ec, json!({"y": null})), "has no x and y of 32 bytes"),
        (with(&ed, json!({"crv": "X25519"})), "is on another curve"),
        (with(&ed, json!({"x": "AQAB"})), "has no x of 32 bytes"),
        (with(&ed, json!({"kty": "AKP"})), "is of an unknown kind"),
        (with(&ed, json!({"kty": null})), "cannot be read"),
        (with(&ed, json!({"kid": 7})), "cannot be read"),
        (json!("key"), "cannot be read"),
        (json!(null), "cannot be read"),
        (public(Algorithm::EdDSA, "good"), "has the kid of another"),
    ] {
        let said = skipped(&key);
        assert!(said.contains(reason), "{key}: {said}");
    }
    assert!(skipped(&with(&ed, json!({"kty": "x", "kid": "k\n".repeat(500)}))).len() < 300);
    let doubled = r#"{"keys":[{"kty":"OKP","kty":"RSA"}]}"#;
    assert!(parse(doubled.as_bytes()).is_err());
}

#[test]
fn a_set_without_a_key_or_out_of_bounds_is_refused() {
    let key = public(Algorithm::EdDSA, "k");
    let many = |count: usize| {
        let keys = (0..count).map(|index| with(&key, json!({"kid": index.to_string()})));
        read(keys.collect())
    };
    assert_eq!(many(100).expect("as many as there may be").keys.len(), 100);
    for (refused, part) in [
        (many(101).err(), "more than 100 keys"),
        (read(json!([])).err(), "it holds no key that can be used"),
        (read(json!([with(&key, json!({"d": "x"}))])).err(), "is a private key"),
        (read(json!({})).err(), "it is not a JWKS"),
        (parse(b"").err(), "it is not a JWKS"),
        (parse(b"<html>").err(), "it is not a JWKS"),
        (parse(b"[]").err(), "it is not a JWKS"),
        (parse(b"{\"keys\":[]} x").err(), "it is not a JWKS"),
        (parse("[".repeat(100_000).as_bytes()).err(), "it is not a JWKS"),
        (parse(&vec![b' '; MAX_SET_BYTES + 1]).err(), "it is larger than"),
    ] {
        let refused = refused.expect("is refused");
        assert!(refused.contains(part) && !refused.contains('\n'), "{refused}");
    }
}
