//! Limits on HTTP connections: in all, by address and by user.

use std::net::IpAddr;
use std::sync::Arc;

use crate::actors::shared::max_unauthenticated;
use crate::config::{AddressGroup, Config, Networks};
use crate::permits::{KeyedPermit, KeyedPermits, Permit, Permits};
use protocol::ids::UserId;

/// Connections of `ADMIN_BIND`. Their files are reserved.
const ADMIN_CONNECTIONS: usize = 64;

/// The owner by which authenticated connections are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// A user, known by a token.
    User(UserId),
    /// The id of an Engine.IO session in which a user is authenticated.
    Session(Box<str>),
}

/// The sender of a request, as far as it is known.
pub enum Requester {
    /// Not authenticated.
    Unauthenticated,
    /// Authenticated, and counted by this key.
    Authenticated(LimitKey),
    /// A back end or an admin, which is not counted by key.
    Trusted,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The limit of all connections.
    Node,
    /// The limit of an address, for unauthenticated connections.
    Address,
    /// The limit of a user.
    User,
}

/// The connection limits of one hub, and what is in use.
#[derive(Debug)]
pub struct ConnectionLimits {
    /// Connections whose first head has not come. Each may become a WebSocket, so they may use the
    /// places that client connections leave free: after a network failure all clients come at the
    /// same moment.
    arriving: Permits,
    /// Connections that have sent an HTTP request.
    public: Permits,
    /// Client connections (`MAX_CONNECTIONS`), most of which have a socket.
    sessions: Permits,
    admin: Permits,
    by_address: Arc<KeyedPermits<AddressGroup>>,
    unauthenticated_by_address: Arc<KeyedPermits<AddressGroup>>,
    by_limit_key: Arc<KeyedPermits<LimitKey>>,
    /// Addresses that are not counted: proxies and the operator's own machines.
    exempt: Networks,
    /// Proxies that are trusted to name a client's address.
    proxies: Networks,
}

/// The permits of one HTTP connection.
#[derive(Debug, Default)]
pub(in crate::http) struct ConnectionSlot {
    place: Option<Permit>,
    /// Whether `place` is one of `arriving`: the first head has not come.
    is_arriving: bool,
    /// Held until the connection is authenticated.
    address: Option<KeyedPermit<AddressGroup>>,
    limit_key: Option<KeyedPermit<LimitKey>>,
    /// Whether the connection carries requests of several clients. Then each request is counted by
    /// itself.
    is_shared: bool,
}

/// The permits of one request, held until it is answered.
#[derive(Debug, Default)]
pub(in crate::http) struct RequestSlot {
    address: Option<KeyedPermit<AddressGroup>>,
    limit_key: Option<KeyedPermit<LimitKey>>,
}

/// The permit of an unauthenticated client connection, by its address.
pub type AddressPermit = Option<KeyedPermit<AddressGroup>>;

// === impl ConnectionSlot ===

impl ConnectionSlot {
    /// Whether the connection carries requests of several clients.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }
}

// === impl ConnectionLimits ===

impl ConnectionLimits {
    /// The limits that these settings give. `sessions` are the hub's permits for client
    /// connections.
    pub fn new(config: &Config, sessions: Permits) -> Self {
        let http = &config.http;
        Self {
            arriving: Permits::new(http.max_connections.saturating_add(sessions.most())),
            public: Permits::new(http.max_connections),
            sessions,
            admin: Permits::new(ADMIN_CONNECTIONS),
            by_address: KeyedPermits::new(http.max_unauthenticated_per_address),
            unauthenticated_by_address: KeyedPermits::new(unauthenticated_limit(config)),
            by_limit_key: KeyedPermits::new(http.max_connections_per_user),
            exempt: http.address_limit_exempt.clone(),
            proxies: config.server.trusted_proxies.clone(),
        }
    }

    /// Open HTTP connections.
    pub fn open(&self) -> usize {
        self.arriving.taken() + self.public.taken() + self.admin.taken()
    }

    /// Admits a connection to the clients' address.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<ConnectionSlot, LimitReached> {
        let place = self.arriving.take().ok_or(LimitReached::Node)?;
        let taken = self.arriving.taken() + self.public.taken() + self.sessions.taken();
        if taken > self.arriving.most() {
            return Err(LimitReached::Node);
        }
        let is_shared = self.is_exempt(peer);
        let address =
            if is_shared { None } else { Some(take_for_address(&self.by_address, peer)?) };
        Ok(ConnectionSlot {
            place: Some(place),
            is_arriving: true,
            address,
            limit_key: None,
            is_shared,
        })
    }

    /// Admits a connection to `ADMIN_BIND`.
    pub(super) fn admit_admin(&self) -> Result<ConnectionSlot, LimitReached> {
        let place = self.admin.take().ok_or(LimitReached::Node)?;
        Ok(ConnectionSlot { place: Some(place), is_shared: true, ..ConnectionSlot::default() })
    }

    /// Counts a request of a connection. `client` is the address that a trusted proxy names.
    pub(in crate::http) fn count_request(
        &self,
        slot: &mut ConnectionSlot,
        requester: &Requester,
        client: Option<IpAddr>,
    ) -> Result<RequestSlot, LimitReached> {
        if slot.is_arriving {
            slot.place = Some(self.public.take().ok_or(LimitReached::Node)?);
            slot.is_arriving = false;
        }
        let mut place = RequestSlot::default();
        match requester {
            Requester::Unauthenticated => {
                let client = client.filter(|address| slot.is_shared && !self.is_exempt(*address));
                place.address =
                    client.map(|client| take_for_address(&self.by_address, client)).transpose()?;
            }
            Requester::Trusted => slot.address = None,
            Requester::Authenticated(limit_key) => {
                slot.address = None;
                let own = slot.limit_key.as_ref().map(KeyedPermit::key);
                if own != Some(limit_key) {
                    let counted =
                        Some(self.by_limit_key.take(limit_key).ok_or(LimitReached::User)?);
                    let held =
                        if slot.is_shared { &mut place.limit_key } else { &mut slot.limit_key };
                    *held = counted;
                }
            }
        }
        Ok(place)
    }

    /// Admits an unauthenticated client connection from this address.
    ///
    /// # Errors
    /// When the address has its largest number of them.
    pub fn admit_unauthenticated(&self, client: IpAddr) -> Result<AddressPermit, LimitReached> {
        if self.is_exempt(client) {
            return Ok(None);
        }
        take_for_address(&self.unauthenticated_by_address, client).map(Some)
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.proxies.contains(address) || self.exempt.contains(address)
    }
}

/// How many unauthenticated client connections one address may have: never so many that no other
/// address could open one.
fn unauthenticated_limit(config: &Config) -> usize {
    let places = max_unauthenticated(config.server.max_connections);
    config.http.max_unauthenticated_per_address.min(places.div_ceil(2))
}

fn take_for_address(
    permits: &Arc<KeyedPermits<AddressGroup>>,
    address: IpAddr,
) -> Result<KeyedPermit<AddressGroup>, LimitReached> {
    permits.take(&AddressGroup::from(address)).ok_or(LimitReached::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection_limits(flags: &[&str]) -> ConnectionLimits {
        let secret = ["--jwt-secret", "secret-for-tests-only-0123456789abcdef"];
        let flags = secret.into_iter().chain(flags.iter().copied());
        let config = Config::from_flags(flags).expect("settings");
        let sessions = Permits::new(config.server.max_connections);
        ConnectionLimits::new(&config, sessions)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn user(name: &str) -> Requester {
        Requester::Authenticated(LimitKey::User(name.parse().expect("an id")))
    }

    #[test]
    fn an_address_has_a_share_until_a_good_token_comes() {
        let connection_limits = connection_limits(&["--max-unauthenticated-per-address", "1"]);
        let mut first = connection_limits.admit(ip("192.0.2.1")).expect("the first");
        assert_eq!(connection_limits.admit(ip("192.0.2.1")).err(), Some(LimitReached::Address));
        assert!(connection_limits.admit(ip("192.0.2.2")).is_ok(), "another address");
        connection_limits.count_request(&mut first, &user("ann"), None).expect("a place");
        assert!(connection_limits.admit(ip("192.0.2.1")).is_ok(), "who is known takes none of it");
        // A household has a /64. An IPv4 address may come in its IPv6 form.
        let _home = connection_limits.admit(ip("2001:db8:1:2::1")).expect("the first");
        assert_eq!(
            connection_limits.admit(ip("2001:db8:1:2:ffff::9")).err(),
            Some(LimitReached::Address)
        );
        assert!(connection_limits.admit(ip("2001:db8:1:3::1")).is_ok());
        let _mapped = connection_limits.admit(ip("::ffff:192.0.2.7")).expect("the first");
        assert_eq!(connection_limits.admit(ip("192.0.2.7")).err(), Some(LimitReached::Address));
    }

    #[test]
    fn one_address_cannot_use_up_all_unauthenticated_connections() {
        let connection_limits = connection_limits(&["--max-connections", "100"]);
        let held: Vec<_> =
            std::iter::from_fn(|| connection_limits.admit_unauthenticated(ip("192.0.2.1")).ok())
                .collect();
        assert_eq!(held.len(), 32, "half of the 64");
        assert!(connection_limits.admit_unauthenticated(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn proxies_and_machines_of_the_operator_have_no_share() {
        let one = ["--max-unauthenticated-per-address", "1", "--trusted-proxies", "192.0.2.0/24"];
        let connection_limits = connection_limits(&one);
        for address in ["192.0.2.1", "127.0.0.1", "::1", "10.1.2.3", "fd00::1"] {
            let held: Vec<_> = (0..5).map(|_| connection_limits.admit(ip(address))).collect();
            assert!(held.iter().all(Result::is_ok), "{address}");
        }
        // A request through a proxy is counted by the address that the proxy names.
        let mut proxy = connection_limits.admit(ip("192.0.2.1")).expect("a proxy");
        let client = Some(ip("203.0.113.9"));
        let held = connection_limits
            .count_request(&mut proxy, &Requester::Unauthenticated, client)
            .expect("a place");
        let mut other = connection_limits.admit(ip("192.0.2.1")).expect("a proxy");
        let refused =
            connection_limits.count_request(&mut other, &Requester::Unauthenticated, client);
        assert_eq!(refused.err(), Some(LimitReached::Address));
        assert!(connection_limits.count_request(&mut other, &user("ann"), client).is_ok());
        drop(held);
        assert!(
            connection_limits
                .count_request(&mut other, &Requester::Unauthenticated, client)
                .is_ok()
        );
    }

    #[test]
    fn a_user_has_so_many_connections_and_back_ends_as_many_as_they_like() {
        let connection_limits = connection_limits(&["--max-http-connections-per-user", "2"]);
        let mut held: Vec<_> =
            (0..3).map(|_| connection_limits.admit(ip("192.0.2.1")).expect("a place")).collect();
        for (place, connection) in held.iter_mut().enumerate() {
            let judged = connection_limits.count_request(connection, &user("ann"), None);
            assert_eq!(judged.is_ok(), place < 2, "{place}");
            // Another request on the same connection uses the same permit.
            assert_eq!(
                connection_limits.count_request(connection, &user("ann"), None).is_ok(),
                place < 2
            );
            assert!(connection_limits.count_request(connection, &Requester::Trusted, None).is_ok());
        }
        drop(held);
        // On a connection of several clients each request counts while it lasts.
        let mut shared = connection_limits.admit(ip("10.0.0.1")).expect("a place");
        let mut judge = || connection_limits.count_request(&mut shared, &user("ann"), None);
        let (one, two) = (judge(), judge());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(judge().err(), Some(LimitReached::User));
        drop(one);
        assert!(judge().is_ok());
    }

    #[test]
    fn places_of_admins_are_apart_from_those_of_clients() {
        let connection_limits =
            connection_limits(&["--max-http-connections", "32", "--max-connections", "8"]);
        let sessions: Vec<_> = (0..3).map(|_| connection_limits.sessions.take()).collect();
        // Places that client connections leave free are for connections that arrive,
        let mut held = Vec::new();
        while let Ok(place) = connection_limits.admit(ip("10.0.0.1")) {
            held.push(place);
        }
        assert_eq!(held.len(), 32 + 8 - 3);
        // and there are fewer places for those whose requests are not upgrades.
        let judge = |place: &mut ConnectionSlot| {
            connection_limits.count_request(place, &Requester::Trusted, None).is_ok()
        };
        assert_eq!(held.iter_mut().map(judge).filter(|is_placed| *is_placed).count(), 32);
        assert!(judge(&mut held[0]), "it has its place");
        assert!(connection_limits.admit(ip("10.0.0.1")).is_err());
        assert!(connection_limits.admit_admin().is_ok());
        drop(sessions);
        assert!(connection_limits.admit(ip("10.0.0.1")).is_ok());
    }
}
