//! Processes what the hub sends: bytes, frames, messages.

use std::io;

use super::member::{AwaitedReply, ConnectionPhase};
use super::timers::Wake;
use super::{Engine, RunStage};
use crate::address;
use crate::check::{Joined, Key, MemberId};
use crate::frame::{self, Frame};
use crate::hub_message::{
    ChatData, ConnectErrorData, ErrorData, HubMessage, LocationData, ReplyData, SessionEndData,
    parse,
};
use crate::measure::Timing;

/// The largest fragmented message.
const MAX_FRAGMENTED_BYTES: usize = 64 * 1024 * 1024;
/// How often slow readers read.
const SLOW_READ_INTERVAL: u64 = 250_000;

impl Engine<'_> {
    /// Reads everything available; to the end of the stream, if the end was signalled. It is
    /// signalled once.
    pub(super) fn readable(&mut self, id: MemberId, to_the_end: bool) {
        while self.read_once(id, usize::MAX, to_the_end) {}
    }

    /// Reads a little, and schedules the next read.
    pub(super) fn read_slowly(&mut self, id: MemberId) {
        let member = &self.members[id];
        if member.phase != ConnectionPhase::Inside || self.stage >= RunStage::Settle {
            return;
        }
        let rate = member.part.read_bytes_per_second.map_or(u32::MAX, |rate| rate.0);
        self.timers.at(self.now + SLOW_READ_INTERVAL, Wake::Read(id, member.generation));
        self.read_once(id, (rate as usize / 4).max(1), false);
    }

    /// Reads once, and returns whether there may be more.
    fn read_once(&mut self, id: MemberId, most: usize, to_the_end: bool) -> bool {
        let Some(link) = self.members[id].link.as_mut() else { return false };
        let mut buffer = std::mem::take(&mut self.buffer);
        let room = buffer.len().min(most);
        let read = link.read(&mut buffer[..room]);
        let more = match read {
            Ok(Some(0)) => {
                self.ended(id, "eof");
                false
            }
            Ok(Some(length)) => {
                self.measure.counts.bytes_in += length as u64;
                let more = most == usize::MAX && (to_the_end || link.may_hold_more(length, room));
                self.take(id, &buffer[..length]);
                more
            }
            Ok(None) => false,
            Err(error) => {
                let broken = error.kind() == io::ErrorKind::InvalidData;
                self.ended(id, if broken { "bad_tls" } else { "reset" });
                false
            }
        };
        self.buffer = buffer;
        more
    }

    /// Processes whole frames, and keeps the rest for the next read.
    fn take(&mut self, id: MemberId, bytes: &[u8]) {
        let generation = self.members[id].generation;
        let rest = self.members[id].link.as_mut().map(|link| std::mem::take(&mut link.rest));
        let Some(mut rest) = rest else { return };
        if rest.is_empty() {
            let used = self.frames(id, bytes);
            rest = bytes.get(used..).map(<[u8]>::to_vec).unwrap_or_default();
        } else {
            rest.extend_from_slice(bytes);
            let used = self.frames(id, &rest);
            rest.drain(..used.min(rest.len()));
            if rest.is_empty() {
                rest = Vec::new();
            }
        }
        let member = &mut self.members[id];
        if let Some(link) = member.link.as_mut().filter(|_| member.generation == generation) {
            link.rest = rest;
        }
    }

    /// Processes frame by frame, as long as it is the same connection; returns how many bytes they
    /// had.
    fn frames(&mut self, id: MemberId, bytes: &[u8]) -> usize {
        let generation = self.members[id].generation;
        let mut used = 0;
        if self.members[id].phase == ConnectionPhase::Upgrading {
            let Some(answer) = address::answer(bytes) else { return 0 };
            used = answer.length;
            self.upgraded(id, answer.status);
        }
        while self.members[id].generation == generation {
            match frame::read(&bytes[used..]) {
                Ok(Some((frame, length))) => {
                    used += length;
                    self.frame(id, frame);
                }
                Ok(None) => break,
                Err(_) => {
                    self.cut(id, "bad_frame");
                    break;
                }
            }
        }
        used
    }

    fn frame(&mut self, id: MemberId, frame: Frame<'_>) {
        match frame.opcode {
            frame::TEXT if frame.fin => self.message(id, frame.payload),
            0..=2 => self.fragment(id, frame),
            frame::PING => self.write(id, frame::PONG, frame.payload),
            frame::CLOSE => {
                let code = match frame.payload {
                    &[high, low, ..] => u16::from_be_bytes([high, low]).to_string(),
                    _ => "closed".to_owned(),
                };
                self.ended(id, &code);
            }
            _ => {}
        }
    }

    fn fragment(&mut self, id: MemberId, frame: Frame<'_>) {
        let Some(link) = self.members[id].link.as_mut() else { return };
        link.fragments.extend_from_slice(frame.payload);
        if link.fragments.len() > MAX_FRAGMENTED_BYTES {
            self.cut(id, "bad_frame");
        } else if frame.fin {
            let whole = std::mem::take(&mut link.fragments);
            self.message(id, &whole);
        }
    }

    fn message(&mut self, id: MemberId, payload: &[u8]) {
        let Ok(text) = simdutf8::basic::from_utf8(payload) else {
            return self.measure.error("invalid_utf8");
        };
        match parse(self.framing, text) {
            HubMessage::Event(name, data) => self.event(id, &name, data),
            HubMessage::Reply(ack, result) => self.reply(id, ack, result),
            HubMessage::EnginePing => self.write(id, frame::TEXT, b"3"),
            HubMessage::EngineOpen => {
                let packet = crate::client_message::enter(&self.plan.people.persons[id].token);
                self.write(id, frame::TEXT, packet.as_bytes());
            }
            HubMessage::Opened => self.opened(id),
            HubMessage::Refused(data) => self.rejected(id, data),
            HubMessage::Dismissed => self.ended(id, "disconnect"),
            HubMessage::Other => self.measure.error("unreadable"),
        }
    }

    /// The namespace of Socket.IO refuses this token: for good, or for now.
    fn rejected(&mut self, id: MemberId, data: &str) {
        let rejection = serde_json::from_str::<ConnectErrorData<'_>>(data).ok();
        let code = rejection.and_then(|rejection| rejection.data).map(|refusal| refusal.code);
        match code.as_deref() {
            Some(code @ ("unavailable" | "rate_limited")) => self.failed(id, code),
            code => {
                self.measure.error(code.unwrap_or("connect_error"));
                self.drop_connection(id, ConnectionPhase::Gone);
            }
        }
    }

    fn event(&mut self, id: MemberId, name: &str, data: &str) {
        match name {
            "location:updated" => self.location_seen(id, data),
            "chat:message" => self.chat_seen(id, data),
            "exception" => match serde_json::from_str::<ErrorData<'_>>(data) {
                Ok(refusal) => self.measure.error(&refusal.code),
                Err(_) => self.measure.error("unreadable"),
            },
            "session:end" => {
                if let Ok(SessionEndData { code, reconnect_after_ms }) = serde_json::from_str(data)
                {
                    self.members[id].announced = Some((code, reconnect_after_ms));
                }
            }
            _ => self.measure.counts.other_seen += 1,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "stamps are small and positive; whatever else stands there saturates"
    )]
    fn location_seen(&mut self, id: MemberId, data: &str) {
        let Ok(LocationData { driver_id, altitude }) = serde_json::from_str(data) else {
            return self.measure.error("unreadable");
        };
        self.measure.counts.locations_seen += 1;
        // Ignores drivers of other runs, and positions of other programs.
        let Some((&driver, stamp)) = self.drivers.get(&*driver_id).zip(altitude) else { return };
        let stamp = stamp as u64;
        self.checker.located(id, driver, stamp);
        self.time(id, Timing::Location, stamp);
        if driver == id && self.members[id].part.locations_in_flight.is_some() {
            self.returned(id);
        }
    }

    fn chat_seen(&mut self, id: MemberId, data: &str) {
        let Ok(chat) = serde_json::from_str::<ChatData<'_>>(data) else {
            return self.measure.error("unreadable");
        };
        self.measure.counts.chat_seen += 1;
        let key = self.key(chat.client_msg_id.as_deref());
        self.checker.heard(id, chat.seq, key);
        if key != 0 {
            self.time(id, Timing::Chat, due_of(key));
        }
    }

    fn reply(&mut self, id: MemberId, ack: u64, result: &str) {
        let asked = self.members[id].answered(ack);
        let (Some(asked), Ok(outcome)) = (asked, serde_json::from_str::<ReplyData<'_>>(result))
        else {
            return self.measure.error("unreadable");
        };
        if !outcome.ok {
            let code = outcome.error.map_or("unreadable".into(), |error| error.code);
            self.measure.error(&code);
            return match asked {
                // A member without its room cannot do anything; it retries slowly.
                AwaitedReply::Join(..) => {
                    self.drop_connection(id, ConnectionPhase::Away);
                    self.try_again(id, None);
                }
                AwaitedReply::Chat(..) => {}
                AwaitedReply::Leave => self.send_close(id),
            };
        }
        match asked {
            AwaitedReply::Join(at, since) => self.snapshot(id, at, since, &outcome),
            AwaitedReply::Chat(due, key) => {
                self.measure.counts.chat_acked += 1;
                self.time(id, Timing::ChatAck, due);
                match outcome.seq {
                    Some(seq) => self.checker.acked(id, seq, key),
                    None => self.measure.error("unreadable"),
                }
                if self.members[id].part.chat_in_flight.is_some() {
                    self.returned(id);
                }
            }
            AwaitedReply::Leave => self.send_close(id),
        }
    }

    fn snapshot(&mut self, id: MemberId, at: u64, since_seq: Option<i64>, outcome: &ReplyData<'_>) {
        let Some(last_seq) = outcome.last_seq else {
            return self.failed(id, "unreadable");
        };
        self.time(id, Timing::Join, at);
        let keyed = |chat: &ChatData<'_>| (chat.seq, self.key(chat.client_msg_id.as_deref()));
        let messages: Vec<(i64, Key)> = outcome.messages.iter().map(keyed).collect();
        let recovered = outcome.recovered;
        let joined = Joined { last_seq, since_seq, recovered, messages: &messages };
        self.checker.joined(id, joined);
        self.entered(id);
    }

    /// The key of a message of this run; 0 for any other.
    fn key(&self, client_msg_id: Option<&str>) -> Key {
        let parts = client_msg_id.and_then(|text| text.split_once('.'));
        let ours = parts.filter(|(run, _)| u32::from_str_radix(run, 16) == Ok(self.run));
        ours.and_then(|(_, key)| Key::from_str_radix(key, 16).ok()).unwrap_or(0)
    }
}

/// How many bits of a key hold when the message was due: enough for twelve days.
const DUE_BITS: u32 = 40;

/// When a message was due, read from its key.
fn due_of(key: Key) -> u64 {
    key & ((1 << DUE_BITS) - 1)
}

/// The key of a message: who sent it, and its stamp.
pub(super) fn key_of(id: MemberId, stamp: u64) -> Key {
    ((id as u64 + 1) << DUE_BITS) | due_of(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_sender_and_time() {
        assert_eq!(key_of(0, 5), (1 << 40) + 5);
        assert_eq!(due_of(key_of(999_999, 123_456)), 123_456);
        assert_ne!(key_of(1, 5), key_of(2, 5));
    }
}
