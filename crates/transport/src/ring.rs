//! Many sends with one system call, where the system has one: `ring/linux.rs` uses `io_uring`.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

// The crate `io-uring` builds for a few processors only, and only for Linux; and the feature of its
// name leaves it out.
#[cfg_attr(
    all(
        feature = "io-uring",
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
    ),
    path = "ring/linux.rs"
)]
#[cfg_attr(
    not(all(
        feature = "io-uring",
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
    )),
    path = "ring/unsupported.rs"
)]
mod kernel;

pub(super) use self::kernel::Ring;

/// Sends per system call. More save little, and their sockets stay locked longer.
pub(super) const MAX_SENDS: usize = 32;

/// A socket, and the bytes to send to it.
pub(super) type SocketWrite<'a> = (RawFd, &'a [IoSlice<'a>]);

/// Checks with a real send whether this system lets the hub use `io_uring`.
///
/// # Errors
/// Why it does not: kernels before 6.1 lack what is needed, and many containers forbid it.
pub fn check_io_uring() -> io::Result<()> {
    let (near, _far) = UnixStream::pair()?;
    let mut taken = [0; MAX_SENDS];
    Ring::open()?.send_each(&[(near.as_raw_fd(), &[IoSlice::new(b"?")])], &mut taken)?;
    if taken[0] == 1 { Ok(()) } else { Err(io::Error::other("a send by it was refused")) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn each_socket_takes_what_it_can_and_the_rest_is_returned() {
        let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().expect("a pair")).collect();
        // On a system without a ring, the hub does without one.
        let Ok(mut ring) = Ring::open() else { return };
        let (full, gone) = (&pairs[1].0, &pairs[2]);
        full.set_nonblocking(true).expect("set");
        while (&*full).write(&[0; 4096]).is_ok() {}
        gone.1.shutdown(std::net::Shutdown::Both).expect("shut");
        for round in 0..3_u8 {
            let (first, second) = ([b'a' + round; 60], [b'A' + round; 40]);
            let slices = [IoSlice::new(&first), IoSlice::new(&second)];
            // Some have one slice, some several.
            let send = |index: usize| (pairs[index].0.as_raw_fd(), &slices[..=index % 2]);
            let sends: Vec<_> = (0..5).map(send).collect();
            let mut taken = [7; MAX_SENDS];
            ring.send_each(&sends, &mut taken).expect("a ring that goes on");
            assert_eq!(taken[..6], [60, 0, 0, 100, 60, 0]);
            for index in [0, 3, 4] {
                let mut read = vec![0; taken[index]];
                (&pairs[index].1).read_exact(&mut read).expect("read");
                assert_eq!(read, [&first[..], &second[..taken[index] - 60]].concat());
            }
        }
    }

    #[test]
    fn more_than_a_socket_has_room_for_is_taken_in_part() {
        let Ok(mut ring) = Ring::open() else { return };
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let long: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut taken = [0; MAX_SENDS];
        ring.send_each(&[(near.as_raw_fd(), &[IoSlice::new(&long)])], &mut taken).expect("sent");
        assert!((1..long.len()).contains(&taken[0]), "{}", taken[0]);
        drop(near);
        let mut read = Vec::new();
        far.read_to_end(&mut read).expect("read");
        assert!(read == long[..taken[0]], "the first bytes");
    }

    #[test]
    fn non_sockets_and_too_many_sockets_are_not_taken() {
        let Ok(mut ring) = Ring::open() else { return };
        let (near, far) = UnixStream::pair().expect("a pair");
        let slices = [IoSlice::new(b"x")];
        let mut sends = vec![(near.as_raw_fd(), &slices[..]); MAX_SENDS + 10];
        sends[0].0 = -1;
        let mut taken = [7; MAX_SENDS];
        ring.send_each(&sends, &mut taken).expect("a ring that goes on");
        assert_eq!((taken[0], taken[1..].iter().sum::<usize>()), (0, MAX_SENDS - 1));
        drop(near);
        let mut read = Vec::new();
        (&far).read_to_end(&mut read).expect("read");
        assert_eq!(read.len(), MAX_SENDS - 1);
        ring.send_each(&[], &mut taken).expect("nothing to do");
    }
}
