//! TLS of servers that tests start: a certificate for localhost, and who has signed it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The authority of the certificate.
pub const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/testdata/ca.pem");
/// The certificate, which is no authority.
pub const CERTIFICATE: &[u8] = include_bytes!("../hub/testdata/server.pem");
const PRIVATE_KEY: &[u8] = include_bytes!("../hub/testdata/server.key.pem");

/// What such a server speaks TLS with.
pub fn server() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(PRIVATE_KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("certificates"), key);
    Arc::new(config.expect("a certificate"))
}
