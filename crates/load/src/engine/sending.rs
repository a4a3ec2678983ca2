//! What members send: by a schedule that never waits, or in a closed loop.

use std::time::Duration;

use super::member::{AwaitedReply, ConnectionPhase};
use super::timers::Wake;
use super::{Engine, RunStage};
use crate::check::MemberId;
use crate::measure::{LATE, Timing};
use crate::{client_message, frame};
use protocol::client::ClientEventName;

/// If this many bytes wait, the hub has stopped reading.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

impl Engine<'_> {
    /// Schedules the first messages of a member whose arrival is due then.
    pub(super) fn schedule_messages(&mut self, id: MemberId, due: u64) {
        let member = &mut self.members[id];
        let (locations, chat) = (member.part.locations.0, member.part.chat.0);
        member.offset = member.talk.unit() * 2.0 * self.plan.track.length();
        if locations > 0.0 {
            let first = due + member.talk.below(period(locations));
            self.timers.at(first, Wake::Location(id));
        }
        if chat > 0.0 {
            let first = due + member.talk.gap(chat);
            self.timers.at(first, Wake::Chat(id));
        }
    }

    /// A position is due. The next one is due a period after that, whenever this one is sent.
    pub(super) fn location_due(&mut self, id: MemberId, due: u64) {
        if self.is_over(due) {
            return;
        }
        let rate = self.members[id].part.locations.0;
        self.timers.at(due + period(rate), Wake::Location(id));
        if self.on_time(id, due) {
            self.send_location(id, due);
        }
    }

    /// A chat message is due.
    pub(super) fn chat_due(&mut self, id: MemberId, due: u64) {
        if self.is_over(due) {
            return;
        }
        let member = &mut self.members[id];
        let gap = member.talk.gap(member.part.chat.0);
        self.timers.at(due + gap, Wake::Chat(id));
        if self.on_time(id, due) {
            self.send_chat(id, due);
        }
    }

    /// Whether nothing more is to be sent. Messages that are due after the hold are not sent, even
    /// if the hold has not ended yet: the same seed always sends the same.
    fn is_over(&self, due: u64) -> bool {
        self.stage >= RunStage::Settle || due >= self.measure.until
    }

    /// Whether the member can send now. If the message is late, that is the fault of this program.
    fn on_time(&mut self, id: MemberId, due: u64) -> bool {
        if self.members[id].phase != ConnectionPhase::Inside {
            self.measure.counts.skipped += 1;
            return false;
        }
        self.look();
        self.measure.time(Timing::Late, due, self.now);
        self.measure.counts.late += u64::from(self.now.saturating_sub(due) > LATE);
        true
    }

    fn send_location(&mut self, id: MemberId, due: u64) {
        let stamp = self.members[id].next_stamp(due);
        let member = &self.members[id];
        let at = Duration::from_micros(stamp);
        let place = self.plan.track.at(member.offset + at.as_secs_f64());
        let order = &self.plan.people.rooms[member.room];
        self.measure.counts.locations_sent += 1;
        self.measure.counts.locations_expected += self.inside[member.room];
        let mut data = std::mem::take(&mut self.data);
        client_message::location(order, place, stamp, self.wall.plus(at), &mut data);
        self.say(id, ClientEventName::Location, None, &data);
        self.data = data;
    }

    fn send_chat(&mut self, id: MemberId, due: u64) {
        let stamp = self.members[id].next_stamp(due);
        let key = super::receiving::key_of(id, stamp);
        let name = format!("{:x}.{key:x}", self.run);
        let member = &self.members[id];
        let order = &self.plan.people.rooms[member.room];
        let mut data = std::mem::take(&mut self.data);
        client_message::chat(order, &name, member.part.chat_characters.0, &mut data);
        self.measure.counts.chat_sent += 1;
        self.ask(id, ClientEventName::Chat, &data, AwaitedReply::Chat(stamp, key));
        self.data = data;
    }

    /// A message of a closed loop has come back, so the next one is sent.
    pub(super) fn returned(&mut self, id: MemberId) {
        let member = &mut self.members[id];
        member.in_flight = member.in_flight.saturating_sub(1);
        member.turns.0 += 1;
        self.fill(id);
    }

    /// Sends until the allowed number is in flight.
    pub(super) fn fill(&mut self, id: MemberId) {
        let window = self.members[id].window().unwrap_or(0);
        while self.stage < RunStage::Settle
            && self.members[id].phase == ConnectionPhase::Inside
            && self.members[id].in_flight < window
        {
            self.members[id].in_flight += 1;
            if self.members[id].part.locations_in_flight.is_some() {
                self.send_location(id, self.now);
            } else {
                self.send_chat(id, self.now);
            }
        }
    }

    /// Checks that a closed loop still progresses: refused messages never come back.
    pub(super) fn turn(&mut self, id: MemberId) {
        if self.stage >= RunStage::Settle {
            return;
        }
        let member = &mut self.members[id];
        let stands = member.turns.0 == std::mem::replace(&mut member.turns.1, member.turns.0);
        self.timers.at(self.now + 1_000_000, Wake::Turn(id, member.generation));
        if stands {
            member.in_flight = 0;
            self.measure.error("closed_loop_stalled");
            self.fill(id);
        }
    }

    /// Sends an event that asks for a reply.
    pub(super) fn ask(
        &mut self,
        id: MemberId,
        name: ClientEventName,
        data: &str,
        asked: AwaitedReply,
    ) {
        let member = &mut self.members[id];
        member.last_ack += 1;
        let ack = member.last_ack;
        member.asked.push_back((ack, asked));
        self.say(id, name, Some(ack), data);
    }

    fn say(&mut self, id: MemberId, name: ClientEventName, ack: Option<u64>, data: &str) {
        let mut text = std::mem::take(&mut self.text);
        client_message::event(self.framing, name, ack, data, &mut text);
        self.write(id, frame::TEXT, text.as_bytes());
        self.text = text;
    }

    /// Writes a message. Ends the connection if the hub has stopped reading.
    pub(super) fn write(&mut self, id: MemberId, opcode: u8, payload: &[u8]) {
        let mask = u32::try_from(self.masks.next() >> 32).unwrap_or(0);
        let Some(link) = self.members[id].link.as_mut() else { return };
        let sent = link.message(opcode, payload, mask);
        let waiting = link.waiting();
        self.written(sent);
        if waiting > MAX_WAITING_BYTES {
            self.cut(id, "send_stalled");
        }
    }

    /// Counts what was written. If that failed, the end of the socket can still be read, with its
    /// reason, and only that ends the connection.
    pub(super) fn written(&mut self, sent: std::io::Result<u64>) {
        self.measure.counts.bytes_out += sent.unwrap_or(0);
    }
}

/// The interval at a rate per second, in microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive, and a cast saturates"
)]
fn period(per_second: f64) -> u64 {
    ((1e6 / per_second) as u64).clamp(1, u64::MAX >> 2)
}
