//! Which pages may poll.

use protocol::socketio::engine::PING;
use reqwest::Method;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};

use super::support::*;

/// A page, the same with its port, and one of Cordova.
const PAGES: [&str; 3] = ["https://app.example.com", "https://app.example.com:443", "file://"];

#[test]
fn a_page_that_is_allowed_polls_and_posts() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        session.outbox.push(text(PING)).expect("open");
        let http = reqwest::Client::new();
        let handshake = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr);
        for page in PAGES {
            for request in
                [http.get(&handshake), http.post(poller.url()).body("4x"), http.get(poller.url())]
            {
                let answer = within(request.header(ORIGIN, page).send()).await.expect("an answer");
                assert_eq!(answer.status(), 200, "{page}");
                assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], page);
            }
        }
        let preflight = http
            .request(Method::OPTIONS, poller.url())
            .header(ORIGIN, PAGES[0])
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
        for origin in ["https://evil.example.com", "null", "https://app.example.com:80"] {
            let poll = http.get(poller.url()).header(ORIGIN, origin);
            assert_eq!(send(poll).await, refusal(4));
        }
        session.outbox.push(text("4hello")).expect("open");
        let own = format!("http://{}", server.addr);
        let poll = http.get(poller.url()).header(ORIGIN, own);
        assert_eq!(send(poll).await, (200, "4hello".to_owned()));
    });
}
