//! What a server pushes, from the connection to its reader. The connection reads all that there is
//! before the reader has its turn, so one turn takes many messages.

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::failure::Failure;
use crate::bus::incoming::Raw;

/// How many pushes may wait for the reader.
const MAX_PUSHES: usize = 65_536;
/// How many bytes they may have.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a server has pushed and the reader has not taken.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    pushes: Vec<Push>,
    bytes: usize,
    /// Why nothing comes any more.
    end: Option<Failure>,
}

/// What a server pushes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// A message of a channel.
    Message(Raw),
    /// This channel is subscribed now.
    Subscribed(Vec<u8>),
    /// This channel is not subscribed any more.
    Unsubscribed(Vec<u8>),
}

/// What was pushed found no place.
pub(super) struct Full;

impl Pushes {
    /// Takes a push of the connection; never waits.
    pub(super) fn push(&self, push: PushInfo) -> Result<(), Full> {
        let mut waiting = self.waiting.lock();
        if push.kind == PushKind::Disconnection {
            waiting.end.get_or_insert(Failure::Lost("the connection was closed".to_owned()));
        } else if let Some((push, size)) = read(push) {
            if waiting.pushes.len() >= MAX_PUSHES || waiting.bytes + size > MAX_BYTES {
                waiting.end = Some(Failure::Overflow);
            }
            if waiting.end.is_none() {
                waiting.bytes += size;
                waiting.pushes.push(push);
            }
        }
        let full = waiting.end.is_some();
        drop(waiting);
        self.arrived.notify_one();
        if full { Err(Full) } else { Ok(()) }
    }

    /// Waits for pushes and takes all. With an end nothing comes after them.
    pub(super) async fn take(&self) -> (Vec<Push>, Option<Failure>) {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.pushes.is_empty() || waiting.end.is_some() {
                    waiting.bytes = 0;
                    return (std::mem::take(&mut waiting.pushes), waiting.end.clone());
                }
            }
            self.arrived.notified().await;
        }
    }
}

/// A push that matters here, with its size.
fn read(push: PushInfo) -> Option<(Push, usize)> {
    let mut data = push.data.into_iter().map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    let channel = data.next()??;
    let size = channel.len();
    match push.kind {
        PushKind::Message | PushKind::SMessage => {
            let message = data.next()??;
            let size = size + message.len();
            Some((Push::Message(Raw { channel, message }), size))
        }
        PushKind::Subscribe | PushKind::SSubscribe => Some((Push::Subscribed(channel), size)),
        PushKind::Unsubscribe | PushKind::SUnsubscribe => Some((Push::Unsubscribed(channel), size)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, data: &[&[u8]]) -> PushInfo {
        let data = data.iter().map(|bytes| Value::BulkString(bytes.to_vec())).collect();
        PushInfo { kind, data }
    }

    fn take(pushes: &Pushes) -> (Vec<Push>, Option<Failure>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(pushes.take())
    }

    #[test]
    fn pushes_are_taken_at_once_and_in_order() {
        let pushes = Pushes::default();
        for (kind, data) in [
            (PushKind::Subscribe, vec![b"a".as_slice(), b"1"]),
            (PushKind::Message, vec![b"a", b"x"]),
            (PushKind::SMessage, vec![b"b", b"y"]),
            (PushKind::Invalidate, vec![b"key"]),
            (PushKind::Message, vec![b"a"]),
            (PushKind::SUnsubscribe, vec![b"b"]),
        ] {
            assert!(pushes.push(push(kind, &data)).is_ok());
        }
        let raw = |channel: &[u8], message: &[u8]| {
            Push::Message(Raw { channel: channel.to_vec(), message: message.to_vec() })
        };
        let (taken, end) = take(&pushes);
        let a = || b"a".to_vec();
        let expected = [
            Push::Subscribed(a()),
            raw(b"a", b"x"),
            raw(b"b", b"y"),
            Push::Unsubscribed(b"b".to_vec()),
        ];
        assert_eq!((taken.as_slice(), end), (expected.as_slice(), None));
    }

    #[test]
    fn too_much_ends_it_and_so_does_a_closed_connection() {
        let pushes = Pushes::default();
        let message = || push(PushKind::Message, &[b"a", b"x"]);
        for _ in 0..MAX_PUSHES {
            assert!(pushes.push(message()).is_ok());
        }
        assert!(pushes.push(message()).is_err());
        let (taken, end) = take(&pushes);
        assert_eq!((taken.len(), end), (MAX_PUSHES, Some(Failure::Overflow)));
        assert!(pushes.push(message()).is_err(), "for good");

        let pushes = Pushes::default();
        assert!(pushes.push(push(PushKind::Message, &[b"a", &vec![0; MAX_BYTES]])).is_err());
        assert_eq!(take(&pushes).1, Some(Failure::Overflow));

        let pushes = Pushes::default();
        pushes.push(message()).ok();
        pushes.push(push(PushKind::Disconnection, &[])).ok();
        let (taken, end) = take(&pushes);
        assert_eq!(taken.len(), 1);
        assert!(matches!(end, Some(Failure::Lost(_))));
    }
}
