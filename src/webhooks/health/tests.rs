//! When an endpoint is tried, paused and stopped.

use super::*;

const SECOND: i64 = 1000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn schedule() -> RetrySchedule {
    RetrySchedule::parse("5s,5m,30m").expect("a schedule")
}

/// An endpoint, its clock, and what came of its requests.
struct Scene {
    state: EndpointState,
    now: i64,
}

impl Scene {
    fn new() -> Self {
        Self { state: EndpointState::default(), now: 0 }
    }

    fn admission(&self) -> Admission {
        self.state.admission("e1", at(self.now))
    }

    fn ends(&mut self, is_new: bool, result: Result<(), Failure>) -> bool {
        let admission = self.admission();
        let attempt = Attempt { admission, is_new, at: at(self.now), result };
        self.state.apply(&attempt, "e1", &schedule(), 0.5)
    }

    fn fails(&mut self, is_new: bool) {
        self.ends(is_new, Err(Failure::new("it answers 500")));
    }
}

#[test]
fn an_endpoint_that_fails_for_all_is_tried_once_per_wait() {
    let mut scene = Scene::new();
    (0..2).for_each(|_| scene.fails(true));
    assert_eq!(scene.admission(), Admission::Open);
    scene.fails(true);
    assert_eq!(scene.admission(), Admission::Closed(at(5 * SECOND)));
    // What was on its way when it was found down changes nothing.
    let late = Attempt {
        admission: Admission::Open,
        is_new: true,
        at: at(0),
        result: Err(Failure::new("late")),
    };
    scene.state.apply(&late, "e1", &schedule(), 0.5);
    assert_eq!(scene.admission(), Admission::Closed(at(5 * SECOND)));
    let mut tries = 0;
    // A day, looked at every second.
    for second in 0..86_400 {
        scene.now = second * SECOND;
        if !matches!(scene.admission(), Admission::Closed(_)) {
            tries += 1;
            scene.fails(true);
        }
    }
    // After 5 s, 5 min and then every half an hour.
    assert_eq!(tries, 2 + (86_400 - 305) / 1800);
    scene.now += 3600 * SECOND;
    assert_eq!(scene.admission(), Admission::Probe);
    assert!(scene.ends(true, Ok(())), "it is back");
    assert_eq!(scene.admission(), Admission::Open);
    assert!(!scene.ends(true, Ok(())));
}

#[test]
fn orders_that_fail_alone_do_not_close_the_endpoint() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        scene.fails(false);
        scene.fails(true);
        scene.ends(true, Ok(()));
    }
    (0..10).for_each(|_| scene.fails(false));
    assert_eq!(scene.admission(), Admission::Open);
}

#[test]
fn while_only_orders_that_failed_before_are_tried_a_new_one_may_go() {
    let mut scene = Scene::new();
    (0..3).for_each(|_| scene.fails(true));
    scene.now = 5 * SECOND;
    scene.fails(false);
    let retry_at = at(305 * SECOND);
    assert_eq!(scene.admission(), Admission::OneNew(retry_at));
    scene.fails(true);
    assert_eq!(scene.admission(), Admission::Closed(at(1805 * SECOND)));
    scene.now = 1805 * SECOND;
    scene.fails(false);
    assert!(scene.ends(true, Ok(())));
    assert_eq!(scene.admission(), Admission::Open);
}

#[test]
fn after_410_only_another_entry_or_an_admin_starts_it() {
    let mut scene = Scene::new();
    let gone = Failure { is_gone: true, ..Failure::new("it answers 410") };
    scene.ends(true, Err(gone));
    assert_eq!(scene.admission(), Admission::Stopped);
    scene.now = i64::from(u32::MAX);
    assert_eq!(scene.admission(), Admission::Stopped);
    assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
    scene.state.enable();
    assert_eq!(scene.admission(), Admission::Open);
}

#[test]
fn another_entry_is_tried_at_once() {
    let mut scene = Scene::new();
    assert!(!scene.state.use_entry("e1"), "the first one");
    (0..3).for_each(|_| scene.fails(true));
    assert!(!scene.state.use_entry("e1"));
    assert!(matches!(scene.admission(), Admission::Closed(_)));
    assert!(scene.state.use_entry("e2"));
    assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
    // What was on its way for the entry of before says nothing about this one.
    (0..9).for_each(|_| scene.fails(true));
    assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
    let gone = Failure { is_gone: true, ..Failure::new("it answers 410") };
    scene.ends(true, Err(gone));
    assert!(!scene.state.use_entry("e1"));
    assert_eq!(scene.admission(), Admission::Stopped, "the entry that was answered 410");
    assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
}

#[test]
fn a_hub_that_lags_behind_with_its_file_starts_nothing() {
    let mut scene = Scene::new();
    scene.state.use_entry("e0");
    scene.state.use_entry("e1");
    (0..3).for_each(|_| scene.fails(true));
    for entry in ["e0", "e1", "e0"] {
        assert!(!scene.state.use_entry(entry), "{entry} is known");
        assert!(matches!(scene.admission(), Admission::Closed(_)), "{entry}");
    }
    let late = Attempt { admission: Admission::Open, is_new: true, at: at(0), result: Ok(()) };
    assert!(!scene.state.apply(&late, "e0", &schedule(), 0.5));
    assert!(matches!(scene.admission(), Admission::Closed(_)));
    // Where only the older one works, as after a rollback, it is in force again.
    let mut back = scene.state.clone();
    let probe = Attempt { admission: Admission::Probe, ..late };
    assert!(back.apply(&probe, "e0", &schedule(), 0.5));
    assert_eq!(back.entries, ["e1", "e0"]);
    let gone = Failure { is_gone: true, ..Failure::new("it answers 410") };
    scene.ends(true, Err(gone));
    assert_eq!(scene.state.admission("e0", at(0)), Admission::Stopped);
    assert!(scene.state.use_entry("e2"), "a new one starts it");
    assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
}

#[test]
fn a_report_counts_once() {
    let mut state = EndpointState::default();
    assert!(state.is_new_report("r1"));
    assert!(!state.is_new_report("r1"));
    (0..99).for_each(|number| assert!(state.is_new_report(&format!("s{number}"))));
    assert_eq!(state.reports.len(), MAX_REMEMBERED);
}

#[test]
fn retry_after_of_an_overloaded_endpoint_is_for_all_orders() {
    let mut scene = Scene::new();
    let retry_after = Some(Duration::from_secs(60));
    let busy = Failure { retry_after, is_busy: true, ..Failure::new("it answers 429") };
    scene.ends(true, Err(busy));
    assert_eq!(scene.admission(), Admission::Closed(at(60 * SECOND)));
    scene.now = 60 * SECOND;
    assert_eq!(scene.admission(), Admission::Probe);
    let other = Failure { retry_after, ..Failure::new("it answers 500") };
    let mut scene = Scene::new();
    scene.ends(true, Err(other));
    assert_eq!(scene.admission(), Admission::Open);
}
