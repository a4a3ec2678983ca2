//! The rules for settings, read from flags.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::*;
use protocol::role::Role;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn read(flags: &[&str]) -> Config {
    Config::from_flags(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
}

/// The variable in the error.
fn blamed(flags: &[&str]) -> String {
    let error = Config::from_flags(flags).expect_err("is refused");
    assert!(!error.to_string().contains('\n'), "{error}");
    error.variable
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let config = read(&[]);
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.admin_bind, None);
    assert!(config.server.workers >= 1);
    assert_eq!(config.server.allowed_origins, Origins::Any);
    assert_eq!(config.server.trusted_proxies, Networks::default());
    assert_eq!(config.server.connect_timeout, Duration::from_secs(10));
    assert!(config.server.allow_query_token && config.server.max_connections >= 1);
    assert_eq!(config.database.url, DatabaseUrl::Sqlite("./data/orderhub.sqlite3".into()));
    assert_eq!((config.database.pool_size, config.database.auto_migrate), (4, true));
    let cluster = &config.cluster;
    assert!(cluster.redis_url.is_none() && cluster.redis_ca.is_none());
    assert_eq!((cluster.redis_prefix.as_str(), &cluster.node_name), ("orderhub", &None));
    assert_eq!(config.auth.leeway, Duration::from_secs(5));
    assert_eq!(config.auth.development_secret.as_deref(), Some(Path::new("./data/jwt-secret")));
    assert_eq!(config.auth.secret, None);
    let limits = &config.limits;
    assert_eq!((limits.max_connections_per_user, limits.max_rooms_per_connection), (100, 50));
    assert_eq!(limits.max_message_bytes, 65_536);
    assert_eq!((limits.events_per_second, limits.events_burst), (20, 40));
    assert_eq!((limits.chat_per_second, limits.chat_burst), (5, 10));
    assert_eq!((limits.joins_per_second, limits.joins_burst), (20, 300));
    assert_eq!((limits.logins_per_second, limits.logins_burst), (5, 200));
    assert_eq!((limits.reads_per_second, limits.reads_burst), (20, 300));
    assert_eq!((limits.outbox_bytes, limits.outbox_messages), (262_144, 512));
    assert_eq!(limits.ping_interval, Duration::from_secs(25));
    assert_eq!(limits.pong_timeout, Duration::from_secs(20));
    assert_eq!(limits.send_timeout, Duration::from_secs(20));
    assert_eq!(config.rooms.join_policy, JoinPolicy::Members);
    assert_eq!(config.rooms.resume, Duration::from_secs(120));
    assert_eq!(config.rooms.presence_grace, Duration::from_secs(15));
    assert_eq!(config.rooms.room_idle, Duration::from_secs(60));
    assert_eq!(Vec::from_iter(&config.rooms.terminal_statuses), ["CANCELLED", "DELIVERED"]);
    assert_eq!(config.rooms.chat_open, Duration::from_secs(86_400));
    assert_eq!(config.rooms.trail_interval, Duration::from_secs(10));
    assert_eq!(config.rooms.location_retention, Duration::from_secs(86_400));
    let webhooks = &config.webhooks;
    assert_eq!((webhooks.file.as_ref(), webhooks.concurrency), (None, 16));
    assert_eq!((webhooks.max_rows, webhooks.stale_after), (1_000_000, Duration::from_secs(60)));
    let waits = (1..=8).map(|failures| webhooks.retry_schedule.wait(failures, 0.5));
    let waits: Vec<_> = waits.map(|wait| wait.map(|wait| wait.as_secs())).collect();
    let hours = |hours: u64| Some(hours * 3600);
    let long = [hours(2), hours(5), hours(10), hours(14), None];
    assert_eq!(waits, [&[Some(5), Some(300), Some(1800)], &long[..]].concat());
    assert_eq!((config.drain.delay, config.drain.drain), (Duration::ZERO, Duration::from_secs(5)));
    assert_eq!((config.log.filter.as_str(), config.log.format), ("info", LogFormat::Text));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn a_value_that_cannot_be_read_is_refused_by_the_name_of_its_variable() {
    for (flag, value, variable) in [
        ("bind", "localhost:8080", "BIND_ADDR"),
        ("bind", "127.0.0.1", "BIND_ADDR"),
        ("bind", "", "BIND_ADDR"),
        ("data-dir", "", "DATA_DIR"),
        ("workers", "0", "WORKERS"),
        ("workers", "two", "WORKERS"),
        ("database-url", "mysql://x/y", "DATABASE_URL"),
        ("database-pool", "1", "DATABASE_POOL"),
        ("auto-migrate", "maybe", "AUTO_MIGRATE"),
        ("redis-url", "127.0.0.1:6379", "REDIS_URL"),
        ("redis-url", "redis://h:0", "REDIS_URL"),
        ("redis-url-file", "/no/such/file", "REDIS_URL_FILE"),
        ("redis-prefix", "a{b}", "REDIS_PREFIX"),
        ("redis-prefix", "", "REDIS_PREFIX"),
        ("redis-ca", "ca.pem", "REDIS_CA"),
        ("node-name", "two words", "NODE_NAME"),
        ("jwt-secret", "short", "JWT_SECRET"),
        ("jwt-secret", "", "JWT_SECRET"),
        ("jwt-secret-file", "/no/such/file", "JWT_SECRET_FILE"),
        ("jwt-public-key", "/no/such/file", "JWT_PUBLIC_KEY"),
        ("jwt-secret-previous", "short", "JWT_SECRET_PREVIOUS"),
        ("jwt-secret-previous-file", "/no/such/file", "JWT_SECRET_PREVIOUS_FILE"),
        ("jwt-jwks", "", "JWT_JWKS"),
        ("jwt-jwks", "http://id.example/jwks.json", "JWT_JWKS"),
        ("jwt-jwks", "http://localhost.example/jwks.json", "JWT_JWKS"),
        ("jwt-jwks", "http://127.0.0.1@id.example/jwks.json", "JWT_JWKS"),
        ("jwt-jwks", "https://me:pw@id.example/jwks.json", "JWT_JWKS"),
        ("jwt-jwks", "https:///jwks.json", "JWT_JWKS"),
        ("jwt-jwks", "file:///etc/jwks.json", "JWT_JWKS"),
        ("jwt-jwks", "ftp://127.0.0.1/x", "JWT_JWKS"),
        ("jwt-jwks-ca", "ca.pem", "JWT_JWKS_CA"),
        ("api-keys-file", "", "API_KEYS_FILE"),
        ("webhooks-file", "", "WEBHOOKS_FILE"),
        ("webhook-concurrency", "0", "WEBHOOK_CONCURRENCY"),
        ("webhook-retry-schedule", "5s,often", "WEBHOOK_RETRY_SCHEDULE"),
        ("webhook-max-rows", "0", "WEBHOOK_MAX_ROWS"),
        ("stale-after-secs", "86401", "STALE_AFTER_SECS"),
        ("jwt-issuer", "", "JWT_ISSUER"),
        ("jwt-leeway-secs", "301", "JWT_LEEWAY_SECS"),
        ("jwt-leeway-secs", "-1", "JWT_LEEWAY_SECS"),
        ("jwt-user-claim", "exp", "JWT_USER_CLAIM"),
        ("jwt-role-map", "COURIER", "JWT_ROLE_MAP"),
        ("jwt-role-map", "COURIER=boss", "JWT_ROLE_MAP"),
        ("jwt-role-map", "A=driver,A=support", "JWT_ROLE_MAP"),
        ("jwt-role-map", "=driver", "JWT_ROLE_MAP"),
        ("join-policy", "closed", "JOIN_POLICY"),
        ("allow-query-token", "1", "ALLOW_QUERY_TOKEN"),
        ("allowed-origins", "app.example.com", "ALLOWED_ORIGINS"),
        ("trusted-proxies", "10.0.0.0/33", "TRUSTED_PROXIES"),
        ("max-connections", "0", "MAX_CONNECTIONS"),
        ("max-connections-per-user", "0", "MAX_CONNECTIONS_PER_USER"),
        ("max-message-bytes", "64K", "MAX_MESSAGE_BYTES"),
        ("events-burst", "0", "EVENTS_BURST"),
        ("chat-burst", "0", "CHAT_BURST"),
        ("joins-burst", "0", "JOINS_BURST"),
        ("logins-burst", "0", "LOGINS_BURST"),
        ("reads-burst", "0", "READS_BURST"),
        ("outbox-bytes", "8192", "OUTBOX_BYTES"),
        ("pong-timeout-ms", "25001", "PONG_TIMEOUT_MS"),
        ("ping-interval-ms", "0", "PING_INTERVAL_MS"),
        ("send-timeout-ms", "1e3", "SEND_TIMEOUT_MS"),
        ("resume-secs", "3601", "RESUME_SECS"),
        ("resume-secs", "2m", "RESUME_SECS"),
        ("drain-secs", "5s", "DRAIN_SECS"),
        ("terminal-statuses", "DONE,", "TERMINAL_STATUSES"),
        ("order-statuses", "new", "ORDER_STATUSES"),
        ("order-statuses", "", "ORDER_STATUSES"),
        ("location-visible-statuses", "ON THE WAY", "LOCATION_VISIBLE_STATUSES"),
        ("admin-bind", "127.0.0.1:8080", "ADMIN_BIND"),
        ("log-filter", "orderhub=loud", "RUST_LOG"),
        ("log-format", "xml", "LOG_FORMAT"),
    ] {
        assert_eq!(blamed(&[&format!("--{flag}={value}")]), variable, "{value:?}");
    }
}

#[test]
fn an_error_names_the_allowed_values_and_repeats_no_secret() {
    let error = Config::from_flags(["--workers", "many"]).expect_err("is refused");
    let said = "WORKERS: \"many\" is refused, it must be a whole number from 1 to 1024";
    assert_eq!(error.to_string(), said);
    for flags in [
        ["--jwt-secret", "hunter2"],
        ["--jwt-secret-previous", "hunter2"],
        ["--database-url", "pg://me:hunter2@db/x"],
        ["--redis-url", "redis://me:hunter2@h:0"],
        ["--redis-url", "redis://hunter2@h"],
    ] {
        let error = Config::from_flags(flags).expect_err("is refused").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(!format!("{:?}", read(&["--jwt-secret", SECRET])).contains(SECRET));
}

#[test]
fn an_unknown_flag_is_refused() {
    assert_eq!(blamed(&["--nonsense"]), "flags");
}

#[test]
fn zero_switches_off_only_documented_settings() {
    let zero = ["--events-per-second=0", "--events-burst=0", "--chat-per-second=0"];
    let config = read(&[&zero[..], &["--resume-secs=0"]].concat());
    assert_eq!((config.limits.events_per_second, config.limits.chat_per_second), (0, 0));
    assert_eq!(config.rooms.resume, Duration::ZERO);
    for flag in ["max-rooms-per-connection", "outbox-messages", "connect-timeout-ms"] {
        assert!(Config::from_flags([format!("--{flag}=0")]).is_err(), "{flag}");
    }
}

#[test]
fn a_hub_that_others_can_reach_needs_a_key_of_its_own() {
    assert_eq!(blamed(&["--bind=0.0.0.0:80"]), "JWT_SECRET");
    assert_eq!(blamed(&["--bind=[::]:80"]), "JWT_SECRET");
    assert_eq!(blamed(&["--admin-bind=10.0.0.1:81"]), "JWT_SECRET");
    for bind in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:80"] {
        assert!(read(&["--bind", bind]).auth.development_secret.is_some());
    }
    let config = read(&["--bind=0.0.0.0:80", "--jwt-secret", SECRET]);
    assert_eq!(config.auth.development_secret, None);
    assert!(!config.server.allow_query_token);
    let config =
        read(&["--bind=0.0.0.0:80", "--jwt-secret", SECRET, "--allow-query-token", "true"]);
    assert!(config.server.allow_query_token && config.warnings().len() == 1);
}

#[test]
fn the_demo_is_for_loopback_unless_it_is_set() {
    let demo = |flags: &[&str]| {
        let config = read(flags);
        (config.server.demo, config.auth.development_secret.is_some())
    };
    assert_eq!(demo(&[]), (true, true));
    assert_eq!(demo(&["--demo=false"]), (false, true));
    assert_eq!(demo(&["--jwt-secret", SECRET]), (true, false));
    assert_eq!(demo(&["--bind=0.0.0.0:80", "--jwt-secret", SECRET]), (false, false));
    assert_eq!(demo(&["--admin-bind=0.0.0.0:80", "--jwt-secret", SECRET]), (false, false));
    assert_eq!(demo(&["--bind=0.0.0.0:80", "--demo=true"]), (true, true));
    assert_eq!(blamed(&["--bind=0.0.0.0:80", "--demo=false"]), "JWT_SECRET");
    for other in [
        "--join-policy=open",
        "--trusted-proxies=127.0.0.1",
        "--database-url=postgres://u@h/d",
        "--jwt-secret-previous=0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(blamed(&["--bind=0.0.0.0:80", "--demo=true", other]), "DEMO", "{other}");
    }
    let warnings = read(&["--bind=0.0.0.0:80", "--demo=true"]).warnings();
    assert!(warnings.iter().any(|warning| warning.starts_with("DEMO=true")), "{warnings:?}");
    assert_eq!(read(&[]).warnings(), Vec::<String>::new());
}

#[test]
fn the_demo_is_not_served_by_a_hub_that_is_used_in_earnest() {
    assert!(read(&[]).serves_demo());
    let previous = "--jwt-secret-previous=0123456789abcdef0123456789abcdef";
    for flags in [
        &["--demo=false"][..],
        &["--jwt-secret", SECRET],
        &["--join-policy=open"],
        &["--demo=true", "--join-policy=open"],
        &["--trusted-proxies=127.0.0.1"],
        &["--demo=true", "--trusted-proxies=127.0.0.1"],
        &["--api-keys-file=keys.toml"],
        &[previous],
    ] {
        assert!(!read(flags).serves_demo(), "{flags:?}");
    }
}

#[test]
fn keys_may_come_from_a_file_or_an_address_that_is_safe() {
    for (text, is_file) in [
        ("keys/jwks.json", true),
        ("https://id.example/.well-known/jwks.json?tenant=7", false),
        ("http://127.0.0.1:4000/jwks", false),
        ("http://localhost/jwks", false),
        ("http://[::1]:4000/jwks", false),
    ] {
        let auth = read(&["--bind=0.0.0.0:80", "--jwt-jwks", text]).auth;
        let expected =
            if is_file { JwksSource::File(text.into()) } else { JwksSource::Url(text.to_owned()) };
        assert_eq!(auth.jwks, Some(expected));
        assert_eq!(auth.development_secret, None, "a key of its own");
    }
}

#[test]
fn the_secret_of_before_is_no_key_of_its_own() {
    let previous = ["--jwt-secret-previous", SECRET];
    assert_eq!(blamed(&[&previous[..], &["--bind=0.0.0.0:80"]].concat()), "JWT_SECRET");
    let auth = read(&previous).auth;
    assert_eq!(auth.previous_secret, Some(Secret::new(SECRET)));
    assert!(auth.secret.is_none() && auth.development_secret.is_some());
}

#[test]
fn open_rooms_are_warned_of() {
    let warnings = read(&["--join-policy=open"]).warnings();
    assert!(warnings.iter().any(|text| text.starts_with("JOIN_POLICY")), "{warnings:?}");
}

#[test]
fn statuses_that_no_order_can_have_are_found() {
    let visible = "--location-visible-statuses=PICKED_UP";
    assert_eq!(blamed(&["--order-statuses=NEW,DONE", visible]), "LOCATION_VISIBLE_STATUSES");
    let known = "--order-statuses=NEW,PICKED_UP,DELIVERED";
    assert!(read(&[known, visible]).rooms.location_visible_statuses.is_some());
    let warned = |flags: &[&str]| {
        read(flags).warnings().iter().any(|text| text.starts_with("TERMINAL_STATUSES"))
    };
    assert!(warned(&["--order-statuses=NEW,DONE"]));
    assert!(!warned(&["--order-statuses=NEW,DONE", "--terminal-statuses=DONE"]));
    assert!(!warned(&[known]) && !warned(&[]));
}

#[test]
fn role_maps_and_statuses_may_have_spaces() {
    let config = read(&["--jwt-role-map", "COURIER=driver, AGENT = support"]);
    let roles = ["courier", "AGENT"].map(|name| config.auth.role_map.role(name));
    assert_eq!(roles, [Some(Role::Driver), Some(Role::Support)]);
    assert!(read(&["--terminal-statuses", "A, B"]).rooms.terminal_statuses.contains("B"));
}

#[test]
fn secrets_may_come_from_files_without_the_line_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, format!("{SECRET}\r\n")).expect("writes");
    let config = read(&["--jwt-secret-file", path]);
    assert_eq!(config.auth.secret, Some(Secret::new(SECRET)));
    assert_eq!(blamed(&["--jwt-secret-file", path, "--jwt-secret", SECRET]), "JWT_SECRET");
    fs::write(&file, format!("\u{feff}{SECRET}\n")).expect("writes");
    let config = read(&["--jwt-secret-file", path]);
    assert_eq!(config.auth.secret, Some(Secret::new(SECRET)), "without a byte-order mark");
    fs::write(&file, "postgres://hub:pw@db/orders\n").expect("writes");
    let config = read(&["--database-url-file", path]);
    let url = DatabaseUrl::Postgres("postgres://hub:pw@db/orders".into());
    assert_eq!(config.database.url, url);
    fs::write(&file, "\n").expect("writes");
    assert_eq!(blamed(&["--jwt-secret-file", path]), "JWT_SECRET_FILE");
}

#[test]
fn postgres_needs_a_connection_more() {
    let url = "--database-url=postgres://db/orders";
    assert_eq!(blamed(&[url, "--database-pool=2"]), "DATABASE_POOL");
    assert_eq!(read(&["--database-pool=2"]).database.pool_size, 2);
    assert_eq!(read(&[url]).database.pool_size, 4);
}

#[test]
fn redis_is_for_hubs_that_share_a_postgresql() {
    let shared = "--database-url=postgres://db/orders";
    assert_eq!(blamed(&["--redis-url=redis://cache/1"]), "REDIS_URL");
    assert_eq!(blamed(&["--redis-ca=ca.pem", shared]), "REDIS_CA");
    assert_eq!(blamed(&["--redis-url=redis://cache", "--redis-ca=ca.pem", shared]), "REDIS_CA");
    let config = read(&["--redis-url=rediss://cache/1", "--redis-ca=ca.pem", shared]);
    assert_eq!(config.cluster.redis_prefix, "orderhub");
    assert_eq!(read(&["--redis-prefix=staging", shared]).cluster.redis_prefix, "staging");
}

#[test]
fn the_development_secret_is_made_once_and_read_afterwards() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("a/data");
    let flags = ["--data-dir", data.to_str().expect("UTF-8")];
    let mut config = read(&flags);
    assert!(!data.exists(), "reading the settings made something");
    config.read_secret().expect("nothing there yet is no error");
    assert_eq!(config.auth.secret, None);
    config.prepare().expect("makes it");
    let secret = config.auth.secret.clone().expect("a secret");
    assert_eq!(secret.expose().len(), 64);
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("jwt-secret"))), (0o700, 0o600));
    assert_eq!(fs::read_dir(&data).expect("a directory").count(), 1, "a draft was left behind");
    let mut again = read(&flags);
    again.prepare().expect("reads it");
    assert_eq!(again.auth.secret, Some(secret));
    fs::write(data.join("jwt-secret"), "short").expect("writes");
    let error = read(&flags).prepare().expect_err("is refused");
    assert!(error.variable.starts_with("DATA_DIR"), "{error}");
}

#[test]
fn no_directory_is_created_that_is_not_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let flags = ["--data-dir", data.to_str().expect("UTF-8"), "--jwt-secret", SECRET];
    let database = ["--database-url", "postgres://db/orders"];
    read(&[flags.as_slice(), &database].concat()).prepare().expect("good");
    assert!(!data.exists());
    read(&flags).prepare().expect("good");
    assert_eq!(fs::read_dir(&data).expect("made for the database").count(), 0);
}

#[test]
fn hubs_that_start_together_agree_on_one_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let flags = ["--data-dir", data.to_str().expect("UTF-8")];
    let prepare = || {
        let mut config = read(&flags);
        config.prepare().expect("makes or reads it");
        config.auth.secret.expect("a secret").expose().to_owned()
    };
    let secrets: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let hubs: Vec<_> = (0..8).map(|_| scope.spawn(prepare)).collect();
        hubs.into_iter().map(|hub| hub.join().expect("no panic")).collect()
    });
    assert_eq!(secrets.len(), 1);
}
