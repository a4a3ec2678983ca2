//! Tests of the session records: who gets which, until when, and how many are kept.

use std::sync::Arc;

use actix::{Actor, Context, Handler};

use super::*;
use crate::metrics::LabelValues;
use crate::session::resume::{PushLog, SavedRoom};
use protocol::ids::{OrderId, SessionId};
use protocol::socketio::Namespace;

const S: Duration = Duration::from_secs(1);

fn metrics() -> Metrics {
    Metrics::new(&LabelValues::default())
}

fn resumes(most: usize) -> ResumableSessions {
    ResumableSessions::new(S * 120, most, &metrics())
}

fn pid() -> Pid {
    Pid::random().expect("randomness")
}

fn user(id: &str) -> UserId {
    id.parse().expect("an id")
}

fn record(owner: &str) -> SessionRecord {
    let order = OrderId::new("o").expect("an id");
    let rooms = [SavedRoom { order, joins: 1, subscription: 1, sent_seq: 0 }];
    let (session, pushes) = (SessionId::random(), PushLog::default());
    SessionRecord::new(pid(), user(owner), session, Namespace::Root, 1, rooms, pushes)
}

/// The record that a claim returns, if any.
fn claimed(resumes: &ResumableSessions, pid: Pid, of: &str, now: Instant) -> Option<SessionRecord> {
    match resumes.claim(pid, &user(of), now) {
        Claim::Detached(record) => Some(*record),
        Claim::Unknown => None,
        Claim::Attached(_) => panic!("still attached"),
        Claim::Claimed => panic!("claimed"),
    }
}

/// A session that leaves its record when it is asked to end.
struct Owner(Option<(Arc<ResumableSessions>, SessionRecord)>);

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<TakeOver> for Owner {
    type Result = ();

    fn handle(&mut self, _: TakeOver, _: &mut Self::Context) {
        if let Some((resumes, record)) = self.0.take() {
            resumes.detach(record, Instant::now());
        }
    }
}

#[test]
fn a_record_is_claimed_once_by_its_user_until_it_expires() {
    let (resumes, now) = (resumes(9), Instant::now());
    let (ann, bob) = (record("ann"), record("bob"));
    resumes.detach(ann.clone(), now);
    resumes.detach(bob.clone(), now);
    assert_eq!(claimed(&resumes, ann.pid, "bob", now), None);
    assert_eq!(claimed(&resumes, pid(), "ann", now), None);
    assert_eq!(claimed(&resumes, ann.pid, "ann", now + S * 119), Some(ann.clone()));
    assert!(matches!(resumes.claim(ann.pid, &user("ann"), now), Claim::Claimed));
    assert!(matches!(resumes.claim(ann.pid, &user("bob"), now), Claim::Unknown));
    resumes.remove(ann.pid);
    assert!(matches!(resumes.claim(ann.pid, &user("ann"), now), Claim::Unknown));
    assert_eq!(claimed(&resumes, bob.pid, "bob", now + S * 120), None);
    assert_eq!((resumes.kept(), resumes.lock().bytes), (0, 0));
}

#[test]
fn an_unused_claim_gives_the_record_back() {
    let (resumes, now, ann) = (resumes(9), Instant::now(), record("ann"));
    resumes.detach(ann.clone(), now);
    for _ in 0..3 {
        let record = claimed(&resumes, ann.pid, "ann", now).expect("there");
        assert!(matches!(resumes.claim(ann.pid, &user("ann"), now), Claim::Claimed));
        resumes.detach(record, now);
    }
    assert_eq!((resumes.kept(), resumes.lock().sessions.len()), (1, 1));
}

#[test]
fn an_attached_session_is_asked_to_end() {
    actix::System::new().block_on(async {
        let (resumes, now) = (Arc::new(resumes(9)), Instant::now());
        let ann = record("ann");
        let owner = Arc::new(Owner(Some((Arc::clone(&resumes), ann.clone()))).start());
        resumes.attach(ann.pid, user("ann"), owner);
        assert!(matches!(resumes.claim(ann.pid, &user("bob"), now), Claim::Unknown));
        let Claim::Attached(owner) = resumes.claim(ann.pid, &user("ann"), now) else {
            panic!("not attached")
        };
        owner.send(TakeOver { pid: ann.pid }).await.expect("it lives");
        assert_eq!(claimed(&resumes, ann.pid, "ann", now), Some(ann.clone()));
        // The next session takes over the pid, is lost, and is found again.
        resumes.attach(ann.pid, user("ann"), Arc::new(Owner(None).start()));
        resumes.detach(ann.clone(), now);
        assert_eq!(claimed(&resumes, ann.pid, "ann", now), Some(ann));
    });
}

#[test]
fn a_session_that_ended_for_good_leaves_no_record() {
    actix::System::new().block_on(async {
        let (resumes, now) = (resumes(9), Instant::now());
        let (ann, bob) = (record("ann"), record("bob"));
        resumes.attach(ann.pid, user("ann"), Arc::new(Owner(None).start()));
        resumes.detach(bob.clone(), now);
        for gone in [&ann, &bob] {
            resumes.remove(gone.pid);
            resumes.remove(gone.pid);
            assert!(matches!(resumes.claim(gone.pid, &gone.user, now), Claim::Unknown));
        }
        assert_eq!((resumes.kept(), resumes.lock().sessions.len()), (0, 0));
    });
}

#[test]
fn a_session_whose_actor_has_died_is_forgotten() {
    let (resumes, now, ann) = (resumes(9), Instant::now(), record("ann"));
    actix::System::new().block_on(async {
        resumes.attach(ann.pid, user("ann"), Arc::new(Owner(None).start()));
    });
    // The actor ended with its system.
    assert!(matches!(resumes.claim(ann.pid, &user("ann"), now), Claim::Unknown));
    assert!(resumes.lock().sessions.is_empty());
}

#[test]
fn beyond_the_bound_the_oldest_record_is_dropped() {
    let (resumes, now) = (resumes(3), Instant::now());
    let records: Vec<_> = (0..5).map(|_| record("ann")).collect();
    for record in &records {
        resumes.detach(record.clone(), now);
    }
    // The same session again replaces its record.
    resumes.detach(records[4].clone(), now);
    let kept = records.iter().map(|r| claimed(&resumes, r.pid, "ann", now).is_some());
    assert_eq!(kept.collect::<Vec<_>>(), [false, false, true, true, true]);
    for record in &records {
        resumes.remove(record.pid);
    }
    assert!(resumes.lock().sessions.is_empty() && resumes.lock().users.is_empty());
}

#[test]
fn reconnects_of_one_user_push_out_no_records_of_others() {
    let (resumes, now) = (resumes(9999), Instant::now());
    let (ann, bob) = (record("ann"), record("bob"));
    resumes.detach(bob.clone(), now);
    resumes.detach(ann.clone(), now);
    let more: Vec<_> = (0..MAX_PER_USER).map(|_| record("ann")).collect();
    for record in &more {
        resumes.detach(record.clone(), now);
    }
    assert_eq!(resumes.kept(), MAX_PER_USER + 1);
    assert_eq!(claimed(&resumes, ann.pid, "ann", now), None, "her oldest went");
    assert_eq!(claimed(&resumes, more[0].pid, "ann", now), Some(more[0].clone()));
    assert_eq!(claimed(&resumes, bob.pid, "bob", now), Some(bob));
}

#[test]
fn large_records_are_bounded_by_their_bytes() {
    let (mut resumes, now) = (resumes(1000), Instant::now());
    let each = record("ann").size() + OVERHEAD_BYTES;
    resumes.most_bytes = each * 10;
    for _ in 0..100 {
        resumes.detach(record("ann"), now);
    }
    assert_eq!((resumes.kept(), resumes.lock().bytes), (10, each * 10));
    // A record that does not fit is not kept, and nothing remains of it.
    resumes.most_bytes = each - 1;
    resumes.detach(record("ann"), now);
    assert_eq!((resumes.kept(), resumes.lock().bytes), (0, 0));
    assert!(resumes.lock().sessions.is_empty());
}

#[test]
fn expired_records_are_swept_and_the_others_stay() {
    let metrics = metrics();
    let (resumes, now) = (ResumableSessions::new(S * 120, 9999, &metrics), Instant::now());
    for n in 0..1000 {
        resumes.detach(record(&format!("user-{n}")), now + S * n / 10);
    }
    assert_eq!((resumes.kept(), metrics.resumable_sessions.get()), (1000, 1000));
    assert_eq!(resumes.sweep(now + S * 119), 0);
    assert_eq!(resumes.sweep(now + S * 120), 1);
    assert_eq!(resumes.sweep(now + S * 190), 700);
    assert_eq!((resumes.kept(), metrics.resumable_sessions.get()), (299, 299));
    assert_eq!(resumes.sweep(now + S * 9999), 299);
    assert!(resumes.lock().sessions.is_empty());
    assert_eq!(resumes.lock().bytes, 0);
}

#[test]
fn a_drain_takes_out_the_records_that_have_not_expired() {
    actix::System::new().block_on(async {
        let metrics = metrics();
        let (resumes, now) = (ResumableSessions::new(S * 120, 9999, &metrics), Instant::now());
        let (old, ann, bob) = (record("old"), record("ann"), record("bob"));
        resumes.attach(pid(), user("here"), Arc::new(Owner(None).start()));
        resumes.detach(old, now);
        resumes.detach(ann.clone(), now + S);
        resumes.detach(bob.clone(), now + S * 2);
        assert_eq!(resumes.drain(now + S * 120), [ann, bob]);
        assert_eq!(resumes.drain(now), []);
        assert_eq!((metrics.resumable_sessions.get(), resumes.lock().sessions.len()), (0, 1));
    });
}

#[test]
fn no_record_is_kept_when_resume_is_off() {
    let (resumes, now) = (ResumableSessions::new(Duration::ZERO, 9, &metrics()), Instant::now());
    resumes.detach(record("ann"), now);
    assert_eq!((resumes.kept(), resumes.lock().sessions.len()), (0, 0));
}
