//! Settings, ids and times.

use std::net::IpAddr;

use orderhub::config::{Config, DatabaseUrl, Networks};
use proptest::prelude::*;
use protocol::ids::{OrderId, Pid};
use protocol::time::Timestamp;

use super::mutate::{config, mutated};

const FLAGS: &[&str] = &[
    "--allowed-origins=https://app.example.com,http://localhost:3000,null",
    "--trusted-proxies=10.0.0.0/8, 192.0.2.7,2001:db8::/32",
    "--jwt-role-map=courier=driver,client=customer",
    "--jwt-jwks=https://id.example.com/jwks.json",
    "--log-filter=warn,orderhub::http=debug/x,y",
    "--order-statuses=NEW,ON_THE_WAY,DONE",
    "--terminal-statuses=DONE,CANCELLED",
    "--database-url=postgres://hub:s3cret@db.example.com:5432/hub?sslmode=disable",
    "--database-url=sqlite:///var/hub.sqlite3",
    "--bind=127.0.0.1:8080",
    "--max-connections=10000",
    "--resume-secs=120",
    "--allow-query-token=true",
    "--join-policy=members",
];

const WORDS: &[&str] = &["://", "=driver", "::", "/129", "--", "*", "65536", ",,", ":memory:"];

const URLS: &[&str] = &[
    "postgres://hub:PASSWORD@db.example.com:5432/hub?sslmode=disable",
    "postgres://h/d?password=PASSWORD",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_setting_is_read_or_named(flag in mutated(FLAGS, WORDS)) {
        let flags = ["--jwt-secret", "0123456789abcdef0123456789abcdef", flag.as_str()];
        if let Err(error) = Config::from_flags(flags) {
            let text = error.to_string();
            prop_assert!(!text.is_empty() && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown(
        url in proptest::sample::select(URLS), password in "[!-~]{1,20}#[!-~]{1,20}",
    ) {
        let text = url.replace("PASSWORD", &password);
        let Ok(url) = text.parse::<DatabaseUrl>() else { return Ok(()) };
        for shown in [url.to_string(), format!("{url:?}")] {
            prop_assert!(!shown.contains(&password), "{shown}");
        }
    }

    #[test]
    fn a_database_is_a_file_or_a_server(text in mutated(URLS, &["sqlite:", "@", ":memory:"])) {
        match text.parse::<DatabaseUrl>() {
            Ok(DatabaseUrl::Sqlite(path)) => prop_assert!(text.ends_with(path.to_str().expect("text"))),
            Ok(DatabaseUrl::Postgres(url)) => prop_assert_eq!(url, text),
            Err(_) => {}
        }
    }

    #[test]
    fn a_network_holds_its_first_address_and_no_address_beside_it(
        address in any::<IpAddr>(), prefix in 0_u32..=128,
    ) {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let network = format!("{address}/{prefix}").parse::<Networks>();
        prop_assert_eq!(network.is_ok(), prefix <= width);
        let Ok(network) = network else { return Ok(()) };
        prop_assert!(network.contains(address));
        // The last bit of the prefix is another one.
        let IpAddr::V4(v4) = address else { return Ok(()) };
        if let Some(shift) = width.checked_sub(prefix).filter(|_| prefix > 0) {
            prop_assert!(!network.contains(IpAddr::V4((v4.to_bits() ^ (1 << shift)).into())));
        }
    }

    #[test]
    fn an_id_is_kept_as_it_is_or_refused(text in mutated(&["order-1", "a.b_c:d~e-f", "7"], &["x"])) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:~-".contains(c);
        let good = (1..=128).contains(&text.len()) && text.chars().all(allowed);
        let read = OrderId::new(&text);
        prop_assert_eq!(read.is_ok(), good);
        if let Ok(id) = read {
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(serde_json::to_string(&id).expect("JSON"), format!("\"{text}\""));
        }
    }

    #[test]
    fn a_time_is_read_as_it_is_written(ms in -62_135_596_800_000..=253_402_214_400_000_i64) {
        let written = Timestamp::from_millis(ms).to_string();
        prop_assert_eq!(written.parse::<Timestamp>().map(Timestamp::as_millis), Ok(ms));
    }

    #[test]
    fn a_time_that_is_read_can_be_written(
        text in mutated(&["2026-05-04T12:30:00.000Z", "1969-12-31T23:59:59.999999999-11:30"], &["+99:99", "-"]),
    ) {
        if let Ok(time) = text.parse::<Timestamp>() {
            prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
        }
    }

    #[test]
    fn a_private_id_is_read_as_it_is_written(text in mutated(&["AAAAAAAAAAAAAAAAAAAAAA", "01a204e924ea75418567790cba09e05e"], &["_"])) {
        if let Ok(pid) = text.parse::<Pid>() {
            prop_assert_eq!(pid.to_string(), text);
        }
    }
}

#[test]
fn the_inputs_are_good() {
    for flag in FLAGS {
        let read = Config::from_flags(["--jwt-secret", "0123456789abcdef0123456789abcdef", flag]);
        assert!(read.is_ok(), "{flag}: {:?}", read.err());
    }
}
