//! What a server of Redis says of itself, and which server has which partitions.

use std::collections::{BTreeMap, HashMap};

use redis::{Value, from_redis_value};

use super::failure::Failure;
use crate::bus::topic::{Channels, Partition};
use crate::config::Address;

/// The oldest version with sharded channels.
const OLDEST: u32 = 7;

/// What a server says of itself, by `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is alone, or has replicas.
    Single,
    /// It is part of a cluster.
    Cluster,
}

/// The servers that are to be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) mode: Mode,
    /// The partitions of each server.
    pub(super) partitions: BTreeMap<Address, Vec<Partition>>,
}

impl Servers {
    /// A server that has everything.
    pub(super) fn single(address: Address) -> Self {
        let partitions = BTreeMap::from([(address, Partition::all().collect())]);
        Self { mode: Mode::Single, partitions }
    }

    /// The masters of a cluster, by the answer of one of its servers to `CLUSTER SLOTS`. Slots that
    /// no server has are missing.
    pub(super) fn of_cluster(
        slots: &Value,
        asked: &Address,
        channels: &Channels,
    ) -> Result<Self, Failure> {
        let Value::Array(ranges) = slots else { return Err(Failure::NotRedis) };
        let ranges: Vec<_> = ranges.iter().filter_map(|range| slot_range(range, asked)).collect();
        let mut partitions: BTreeMap<Address, Vec<Partition>> = BTreeMap::new();
        for partition in Partition::all() {
            let slot = channels.slot(partition);
            let owner = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
            if let Some((_, _, address)) = owner {
                partitions.entry(address.clone()).or_default().push(partition);
            }
        }
        Ok(Self { mode: Mode::Cluster, partitions })
    }

    /// Whether every partition has a server.
    pub(super) fn is_complete(&self) -> bool {
        self.partitions.values().map(Vec::len).sum::<usize>() == Partition::all().count()
    }
}

/// The first slot, the last one and the master of a range: `[first, last, [host, port, …], …]`.
fn slot_range(range: &Value, asked: &Address) -> Option<(usize, usize, Address)> {
    let Value::Array(parts) = range else { return None };
    let [first, last, Value::Array(master), ..] = parts.as_slice() else { return None };
    let [host, port, ..] = master.as_slice() else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    // A server that does not know its own name means the one by which it was asked.
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        _ => String::new(),
    };
    let host = match host.as_str() {
        "?" => return None,
        "" | "0.0.0.0" | "::" => asked.0.clone(),
        _ => host,
    };
    let port = u16::try_from(number(port)?).ok()?;
    Some((number(first)?, number(last)?, (host, port)))
}

/// Reads the answer to `HELLO`.
///
/// # Errors
/// When the server is not a master of Redis 7 or newer.
pub(super) fn read_hello(answer: Value) -> Result<Mode, Failure> {
    let fields: HashMap<String, Value> = from_redis_value(answer).map_err(|_| Failure::NotRedis)?;
    let text = |name: &str| -> Option<String> {
        fields.get(name).and_then(|value| from_redis_value(value.clone()).ok())
    };
    let (Some(version), Some(mode)) = (text("version"), text("mode")) else {
        return Err(Failure::NotRedis);
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST) {
        return Err(Failure::TooOld(version));
    }
    match (mode.as_str(), text("role").as_deref()) {
        ("sentinel", _) => Err(Failure::IsSentinel),
        // A replica of a cluster can be asked for the masters.
        ("cluster", _) => Ok(Mode::Cluster),
        (_, Some("replica" | "slave")) => Err(Failure::Replica),
        _ => Ok(Mode::Single),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn hello(version: &str, mode: &str, role: &str) -> Result<Mode, Failure> {
        let fields = [("server", "redis"), ("version", version), ("mode", mode), ("role", role)];
        let mut fields: Vec<_> = fields.map(|(name, value)| (text(name), text(value))).into();
        fields.push((text("modules"), Value::Array(Vec::new())));
        read_hello(Value::Map(fields))
    }

    #[test]
    fn only_masters_of_redis_7_or_newer_and_clusters_will_do() {
        assert_eq!(hello("7.0.15", "standalone", "master"), Ok(Mode::Single));
        assert_eq!(hello("8.1.0", "cluster", "replica"), Ok(Mode::Cluster));
        assert_eq!(hello("6.2.14", "standalone", "master"), Err(Failure::TooOld("6.2.14".into())));
        assert_eq!(hello("7.0.15", "sentinel", "sentinel"), Err(Failure::IsSentinel));
        assert_eq!(hello("7.0.15", "standalone", "replica"), Err(Failure::Replica));
        assert_eq!(read_hello(Value::Okay), Err(Failure::NotRedis));
        assert_eq!(read_hello(Value::Map(Vec::new())), Err(Failure::NotRedis));
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let master = Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        let replica = Value::Array(vec![text("replica"), Value::Int(1)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
    }

    #[test]
    fn every_partition_goes_to_the_master_of_its_slot() {
        let channels = Channels::new("p", "c");
        let asked = ("asked".to_owned(), 7000);
        let slots = Value::Array(vec![
            range(0, 8191, text(""), 7000),
            range(8192, 12_287, text("b"), 7001),
            range(12_288, 16_383, text("c"), 7002),
        ]);
        let servers = Servers::of_cluster(&slots, &asked, &channels).expect("servers");
        let counts: Vec<_> = servers
            .partitions
            .iter()
            .map(|((host, _), list)| (host.as_str(), list.len()))
            .collect();
        assert_eq!(counts, [("asked", 64), ("b", 32), ("c", 32)]);
        assert!(servers.is_complete() && servers.mode == Mode::Cluster);
    }

    #[test]
    fn slots_without_a_server_are_missing_and_odd_answers_harmless() {
        let channels = Channels::new("p", "c");
        let asked = ("asked".to_owned(), 7000);
        let odd = [
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(0), Value::Int(16_383), Value::Array(vec![])]),
            range(0, 16_383, text("?"), 1),
            range(0, 16_383, text("h"), 70_000),
            range(-1, 16_383, text("h"), 1),
            range(0, 8191, Value::Nil, 7000),
        ];
        let servers = Servers::of_cluster(&Value::Array(odd.to_vec()), &asked, &channels);
        let servers = servers.expect("servers");
        assert_eq!(servers.partitions.len(), 1);
        assert_eq!(servers.partitions[&asked].len(), 64);
        assert!(!servers.is_complete());
        assert!(Servers::of_cluster(&Value::Okay, &asked, &channels).is_err());
        assert!(Servers::single(asked).is_complete());
    }
}
