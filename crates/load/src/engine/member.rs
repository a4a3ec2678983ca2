//! A member of a run: its state, and the replies that it waits for.

use std::collections::VecDeque;

use crate::check::{Key, MemberId};
use crate::connection::HubConnection;
use crate::rng::Rng;
use crate::scenario::Part;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// There is no connection; one may come.
    Away,
    /// TCP is connecting.
    Connecting,
    /// The upgrade was asked for.
    Upgrading,
    /// Waits for the session to begin.
    Opening,
    /// Waits for the snapshot.
    Joining,
    /// In the room.
    Inside,
    /// The close was sent.
    Going,
    /// There is no connection, and none will come.
    Gone,
}

/// The request that a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedReply {
    /// `order:join`, at this time, with this `sinceSeq`.
    Join(u64, Option<i64>),
    /// `chat:message` that was due at this time.
    Chat(u64, Key),
    /// `order:leave`.
    Leave,
}

/// A member of a run.
#[derive(Debug)]
pub struct Member {
    /// Its room, from 0.
    pub room: usize,
    /// The settings of its role.
    pub part: Part,
    /// The hub that it tries first.
    pub home: usize,
    /// The hub of its connection.
    pub hub: usize,
    /// The state of its connection.
    pub phase: ConnectionPhase,
    /// The connection.
    pub link: Option<HubConnection>,
    /// Counts connections, so that timers of one do not affect the next.
    pub generation: u32,
    /// When the connection was due.
    pub due: u64,
    /// Failed connections in a row.
    pub failures: u32,
    /// When the hub or the network ended its connection, until it is in its room again.
    pub lost_at: Option<u64>,
    /// The number of the last event that asked for a reply.
    pub last_ack: u64,
    /// Awaited replies, oldest first.
    pub asked: VecDeque<(u64, AwaitedReply)>,
    /// The stamp of the last position or message; each gets a later one.
    pub stamp: u64,
    /// Messages in flight in a closed loop.
    pub in_flight: u32,
    /// Messages that came back in a closed loop, in all and at the last check.
    pub turns: (u64, u64),
    /// The close code that the hub has announced, and when to come back.
    pub announced: Option<(u16, Option<u64>)>,
    /// Where on the track it begins, in seconds.
    pub offset: f64,
    /// Random numbers for its messages: they depend on the seed alone, not on the hub's answers.
    pub talk: Rng,
    /// Random numbers for when it comes and goes.
    pub ways: Rng,
}

impl Member {
    /// Member `id` of a run with this seed, not connected yet.
    pub fn new(id: MemberId, room: usize, part: Part, seed: u64) -> Self {
        let stream = id as u64 * 2;
        Self {
            room,
            part,
            home: 0,
            hub: 0,
            phase: ConnectionPhase::Away,
            link: None,
            generation: 0,
            due: 0,
            failures: 0,
            lost_at: None,
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

    /// The next stamp: `due`, or a later one if that was used.
    pub fn next_stamp(&mut self, due: u64) -> u64 {
        self.stamp = due.max(self.stamp + 1);
        self.stamp
    }

    /// Removes the request with this number.
    pub fn answered(&mut self, id: u64) -> Option<AwaitedReply> {
        let place = self.asked.iter().position(|(asked, _)| *asked == id)?;
        self.asked.remove(place).map(|(_, asked)| asked)
    }

    /// Whether it reads slowly on purpose: then its times say nothing about the hub.
    pub fn is_slow(&self) -> bool {
        self.part.read_bytes_per_second.is_some()
    }

    /// How many messages it keeps in flight, if it works in a closed loop.
    pub fn window(&self) -> Option<u32> {
        self.part.locations_in_flight.or(self.part.chat_in_flight).map(|window| window.0)
    }
}
