//! One person of a run: where it stands, and what it waits for.

use std::collections::VecDeque;

use crate::load::check::{Key, MemberId};
use crate::load::connection::HubConnection;
use crate::load::rng::Rng;
use crate::load::scenario::Part;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// There is none; it may come.
    Away,
    /// TCP is under way.
    Connecting,
    /// The upgrade was asked for.
    Upgrading,
    /// The session has not begun.
    Opening,
    /// The snapshot is waited for.
    Joining,
    /// In the room.
    Inside,
    /// Has said good-bye.
    Going,
    /// There is none, and none will come.
    Gone,
}

/// What a reply is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedReply {
    /// `order:join`, at this time, with this `sinceSeq`.
    Join(u64, Option<i64>),
    /// `chat:message` that was due at this time.
    Chat(u64, Key),
    /// `order:leave`.
    Leave,
}

/// One person.
#[derive(Debug)]
pub struct Member {
    /// Its room, from 0.
    pub room: usize,
    /// What it does.
    pub part: Part,
    /// How far its connection is.
    pub phase: ConnectionPhase,
    /// The connection.
    pub link: Option<HubConnection>,
    /// Counts connections, so that what was meant for one does not reach the next.
    pub generation: u32,
    /// When the connection was due.
    pub due: u64,
    /// Connections in a row that came to nothing.
    pub failures: u32,
    /// The number of the last event that asked for a reply.
    pub last_ack: u64,
    /// What replies are waited for, oldest first.
    pub asked: VecDeque<(u64, AwaitedReply)>,
    /// The stamp of the last position or message: each gets a later one.
    pub stamp: u64,
    /// Messages under way in a closed loop.
    pub in_flight: u32,
    /// Messages that came back in a closed loop, and how many at the last look.
    pub turns: (u64, u64),
    /// The close code that the hub has announced, and when to come back.
    pub announced: Option<(u16, Option<u64>)>,
    /// Where in the drive it begins, in seconds.
    pub offset: f64,
    /// When it says what: by the seed alone, however the hub answers.
    pub talk: Rng,
    /// When it comes and goes.
    pub ways: Rng,
}

impl Member {
    /// Somebody who has not come yet, the `id`th of a run with this seed.
    pub fn new(id: MemberId, room: usize, part: Part, seed: u64) -> Self {
        let stream = id as u64 * 2;
        Self {
            room,
            part,
            phase: ConnectionPhase::Away,
            link: None,
            generation: 0,
            due: 0,
            failures: 0,
            last_ack: 0,
            asked: VecDeque::new(),
            stamp: 0,
            in_flight: 0,
            turns: (0, 0),
            announced: None,
            offset: 0.0,
            talk: Rng::stream(seed, stream),
            ways: Rng::stream(seed, stream + 1),
        }
    }

    /// The next stamp: `due`, or later where that was used.
    pub fn next_stamp(&mut self, due: u64) -> u64 {
        self.stamp = due.max(self.stamp + 1);
        self.stamp
    }

    /// Takes what was asked under that number.
    pub fn answered(&mut self, id: u64) -> Option<AwaitedReply> {
        let place = self.asked.iter().position(|(asked, _)| *asked == id)?;
        self.asked.remove(place).map(|(_, asked)| asked)
    }

    /// Whether it reads on purpose slowly: then its times say nothing of the hub.
    pub fn is_slow(&self) -> bool {
        self.part.read_bytes_per_second.is_some()
    }

    /// How many messages it keeps under way, where it works in a closed loop.
    pub fn window(&self) -> Option<u32> {
        self.part.locations_in_flight.or(self.part.chat_in_flight).map(|window| window.0)
    }
}
