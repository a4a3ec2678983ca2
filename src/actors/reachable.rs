//! The address of an actor that many hold, of whom each knows only some of its messages.
//!
//! An address of actix costs every holder two allocations and a recipient of it a third. A session
//! has half a dozen holders, so they share one.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

/// Whom a message can be sent to.
pub trait Reachable<M>: Send + Sync
where
    M: Message + Send,
    M::Result: Send,
{
    /// Sends it, past the bound of the mailbox; if the actor has ended, nothing happens.
    fn tell(&self, message: M);

    /// For those who wait for the answer.
    fn recipient(&self) -> Recipient<M>;
}

impl<A, M> Reachable<M> for Addr<A>
where
    A: Actor<Context: ToEnvelope<A, M>> + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn tell(&self, message: M) {
        self.do_send(message);
    }

    fn recipient(&self) -> Recipient<M> {
        self.clone().recipient()
    }
}
