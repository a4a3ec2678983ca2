//! Pages of chat that clients ask for.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};

use super::{ClientRequest, OrderRoom, chat};
use crate::actors::shared::unavailable;
use crate::actors::store::PageRange;
use crate::room::policy::Action;
use protocol::client::Reply;
use protocol::events::history::{History, HistoryPage};

impl Handler<ClientRequest<History>> for OrderRoom {
    type Result = ();

    fn handle(&mut self, message: ClientRequest<History>, ctx: &mut Context<Self>) {
        let ClientRequest { session, data: history, answer, .. } = message;
        if let Err(failure) = self.authorize(session, Action::Read) {
            return answer.refuse(failure);
        }
        let page = self.read_page(range_of(&history, self.delivery.delivered()), history.limit);
        ctx.spawn(page.into_actor(self).map(move |page, _, _| match page {
            Ok(page) => {
                let messages: Vec<_> = page.messages.iter().map(chat::json).collect();
                let messages = messages.iter().map(AsRef::as_ref).collect();
                answer.ok(Reply::History(HistoryPage { messages, has_more: page.has_more }));
            }
            Err(_) => answer.refuse(unavailable("the database does not answer")),
        }));
    }
}

/// The range of a page. It ends at the last message that was sent: later ones in the database are
/// still to come as live events.
fn range_of(history: &History, delivered: i64) -> PageRange {
    match (history.before_seq, history.after_seq) {
        (_, Some(after)) => PageRange::Between { after: after.min(delivered), upto: delivered },
        (Some(before), None) => PageRange::Before(before.min(delivered + 1)),
        (None, None) => PageRange::Before(delivered + 1),
    }
}
