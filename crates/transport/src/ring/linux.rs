//! Many sends by one `io_uring_enter`.
//!
//! This file holds all unsafe code of the workspace. The kernel reads the bytes of a send at a time that
//! no lifetime covers; here that time always lies within the call that borrows the bytes.

use std::io;
use std::mem::zeroed;

use io_uring::{IoUring, opcode, squeue, types};
use nix::libc::msghdr;
use nix::sys::socket::MsgFlags;
use smallvec::SmallVec;

use super::super::frame_writer::SEND_FLAGS;
use super::{MAX_SENDS, SocketWrite};

/// The ring of one thread.
pub(crate) struct Ring {
    ring: IoUring,
    /// Whether a call failed before its end. Its sends may still be queued and point to freed
    /// memory, so nothing is submitted any more.
    spent: bool,
}

// === impl Ring ===

impl Ring {
    /// Opens a ring for the calling thread. No other thread may send with it.
    pub(crate) fn open() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(u32::try_from(MAX_SENDS).unwrap_or(u32::MAX))?;
        Ok(Self { ring, spent: false })
    }

    /// Sends to each socket what it takes without waiting; only the first [`MAX_SENDS`] are tried.
    /// Sets `taken` to the bytes that each took. 0 means no room, a broken connection, or not
    /// tried; a single send finds out which.
    ///
    /// # Errors
    /// Where the kernel fails. `taken` holds what it has sent, and the ring sends nothing any more.
    #[expect(unsafe_code, reason = "there is no safe way to hand bytes to a ring")]
    pub(crate) fn send_each(
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
            // SAFETY: slices, heads and bytes stay in place until this function returns, which is
            // after every send that the kernel has taken is done. The kernel never gets a send that
            // it has not taken by then: a ring whose call failed is spent.
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

    /// Submits what is queued. Returns when every send that the kernel has taken is done.
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
                // The kernel may still read borrowed memory, for an unknown time. No send waits, so
                // this does not happen; going on would be worse than aborting.
                Err(_) => std::process::abort(),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// A send that does not wait. A single slice needs no head, which is cheaper for the kernel.
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

/// The head of a send, as `sendmsg(2)` reads it.
#[expect(unsafe_code, reason = "some systems give the type fields that cannot be named")]
fn head((_, slices): &SocketWrite<'_>) -> msghdr {
    // SAFETY: a plain C structure, in which zeros mean absent.
    let mut head: msghdr = unsafe { zeroed() };
    // An `IoSlice` has the layout of an `iovec`, by its documentation. The kernel only reads it.
    head.msg_iov = slices.as_ptr().cast_mut().cast();
    head.msg_iovlen = slices.len() as _;
    head
}
