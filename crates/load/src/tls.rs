//! TLS to the hub, or to the proxy before it.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The authorities that may certify a hub.
#[derive(Clone)]
pub struct Authorities {
    roots: RootCertStore,
    /// The authorities of a file; none for the public ones.
    own: Option<Vec<CertificateDer<'static>>>,
}

/// The authorities of a run, and the name that the hub's certificate must have.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

// === impl Authorities ===

impl Authorities {
    /// The built-in public authorities, which browsers trust.
    pub fn public() -> Self {
        Self { roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }, own: None }
    }

    /// Only the authorities in a PEM file.
    ///
    /// # Errors
    /// A sentence if the file has none, or one that cannot be read.
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

    /// The same authorities for HTTP requests.
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
    /// Trusts a hub of this name that these authorities certify.
    ///
    /// # Errors
    /// A sentence if the host's name cannot be certified.
    pub fn new(host: &str, authorities: &Authorities) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| format!("{host} is no name of a host"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(authorities.roots.clone())
            .with_no_client_auth();
        // Every phone is a different one, so no connection resumes the TLS session of another.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    /// A new connection, before its handshake.
    ///
    /// # Errors
    /// If the TLS settings do not fit together.
    pub fn begin(&self) -> io::Result<ClientConnection> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        // The code that writes bounds what may wait.
        connection.set_buffer_limit(None);
        Ok(connection)
    }
}

/// The TLS error behind an I/O error, if there is one.
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
    fn problems_come_with_a_remedy() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let told = problem(&io::Error::new(io::ErrorKind::InvalidData, unknown));
        assert!(told.is_some_and(|told| told.contains("--ca")));
        assert_eq!(problem(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
