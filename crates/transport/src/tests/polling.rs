//! A connection actor and its rooms treat a client that polls like any other.

use super::*;

/// Shows when the connection has ended.
struct SessionIdGuard(Arc<AtomicBool>);

impl Drop for SessionIdGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection by long-polling, and whether it has ended.
pub(super) fn polling_pair(
    options: TransportOptions,
) -> (Inbound, Outbox, Polling, Arc<AtomicBool>) {
    let ended = Arc::new(AtomicBool::new(false));
    let id_guard = Box::new(SessionIdGuard(Arc::clone(&ended)));
    let (inbound, outbox, polling) = open_polling(&Arc::new(options), id_guard);
    (inbound, outbox, polling, ended)
}

/// The answer to a GET that need not wait.
async fn get(polling: &Polling) -> String {
    let body = polling.poll().expect("a poll").await.expect("an answer");
    String::from_utf8(body.to_vec()).expect("text")
}

/// A POST whose packets are delivered and not yet taken.
pub(super) async fn post(
    polling: &Polling,
    body: &'static str,
) -> Pin<Box<dyn Future<Output = Result<(), PollError>>>> {
    let post = polling.post().expect("no other");
    let mut delivery = Box::pin(post.deliver(Bytes::from_static(body.as_bytes())));
    let first = poll_fn(|cx| Poll::Ready(delivery.as_mut().poll(cx).is_pending())).await;
    assert!(first, "the session has not taken it");
    delivery
}

#[test]
fn without_a_poll_both_kinds_of_frames_wait_as_on_a_socket_that_takes_no_more() {
    run(async {
        let options = options();
        let (metrics, budget) = (options.metrics.clone(), Arc::clone(&options.budget));
        let (mut inbound, outbox, polling, _) = polling_pair(options);
        assert!(outbox.is_blocked());
        for n in 0..100 {
            outbox.push_latest(KEY, message(&format!("4at {n}"))).expect("open");
            outbox.push_latest(LatestKey(8), message("4elsewhere")).expect("open");
        }
        outbox.push(message("4chat")).expect("open");
        outbox.discard_latest(LatestKey(8));
        assert_eq!((outbox.backlog().frames, metrics.conflated.get()), (2, 2 * 99));
        assert_eq!(budget.waiting(), outbox.backlog().bytes);
        assert_eq!(get(&polling).await, "4at 99\u{1e}4chat");
        assert_eq!((outbox.backlog(), budget.waiting()), (Backlog::default(), 0));
        assert!(is_quiet(&mut inbound).await);
    });
}

#[test]
fn too_much_for_one_and_too_much_for_the_node_are_overruns() {
    run(async {
        let (mut inbound, outbox, polling, _) = polling_pair(options());
        while outbox.push(message("4small")).is_ok() {}
        assert_eq!(inbound.next().await, Some(Incoming::Overrun(Overrun::Messages)));
        outbox.hang_up(Some(message("4bye")), CloseCode::SLOW_READER);
        assert!(is_quiet(&mut inbound).await, "it lingers for a poll");
        assert_eq!(get(&polling).await, "4bye");
        let poll = polling.poll().expect("it lingers");
        assert_eq!(inbound.next().await, None);
        assert_eq!(poll.await, Err(PollError::Ended), "it may come back, so it hears no `1`");

        let shared = TransportOptions { budget: Arc::new(OutboxBudget::new(50_000)), ..options() };
        let (mut large_in, large, _large_polling, _) = polling_pair(shared.clone());
        let (_small_in, small, _small_polling, _) = polling_pair(shared);
        large.push(big(40_000)).expect("within");
        small.push(big(20_000)).expect("the other one pays");
        assert_eq!(large_in.next().await, Some(Incoming::Overrun(Overrun::Node)));
    });
}

#[test]
fn a_post_is_answered_when_the_session_comes_back_for_more() {
    run(async {
        let (mut inbound, _outbox, polling, _) = polling_pair(options());
        let read_pause = inbound.read_pause();
        let hold = read_pause.pause();
        let delivery = post(&polling, "4a\u{1e}bAQ==").await;
        assert!(read_pause.is_paused() && is_quiet(&mut inbound).await);
        drop(hold);
        assert_eq!(inbound.next().await, Some(Incoming::Text("4a".into())));
        assert_eq!(inbound.next().await, Some(Incoming::Binary(vec![1].into())));
        let mut delivery = delivery;
        assert!(poll_fn(|cx| Poll::Ready(delivery.as_mut().poll(cx).is_pending())).await);
        assert!(is_quiet(&mut inbound).await);
        assert_eq!(delivery.await, Ok(()));
        assert!(polling.post().is_ok());
    });
}

#[test]
fn a_post_whose_client_does_not_wait_is_handled() {
    run(async {
        let (mut inbound, _outbox, polling, _) = polling_pair(options());
        let hold = inbound.read_pause().pause();
        drop(post(&polling, "4a").await);
        assert_eq!(polling.post().err(), Some(PollError::Overlap), "a queue of one");
        drop(hold);
        assert_eq!(inbound.next().await, Some(Incoming::Text("4a".into())));
        let failed = Incoming::Failed(CloseCode::PROTOCOL_ERROR);
        assert_eq!(inbound.next().await, Some(failed));

        // A POST that is cut off before its body is whole ends the connection.
        let (mut inbound, _outbox, polling, _) = polling_pair(options());
        drop(polling.post().expect("the first"));
        assert_eq!(inbound.next().await, None);

        // A close packet ends it too.
        let (mut inbound, _outbox, polling, _) = polling_pair(options());
        drop(post(&polling, "1").await);
        assert_eq!(inbound.next().await, Some(Incoming::Text("1".into())));
    });
}

#[test]
fn a_post_is_refused_after_the_last_frames_of_the_session() {
    run(async {
        let (mut inbound, outbox, polling, _) = polling_pair(options());
        let poll = polling.poll().expect("the first");
        let mut refusal = Box::pin(polling.post().expect("no other").refuse(CloseCode::TOO_BIG));
        assert!(poll_fn(|cx| Poll::Ready(refusal.as_mut().poll(cx).is_pending())).await);
        assert_eq!(inbound.next().await, Some(Incoming::Failed(CloseCode::TOO_BIG)));
        assert_eq!(polling.post().err(), Some(PollError::Ended));
        assert!(polling.probe().is_err() && is_quiet(&mut inbound).await);
        outbox.hang_up(Some(message("4bye")), CloseCode::TOO_BIG);
        assert_eq!(poll.await, Ok(Bytes::from_static(b"4bye")));
        refusal.await;
        assert_eq!(inbound.next().await, None);
        assert_eq!(polling.poll().err(), Some(PollError::Ended));
    });
}

#[test]
fn the_first_of_two_polls_gets_the_end_of_a_silent_session() {
    run(async {
        for (last, heard) in [(None, "1"), (Some("4bye"), "4bye")] {
            let (mut inbound, outbox, polling, _) = polling_pair(options());
            let first = polling.poll().expect("the first");
            assert_eq!(polling.poll().err(), Some(PollError::Overlap));
            let failed = Incoming::Failed(CloseCode::PROTOCOL_ERROR);
            assert_eq!(inbound.next().await, Some(failed));
            outbox.hang_up(last.map(message), CloseCode::PROTOCOL_ERROR);
            assert_eq!(first.await, Ok(Bytes::from_static(heard.as_bytes())));
            assert_eq!(inbound.next().await, None);
        }
    });
}

#[test]
fn read_pauses_are_counted_and_the_last_one_lets_go() {
    run(async {
        let (mut inbound, _outbox, polling, _) = polling_pair(options());
        let read_pause = inbound.read_pause();
        let (one, two) = (read_pause.pause(), read_pause.pause());
        let _delivery = post(&polling, "4a").await;
        drop(one);
        assert!(read_pause.is_paused());
        assert!(is_quiet(&mut inbound).await);
        actix_rt::spawn(async move { drop(two) });
        assert_eq!(inbound.next().await, Some(Incoming::Text("4a".into())));
    });
}

#[test]
fn a_poll_that_is_dropped_ends_the_stream_after_what_was_posted() {
    run(async {
        let (mut inbound, outbox, polling, ended) = polling_pair(options());
        let poll = polling.poll().expect("the first");
        let delivery = post(&polling, "4last words").await;
        drop(poll);
        assert_eq!(outbox.push(message("4hello?")), Err(Closed));
        assert_eq!(polling.poll().err(), Some(PollError::Ended));
        assert_eq!(inbound.next().await, Some(Incoming::Text("4last words".into())));
        assert_eq!(inbound.next().await, None);
        assert_eq!(delivery.await, Ok(()));
        assert!(!ended.load(Ordering::Relaxed));
        drop(inbound);
        assert!(ended.load(Ordering::Relaxed));
    });
}

#[test]
fn an_empty_poll_takes_no_frames() {
    run(async {
        let (mut inbound, outbox, polling, _) = polling_pair(options());
        let poll = polling.poll().expect("the first");
        polling.probe().expect("the first").send_noop();
        drop(poll);
        assert!(is_quiet(&mut inbound).await && !outbox.is_closed());
        // With an answer on its way, a drop ends the connection.
        let poll = polling.poll().expect("the next");
        outbox.push(message("4hello")).expect("open");
        tokio::task::yield_now().await;
        drop(poll);
        assert_eq!(inbound.next().await, None);
    });
}

#[test]
fn a_session_that_dies_refuses_what_is_under_way_and_is_forgotten() {
    run(async {
        let (inbound, outbox, polling, ended) = polling_pair(options());
        let poll = polling.poll().expect("the first");
        let delivery = post(&polling, "4unread").await;
        drop(inbound);
        assert_eq!(poll.await, Err(PollError::Ended));
        assert_eq!(delivery.await, Err(PollError::Ended));
        assert!(outbox.is_closed() && ended.load(Ordering::Relaxed));
    });
}

#[test]
fn a_session_that_stops_after_finish_still_answers_the_next_poll() {
    run(async {
        let (inbound, outbox, polling, ended) = polling_pair(options());
        outbox.finish(Some(message("4last")), CloseCode::NORMAL);
        drop((inbound, outbox));
        // What the client posts now is refused at once.
        let late = polling.post().expect("it lingers").deliver(Bytes::from_static(b"4late"));
        assert_eq!(late.await, Err(PollError::Ended));
        assert_eq!(get(&polling).await, "4last");
        assert_eq!(get(&polling).await, "1", "the end has an answer of its own");
        while !ended.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        assert_eq!(polling.poll().err(), Some(PollError::Ended));
    });
}
