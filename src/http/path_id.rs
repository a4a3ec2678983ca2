//! Ids in paths, taken as text.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// An id in a path. In a body an id may be a number, and actix would parse a path's `007` as the
/// number 7, which is another id.
pub(super) struct PathId<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for PathId<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}
