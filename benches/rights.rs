//! Rights: what judging one question costs. A room judges on entry and on changes, and keeps the
//! verdict beside the member; what a position costs on top is a look at it, which is in no figure.

mod samples;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use orderhub::room::order::{OrderFacts, ParticipantState};
use orderhub::room::policy::{Action, Rights, Rules, Subject};
use protocol::ids::UserId;
use protocol::role::Role;
use protocol::time::Timestamp;

/// An order that is under way, with ten people who take part beside its driver.
fn order() -> OrderFacts {
    let participants = (0..10).map(|number| {
        let user = UserId::new(&format!("customer-{number}")).expect("an id");
        (user, ParticipantState { role: Role::Customer, name: None, removed: false })
    });
    OrderFacts {
        status: Some("PICKED_UP".into()),
        driver_id: Some(samples::user()),
        dispatched: true,
        participants: participants.collect(),
        ..OrderFacts::default()
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("rights");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let names = |names: &[&str]| -> BTreeSet<String> {
        names.iter().copied().map(ToOwned::to_owned).collect()
    };
    let rules = Rules {
        terminal_statuses: names(&["CANCELLED", "DELIVERED"]),
        location_visible: Some(names(&["ARRIVING", "PICKED_UP"])),
        chat_open: Duration::from_secs(3600),
        ..Rules::default()
    };
    let (order, now) = (order(), Timestamp::from_secs(1_777_889_472));
    let customer = UserId::new("customer-7").expect("an id");
    for (name, user, role, action) in [
        ("send a position", &samples::user(), Role::Driver, Action::Locate),
        ("see a position", &customer, Role::Customer, Action::SeeLocation),
        ("say something", &customer, Role::Customer, Action::Chat),
    ] {
        let subject = Subject { user, role, named: false, banned: false };
        let rights = Rights { rules: &rules, order: &order, subject, now };
        assert!(rights.to(action).is_ok(), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(rights).to(action)));
    }
    group.finish();
    criterion.final_summary();
}
