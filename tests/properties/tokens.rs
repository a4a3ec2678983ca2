//! Credentials of requests, and tokens.

use std::sync::LazyLock;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use orderhub::auth::{NewToken, Verifier, find_token, mint};
use orderhub::config::Config;
use proptest::prelude::*;
use protocol::role::Role;
use protocol::time::Timestamp;
use serde_json::Value;

use super::mutate::{config, mutated};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A moment in the life of every token here.
fn now() -> Timestamp {
    Timestamp::from_secs(1000)
}

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(&settings().auth).expect("a verifier"));

fn settings() -> Config {
    Config::from_flags(["--jwt-secret", SECRET]).expect("settings")
}

const HEADERS: &[&str] =
    &["Bearer a.b.c", "bEARER  a.b.c ", "Basic eHg=", "Bearer a.b.c, Bearer d.e.f"];
const PROTOCOLS: &[&str] =
    &["orderhub.v1, orderhub.jwt.a.b.c", "orderhub.jwt.d.e.f,orderhub.v1", "x"];
const QUERIES: &[&str] = &["EIO=4&token=a%2Eb.c&x=1", "token=d.e.f", "a=b&token=a.b.c&token=a.b.c"];
const WORDS: &[&str] = &["Bearer ", "token=", "&", "%00", "%ff", "orderhub.v1", "orderhub.jwt."];

const CLAIMS: &[&str] = &[
    r#"{"sub":"ann","role":"driver","orders":["o1",2],"name":"Ann","iat":1000,"exp":2000}"#,
    r#"{"id":7,"role":"customer","orders":[],"nbf":0,"exp":2000.5,"iss":"shop","aud":["hub"]}"#,
    r#"{"id":"x","sub":"y","role":["admin"],"name":"\u00e4","exp":9000000000}"#,
];
const CLAIM_WORDS: &[&str] =
    &["\"exp\":", "\"sub\":", "\"orders\":", "253402300800", "\"role\":\"admin\""];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_token_is_found_wherever_it_is(token in "[A-Za-z0-9_-]{1,20}[.][A-Za-z0-9_-]{1,20}", v1_first in any::<bool>()) {
        let header = format!("Bearer {token}");
        let protocol = format!("orderhub.jwt.{token}");
        let offer = if v1_first { format!("orderhub.v1, {protocol}") } else { format!("{protocol},orderhub.v1") };
        let query = format!("EIO=4&token={token}");
        for (header, offer, query) in [
            (Some(&*header), None, None), (None, Some(&*offer), None), (None, None, Some(&*query)),
            (Some(&*header), Some(&*offer), Some(&*query)),
        ] {
            let found = find_token(header, offer, query, true);
            prop_assert_eq!(found.token.as_deref(), Ok(&*token));
        }
        prop_assert!(find_token(None, None, Some(&query), false).token.is_err());
    }

    #[test]
    fn a_token_that_is_found_was_sent_and_is_the_only_one(
        header in proptest::option::of(mutated(HEADERS, WORDS)),
        offer in proptest::option::of(mutated(PROTOCOLS, WORDS)),
        query in proptest::option::of(mutated(QUERIES, WORDS)), allowed in any::<bool>(),
    ) {
        let (header, offer, query) = (header.as_deref(), offer.as_deref(), query.as_deref());
        let found = find_token(header, offer, query, allowed);
        let Ok(token) = &found.token else { return Ok(()) };
        let sent = [header, offer].into_iter().flatten().any(|text| text.contains(&**token));
        prop_assert!(sent || (allowed && query.is_some()), "{token}");
        // Another one in the address changes nothing, or would be a guess.
        let more = format!("{}&token=another", query.unwrap_or_default());
        let again = find_token(header, offer, Some(&more), true).token;
        let is_elsewhere = find_token(header, offer, None, true).token.is_ok();
        let unchanged = again.as_ref() == Ok(token);
        prop_assert!(unchanged || !is_elsewhere && again.is_err());
    }

    #[test]
    fn no_changed_token_is_valid(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let grant = NewToken {
            user: "ann".parse().expect("an id"), name: Some("Ann".into()), role: Role::Driver,
            orders: vec!["o1".parse().expect("an id")], ttl: Duration::from_secs(60),
        };
        let good = mint(&settings().auth, &grant, now()).expect("a token");
        prop_assert!(VERIFIER.verify(&good, now()).is_ok());
        let mut changed = good.clone().into_bytes();
        for (at, byte) in changes {
            let at = usize::from(at) % changed.len();
            changed[at] = byte & 0x7F;
        }
        let changed = String::from_utf8(changed).expect("ASCII");
        prop_assert!(changed == good || VERIFIER.verify(&changed, now()).is_err(), "{changed}");
    }

    #[test]
    fn the_claims_of_a_valid_token_are_within_their_limits(claims in mutated(CLAIMS, CLAIM_WORDS)) {
        let Ok(parsed) = serde_json::from_str::<Value>(&claims) else { return Ok(()) };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &parsed, &key).expect("a token");
        let Ok(identity) = VERIFIER.verify(&token, now()) else { return Ok(()) };
        prop_assert!(now() < identity.deadline && identity.expires_at <= identity.deadline);
        prop_assert!(identity.name.chars().count() <= 128);
        let user = identity.user.as_str();
        let number: Option<f64> = user.parse().ok();
        let is_user = |claim: &Value| {
            claim.as_str() == Some(user) || (claim.is_number() && claim.as_f64() == number)
        };
        prop_assert!(is_user(&parsed["id"]) || is_user(&parsed["sub"]), "{user}");
        prop_assert!(parsed.to_string().contains("admin") || identity.role != Role::Admin);
    }
}
