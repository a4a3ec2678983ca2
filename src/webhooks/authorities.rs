//! The authorities of which one must have signed an endpoint's certificate, from a file of PEM.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The authorities in a file.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// Their certificates.
    pub roots: Arc<RootCertStore>,
    path: PathBuf,
    /// A hash of what was read.
    hash: String,
}

// === impl Authorities ===

impl Authorities {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let content = content(path).map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&content) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("it holds no certificate in PEM".to_owned());
        }
        let (roots, path) = (Arc::new(roots), path.to_owned());
        Ok(Self { roots, path, hash: hex_hash(&content) })
    }

    /// A hash of the file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether the file is another one now. One that cannot be read counts: the next read says why.
    pub fn have_changed(&self) -> bool {
        content(&self.path).ok().is_none_or(|content| hex_hash(&content) != self.hash)
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if read as u64 > MAX_FILE_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(content) }
}

/// Half of a SHA-256, in hexadecimal.
pub(super) fn hex_hash(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
