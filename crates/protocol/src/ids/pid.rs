//! The id with which a client resumes its session: 128 random bits, as text in base64url.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::random;

/// The id with which a client resumes its session. It cannot be guessed, and is valid only together
/// with its user.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid(u128);

/// Why a text is not a [`Pid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 22 characters of base64url that stand for 128 bits")]
pub struct InvalidPid;

/// The alphabet of base64url (RFC 4648, section 5).
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// === impl Pid ===

impl Pid {
    /// The length of its text form.
    const CHARS: u32 = 22;

    /// A new id, from the system's source of randomness.
    ///
    /// # Errors
    /// Where the system has no randomness; the session then cannot be resumed.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        random::fill(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 22 characters have room for 132 bits; the last four are zero.
        for place in 0..Self::CHARS {
            let shift = 122_u32.checked_sub(6 * place);
            let six = shift.map_or(self.0 << 4, |shift| self.0 >> shift) & 63;
            let letter = usize::try_from(six).ok().and_then(|six| BASE64URL.get(six));
            fmt::Write::write_char(f, letter.copied().map_or('A', char::from))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Pid {
    /// It is half of what resumes a session, so it must not be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(…)")
    }
}

impl std::str::FromStr for Pid {
    type Err = InvalidPid;

    fn from_str(text: &str) -> Result<Self, InvalidPid> {
        let (last, head) = text.as_bytes().split_last().ok_or(InvalidPid)?;
        if head.len() + 1 != Self::CHARS as usize {
            return Err(InvalidPid);
        }
        let six = |byte: &u8| {
            let at = BASE64URL.iter().position(|letter| letter == byte).ok_or(InvalidPid)?;
            u128::try_from(at).map_err(|_| InvalidPid)
        };
        let mut bits = 0;
        for byte in head {
            bits = bits << 6 | six(byte)?;
        }
        let last = six(last)?;
        // Two texts for the same bits would be two ids of one session.
        if last.trailing_zeros() >= 4 { Ok(Self(bits << 2 | last >> 4)) } else { Err(InvalidPid) }
    }
}

impl Serialize for Pid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_differ_and_come_back_from_their_text() {
        let pid = Pid::random().expect("randomness");
        assert_ne!(Some(pid), Pid::random().ok());
        let text = pid.to_string();
        assert_eq!((text.len(), text.parse()), (22, Ok(pid)));
        let json = serde_json::to_string(&pid).expect("text");
        assert_eq!(serde_json::from_str::<Pid>(&json).ok(), Some(pid));
        assert!(!format!("{pid:?}").contains(&text[..4]), "a log would have it");
    }

    #[test]
    fn a_pid_is_written_as_base64url() {
        for (bytes, text) in [
            ([0; 16], "AAAAAAAAAAAAAAAAAAAAAA"),
            ([255; 16], "_____________________w"),
            (*b"0123456789abcdef", "MDEyMzQ1Njc4OWFiY2RlZg"),
        ] {
            let pid = Pid(u128::from_be_bytes(bytes));
            assert_eq!((pid.to_string().as_str(), text.parse()), (text, Ok(pid)));
        }
    }

    #[test]
    fn an_inexact_pid_is_refused() {
        for bad in [
            "",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAA+A",
            "AAAAAAAAAAAAAAAAAAAA/A",
            "AAAAAAAAAAAAAAAAAAAA A",
            "äAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(bad.parse::<Pid>(), Err(InvalidPid), "{bad:?}");
        }
    }
}
