//! The rules for claims, each with tokens made by hand.

mod roles;

use serde_json::{Value, json};

use super::*;
use crate::config::{AuthConfig, Config};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use std::time::Duration;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;

fn settings(flags: &[&str]) -> AuthConfig {
    let flags = [&["--jwt-secret", SECRET], flags].concat();
    Config::from_flags(flags).expect("good settings").auth
}

fn signed(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signs")
}

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// Verifies a valid token with these claims changed; `null` removes one.
fn judge(flags: &[&str], changes: Value) -> Result<Identity, AuthError> {
    let mut claims = json!({"sub": "u-1", "exp": NOW + 60});
    let all = claims.as_object_mut().expect("an object");
    for (claim, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            all.remove(claim);
        } else {
            all.insert(claim.clone(), value.clone());
        }
    }
    verify(flags, &signed(&claims))
}

fn verify(flags: &[&str], token: &str) -> Result<Identity, AuthError> {
    Verifier::new(&settings(flags)).expect("a key").verify(token, now())
}

#[track_caller]
fn assert_invalid(result: Result<Identity, AuthError>) {
    match result {
        Err(AuthError::Invalid(_)) => {}
        other => panic!("not refused as invalid: {other:?}"),
    }
}

#[test]
fn a_token_names_its_user() {
    let identity = judge(
        &[],
        json!({"name": "Ana", "role": "driver", "orders": ["b", 7, "a", "b"], "iat": NOW - 9}),
    );
    let identity = identity.expect("good");
    assert_eq!(identity.user.as_str(), "u-1");
    assert_eq!((identity.name.as_str(), identity.role), ("Ana", Role::Driver));
    assert_eq!(identity.orders.iter().map(OrderId::as_str).collect::<Vec<_>>(), ["7", "a", "b"]);
    assert!(identity.names(&OrderId::new("7").expect("an id")));
    assert!(!identity.names(&OrderId::new("c").expect("an id")));
    assert_eq!(identity.expires_at, Timestamp::from_secs(NOW + 60));
    assert_eq!(identity.deadline, Timestamp::from_secs(NOW + 65));
    assert_eq!(identity.issued_at, Some(Timestamp::from_secs(NOW - 9)));
}

#[test]
fn a_token_with_the_least_is_a_customer_without_orders() {
    let identity = judge(&[], json!({})).expect("good");
    assert_eq!((identity.name.as_str(), identity.role), ("u-1", Role::Customer));
    assert_eq!((identity.orders.len(), identity.issued_at), (0, None));
}

#[test]
fn the_user_is_id_else_sub_or_the_configured_claim() {
    let configured: &[&str] = &["--jwt-user-claim", "uid"];
    for (flags, claims, user) in [
        (&[][..], json!({"id": "from-id"}), Some("from-id")),
        (&[], json!({"id": 42, "sub": null}), Some("42")),
        (&[], json!({}), Some("u-1")),
        (&[], json!({"sub": null}), None),
        (&[], json!({"sub": ""}), None),
        (&[], json!({"id": ""}), None),
        (&[], json!({"id": 42.0}), Some("42")),
        (&[], json!({"id": "auth0|5f7c+x@example.com"}), Some("auth0|5f7c+x@example.com")),
        (&[], json!({"id": "a b"}), None),
        (&[], json!({"id": 4.5}), None),
        (&[], json!({"id": ["x"]}), None),
        (&[], json!({"id": "x".repeat(129)}), None),
        (configured, json!({"uid": "mine", "id": "other"}), Some("mine")),
        (configured, json!({"id": "other"}), None),
    ] {
        let found = judge(flags, claims.clone()).map(|identity| identity.user.to_string());
        assert_eq!(found.ok().as_deref(), user, "{claims}");
    }
    // A claim that is null counts as absent.
    let token = signed(&json!({"id": null, "sub": "u-2", "exp": NOW + 1}));
    assert_eq!(verify(&[], &token).expect("good").user.as_str(), "u-2");
}

#[test]
fn exp_is_required_in_seconds() {
    for bad in [
        json!(null),
        json!(1_800_000_000_000_i64),
        json!(253_402_300_800_i64),
        json!(u64::MAX),
        json!(1e300),
        json!("1800000060"),
        json!(true),
        json!([1_800_000_060]),
    ] {
        assert_invalid(judge(&[], json!({"exp": bad})));
    }
    assert_invalid(verify(&[], &signed(&json!({"sub": "u", "exp": null}))));
    assert!(judge(&[], json!({"exp": 253_402_300_799_i64})).is_ok());
    assert!(judge(&[], json!({"exp": 253_402_300_799.5})).is_ok());
}

#[test]
fn a_token_is_valid_until_exp_plus_leeway() {
    for (exp, leeway, good) in [
        (NOW + 1, "0", true),
        (NOW, "0", false),
        (NOW - 4, "5", true),
        (NOW - 5, "5", false),
        (NOW - 300, "300", false),
        (NOW - 299, "300", true),
        (-1, "5", false),
        (i64::MIN, "5", false),
    ] {
        let result = judge(&["--jwt-leeway-secs", leeway], json!({"exp": exp}));
        let expected = if good { Ok(()) } else { Err(AuthError::Expired) };
        assert_eq!(result.map(drop), expected, "{exp} {leeway}");
    }
    // Only a token that was valid once can be "expired".
    assert_invalid(judge(&[], json!({"exp": 1, "sub": null})));
}

#[test]
fn times_may_have_a_fraction_and_those_that_are_optional_may_be_null() {
    let fractions = json!({"exp": NOW + 60, "iat": 1_799_999_990.25, "nbf": 1_799_999_990.5});
    let identity = judge(&[], fractions).expect("good");
    assert_eq!(identity.issued_at, Some(Timestamp::from_millis(NOW * 1000 - 9750)));
    let exact = judge(&["--jwt-leeway-secs", "0"], json!({"exp": 1_800_000_000.5}));
    assert_eq!(exact.expect("good").deadline, Timestamp::from_millis(NOW * 1000 + 500));
    let nulls = json!({
        "sub": "u", "exp": NOW + 1, "iat": null, "nbf": null, "orders": null, "name": null, "role": null,
    });
    let identity = verify(&[], &signed(&nulls)).expect("null is absent");
    assert_eq!((identity.issued_at, identity.orders.len()), (None, 0));
}

#[test]
fn nbf_is_checked_with_leeway() {
    assert!(judge(&[], json!({"nbf": NOW + 5})).is_ok());
    assert_invalid(judge(&[], json!({"nbf": NOW + 6})));
    assert_invalid(judge(&[], json!({"nbf": "soon"})));
    assert_invalid(judge(&[], json!({"iat": (NOW + 5) * 1000})));
}

#[test]
fn issuer_and_audience_are_checked_where_they_are_configured() {
    let issuer: &[&str] = &["--jwt-issuer", "shop"];
    let audience: &[&str] = &["--jwt-audience", "hub"];
    for (flags, claims, good) in [
        (&[][..], json!({"iss": "anyone", "aud": "anything"}), true),
        (issuer, json!({"iss": "shop"}), true),
        (issuer, json!({"iss": "Shop"}), false),
        (issuer, json!({"iss": ["shop"]}), false),
        (issuer, json!({}), false),
        (audience, json!({"aud": "hub"}), true),
        (audience, json!({"aud": ["other", "hub"]}), true),
        (audience, json!({"aud": ["other"]}), false),
        (audience, json!({"aud": 7}), false),
        (audience, json!({}), false),
    ] {
        assert_eq!(judge(flags, claims.clone()).is_ok(), good, "{flags:?} {claims}");
    }
}

#[test]
fn names_are_bounded_and_have_no_control_characters() {
    let long = "é".repeat(500);
    for (name, shown) in [
        (json!("  Ana \u{7} María\n"), "Ana  María"),
        (json!("\u{0}\u{1b}"), "u-1"),
        (json!("   "), "u-1"),
        (json!(5), "5"),
        (json!(["x"]), "u-1"),
        (json!(true), "u-1"),
        (json!(long), &long[..256]),
    ] {
        assert_eq!(judge(&[], json!({"name": name})).expect("good").name, shown, "{name}");
    }
    for (name, shown) in [
        ("\u{202E}An\u{200B}a\u{2069}", "Ana"),
        ("\u{200B} Ana \u{FEFF}", "Ana"),
        ("\u{3164}\u{200D} ", "u-1"),
        ("علی\u{200C}رضا", "علی\u{200C}رضا"),
    ] {
        assert_eq!(judge(&[], json!({"name": name})).expect("good").name, shown, "{name:?}");
    }
    let by_sub = judge(&["--jwt-name-claim", "sub"], json!({"id": "7", "sub": "Ana"}));
    let by_sub = by_sub.expect("good");
    assert_eq!((by_sub.user.as_str(), by_sub.name.as_str()), ("7", "Ana"));
}

#[test]
fn orders_must_be_a_list_of_ids() {
    for bad in [json!("a"), json!({}), json!(["a b"]), json!([null]), json!([[]]), json!(1)] {
        assert_invalid(judge(&[], json!({"orders": bad})));
    }
    assert_eq!(judge(&[], json!({"orders": []})).expect("good").orders.len(), 0);
}

#[test]
fn a_claim_that_comes_twice_is_refused() {
    /// Writes its text unchanged, which no map would do.
    struct Raw(Box<serde_json::value::RawValue>);
    impl serde::Serialize for Raw {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }
    for (text, good) in [
        (r#"{"sub":"a","exp":1800000060}"#, true),
        (r#"{"sub":"a","exp":1800000060,"sub":"b"}"#, false),
        (r#"{"sub":"a","exp":1800000060,"s\u0075b":"b"}"#, false),
        (r#"{"sub":"a","exp":1800000060,"role":"customer","role":"admin"}"#, false),
        (r#"["sub"]"#, false),
        ("7", false),
    ] {
        let raw = Raw(serde_json::value::RawValue::from_string(text.to_owned()).expect("JSON"));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = encode(&Header::default(), &raw, &key).expect("signs");
        assert_eq!(verify(&[], &token).is_ok(), good, "{text}");
    }
}

#[test]
fn an_invalid_token_is_refused_without_a_panic() {
    let good = signed(&json!({"sub": "u", "exp": NOW + 1}));
    assert!(verify(&[], &good).is_ok());
    for bad in ["", ".", "..", "a.b.c", "....", "ä.ö.ü", "\0", &good[1..], &good[..good.len() - 2]]
    {
        assert_invalid(verify(&[], bad));
    }
    for end in 0..good.len() {
        assert_invalid(verify(&[], &good[..end]));
    }
    assert_invalid(verify(&[], &format!("{good}.{good}")));
    let long = signed(&json!({"sub": "u", "exp": NOW + 1, "x": "y".repeat(MAX_TOKEN_BYTES)}));
    assert_invalid(verify(&[], &long));
}

#[test]
fn tokens_that_mint_makes_are_read_back_under_every_setting() {
    let id = |text| OrderId::new(text).expect("an id");
    for flags in [
        &[][..],
        &["--jwt-user-claim", "uid", "--jwt-name-claim", "nick", "--jwt-role-claim", "kind"],
        &["--jwt-issuer", "shop", "--jwt-audience", "hub", "--jwt-staff-audience", "staff"],
        &["--jwt-audience", "hub", "--jwt-staff-audience", "hub"],
        &["--jwt-role-map", "admin=support,BOSS=admin"],
    ] {
        let auth = settings(flags);
        for role in Role::NAMES.iter().filter_map(|name| Role::from_name(name)) {
            let user = UserId::new("u-7").expect("an id");
            let (name, orders) = (Some("Ana".to_owned()), vec![id("b"), id("a")]);
            let grant = NewToken { user, name, role, orders, ttl: Duration::from_secs(60) };
            let token = mint(&auth, &grant, now()).expect("makes it");
            let identity = verify(flags, &token).expect("good");
            assert_eq!((identity.user, identity.role), (grant.user, role), "{flags:?}");
            assert_eq!(
                (identity.name.as_str(), &*identity.orders),
                ("Ana", &[id("a"), id("b")][..])
            );
            assert_eq!(identity.expires_at, Timestamp::from_secs(NOW + 60));
            assert_eq!(identity.issued_at, Some(now()));
        }
    }
}

#[test]
fn a_role_without_a_word_cannot_be_minted() {
    let auth = settings(&["--jwt-role-map", "admin=support"]);
    let user = UserId::new("u").expect("an id");
    let ttl = Duration::from_secs(1);
    let grant = NewToken { user, name: None, role: Role::Admin, orders: Vec::new(), ttl };
    let error = mint(&auth, &grant, now()).expect_err("is refused");
    assert_eq!(error.variable, "JWT_ROLE_MAP");
}

#[test]
fn a_client_gets_the_code_and_not_the_reason() {
    let heard = |error: &AuthError| {
        let failure = Failure::from(error);
        (failure.code, failure.message)
    };
    let invalid = AuthError::Invalid("its signature is wrong".into());
    assert_eq!(heard(&invalid), (ErrorCode::Unauthenticated, "the token is not valid".into()));
    assert_eq!(heard(&AuthError::Expired).0, ErrorCode::TokenExpired);
}

/// Algorithms that the keys of the hub do not support.
#[test]
fn a_secret_is_valid_for_every_hash_of_its_family() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let claims = json!({"sub": "u", "exp": NOW + 1});
        let token = |secret: &str| {
            let key = EncodingKey::from_secret(secret.as_bytes());
            encode(&Header::new(algorithm), &claims, &key).expect("signs")
        };
        assert_eq!(verify(&[], &token(SECRET)).expect("good").user.as_str(), "u");
        assert_invalid(verify(&[], &token(&SECRET.to_uppercase())));
    }
}

#[test]
fn a_token_from_before_a_revocation_can_be_replaced_by_a_valid_one() {
    let verifier = Verifier::new(&settings(&[])).expect("a key");
    let user = protocol::ids::UserId::new("u-1").expect("an id");
    verifier.revoke(user, now());
    let judge = |issued_at: Value, now: i64| {
        let token = signed(&json!({"sub": "u-1", "exp": NOW + 600, "iat": issued_at}));
        verifier.verify(&token, Timestamp::from_secs(now)).err()
    };
    for (issued_at, later, expected) in [
        (json!(NOW), 1, None),
        (json!(NOW - 3), 1, Some(AuthError::RevokedJustNow)),
        (json!(NOW - 30), 29, Some(AuthError::RevokedJustNow)),
        // It comes too late for a clock that is behind to explain it.
        (json!(NOW - 3), 30, Some(AuthError::Revoked)),
        // It was issued before the revocation, whatever the clock.
        (json!(NOW - 31), 1, Some(AuthError::Revoked)),
        (Value::Null, 1, Some(AuthError::Revoked)),
    ] {
        assert_eq!(judge(issued_at.clone(), NOW + later), expected, "{issued_at} {later}");
    }
}
