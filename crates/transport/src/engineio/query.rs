//! The query of an Engine.IO request.

/// The fields of a query that the engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// `None` where it is missing or unknown.
    pub(super) transport: Option<Transport>,
    /// The id of the request's session. `None` in a handshake.
    pub(super) sid: Option<&'a str>,
    /// `EIO`: the version of the protocol.
    pub(super) version: Option<&'a str>,
}

/// The transport of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    WebSocket,
}

// === impl Query ===

impl<'a> Query<'a> {
    /// Parses a query without percent-decoding: no known value needs it.
    pub(super) fn read(query: &'a str) -> Self {
        let mut read = Self { transport: None, sid: None, version: None };
        for (name, value) in query.split('&').filter_map(|field| field.split_once('=')) {
            match name {
                "EIO" => read.version = Some(value),
                "transport" => {
                    read.transport = match value {
                        "polling" => Some(Transport::Polling),
                        "websocket" => Some(Transport::WebSocket),
                        _ => None,
                    }
                }
                "sid" => read.sid = Some(value).filter(|sid| !sid.is_empty()),
                _ => {}
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_in_any_order_and_unknown_fields_are_nothing() {
        let query = Query::read("t=x&sid=a-b_c&transport=polling&EIO=4&b64");
        let sid = Some("a-b_c");
        let version = Some("4");
        assert_eq!(query, Query { transport: Some(Transport::Polling), sid, version });
        let query = Query::read("transport=websocket&EIO=3&sid=");
        assert_eq!(query.transport, Some(Transport::WebSocket));
        assert_eq!((query.sid, query.version), (None, Some("3")));
        assert_eq!(Query::read("transport=webtransport").transport, None);
        assert_eq!((Query::read("").transport, Query::read("").version), (None, None));
    }
}
