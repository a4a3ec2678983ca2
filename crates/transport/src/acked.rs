//! How many of the bytes written to a socket the peer's system has received.

use tokio::net::TcpStream;

/// The bytes that a socket's peer has received since the socket was opened, modulo 2^32. `None`
/// where the system does not count them.
#[cfg(target_os = "linux")]
pub fn acked(socket: &TcpStream) -> Option<u32> {
    if !*linux::IS_COUNTED {
        return None;
    }
    let info = nix::sys::socket::getsockopt(socket, linux::TcpInfo).ok()?;
    u32::try_from(info.bytes_acked % (1 << 32)).ok()
}

/// The bytes that a socket's peer has received since the socket was opened, modulo 2^32. `None`
/// where the system does not count them.
#[cfg(not(target_os = "linux"))]
pub fn acked(_: &TcpStream) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::LazyLock;

    use nix::{getsockopt_impl, libc, sockopt_impl};

    /// The first Linux that counts, as major and minor number.
    pub const COUNTED_SINCE: (u32, u32) = (4, 1);

    /// Whether this system counts. An older one returns less than [`Info`], and nix would panic on
    /// that.
    pub static IS_COUNTED: LazyLock<bool> = LazyLock::new(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        release.is_ok_and(|release| version(&release).is_some_and(|is| is >= COUNTED_SINCE))
    });

    pub fn version(release: &str) -> Option<(u32, u32)> {
        let (major, rest) = release.split_once('.')?;
        let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// The start of `struct tcp_info` (`linux/tcp.h`), up to the field that is read. This layout
    /// exists since Linux 4.1; libc has glibc's structure, which is older.
    #[repr(C)]
    #[derive(Debug, Clone, Copy)]
    pub struct Info {
        before: [u32; 26],
        pacing_rates: [u64; 2],
        pub bytes_acked: u64,
    }

    sockopt_impl!(
        /// The system's information on a TCP connection.
        TcpInfo,
        GetOnly,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        Info
    );
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_system_that_does_not_count_is_not_asked() {
        for (release, version) in [
            ("6.1.0-18-amd64\n", Some((6, 1))),
            ("4.1", Some((4, 1))),
            ("3.10.0-1160.el7.x86_64\n", Some((3, 10))),
            ("", None),
            ("x.y", None),
        ] {
            assert_eq!(linux::version(release), version, "{release:?}");
        }
        assert!(linux::COUNTED_SINCE > (3, 10) && *linux::IS_COUNTED);
    }

    #[tokio::test]
    async fn bytes_that_the_peer_has_received_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut near, (mut far, _)) = (near.expect("connect"), far.expect("accept"));
        let before = acked(&far).expect("known");
        far.write_all(&[b'x'; 1234]).await.expect("written");
        near.read_exact(&mut [0; 1234]).await.expect("read");
        assert_eq!(acked(&far).expect("known") - before, 1234);
    }
}
