//! Ids in paths, as they stand there.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// An id that a path names. In a body an id may be a number, and actix takes whatever in a path can
/// be read as one for that: `007` would be order 7, which is another.
pub(super) struct PathId<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for PathId<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}
