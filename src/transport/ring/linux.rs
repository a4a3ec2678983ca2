//! Many sends by one `io_uring_enter`.
//!
//! It holds all unsafe code of the hub. The kernel reads the bytes of a send at a time that no
//! lifetime knows of; here that time is always within the call that borrows them.

use std::io;
use std::mem::zeroed;

use io_uring::{IoUring, opcode, squeue, types};
use nix::libc::msghdr;
use nix::sys::socket::MsgFlags;
use smallvec::SmallVec;

use super::super::frame_writer::SEND_FLAGS;
use super::{MAX_SENDS, SocketWrite};

/// One thread's way into the kernel.
pub(in super::super) struct Ring {
    ring: IoUring,
    /// Whether a call did not come to its end. What it queued may be queued still, and points to what
    /// is gone: nothing is submitted any more.
    spent: bool,
}

// === impl Ring ===

impl Ring {
    /// Opens a ring for the calling thread; no other one may send by it.
    pub(in super::super) fn open() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(u32::try_from(MAX_SENDS).unwrap_or(u32::MAX))?;
        Ok(Self { ring, spent: false })
    }

    /// Sends to each socket what it takes at once; the first [`MAX_SENDS`] are tried. `taken` gets
    /// the bytes of each. 0 is whatever a send of its own would find out: no room, a broken
    /// connection, not tried.
    ///
    /// # Errors
    /// Where the kernel does not go on. What it has sent is in `taken`, and the ring sends nothing
    /// any more.
    #[expect(unsafe_code, reason = "there is no safe way to hand bytes to a ring")]
    pub(in super::super) fn send_each(
        &mut self,
        sends: &[SocketWrite<'_>],
        taken: &mut [usize; MAX_SENDS],
    ) -> io::Result<()> {
        taken.fill(0);
        if std::mem::replace(&mut self.spent, true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let heads: SmallVec<[_; MAX_SENDS]> = sends.iter().take(MAX_SENDS).map(head).collect();
        let mut queue = self.ring.submission();
        for (index, (send, head)) in (0..).zip(sends.iter().zip(&heads)) {
            let entry = entry(send, head).user_data(index);
            // SAFETY: slices, heads and bytes stay where they are until this function returns, and that
            // is not before every send that the kernel has taken is done. What the kernel has not
            // taken by then it never gets: a ring whose call did not come to its end is spent.
            if unsafe { queue.push(&entry) }.is_err() {
                break;
            }
        }
        let queued = queue.len();
        drop(queue);
        self.finish(queued, taken)?;
        self.spent = false;
        Ok(())
    }

    /// Submits what is queued, and comes back when all of it that the kernel has taken is done.
    fn finish(&mut self, queued: usize, taken: &mut [usize; MAX_SENDS]) -> io::Result<()> {
        let (mut submitted, mut done) = (0, 0);
        while done < queued {
            let result = self.ring.submit_and_wait(queued - done);
            submitted += result.as_ref().unwrap_or(&0);
            for completion in self.ring.completion() {
                done += 1;
                let index = usize::try_from(completion.user_data()).ok();
                if let Some(taken) = index.and_then(|index| taken.get_mut(index)) {
                    *taken = usize::try_from(completion.result()).unwrap_or(0);
                }
            }
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if submitted == done => return Err(error),
                // The kernel may still read what its caller borrows, and does not say until when. No
                // send waits, so it never comes to this; to go on would be worse than to end.
                Err(_) => std::process::abort(),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// A send that does not wait. One slice needs no head, which costs the kernel less.
fn entry(&(socket, slices): &SocketWrite<'_>, head: &msghdr) -> squeue::Entry {
    let flags = (MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | SEND_FLAGS).bits();
    let socket = types::Fd(socket);
    if let [only] = slices {
        let length = u32::try_from(only.len()).unwrap_or(u32::MAX);
        opcode::Send::new(socket, only.as_ptr(), length).flags(flags).build()
    } else {
        opcode::SendMsg::new(socket, head).flags(flags.cast_unsigned()).build()
    }
}

/// What `sendmsg(2)` reads of a send.
#[expect(unsafe_code, reason = "some systems give the type fields that cannot be named")]
fn head((_, slices): &SocketWrite<'_>) -> msghdr {
    // SAFETY: a plain structure of C, for which zeros mean that nothing is there.
    let mut head: msghdr = unsafe { zeroed() };
    // An `IoSlice` is an `iovec`, by its documentation; the kernel only reads it.
    head.msg_iov = slices.as_ptr().cast_mut().cast();
    head.msg_iovlen = slices.len() as _;
    head
}
