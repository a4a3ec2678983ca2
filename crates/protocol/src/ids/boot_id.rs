//! The id of one run of a hub.

use std::fmt;
use std::str::FromStr;

/// The id of one run of a hub: a node that restarts has a new one. That of a later millisecond
/// sorts later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(uuid::Uuid);

impl BootId {
    /// How many bytes it has.
    pub const BYTES: usize = 16;

    /// A new id.
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// The id of these bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.0.as_bytes()
    }
}

impl FromStr for BootId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = BootId::random();
        assert_eq!(id.to_string().parse().ok(), Some(id));
        assert!("hub-1".parse::<BootId>().is_err());
    }
}
