//! Who may have another HTTP connection: in all, by address and by user.

use std::net::IpAddr;
use std::sync::Arc;

use crate::actors::shared::most_strangers;
use crate::config::{AddressGroup, Config, Networks};
use crate::ids::UserId;
use crate::permits::{KeyedPermit, KeyedPermits, Permit, Permits};

/// Connections of `ADMIN_BIND`, which come out of the files that are kept back for it.
const ADMIN_CONNECTIONS: usize = 64;

/// Whose connections are counted together, once it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user's, by a token.
    User(UserId),
    /// A session's of Engine.IO in which a user has logged in, by its id.
    Session(Box<str>),
}

/// What is known of the sender of a request.
pub enum Sender {
    /// Nothing.
    Unknown,
    /// It is counted.
    Known(Subject),
    /// A back end or an admin, which is not.
    Trusted,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of all connections.
    Node,
    /// That of an address, for connections without a good token.
    Address,
    /// That of a user.
    User,
}

/// The limits of one hub, and what is taken of them.
#[derive(Debug)]
pub struct Admission {
    /// Connections whose first head has not come. Each may become a WebSocket, so they may take what
    /// sessions leave free: after a failure of a network all clients come in the same moment.
    arriving: Permits,
    /// Connections that have sent a request of HTTP.
    public: Permits,
    /// Sessions, most of which have a connection.
    sessions: Permits,
    admin: Permits,
    by_address: Arc<KeyedPermits<AddressGroup>>,
    logins_by_address: Arc<KeyedPermits<AddressGroup>>,
    by_subject: Arc<KeyedPermits<Subject>>,
    /// Addresses that are no client's: proxies and the operator's own machines.
    exempt: Networks,
    /// Proxies, whose word about a client's address counts.
    proxies: Networks,
}

/// What one connection has taken.
#[derive(Debug, Default)]
pub(in crate::http) struct Admitted {
    place: Option<Permit>,
    /// Whether the place is that of a connection without a request.
    is_arriving: bool,
    /// Until a good token has come.
    address: Option<KeyedPermit<AddressGroup>>,
    subject: Option<KeyedPermit<Subject>>,
    /// Whether requests of several clients come by it: then each request is counted by itself.
    is_shared: bool,
}

/// What one request has taken, for as long as it is answered.
#[derive(Debug, Default)]
pub(in crate::http) struct RequestPlace {
    address: Option<KeyedPermit<AddressGroup>>,
    subject: Option<KeyedPermit<Subject>>,
}

/// The place of a session in which nobody has logged in yet.
pub type LoginPlace = Option<KeyedPermit<AddressGroup>>;

// === impl Admitted ===

impl Admitted {
    /// Whether requests of several clients come by the connection.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }
}

// === impl Admission ===

impl Admission {
    /// Of a hub with these settings, and these places for sessions.
    pub fn new(config: &Config, sessions: Permits) -> Self {
        let http = &config.http;
        Self {
            arriving: Permits::new(http.max_connections.saturating_add(sessions.most())),
            public: Permits::new(http.max_connections),
            sessions,
            admin: Permits::new(ADMIN_CONNECTIONS),
            by_address: KeyedPermits::new(http.max_unauthenticated_per_address),
            logins_by_address: KeyedPermits::new(most_logins(config)),
            by_subject: KeyedPermits::new(http.max_connections_per_user),
            exempt: http.address_limit_exempt.clone(),
            proxies: config.server.trusted_proxies.clone(),
        }
    }

    /// Open connections of HTTP.
    pub fn open(&self) -> usize {
        self.arriving.taken() + self.public.taken() + self.admin.taken()
    }

    /// A connection came to the address of clients.
    pub(super) fn enter(&self, peer: IpAddr) -> Result<Admitted, Full> {
        let place = self.arriving.take().ok_or(Full::Node)?;
        let taken = self.arriving.taken() + self.public.taken() + self.sessions.taken();
        if taken > self.arriving.most() {
            return Err(Full::Node);
        }
        let is_shared = self.is_exempt(peer);
        let address = if is_shared { None } else { Some(stranger(&self.by_address, peer)?) };
        Ok(Admitted { place: Some(place), is_arriving: true, address, subject: None, is_shared })
    }

    /// A connection came to `ADMIN_BIND`.
    pub(super) fn enter_admin(&self) -> Result<Admitted, Full> {
        let place = self.admin.take().ok_or(Full::Node)?;
        Ok(Admitted { place: Some(place), is_shared: true, ..Admitted::default() })
    }

    /// Counts a request of a connection. `client` is the address that a trusted proxy names.
    pub(in crate::http) fn judge(
        &self,
        admitted: &mut Admitted,
        sender: &Sender,
        client: Option<IpAddr>,
    ) -> Result<RequestPlace, Full> {
        if admitted.is_arriving {
            admitted.place = Some(self.public.take().ok_or(Full::Node)?);
            admitted.is_arriving = false;
        }
        let mut place = RequestPlace::default();
        match sender {
            Sender::Unknown => {
                let client =
                    client.filter(|address| admitted.is_shared && !self.is_exempt(*address));
                place.address =
                    client.map(|client| stranger(&self.by_address, client)).transpose()?;
            }
            Sender::Trusted => admitted.address = None,
            Sender::Known(subject) => {
                admitted.address = None;
                let own = admitted.subject.as_ref().map(KeyedPermit::key);
                if own != Some(subject) {
                    let counted = Some(self.by_subject.take(subject).ok_or(Full::User)?);
                    let held =
                        if admitted.is_shared { &mut place.subject } else { &mut admitted.subject };
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
    pub fn enter_without_login(&self, client: IpAddr) -> Result<LoginPlace, Full> {
        if self.is_exempt(client) {
            return Ok(None);
        }
        stranger(&self.logins_by_address, client).map(Some)
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.proxies.contains(address) || self.exempt.contains(address)
    }
}

/// How many sessions of one address may be without a login: never so many that no other address
/// could begin one.
fn most_logins(config: &Config) -> usize {
    let places = most_strangers(config.server.max_connections);
    config.http.max_unauthenticated_per_address.min(places.div_ceil(2))
}

fn stranger(
    permits: &Arc<KeyedPermits<AddressGroup>>,
    address: IpAddr,
) -> Result<KeyedPermit<AddressGroup>, Full> {
    permits.take(&AddressGroup::from(address)).ok_or(Full::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(flags: &[&str]) -> Admission {
        let secret = ["--jwt-secret", "secret-for-tests-only-0123456789abcdef"];
        let flags = secret.into_iter().chain(flags.iter().copied());
        let config = Config::from_flags(flags).expect("settings");
        let sessions = Permits::new(config.server.max_connections);
        Admission::new(&config, sessions)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn user(name: &str) -> Sender {
        Sender::Known(Subject::User(name.parse().expect("an id")))
    }

    #[test]
    fn an_address_has_a_share_until_a_good_token_comes() {
        let admission = admission(&["--max-unauthenticated-per-address", "1"]);
        let mut first = admission.enter(ip("192.0.2.1")).expect("the first");
        assert_eq!(admission.enter(ip("192.0.2.1")).err(), Some(Full::Address));
        assert!(admission.enter(ip("192.0.2.2")).is_ok(), "another address");
        admission.judge(&mut first, &user("ann"), None).expect("a place");
        assert!(admission.enter(ip("192.0.2.1")).is_ok(), "who is known takes none of it");
        // A household has a /64; an IPv4 address may come in the form of IPv6.
        let _home = admission.enter(ip("2001:db8:1:2::1")).expect("the first");
        assert_eq!(admission.enter(ip("2001:db8:1:2:ffff::9")).err(), Some(Full::Address));
        assert!(admission.enter(ip("2001:db8:1:3::1")).is_ok());
        let _mapped = admission.enter(ip("::ffff:192.0.2.7")).expect("the first");
        assert_eq!(admission.enter(ip("192.0.2.7")).err(), Some(Full::Address));
    }

    #[test]
    fn one_address_never_has_all_places_without_a_login() {
        let admission = admission(&["--max-connections", "100"]);
        let held: Vec<_> =
            std::iter::from_fn(|| admission.enter_without_login(ip("192.0.2.1")).ok()).collect();
        assert_eq!(held.len(), 32, "half of the 64");
        assert!(admission.enter_without_login(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn proxies_and_machines_of_the_operator_have_no_share() {
        let one = ["--max-unauthenticated-per-address", "1", "--trusted-proxies", "192.0.2.0/24"];
        let admission = admission(&one);
        for address in ["192.0.2.1", "127.0.0.1", "::1", "10.1.2.3", "fd00::1"] {
            let held: Vec<_> = (0..5).map(|_| admission.enter(ip(address))).collect();
            assert!(held.iter().all(Result::is_ok), "{address}");
        }
        // What comes by a proxy is counted by the address that the proxy names.
        let mut proxy = admission.enter(ip("192.0.2.1")).expect("a proxy");
        let client = Some(ip("203.0.113.9"));
        let held = admission.judge(&mut proxy, &Sender::Unknown, client).expect("a place");
        let mut other = admission.enter(ip("192.0.2.1")).expect("a proxy");
        let refused = admission.judge(&mut other, &Sender::Unknown, client);
        assert_eq!(refused.err(), Some(Full::Address));
        assert!(admission.judge(&mut other, &user("ann"), client).is_ok());
        drop(held);
        assert!(admission.judge(&mut other, &Sender::Unknown, client).is_ok());
    }

    #[test]
    fn a_user_has_so_many_connections_and_back_ends_as_many_as_they_like() {
        let admission = admission(&["--max-http-connections-per-user", "2"]);
        let mut held: Vec<_> =
            (0..3).map(|_| admission.enter(ip("192.0.2.1")).expect("a place")).collect();
        for (place, connection) in held.iter_mut().enumerate() {
            let judged = admission.judge(connection, &user("ann"), None);
            assert_eq!(judged.is_ok(), place < 2, "{place}");
            // Again by the same connection is the same place.
            assert_eq!(admission.judge(connection, &user("ann"), None).is_ok(), place < 2);
            assert!(admission.judge(connection, &Sender::Trusted, None).is_ok());
        }
        drop(held);
        // By a connection of several clients each request counts while it lasts.
        let mut shared = admission.enter(ip("10.0.0.1")).expect("a place");
        let mut judge = || admission.judge(&mut shared, &user("ann"), None);
        let (one, two) = (judge(), judge());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(judge().err(), Some(Full::User));
        drop(one);
        assert!(judge().is_ok());
    }

    #[test]
    fn places_of_admins_are_apart_from_those_of_clients() {
        let admission = admission(&["--max-http-connections", "32", "--max-connections", "8"]);
        let sessions: Vec<_> = (0..3).map(|_| admission.sessions.take()).collect();
        // What sessions leave free is for those who come,
        let mut held = Vec::new();
        while let Ok(place) = admission.enter(ip("10.0.0.1")) {
            held.push(place);
        }
        assert_eq!(held.len(), 32 + 8 - 3);
        // and whose requests are no upgrades, have less.
        let judge = |place: &mut Admitted| admission.judge(place, &Sender::Trusted, None).is_ok();
        assert_eq!(held.iter_mut().map(judge).filter(|is_placed| *is_placed).count(), 32);
        assert!(judge(&mut held[0]), "it has its place");
        assert!(admission.enter(ip("10.0.0.1")).is_err());
        assert!(admission.enter_admin().is_ok());
        drop(sessions);
        assert!(admission.enter(ip("10.0.0.1")).is_ok());
    }
}
