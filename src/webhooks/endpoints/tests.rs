//! Files of endpoints that are read, and those that are refused with the line.

use super::*;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn parse(text: &str) -> Result<Endpoints, String> {
    Endpoints::parse(text.as_bytes())
}

/// An entry with these lines in place of the usual ones of the same keys.
fn entry(changed: &[&str]) -> String {
    let secrets = format!("secrets = [{SECRET:?}]");
    let usual = [
        "name = \"push\"",
        "url = \"https://shop.example/hooks?key=1\"",
        &secrets,
        "events = [\"chat.*\"]",
    ];
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let mut lines: Vec<String> = usual.map(ToOwned::to_owned).to_vec();
    for change in changed {
        match lines.iter_mut().find(|line| key(line) == key(change)) {
            Some(line) => *line = (*change).to_owned(),
            None => lines.push((*change).to_owned()),
        }
    }
    format!("[[endpoints]]\n{}\n", lines.join("\n"))
}

#[test]
fn an_entry_has_a_url_and_events() {
    let endpoints = parse(&entry(&["events = [\"chat.message\", \"order.*\"]"])).expect("good");
    let push = endpoints.find("push").expect("there");
    assert_eq!(push.shown_url(), "https://shop.example/hooks");
    assert_eq!((push.timeout, push.needs_loopback()), (Duration::from_secs(5), false));
    assert!(push.events.contains(EventKind::ChatMessage));
    assert!(push.events.contains(EventKind::OrderDeleted));
    assert!(!push.events.contains(EventKind::ChatRead));
    assert!(!format!("{endpoints:?}").contains("whsec"));
    assert_eq!(parse("# none yet\n").expect("good").len(), 0);
}

#[test]
fn every_secret_signs_and_each_try_has_its_own_time() {
    let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let both = parse(&entry(&[&format!("secrets = [{other:?}, {SECRET:?}]")])).expect("good");
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let push = both.find("push").expect("there");
    let sign = |timestamp| push.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", timestamp, body);
    let signed = sign(1_649_367_553).expect("signed");
    // The example of the library's own tests.
    let known = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    assert_eq!(signed.split(' ').nth(1), Some(known));
    assert_eq!(signed.split(' ').count(), 2);
    assert_ne!(sign(1_649_367_554).expect("signed"), signed);
}

#[test]
fn another_entry_has_another_hash() {
    let hash = |text: &str| parse(text).expect("good").find("push").expect("there").entry.clone();
    let first = hash(&entry(&[]));
    assert_eq!(first, hash(&format!("# the same\n{}", entry(&[]))));
    for change in ["url = \"https://shop.example/hooks?key=2\"", "timeout_ms = 4000"] {
        assert_ne!(first, hash(&entry(&[change])), "{change}");
    }
}

#[test]
fn http_is_for_loopback_or_where_it_is_allowed() {
    for url in ["http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:9/x"] {
        let endpoints = parse(&entry(&[&format!("url = {url:?}")])).expect(url);
        assert!(endpoints.find("push").expect("there").needs_loopback());
    }
    let allowed = entry(&["url = \"http://10.0.0.7/x\"", "allow_http = true"]);
    assert!(!parse(&allowed).expect("good").find("push").expect("there").needs_loopback());
}

#[test]
fn an_invalid_entry_is_refused_with_its_line() {
    let twice = entry(&[]) + &entry(&[]);
    let many: String = (0..33).map(|n| entry(&[&format!("name = \"n{n}\"")])).collect();
    let short = format!("secrets = [\"whsec_{}\"]", STANDARD.encode([7; 23]));
    for (text, part) in [
        ("endpoints = 7".to_owned(), "line 1: "),
        ("[[endpoints".to_owned(), "line 1: "),
        (entry(&["uri = \"https://shop.example\""]), "line 6: unknown field `uri`"),
        ("[[endpoints]]\nname = \"push\"\n".to_owned(), "missing field"),
        (entry(&["name = \"a/b\""]), "line 2: the name \"a/b\" must be 1 to 64"),
        (entry(&["url = \"http://shop.example/\""]), "line 3: the url must be https"),
        (entry(&["url = \"http://localhost.example/\""]), "line 3: the url must be https"),
        (entry(&["url = \"http://127.0.0.1@shop.example/\""]), "line 3: the url must have no user"),
        (entry(&["url = \"ftp://shop.example/\""]), "line 3: the url must be an https address"),
        (entry(&["url = \"/hooks\""]), "line 3: the url must be an https address"),
        (entry(&["url = \"https://\""]), "line 3: the url "),
        (entry(&["url = \"\""]), "line 3: the url cannot be read"),
        (entry(&["secrets = []"]), "line 4: secrets must be 1 to 10"),
        (
            entry(&[&format!("secrets = {SECRET:?}")]),
            "line 4: invalid type: a text, expected a sequence",
        ),
        (entry(&[&short]), "line 4: a secret must be whsec_"),
        (entry(&["secrets = [\"C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]"]), "line 4: a secret must be"),
        (entry(&["secrets = [\"whsec_!\"]"]), "line 4: a secret must be"),
        (entry(&["events = []"]), "line 5: events is empty"),
        (entry(&["events = [\n\"chat.*\",\n\"chat.said\"]"]), "line 7: the pattern \"chat.said\""),
        (entry(&["timeout_ms = 99"]), "line 6: timeout_ms must be 100 to 60000"),
        (entry(&["timeout_ms = \"5s\""]), "line 6: invalid type"),
        (entry(&["ca = \"/no/such/file\""]), "line 6: ca /no/such/file: "),
        (entry(&["ca = \"/dev/null\""]), "line 6: ca /dev/null: it holds no certificate"),
        (twice, "line 7: the name \"push\" comes twice"),
        (many, "there are more than 32 endpoints"),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        assert!(!error.contains("C2FV") && !error.contains("whsec_!"), "{error}");
    }
    assert!(Endpoints::parse(b"\xff").is_err());
}
