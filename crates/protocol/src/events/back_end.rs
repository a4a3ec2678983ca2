//! An event of a back end, under a name of its own; see [`crate::back_end`].

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::HubData;

/// An event of a back end.
#[derive(Debug, Clone, Copy)]
pub struct BackEndPush<'a> {
    /// Its name, which needs no escapes in JSON.
    pub name: &'a str,
    /// An object or an array.
    pub data: &'a RawValue,
}

impl HubData for BackEndPush<'_> {}

impl Serialize for BackEndPush<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data.serialize(serializer)
    }
}
