//! Keys of calls that count once: whose they are, until when, and how they are forgotten.

use std::time::Duration;

use orderhub::db::idempotency::{
    CallOutcome, Idempotent, IdempotentCall, KeyClaim, MAX_EXPIRED, StoredAnswer,
};
use orderhub::db::idempotency::{apply_once, claim, delete_expired};
use protocol::error::{ErrorCode, Failure};
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database};

const NOW: i64 = 1_700_000_000_000;
const DAY: u64 = 24 * 3600 * 1000;

fn call(key: &str, body: &str) -> IdempotentCall {
    let (caller, route) = ("user:shop".to_owned(), "POST /orders/o1/status".to_owned());
    IdempotentCall { caller, route, key: key.to_owned(), body_hash: body.to_owned() }
}

fn at(later_ms: u64) -> Timestamp {
    Timestamp::from_millis(NOW).plus(Duration::from_millis(later_ms))
}

/// Does something under a key: what is answered, whether it was done now.
fn done(
    fixture: &Fixture,
    call: IdempotentCall,
    later_ms: u64,
) -> Result<(String, bool), ErrorCode> {
    let answer = move |text: &String| StoredAnswer { status: 201, body: text.clone() };
    let wanted = Idempotent { call, answer: std::sync::Arc::new(answer) };
    let effect = |_: &mut _| Ok(Ok(format!("done {later_ms}")));
    let outcome = apply_once(&mut fixture.connection(), Some(&wanted), at(later_ms), effect);
    match outcome.expect("a database").map_err(|failure| failure.code)? {
        CallOutcome::New(_, Some(answer)) => Ok((answer.body, true)),
        CallOutcome::Replayed(answer) => {
            assert_eq!(answer.status, 201);
            Ok((answer.body, false))
        }
        CallOutcome::New(_, None) => panic!("no answer was kept"),
    }
}

#[test]
fn a_key_is_free_again_after_a_day() {
    each_database(async |fixture| {
        let first = Ok(("done 0".to_owned(), true));
        let known = Ok(("done 0".to_owned(), false));
        assert_eq!(done(&fixture, call("k", "a"), 0), first);
        assert_eq!(done(&fixture, call("k", "a"), DAY - 1), known);
        assert_eq!(done(&fixture, call("k", "b"), DAY - 1), Err(ErrorCode::Conflict));
        assert_eq!(done(&fixture, call("k", "b"), DAY), Ok((format!("done {DAY}"), true)));
        assert_eq!(done(&fixture, call("k", "a"), DAY), Err(ErrorCode::Conflict));
    });
}

#[test]
fn a_refused_call_leaves_the_key_free() {
    each_database(async |fixture| {
        let wanted = Idempotent {
            call: call("k", "a"),
            answer: std::sync::Arc::new(|(): &()| panic!("nothing to answer")),
        };
        let refuse = |_: &mut _| Ok(Err(Failure::forbidden()));
        let refused = apply_once::<()>(&mut fixture.connection(), Some(&wanted), at(0), refuse);
        assert!(refused.expect("a database").is_err());
        assert_eq!(claim(&mut fixture.connection(), &call("k", "b"), at(0)), Ok(KeyClaim::Free));
    });
}

#[test]
fn expired_keys_are_deleted_in_steps_and_the_rest_stays() {
    each_database(async |fixture| {
        let mut connection = fixture.connection();
        for number in 0..MAX_EXPIRED + 100 {
            let later = u64::try_from(number).expect("small");
            let call = call(&format!("k{number}"), "a");
            assert_eq!(claim(&mut connection, &call, at(later)), Ok(KeyClaim::Free));
        }
        claim(&mut connection, &call("fresh", "a"), at(DAY)).expect("claimed");
        let mut sweep = || delete_expired(&mut connection, at(DAY + 1000)).expect("deleted");
        assert_eq!([sweep(), sweep(), sweep()], [MAX_EXPIRED, 100, 0]);
        let fresh = claim(&mut connection, &call("fresh", "a"), at(DAY + 1000));
        assert_eq!(fresh, Ok(KeyClaim::Answered(StoredAnswer { status: 0, body: String::new() })));
    });
}
