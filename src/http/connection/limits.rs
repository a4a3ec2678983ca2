//! Who may have another HTTP connection: in all, by address and by user.

use std::net::IpAddr;
use std::sync::Arc;

use crate::actors::shared::max_unauthenticated;
use crate::config::{AddressGroup, Config, Networks};
use crate::ids::UserId;
use crate::permits::{KeyedPermit, KeyedPermits, Permit, Permits};

/// Connections of `ADMIN_BIND`, which come out of the files that are kept back for it.
const ADMIN_CONNECTIONS: usize = 64;

/// Whose connections are counted together, once it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// A user's, by a token.
    User(UserId),
    /// A session's of Engine.IO in which a user has logged in, by its id.
    Session(Box<str>),
}

/// What is known of the sender of a request.
pub enum Requester {
    /// Nothing.
    Unauthenticated,
    /// It is counted.
    Authenticated(LimitKey),
    /// A back end or an admin, which is not.
    Trusted,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// That of all connections.
    Node,
    /// That of an address, for connections without a good token.
    Address,
    /// That of a user.
    User,
}

/// The limits of one hub, and what is taken of them.
#[derive(Debug)]
pub struct ConnectionLimits {
    /// Connections whose first head has not come. Each may become a WebSocket, so they may take what
    /// sessions leave free: after a failure of a network all clients come in the same moment.
    arriving: Permits,
    /// Connections that have sent a request of HTTP.
    public: Permits,
    /// Sessions, most of which have a connection.
    sessions: Permits,
    admin: Permits,
    by_address: Arc<KeyedPermits<AddressGroup>>,
    unauthenticated_by_address: Arc<KeyedPermits<AddressGroup>>,
    by_limit_key: Arc<KeyedPermits<LimitKey>>,
    /// Addresses that are no client's: proxies and the operator's own machines.
    exempt: Networks,
    /// Proxies, whose word about a client's address counts.
    proxies: Networks,
}

/// What one connection has taken.
#[derive(Debug, Default)]
pub(in crate::http) struct ConnectionSlot {
    place: Option<Permit>,
    /// Whether the place is that of a connection without a request.
    is_arriving: bool,
    /// Until a good token has come.
    address: Option<KeyedPermit<AddressGroup>>,
    limit_key: Option<KeyedPermit<LimitKey>>,
    /// Whether requests of several clients come by it: then each request is counted by itself.
    is_shared: bool,
}

/// What one request has taken, for as long as it is answered.
#[derive(Debug, Default)]
pub(in crate::http) struct RequestSlot {
    address: Option<KeyedPermit<AddressGroup>>,
    limit_key: Option<KeyedPermit<LimitKey>>,
}

/// The place of a session in which nobody has logged in yet.
pub type AddressPermit = Option<KeyedPermit<AddressGroup>>;

// === impl ConnectionSlot ===

impl ConnectionSlot {
    /// Whether requests of several clients come by the connection.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }
}

// === impl ConnectionLimits ===

impl ConnectionLimits {
    /// Of a hub with these settings, and these places for sessions.
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

    /// Open connections of HTTP.
    pub fn open(&self) -> usize {
        self.arriving.taken() + self.public.taken() + self.admin.taken()
    }

    /// A connection came to the address of clients.
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

    /// A connection came to `ADMIN_BIND`.
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

    /// A place for a session of this address in which nobody has logged in yet.
    ///
    /// # Errors
    /// Where the address has as many as it may have.
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

/// How many sessions of one address may be without a login: never so many that no other address
/// could begin one.
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
        // A household has a /64; an IPv4 address may come in the form of IPv6.
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
    fn one_address_never_has_all_places_without_a_login() {
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
        // What comes by a proxy is counted by the address that the proxy names.
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
            // Again by the same connection is the same place.
            assert_eq!(
                connection_limits.count_request(connection, &user("ann"), None).is_ok(),
                place < 2
            );
            assert!(connection_limits.count_request(connection, &Requester::Trusted, None).is_ok());
        }
        drop(held);
        // By a connection of several clients each request counts while it lasts.
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
        // What sessions leave free is for those who come,
        let mut held = Vec::new();
        while let Ok(place) = connection_limits.admit(ip("10.0.0.1")) {
            held.push(place);
        }
        assert_eq!(held.len(), 32 + 8 - 3);
        // and whose requests are no upgrades, have less.
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
