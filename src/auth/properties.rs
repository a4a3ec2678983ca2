//! Properties of all files of API keys and all sets of public keys; `tests/fuzz` runs them for
//! long.

use proptest::prelude::*;

use super::api_keys::ApiKeys;
use super::jwks;
use crate::mutate;

const FILES: &[&str] = &[
    "[[keys]]\nname = \"shop\"\nsha256 = \"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"\n\
     scopes = [\"orders:write\"]\n\n[[keys]]\nname = \"grafana\"\n\
     sha256 = \"fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9\"\nscopes = [\"metrics:read\"]\n",
];
const FILE_WORDS: &[&str] =
    &["[[keys]]\n", "name = ", "sha256 = \"", "scopes = [", "\"admin:write\"", "\"\"\""];

/// The examples of RFC 7517 (A.1), RFC 8037 (A.2) and RFC 7515 (A.2), with the `d` of the last.
const SETS: &[&str] = &[
    r#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"2"}]}"#,
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"},{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}"#,
];
const SET_WORDS: &[&str] = &[
    "\"kty\":",
    "\"d\":\"x\"",
    "\"k\":\"x\"",
    "\"use\":\"enc\"",
    "\"kid\":\"1\"",
    "\"alg\":\"RS256\"",
];

proptest! {
    #![proptest_config(mutate::config())]

    #[test]
    fn a_file_of_api_keys_is_read_or_refused_in_a_line(text in mutate::mutated(FILES, FILE_WORDS)) {
        match ApiKeys::parse(text.as_bytes()) {
            Ok(keys) => prop_assert!(keys.len() <= text.matches("sha256").count()),
            Err(problem) => prop_assert!(!problem.is_empty() && problem.lines().count() == 1, "{problem}"),
        }
    }

    #[test]
    fn of_a_set_no_key_is_taken_whose_secret_stands_beside_it(json in mutate::mutated(SETS, SET_WORDS)) {
        let Ok(set) = jwks::parse(json.as_bytes()) else { return Ok(()) };
        // The reader of sets skips half of a surrogate pair; this one refuses it.
        let Ok(document) = serde_json::from_str::<serde_json::Value>(&json) else { return Ok(()) };
        let keys = document["keys"].as_array().expect("keys");
        prop_assert_eq!(set.keys.len() + set.skipped.len(), keys.len());
        let secret = |key: &&serde_json::Value| !key["d"].is_null() || !key["k"].is_null();
        prop_assert!(set.keys.len() <= keys.len() - keys.iter().filter(secret).count());
        prop_assert!(set.skipped.iter().all(|line| line.lines().count() == 1));
    }
}

#[test]
fn the_inputs_are_good() {
    assert!(FILES.iter().all(|text| ApiKeys::parse(text.as_bytes()).is_ok()));
    let counts = SETS.iter().map(|json| jwks::parse(json.as_bytes()).map(|set| set.keys.len()));
    assert_eq!(counts.collect::<Vec<_>>(), [Ok(2), Ok(1)]);
}
