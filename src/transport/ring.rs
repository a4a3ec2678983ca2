//! Many sends by one system call, through Linux's `io_uring`.
//!
//! It holds all unsafe code of the hub. The kernel reads the bytes of a send at a time that no
//! lifetime knows of; here that time is always within the call that borrows them.

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

/// Sends by one system call. More save little, and their sockets stay locked meanwhile.
pub(super) const MOST_SENDS: usize = 64;

/// What one socket is to get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Send<'a> {
    pub(super) socket: RawFd,
    pub(super) slices: &'a [IoSlice<'a>],
}

/// Whether this system lets the hub send in batches.
///
/// # Errors
/// Why it does not: kernels before 6.1 do not know how, and many a container may not.
pub fn can_batch() -> io::Result<()> {
    Ring::open().map(drop)
}

#[cfg(not(target_os = "linux"))]
pub(super) use self::elsewhere::Ring;
#[cfg(target_os = "linux")]
pub(super) use self::linux::Ring;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem::zeroed;

    use io_uring::{IoUring, opcode, squeue, types};
    use nix::libc::msghdr;
    use nix::sys::socket::MsgFlags;
    use smallvec::SmallVec;

    use super::{MOST_SENDS, Send};

    /// One thread's way into the kernel.
    pub(in super::super) struct Ring {
        ring: IoUring,
    }

    impl Ring {
        /// Opens a ring for the calling thread; no other one may send by it.
        pub(in super::super) fn open() -> io::Result<Self> {
            let ring = IoUring::builder()
                .setup_single_issuer()
                .setup_coop_taskrun()
                .setup_defer_taskrun()
                .setup_submit_all()
                .build(u32::try_from(MOST_SENDS).unwrap_or(u32::MAX))?;
            Ok(Self { ring })
        }

        /// Sends to each socket what it takes at once; the first [`MOST_SENDS`] are tried. `taken`
        /// gets the bytes of each. 0 is whatever a send of its own would find out: no room, a
        /// broken connection, not tried.
        ///
        /// # Errors
        /// Where the kernel does not go on. What it has sent is in `taken`, and the ring is of no
        /// use any more.
        pub(in super::super) fn send_each(
            &mut self,
            sends: &[Send<'_>],
            taken: &mut [usize; MOST_SENDS],
        ) -> io::Result<()> {
            let heads: SmallVec<[_; MOST_SENDS]> =
                sends.iter().take(MOST_SENDS).map(head).collect();
            let queued = self.queue(sends, &heads);
            let (mut submitted, mut done) = (0, 0);
            while done < queued {
                match self.ring.submit_and_wait(queued - done) {
                    Ok(count) => submitted += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What is still queued is dropped with the ring: nobody reads it any more.
                    Err(error) if submitted == done => return Err(error),
                    // The kernel may still read what this call borrows and does not say until when.
                    // No send waits, so it never comes to this; to go on would be worse than to end.
                    Err(_) => std::process::abort(),
                }
                for completion in self.ring.completion() {
                    done += 1;
                    let index = usize::try_from(completion.user_data()).ok();
                    if let Some(taken) = index.and_then(|index| taken.get_mut(index)) {
                        *taken = usize::try_from(completion.result()).unwrap_or(0);
                    }
                }
            }
            Ok(())
        }

        /// Queues the sends; how many have room.
        #[expect(unsafe_code, reason = "there is no safe way to hand bytes to a ring")]
        fn queue(&mut self, sends: &[Send<'_>], heads: &[msghdr]) -> usize {
            let mut queue = self.ring.submission();
            for (index, (send, head)) in (0..).zip(sends.iter().zip(heads)) {
                let entry = entry(send, head).user_data(index);
                // SAFETY: slices, heads and bytes outlive `send_each`, which alone calls this, and it
                // does not return before every send that the kernel has taken is done; what it has
                // not taken, it never reads. Nothing between here and there can panic.
                if unsafe { queue.push(&entry) }.is_err() {
                    break;
                }
            }
            queue.len()
        }
    }

    /// A send that does not wait. One slice needs no head, which costs the kernel less.
    fn entry(send: &Send<'_>, head: &msghdr) -> squeue::Entry {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let socket = types::Fd(send.socket);
        if let [only] = send.slices {
            let length = u32::try_from(only.len()).unwrap_or(u32::MAX);
            opcode::Send::new(socket, only.as_ptr(), length).flags(flags.bits()).build()
        } else {
            opcode::SendMsg::new(socket, head).flags(flags.bits().cast_unsigned()).build()
        }
    }

    /// What `sendmsg(2)` reads of a send.
    #[expect(unsafe_code, reason = "some systems give the type fields that cannot be named")]
    fn head(send: &Send<'_>) -> msghdr {
        // SAFETY: a plain structure of C, for which zeros mean that nothing is there.
        let mut head: msghdr = unsafe { zeroed() };
        // An `IoSlice` is an `iovec`, by its documentation; the kernel only reads it.
        head.msg_iov = send.slices.as_ptr().cast_mut().cast();
        head.msg_iovlen = send.slices.len() as _;
        head
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    use super::{MOST_SENDS, Send};

    /// Nothing: there is no such way here.
    pub(in super::super) enum Ring {}

    impl Ring {
        pub(in super::super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn send_each(
            &mut self,
            _sends: &[Send<'_>],
            _taken: &mut [usize; MOST_SENDS],
        ) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_socket_takes_what_it_can_and_the_rest_is_told() {
        let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().expect("a pair")).collect();
        let mut ring = match Ring::open() {
            Ok(ring) => ring,
            // A system without: then the hub does without.
            Err(error) => return assert!(can_batch().is_err(), "{error}"),
        };
        let (full, gone) = (&pairs[1].0, &pairs[2]);
        full.set_nonblocking(true).expect("set");
        while (&*full).write(&[0; 4096]).is_ok() {}
        gone.1.shutdown(std::net::Shutdown::Both).expect("shut");
        for round in 0..3_u8 {
            let (first, second) = ([b'a' + round; 60], [b'A' + round; 40]);
            let slices = [IoSlice::new(&first), IoSlice::new(&second)];
            let send = |index: usize| Send {
                socket: pairs[index].0.as_raw_fd(),
                // Some have one slice, some several.
                slices: &slices[..=index % 2],
            };
            let mut taken = [7; MOST_SENDS];
            let sends: Vec<_> = (0..5).map(send).collect();
            ring.send_each(&sends, &mut taken).expect("a ring that goes on");
            assert_eq!(taken[..6], [60, 0, 0, 100, 60, 7]);
            for index in [0, 3, 4] {
                let mut read = vec![0; taken[index]];
                (&pairs[index].1).read_exact(&mut read).expect("read");
                assert_eq!(read, [&first[..], &second[..taken[index] - 60]].concat());
            }
        }
    }

    #[test]
    fn what_is_no_socket_and_what_is_too_many_is_not_taken() {
        let Ok(mut ring) = Ring::open() else { return assert!(can_batch().is_err()) };
        let (near, far) = UnixStream::pair().expect("a pair");
        let slices = [IoSlice::new(b"x")];
        let send = Send { socket: near.as_raw_fd(), slices: &slices };
        let mut sends = vec![send; MOST_SENDS + 10];
        sends[0].socket = -1;
        let mut taken = [7; MOST_SENDS];
        ring.send_each(&sends, &mut taken).expect("a ring that goes on");
        assert_eq!((taken[0], taken[1..].iter().sum::<usize>()), (0, MOST_SENDS - 1));
        drop(near);
        let mut read = Vec::new();
        (&far).read_to_end(&mut read).expect("read");
        assert_eq!(read.len(), MOST_SENDS - 1);
        ring.send_each(&[], &mut taken).expect("nothing to do");
    }
}
