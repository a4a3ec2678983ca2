//! Which pages may poll.

use orderhub::protocol::socketio::engine::PING;
use reqwest::Method;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};

use super::support::*;

const PAGE: &str = "https://app.example.com";

#[test]
fn a_page_that_is_allowed_polls_and_posts() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        session.outbox.push(text(PING)).expect("open");
        let http = reqwest::Client::new();
        let handshake = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr);
        for request in
            [http.get(handshake), http.get(poller.url()), http.post(poller.url()).body("4x")]
        {
            let answer = within(request.header(ORIGIN, PAGE).send()).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        }
        let preflight = http
            .request(Method::OPTIONS, poller.url())
            .header(ORIGIN, PAGE)
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization, content-type");
        let answer = within(preflight.send()).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let allowed = answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS].to_str().expect("text");
        assert!(allowed.contains("authorization") && allowed.contains("content-type"));
    });
}

#[test]
fn other_pages_are_refused_and_the_hubs_own_is_not() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        let http = reqwest::Client::new();
        for origin in ["https://evil.example.com", "null"] {
            let poll = http.get(poller.url()).header(ORIGIN, origin);
            assert_eq!(send(poll).await, refusal(4));
        }
        session.outbox.push(text("4hello")).expect("open");
        let own = format!("http://{}", server.addr);
        let poll = http.get(poller.url()).header(ORIGIN, own);
        assert_eq!(send(poll).await, (200, "4hello".to_owned()));
    });
}
