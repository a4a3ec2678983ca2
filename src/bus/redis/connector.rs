//! Connections to Redis, and finding its servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode, Value,
};

use super::StartError;
use super::failure::Failure;
use super::pushes::Pushes;
use super::server::{Mode, Servers, read_hello};
use crate::bus::topic::Channels;
use crate::config::{Address, Login, RedisUrl, SentinelUrl};

/// For a connection with TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For an answer. A server that needs longer is as good as gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// What may wait to be written before the connection lets no more through.
const WRITE_BUFFER: usize = 256 * 1024;

/// Makes connections to Redis.
pub(super) struct Connector {
    url: RedisUrl,
    /// Authorities of the operator's own.
    authorities: Option<Vec<u8>>,
}

impl Connector {
    /// # Errors
    /// When the authorities cannot be read.
    pub(super) fn new(url: RedisUrl, ca: Option<&Path>) -> Result<Self, StartError> {
        let read = |path: &Path| {
            let refused = |problem: String| StartError::Authorities(path.to_owned(), problem);
            let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
            let holds_one = pem.windows(17).any(|part| part == b"BEGIN CERTIFICATE");
            let problem = || refused("it holds no certificate in PEM".to_owned());
            holds_one.then_some(pem).ok_or_else(problem)
        };
        let authorities = ca.map(read).transpose()?;
        if url.tls {
            // The library takes the provider of the process. Another one may be set already.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        Ok(Self { url, authorities })
    }

    /// The servers to connect to, asked of those that are known and of those in the settings.
    pub(super) async fn find_servers(
        &self,
        known: &[Address],
        channels: &Channels,
    ) -> Result<Servers, Failure> {
        if let Some(sentinel) = &self.url.sentinel {
            let master = self.ask_sentinels(sentinel).await?;
            self.ask_server(&master, channels).await?;
            return Ok(Servers::single(master));
        }
        let mut failure: Option<Failure> = None;
        for address in known.iter().chain(&self.url.hosts) {
            match self.ask_server(address, channels).await {
                Ok(servers) => return Ok(servers),
                // One that a change of the settings would mend is told before the others.
                Err(found) if failure.as_ref().is_none_or(|first| !first.is_final()) => {
                    failure = Some(found);
                }
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or(Failure::NotRedis))
    }

    async fn ask_server(&self, address: &Address, channels: &Channels) -> Result<Servers, Failure> {
        let mut connection = self.open(address, None).await?;
        let hello = redis::cmd("HELLO").query_async::<Value>(&mut connection).await?;
        match read_hello(hello)? {
            Mode::Single => Ok(Servers::single(address.clone())),
            Mode::Cluster => {
                let slots = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
                Servers::of_cluster(&slots, address, channels)
            }
        }
    }

    async fn ask_sentinels(&self, sentinel: &SentinelUrl) -> Result<Address, Failure> {
        let sentinels = self.url.hosts.iter().map(|address| self.address(address));
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(sentinels, &sentinel.master, kind)?
            .set_client_to_redis_protocol(ProtocolVersion::RESP3);
        if self.url.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = self.certificates() {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates);
            }
        }
        let Login { user, password } = &self.url.login;
        if let Some(password) = password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(user) = user {
            builder = builder.set_client_to_redis_username(user);
        }
        let Login { user, password } = &sentinel.login;
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if let Some(user) = user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        let client = builder.build()?.async_get_client().await?;
        match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Ok((host.clone(), *port))
            }
            _ => Err(Failure::NotRedis),
        }
    }

    /// Connects and logs in. What the server pushes goes to `pushes`.
    pub(super) async fn open(
        &self,
        address: &Address,
        pushes: Option<Arc<Pushes>>,
    ) -> Result<MultiplexedConnection, Failure> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_write_backpressure_boundary(WRITE_BUFFER);
        if let Some(pushes) = pushes {
            config = config.set_push_sender(move |push| pushes.push(push));
        }
        let client = self.client(address)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| Failure::from(error).at(&format!("{}:{}", address.0, address.1)))
    }

    fn client(&self, address: &Address) -> RedisResult<Client> {
        let info = self.info(address)?;
        match self.certificates() {
            Some(certificates) if self.url.tls => Client::build_with_tls(info, certificates),
            _ => Client::open(info),
        }
    }

    fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("orderhub", crate::process::VERSION)
            .set_db(self.url.database);
        if let Some(user) = &self.url.login.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.url.login.password {
            login = login.set_password(password.expose());
        }
        let info = self.address(address).into_connection_info()?;
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(info.set_redis_settings(login).set_tcp_settings(tcp))
    }

    fn address(&self, (host, port): &Address) -> ConnectionAddr {
        if self.url.tls {
            let (host, port) = (host.clone(), *port);
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = Some(self.authorities.clone()?);
        Some(TlsCertificates { client_tls: None, root_cert })
    }
}
