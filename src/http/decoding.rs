//! Compressed bodies (RFC 9110, section 8.4): gzip and deflate. The decoded size is limited.

use std::io::{self, Read};

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};

/// The other codings that are registered. What else the header names is a mistake for a charset or a
/// type, and says nothing of the body.
const OTHER_CODINGS: [&str; 8] =
    ["br", "zstd", "compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi"];
/// How a gzip body begins (RFC 1952, section 2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// Bytes that are decoded at once.
const PART: usize = 16 * 1024;

/// The coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// One or more codings that the hub does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownCoding;

/// Why a body could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// The body does not have the coding of its header, or is cut off.
    Corrupt,
    /// The decoded body is over its limit.
    TooLarge,
    /// Too many bytes are in progress.
    Full,
}

// === impl Coding ===

impl Coding {
    /// The coding that the header `Content-Encoding` names.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, UnknownCoding> {
        let mut coding = Self::Identity;
        for line in headers.get_all(header::CONTENT_ENCODING) {
            for name in line.to_str().map_err(|_| UnknownCoding)?.split(',').map(str::trim) {
                coding = match (name.to_ascii_lowercase().as_str(), coding) {
                    ("gzip" | "x-gzip", Self::Identity) => Self::Gzip,
                    ("deflate", Self::Identity) => Self::Deflate,
                    ("gzip" | "x-gzip" | "deflate", _) => return Err(UnknownCoding),
                    (name, _) if OTHER_CODINGS.contains(&name) => return Err(UnknownCoding),
                    (_, coding) => coding,
                };
            }
        }
        Ok(coding)
    }

    /// The decoded bytes, at most as many as the limit. `grow` must allow more bytes before they
    /// are kept.
    pub(super) fn decode(
        self,
        bytes: Bytes,
        most: usize,
        mut grow: impl FnMut(usize) -> bool,
    ) -> Result<Bytes, Undecodable> {
        let mut reader = match self {
            _ if bytes.is_empty() => return Ok(bytes),
            Self::Identity => return Ok(bytes),
            // Some proxies decode a body and leave the header.
            Self::Gzip if !bytes.starts_with(GZIP_MAGIC) => return Ok(bytes),
            // Of one member: what follows it is ignored, and empty ones would cost time unseen.
            Self::Gzip => Box::new(GzDecoder::new(&*bytes)) as Box<dyn Read>,
            Self::Deflate if has_zlib_header(&bytes) => Box::new(ZlibDecoder::new(&*bytes)),
            // Some clients send this under that name (RFC 9110, section 8.4.1.2).
            Self::Deflate => Box::new(DeflateDecoder::new(&*bytes)),
        };
        let (mut decoded, mut part) = (Vec::new(), vec![0; PART]);
        loop {
            let length = match reader.read(&mut part) {
                Ok(0) => return Ok(decoded.into()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Undecodable::Corrupt),
            };
            if decoded.len() + length > most {
                return Err(Undecodable::TooLarge);
            }
            if !grow(length) {
                return Err(Undecodable::Full);
            }
            decoded.extend_from_slice(&part[..length]);
        }
    }
}

/// Whether the bytes begin with a zlib header (RFC 1950, section 2.2).
fn has_zlib_header(bytes: &[u8]) -> bool {
    let head = bytes.first_chunk().map_or(0, |head| u16::from_be_bytes(*head));
    head >> 8 & 0xf == 8 && head % 31 == 0 && head != 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use actix_web::http::header::{HeaderName, HeaderValue};
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn coding(lines: &[&'static str]) -> Result<Coding, UnknownCoding> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = HeaderName::from_static("content-encoding");
            headers.append(name, HeaderValue::from_static(line));
        }
        Coding::of(&headers)
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory").into()
    }

    #[test]
    fn the_coding_is_one_that_is_known() {
        for (lines, expected) in [
            (&[][..], Ok(Coding::Identity)),
            (&["identity"], Ok(Coding::Identity)),
            (&["UTF-8"], Ok(Coding::Identity)),
            (&["GZip"], Ok(Coding::Gzip)),
            (&["x-gzip, identity"], Ok(Coding::Gzip)),
            (&["", "deflate"], Ok(Coding::Deflate)),
            (&["iso-8859-1"], Ok(Coding::Identity)),
            (&["application/json, gzip"], Ok(Coding::Gzip)),
            (&["br"], Err(UnknownCoding)),
            (&["gzip, deflate"], Err(UnknownCoding)),
            (&["gzip", "gzip"], Err(UnknownCoding)),
        ] {
            assert_eq!(coding(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn compressed_bodies_are_read_and_truncated_ones_are_not() {
        let text = b"{\"lat\":1,\"lng\":2}".repeat(9);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).expect("memory");
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).expect("memory");
        for (coding, bytes) in [
            (Coding::Identity, Bytes::from(text.clone())),
            (Coding::Gzip, gzip(&text)),
            (Coding::Deflate, zlib.finish().expect("memory").into()),
            (Coding::Deflate, raw.finish().expect("memory").into()),
        ] {
            let decode = |bytes: Bytes| coding.decode(bytes, text.len(), |_| true);
            assert_eq!(decode(bytes.clone()), Ok(Bytes::from(text.clone())), "{coding:?}");
            assert_eq!(decode(Bytes::new()), Ok(Bytes::new()));
            if coding != Coding::Identity {
                let half = bytes.slice(..bytes.len() / 2);
                assert_eq!(decode(half), Err(Undecodable::Corrupt), "{coding:?}");
                let one_less = coding.decode(bytes, text.len() - 1, |_| true);
                assert_eq!(one_less, Err(Undecodable::TooLarge));
            }
        }
        let plain = Bytes::from_static(b"{}");
        assert_eq!(Coding::Gzip.decode(plain.clone(), 9, |_| true), Ok(plain), "decoded before");
        let followed: Bytes = [&*gzip(&text), b"\n"].concat().into();
        assert_eq!(Coding::Gzip.decode(followed, 999, |_| true), Ok(text.into()));
    }

    #[test]
    fn a_huge_body_is_decoded_up_to_the_limit() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 1 << 17, "{}", bomb.len());
        let mut grown = 0;
        let refused = Coding::Gzip.decode(bomb.clone(), 1 << 20, |bytes| {
            grown += bytes;
            true
        });
        assert_eq!(refused, Err(Undecodable::TooLarge));
        assert!(grown <= 1 << 20, "{grown}");
        assert_eq!(Coding::Gzip.decode(bomb, 1 << 20, |_| false), Err(Undecodable::Full));
    }
}
