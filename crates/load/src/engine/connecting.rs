//! Connecting and disconnecting members: sockets, upgrades, joins, closes and retries.

use std::io;

use mio::Token;
use mio::event::Event;

use super::member::{AwaitedReply, ConnectionPhase, Member};
use super::timers::Wake;
use super::{Engine, RunStage, STEP_TIMEOUT, micros};
use crate::check::MemberId;
use crate::connection::HubConnection;
use crate::measure::Timing;
use crate::{client_message, frame};
use protocol::client::ClientEventName;
use protocol::close::CloseCode;
use protocol::codec::Framing;

/// The first and the longest wait before a retry.
const BACKOFF: (u64, u64) = (1_000_000, 10_000_000);
/// The kernel must not read ahead for slow readers.
const SLOW_BUFFER: usize = 4096;
/// The longest wait that a hub can ask for.
const MAX_WAIT_MS: u64 = 3_600_000;
/// How long a close may take.
const CLOSE_TIMEOUT: u64 = 5_000_000;

impl Engine<'_> {
    pub(super) fn connect(&mut self, id: MemberId, due: u64) {
        if self.stage >= RunStage::RampDown {
            return;
        }
        let slow = self.members[id].is_slow().then_some(SLOW_BUFFER);
        let member = &mut self.members[id];
        // After a failure it tries the next hub, as a balancer would choose it.
        member.hub = (member.home + member.failures as usize) % self.plan.hubs.len();
        let hub = &self.plan.hubs[member.hub];
        let link = HubConnection::open(hub, self.poll.registry(), id, slow);
        member.due = due;
        member.generation += 1;
        self.timers.at(self.now + STEP_TIMEOUT, Wake::Overdue(id, member.generation));
        match link {
            Ok(link) => {
                member.phase = ConnectionPhase::Connecting;
                member.link = Some(link);
            }
            Err(error) => self.failed(id, &connect_error(&error)),
        }
    }

    /// Handles an event of a socket.
    pub(super) fn ready(&mut self, event: &Event) {
        let Token(id) = event.token();
        if event.is_writable() {
            self.writable(id);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let slow =
                self.members[id].is_slow() && self.members[id].phase == ConnectionPhase::Inside;
            if !slow || self.stage >= RunStage::Settle {
                self.readable(id, event.is_read_closed() || event.is_error());
            }
        }
    }

    fn writable(&mut self, id: MemberId) {
        let member = &mut self.members[id];
        let Some(link) = member.link.as_mut() else { return };
        if member.phase != ConnectionPhase::Connecting {
            if link.flush().is_err() {
                self.cut(id, "reset");
            }
            return;
        }
        match link.is_connected() {
            Ok(false) => {}
            Ok(true) => {
                member.phase = ConnectionPhase::Upgrading;
                let token = &self.plan.people.persons[id].token;
                let request = self.plan.hubs[member.hub].upgrade(token);
                let sent = link.send(request.as_bytes());
                self.written(sent);
            }
            Err(error) => self.failed(id, &connect_error(&error)),
        }
    }

    /// Handles the hub's answer to the upgrade.
    pub(super) fn upgraded(&mut self, id: MemberId, status: u16) {
        match status {
            101 => self.members[id].phase = ConnectionPhase::Opening,
            // A retry with the same token would fail too.
            401 | 403 => {
                self.measure.error(&format!("http_{status}"));
                self.drop_connection(id, ConnectionPhase::Gone);
            }
            _ => self.failed(id, &format!("http_{status}")),
        }
    }

    /// The session has begun: joins the room.
    pub(super) fn opened(&mut self, id: MemberId) {
        if self.members[id].phase != ConnectionPhase::Opening {
            return;
        }
        self.measure.counts.connects += 1;
        self.time(id, Timing::Connect, self.members[id].due);
        let member = &self.members[id];
        let since = self.checker.last_seq(id).filter(|_| member.part.since_seq);
        let data = client_message::join(&self.plan.people.rooms[member.room], since);
        self.checker.joins(id);
        self.members[id].phase = ConnectionPhase::Joining;
        self.ask(id, ClientEventName::Join, &data, AwaitedReply::Join(self.now, since));
    }

    /// The member is in the room.
    pub(super) fn entered(&mut self, id: MemberId) {
        let member = &mut self.members[id];
        member.phase = ConnectionPhase::Inside;
        member.failures = 0;
        member.in_flight = 0;
        let lost_at = member.lost_at.take();
        let (room, generation, stay) = (member.room, member.generation, member.part.stay);
        let (slow, window) = (member.is_slow(), member.window());
        if let Some(lost_at) = lost_at {
            self.time(id, Timing::Reconnect, lost_at);
        }
        self.inside[room] += 1;
        self.all_inside += 1;
        self.peak = self.peak.max(self.all_inside);
        if let Some(stay) = stay {
            let due = self.now + self.members[id].ways.around(micros(stay.0));
            self.timers.at(due, Wake::Depart(id, generation));
        }
        if slow {
            self.timers.at(self.now, Wake::Read(id, generation));
        }
        if window.is_some() {
            self.timers.at(self.now + 1_000_000, Wake::Turn(id, generation));
            self.fill(id);
        }
    }

    /// The member leaves: for a while, or at the end of the run for good.
    pub(super) fn depart(&mut self, id: MemberId) {
        let last = self.stage >= RunStage::RampDown;
        if !last
            && (self.stage == RunStage::Settle || self.members[id].phase != ConnectionPhase::Inside)
        {
            return;
        }
        let member = &self.members[id];
        if member.link.is_none() || (!last && !member.part.leave) {
            let phase = if last { ConnectionPhase::Gone } else { ConnectionPhase::Away };
            self.drop_connection(id, phase);
            return self.come_back(id);
        }
        let data = client_message::leave(&self.plan.people.rooms[member.room]);
        let inside = member.phase == ConnectionPhase::Inside;
        self.outside(id);
        self.members[id].phase = ConnectionPhase::Going;
        let generation = self.members[id].generation;
        self.timers.at(self.now + CLOSE_TIMEOUT, Wake::Overdue(id, generation));
        if last || !inside {
            self.send_close(id);
        } else {
            self.ask(id, ClientEventName::Leave, &data, AwaitedReply::Leave);
        }
    }

    /// Closes the connection as a client does.
    pub(super) fn send_close(&mut self, id: MemberId) {
        if self.framing == Framing::SocketIo {
            self.write(id, frame::TEXT, b"41/events,");
        }
        self.write(id, frame::CLOSE, &1000_u16.to_be_bytes());
    }

    /// Schedules the next connection after a departure that the scenario wanted.
    fn come_back(&mut self, id: MemberId) {
        if self.stage < RunStage::RampDown {
            let away = micros(self.members[id].part.away.0);
            let due = self.now + self.members[id].ways.around(away);
            self.timers.at(due, Wake::Connect(id, self.members[id].generation));
        }
    }

    /// All connections break, and come back.
    pub(super) fn storm(&mut self, place: usize, due: u64) {
        if self.stage != RunStage::Hold {
            return;
        }
        let jitter = micros(self.plan.scenario.storm[place].jitter.0);
        for id in 0..self.members.len() {
            if self.members[id].phase == ConnectionPhase::Gone {
                continue;
            }
            self.drop_connection(id, ConnectionPhase::Away);
            let due = due + self.members[id].ways.below(jitter + 1);
            self.timers.at(due, Wake::Connect(id, self.members[id].generation));
        }
    }

    /// A step did not end before its timeout.
    pub(super) fn overdue(&mut self, id: MemberId) {
        match self.members[id].phase {
            ConnectionPhase::Connecting => self.failed(id, "connect_timeout"),
            ConnectionPhase::Upgrading | ConnectionPhase::Opening => {
                self.failed(id, "open_timeout");
            }
            ConnectionPhase::Joining => self.failed(id, "join_timeout"),
            ConnectionPhase::Going => self.ended(id, "no_close"),
            ConnectionPhase::Inside | ConnectionPhase::Away | ConnectionPhase::Gone => {}
        }
    }

    /// A connection could not be established.
    pub(super) fn failed(&mut self, id: MemberId, code: &str) {
        self.measure.error(code);
        self.drop_connection(id, ConnectionPhase::Away);
        self.try_again(id, None);
    }

    /// The socket has ended; `how` names the way.
    pub(super) fn ended(&mut self, id: MemberId, how: &str) {
        if self.members[id].phase == ConnectionPhase::Going {
            // The end was intended.
            let phase = if self.stage >= RunStage::RampDown {
                ConnectionPhase::Gone
            } else {
                ConnectionPhase::Away
            };
            self.drop_connection(id, phase);
            self.come_back(id);
        } else {
            self.cut(id, how);
        }
    }

    /// The hub or the network has ended the connection.
    pub(super) fn cut(&mut self, id: MemberId, how: &str) {
        if self.members[id].link.is_none() {
            return;
        }
        let announced = self.members[id].announced.take();
        let code = announced.map(|(code, _)| code).or_else(|| how.parse().ok());
        self.measure.close(&code.map_or_else(|| how.to_owned(), |code| code.to_string()));
        if code.is_some_and(is_terminal) {
            return self.drop_connection(id, ConnectionPhase::Gone);
        }
        self.drop_connection(id, ConnectionPhase::Away);
        self.members[id].lost_at.get_or_insert(self.now);
        self.try_again(id, announced.and_then(|(_, after)| after));
    }

    /// Schedules a retry: when the hub said, or after a growing wait.
    pub(super) fn try_again(&mut self, id: MemberId, after_ms: Option<u64>) {
        if self.stage >= RunStage::RampDown {
            return;
        }
        let member = &mut self.members[id];
        let (first, most) = BACKOFF;
        let wait = match after_ms {
            Some(ms) => ms.min(MAX_WAIT_MS) * 1000,
            None => member.ways.around((first << member.failures.min(8)).min(most)),
        };
        member.failures += 1;
        self.timers.at(self.now + wait, Wake::Connect(id, member.generation));
    }

    /// Drops the connection, as a phone does that loses its signal.
    pub(super) fn drop_connection(&mut self, id: MemberId, phase: ConnectionPhase) {
        self.outside(id);
        let member = &mut self.members[id];
        member.phase = phase;
        member.generation += 1;
        member.link = None;
        member.asked.clear();
        member.announced = None;
    }

    /// The member is no longer in the room, so no promise covers it.
    fn outside(&mut self, id: MemberId) {
        let Member { phase, room, .. } = self.members[id];
        if phase == ConnectionPhase::Inside {
            self.inside[room] -= 1;
            self.all_inside -= 1;
            self.checker.left(id);
        }
    }
}

/// Whether this close code forbids to come back. 4401 asks for a new token, and there is none.
fn is_terminal(code: u16) -> bool {
    let known = CloseCode::ALL.iter().find(|close| close.code == code);
    code == 4401 || known.map_or((4400..4500).contains(&code), |close| !close.retry)
}

fn connect_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect_refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connect_reset".to_owned(),
        io::ErrorKind::TimedOut => "connect_timeout".to_owned(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => "no_local_port".to_owned(),
        kind => format!("connect_failed ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_decide_who_reconnects() {
        for (code, away) in [(1000, true), (1012, false), (4008, false), (4401, true), (4403, true)]
        {
            assert_eq!(is_terminal(code), away, "{code}");
        }
        assert!(is_terminal(4444) && !is_terminal(4999));
    }
}
