//! TLS to the hub, or to the proxy before it.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Who may say that a hub is the one that it says it is.
#[derive(Clone)]
pub struct Authorities {
    roots: RootCertStore,
    /// Those of a file; none where the public ones count.
    own: Option<Vec<CertificateDer<'static>>>,
}

/// Whom a run believes, and what the hub must be called.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

// === impl Authorities ===

impl Authorities {
    /// Those that browsers trust, as they are built in.
    pub fn public() -> Self {
        Self { roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }, own: None }
    }

    /// Those in a PEM file, and no others.
    ///
    /// # Errors
    /// A sentence where it holds none, or one that cannot be read.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let own = own.map_err(|error| format!("a certificate cannot be read: {error}"))?;
        if own.is_empty() {
            return Err("it holds no certificate in PEM".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for certificate in own.iter().cloned() {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        Ok(Self { roots, own: Some(own) })
    }

    /// The same for those who ask over HTTP.
    pub fn for_http(&self) -> TlsConfig {
        let certificate = |it: &CertificateDer<'static>| Certificate::from_der(it).to_owned();
        let own = self.own.iter().flatten().map(certificate);
        let roots = match &self.own {
            Some(_) => RootCerts::from(own),
            None => RootCerts::WebPki,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots).build()
    }
}

// === impl Trust ===

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Trust {
    /// Believes a hub of this name that these authorities know.
    ///
    /// # Errors
    /// A sentence where the host has no name that can be certified.
    pub fn new(host: &str, authorities: &Authorities) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| format!("{host} is no name of a host"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(authorities.roots.clone())
            .with_no_client_auth();
        // Every phone is another one: none takes up what was agreed with the one before.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// One connection, before its handshake.
    ///
    /// # Errors
    /// Where the settings of TLS do not go together.
    pub fn begin(&self) -> io::Result<ClientConnection> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        // What may wait is bounded where it is written.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

/// What went wrong between two who wanted to speak TLS, where that is what went wrong.
pub fn problem(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "its certificate is signed by nobody who is trusted; name the authority with --ca"
                .to_owned(),
        ),
        rustls::Error::InvalidMessage(_) => Some("no TLS is spoken there; try ws://".to_owned()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_and_a_host_without_a_name_are_refused() {
        for (pem, part) in [
            ("no PEM", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "cannot be read"),
        ] {
            let error = Authorities::read(pem.as_bytes()).err().unwrap_or_default();
            assert!(error.contains(part), "{error}");
        }
        let public = Authorities::public();
        assert!(Trust::new("hub.example.com", &public).is_ok());
        assert!(Trust::new("::1", &public).is_ok());
        let error = Trust::new("a b", &public).expect_err("no name");
        assert!(error.contains("a b is no name"), "{error}");
    }

    #[test]
    fn problems_are_told_with_what_to_do() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let told = problem(&io::Error::new(io::ErrorKind::InvalidData, unknown));
        assert!(told.is_some_and(|told| told.contains("--ca")));
        assert_eq!(problem(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
