//! An actor's address that many holders share, each of which may send only some of its messages.
//!
//! An `Addr` of actix costs every holder two allocations, and a `Recipient` of it a third. A
//! connection has about six holders, so they share one address.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

/// An actor that a message can be sent to.
pub trait Reachable<M>: Send + Sync
where
    M: Message + Send,
    M::Result: Send,
{
    /// Sends it past the bound of the mailbox. Nothing happens if the actor has ended.
    fn tell(&self, message: M);

    /// A recipient, for callers that wait for the answer.
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
