//! `ping`: any data of a client, which comes back as `pong`.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{ClientData, HubData};
use crate::error::Failure;

/// The data of `ping`.
#[derive(Debug, Clone)]
pub struct Ping(pub Box<RawValue>);

/// The data of `pong`: that of the `ping`.
#[derive(Debug, Clone, Copy)]
pub struct Pong<'a>(pub &'a RawValue);

impl ClientData for Ping {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        Ok(Self(data.unwrap_or(RawValue::NULL).to_owned()))
    }
}

impl HubData for Pong<'_> {}

impl Serialize for Pong<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
