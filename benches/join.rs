//! Join: the snapshot of a room with three members, taken from its memory and encoded as the ack
//! of the join, with no message and with a page of 50.

mod samples;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use orderhub::room::recent_messages::RecentMessages;
use orderhub::room::roster::Roster;
use protocol::client::Reply;
use protocol::codec::Codec;
use protocol::events::join::{LastLocation, Snapshot};
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::role::Role;
use transport::Frame;

/// What a room knows.
struct Room {
    order: OrderId,
    driver: UserId,
    position: Position,
    ring: RecentMessages,
    roster: Roster,
}

impl Room {
    fn with_messages(count: i64) -> Self {
        let mut room = Self {
            order: samples::order(),
            driver: samples::user(),
            position: samples::position(),
            ring: RecentMessages::new(0),
            roster: Roster::default(),
        };
        for (id, role) in
            [("driver-7", Role::Driver), ("customer-42", Role::Customer), ("ana", Role::Support)]
        {
            room.roster.enter(&UserId::new(id).expect("an id"), "Ann Example", role);
        }
        for seq in 1..=count {
            room.ring.push(seq, samples::json(&samples::message(seq)).into());
        }
        room
    }

    /// The ack of a join that asks for the newest 50.
    fn snapshot(&self) -> Frame {
        let page = self.ring.page(None, 50).expect("all is kept");
        let position = &self.position;
        let snapshot = Snapshot {
            order_id: &self.order,
            status: Some("ON_THE_WAY"),
            driver_id: Some(&self.driver),
            last_seq: self.ring.last_seq(),
            unread: 0,
            recovered: page.recovered,
            messages: page.messages.iter().map(AsRef::as_ref).collect(),
            last_location: Some(LastLocation { position, age_ms: 1234, stale: false }),
            members: self.roster.members().collect(),
            read_marks: Vec::new(),
        };
        Frame::text(|buffer| {
            Codec::Plain.outcome(None, Some(1), &Ok(Reply::Join(&snapshot)), buffer);
        })
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("join");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for messages in [0, 50] {
        let room = Room::with_messages(messages);
        group.bench_function(format!("{messages} messages"), |bencher| {
            bencher.iter(|| black_box(&room).snapshot());
        });
    }
    group.finish();
    criterion.final_summary();
}
