//! What phones get wrong in positions: numbers that are none, clocks that are off, bodies that are
//! compressed, cut off or of another form. A right fix beside a wrong one is never lost.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use protocol::time::Timestamp;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::fixes::{ago, at, ms_ago, post, post_raw};
use super::support::socketio::SocketIoClient;
use super::support::{Hub, token};

const PATH: &str = "/orders/o1/locations";
/// 1,024 weeks, in seconds.
const ROLLOVER: i64 = 1024 * 7 * 24 * 3600;

async fn hub() -> (Hub, String) {
    let hub = Hub::start();
    let (status, answer) =
        call(&hub, Method::PUT, "/orders/o1", json!({ "driverId": "dan" })).await;
    assert!(status < 300, "{answer}");
    (hub, token("dan", "driver", &[]))
}

/// The latitude of each point of the trail with its age in seconds, the newest last.
async fn trail(hub: &Hub) -> Vec<(f64, i64)> {
    let (_, trail) = call(hub, Method::GET, PATH, Value::Null).await;
    let points = trail["locations"].as_array().expect("points");
    let point = |point: &Value| {
        let at: Timestamp = point["recordedAt"].as_str().expect("text").parse().expect("a time");
        (point["lat"].as_f64().expect("a number"), (ms_ago(0) - at.as_millis()) / 1000)
    };
    points.iter().map(point).collect()
}

/// Asserts that points are at these latitudes and as old, to a few seconds.
fn assert_trail(found: &[(f64, i64)], expected: &[(f64, i64)]) {
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|((lat, age), (expected_lat, expected_age))| {
            (lat - expected_lat).abs() < 1e-9 && (0..15).contains(&(age - expected_age))
        });
    assert!(fits, "{found:?} instead of {expected:?}");
}

async fn metric(hub: &Hub, line: &str) -> bool {
    let text = reqwest::get(hub.url("/metrics")).await.expect("an answer").text().await;
    text.expect("text").lines().any(|found| found == line)
}

#[tokio::test]
async fn an_invalid_field_beside_the_coordinates_is_left_out_on_every_way_in() {
    let (hub, dan) = hub().await;
    let mut phone = hub.connect("dan", "driver", &[]).await;
    let mut framed = SocketIoClient::login(&hub, "dan", "driver", &[]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    for (number, odd) in [
        r#""battery":87"#,
        r#""heading":361"#,
        r#""heading":NaN,"speed":-Infinity"#,
        r#""altitude":"high","accuracy":[]"#,
        r#""recordedAt":"noon""#,
        r#""recordedAt":"2026-11-22T20:18:20""#,
    ]
    .into_iter()
    .enumerate()
    {
        for way in ["plain", "Socket.IO", "HTTP"] {
            let lat = json!(f64::from(u8::try_from(number).expect("few")) + 10.0);
            let data = format!(r#"{{"orderId":"o1","lat":{lat},"lng":13.7,{odd}}}"#);
            match way {
                "plain" => {
                    let text = format!(r#"{{"event":"driver:location","data":{data}}}"#);
                    phone.send_text(text).await;
                }
                "Socket.IO" => {
                    framed.send_text(format!("42/events,[\"driver:location\",{data}]")).await;
                }
                _ => {
                    let answer = post_raw(&hub, &dan, PATH, format!("[{data}]")).await;
                    let answer: Value = answer.json().await.expect("JSON");
                    assert_eq!(answer["accepted"], 1, "{odd}: {answer}");
                }
            }
            let heard = bob.expect("location:updated").await;
            assert_eq!(heard["lat"], lat, "{way}: {odd}");
            for name in ["battery", "heading", "speed", "altitude", "accuracy"] {
                assert_eq!(heard[name], Value::Null, "{way}: {heard}");
            }
        }
    }
}

#[tokio::test]
async fn invalid_coordinates_are_refused_for_that_fix_only_on_every_way_in() {
    let (hub, dan) = hub().await;
    let mut phone = hub.connect("dan", "driver", &[]).await;
    for place in
        [r#""lat":0,"lng":0"#, r#""lat":0.0,"lng":-0.0,"accuracy":0"#, r#""lat":NaN,"lng":1"#]
    {
        let text =
            format!(r#"{{"event":"driver:location","id":1,"data":{{"orderId":"o1",{place}}}}}"#);
        phone.send_text(text).await;
        let refused = phone.reply(1).await;
        assert_eq!(refused["error"]["code"], "invalid_payload", "{place}");
        assert_eq!(refused["error"]["field"], "lat", "{place}");
    }
    let body = r#"{"locations":[{"lat":1,"lng":13.7},{"lat":NaN,"lng":13.7},{"lat":0,"lng":0},
        {"coords":{"latitude":NaN,"longitude":NaN}},{"lat":0,"lng":0,"accuracy":8},{"lat":2,"lng":13.7}]}"#;
    let answer = post_raw(&hub, &dan, PATH, body).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.expect("JSON");
    let fields: Vec<_> = answer["rejected"].as_array().expect("a list").iter().collect();
    let fields: Vec<_> = fields.iter().map(|fix| (&fix["index"], &fix["field"])).collect();
    assert_eq!(
        fields,
        [
            (&json!(1), &json!("lat")),
            (&json!(2), &json!("lat")),
            (&json!(3), &json!("coords.latitude"))
        ]
    );
    assert_eq!(answer["accepted"], 3);
}

#[tokio::test]
async fn an_outlier_of_time_harms_no_other_fix() {
    let (hub, dan) = hub().await;
    let fix = |lat: f64, at: String| json!({ "lat": lat, "lng": 13.7, "recordedAt": at });
    let batch = json!([at(1.0, 60), fix(9.0, ago(-3600)), at(2.0, 40), at(3.0, 20)]);
    assert_eq!(post(&hub, &dan, PATH, batch).await["accepted"], 4);
    assert_trail(&trail(&hub).await, &[(1.0, 60), (2.0, 40), (3.0, 20), (9.0, 0)]);
    assert!(
        metric(&hub, "orderhub_position_times_corrected_total{reason=\"ahead\"} 1").await,
        "counted"
    );
}

#[tokio::test]
async fn an_impossible_year_becomes_the_hubs_time_and_good_fixes_stay() {
    let (hub, dan) = hub().await;
    for (number, odd) in
        ["2569-12-01T08:00:00Z", "1970-01-01T00:00:00Z", "noon", ""].into_iter().enumerate()
    {
        let order = format!("o{number}");
        call(&hub, Method::PUT, &format!("/orders/{order}"), json!({ "driverId": "dan" })).await;
        let path = format!("/orders/{order}/locations");
        let batch = json!([at(1.0, 60), { "lat": 2.0, "lng": 13.7, "recordedAt": odd }]);
        let answer = post(&hub, &dan, &path, batch).await;
        assert_eq!((&answer["accepted"], &answer["stale"]), (&json!(2), &json!(0)), "{odd}");
        let (_, trail) = call(&hub, Method::GET, &path, Value::Null).await;
        assert_eq!(trail["locations"].as_array().map(Vec::len), Some(2), "{odd}: {trail}");
        assert_eq!(trail["locations"][0]["lat"], 1.0, "{odd}");
    }
    assert!(
        metric(&hub, "orderhub_position_times_corrected_total{reason=\"impossible\"} 2").await,
        "counted"
    );
}

#[tokio::test]
async fn a_week_number_that_rolled_over_is_moved_and_counted_on_any_way() {
    let (hub, dan) = hub().await;
    let mut phone = hub.connect("dan", "driver", &[]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    let batch = json!([at(1.0, 60), at(2.0, 40 + ROLLOVER), at(3.0, 20 + 2 * ROLLOVER)]);
    assert_eq!(post(&hub, &dan, PATH, batch).await["accepted"], 3);
    assert_trail(&trail(&hub).await, &[(1.0, 60), (2.0, 40), (3.0, 20)]);
    assert_eq!(bob.expect("location:updated").await["lat"], 3.0);
    let live = json!({ "orderId": "o1", "lat": 4.0, "lng": 13.7, "recordedAt": ago(2 + ROLLOVER) });
    assert_eq!(phone.request("driver:location", live).await["accepted"], 1);
    let heard = bob.expect("location:updated").await;
    let recorded: Timestamp = heard["recordedAt"].as_str().expect("text").parse().expect("a time");
    assert!((0..15_000).contains(&(ms_ago(2) - recorded.as_millis())), "{heard}");
    assert!(
        metric(&hub, "orderhub_position_times_corrected_total{reason=\"week_rollover\"} 3").await,
        "counted"
    );
}

fn posting(hub: &Hub, bearer: &str, path: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
    let request = reqwest::Client::new().post(hub.url(&format!("/api/v1{path}")));
    request.bearer_auth(bearer).body(body.into())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn a_compressed_body_is_read_within_the_limit_and_another_coding_is_415() {
    let (hub, dan) = hub().await;
    let body = json!([at(1.0, 5)]).to_string();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body.as_bytes()).expect("memory");
    let zlib = zlib.finish().expect("memory");
    for (coding, bytes) in [
        ("gzip", gzip(body.as_bytes())),
        ("deflate", zlib),
        ("identity", body.clone().into_bytes()),
        ("utf-8", body.clone().into_bytes()),
        // Decoded on the way, by a proxy that left the header.
        ("gzip", body.clone().into_bytes()),
    ] {
        let asked = posting(&hub, &dan, PATH, bytes).header("content-encoding", coding);
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{coding}");
        assert_eq!(answer.json::<Value>().await.expect("JSON")["accepted"], 1, "{coding}");
    }
    let half = gzip(body.as_bytes());
    let half = half[..half.len() / 2].to_vec();
    for (coding, bytes, status) in [
        ("br", body.clone().into_bytes(), 415),
        ("gzip, gzip", gzip(&gzip(body.as_bytes())), 415),
        ("gzip", half, 400),
        // Of 64 MiB no more than 1 MiB is decoded.
        ("gzip", gzip(&vec![b' '; 64 << 20]), 413),
    ] {
        let asked = posting(&hub, &dan, PATH, bytes).header("content-encoding", coding);
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{coding}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let accepts = answer.headers().contains_key("accept-encoding");
        assert_eq!(accepts, status == 415, "{coding}");
    }
    // What back ends send is read the same way.
    let service = token("shop", "service", &[]);
    let (json, ndjson) = (br#"{"status":"NEW"}"#, b"{\"orderId\":\"o7\"}\n{\"orderId\":\"o8\"}\n");
    for (path, kind, body) in [
        ("/orders/o1/status", "application/json", &json[..]),
        ("/orders:batch", "application/x-ndjson", &ndjson[..]),
    ] {
        let asked = posting(&hub, &service, path, gzip(body)).header("content-encoding", "gzip");
        let answer = asked.header("content-type", kind).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_a_body_or_a_message() {
    let (hub, dan) = hub().await;
    let marked = |text: String| format!("\u{feff}{text}");
    let answer = post_raw(&hub, &dan, PATH, marked(json!([at(1.0, 5)]).to_string())).await;
    assert_eq!(answer.json::<Value>().await.expect("JSON")["accepted"], 1);
    let service = token("shop", "service", &[]);
    let lines = "{\"orderId\":\"o7\"}\n\u{feff}{\"orderId\":\"o8\"}\n".to_owned();
    let asked = posting(&hub, &service, "/orders:batch", marked(lines));
    let asked = asked.header("content-type", "application/x-ndjson");
    let results = asked.send().await.expect("an answer").text().await.expect("text");
    assert_eq!(results.matches("\"ok\":true").count(), 2, "{results}");
    let asked = posting(&hub, &service, "/orders/o1/status", marked(r#"{"status":"NEW"}"#.into()));
    let asked = asked.header("content-type", "application/json");
    assert_eq!(asked.send().await.expect("an answer").status(), 200);
    let mut plain = hub.connect("dan", "driver", &[]).await;
    plain.send_text(marked(r#"{"event":"ping","id":5}"#.into())).await;
    assert_eq!(plain.reply(5).await["ok"], true);
    let mut framed = SocketIoClient::login(&hub, "dan", "driver", &[]).await;
    framed.send_text(marked("42/events,[\"ping\",\"here\"]".into())).await;
    assert_eq!(framed.expect("pong").await, "here");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_stays_in_the_phones_queue() {
    let (hub, dan) = hub().await;
    for body in ["", "x", "[1", "\u{0}", r#"[{"lat":1,"lng":13.7},{"lat":2,"#, "lat=1&lng=13.7"] {
        let answer = post_raw(&hub, &dan, PATH, body).await;
        assert_eq!(answer.status(), 400, "{body}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(
            (&problem["code"], &problem["field"]),
            (&json!("invalid_payload"), &json!("body"))
        );
    }
    let bytes = posting(&hub, &dan, PATH, vec![0xff, 0xfe]).send().await.expect("an answer");
    assert_eq!(bytes.status(), 400, "not UTF-8");
    let form = posting(&hub, &dan, PATH, "lat=1&lng=13.7");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let answer = form.send().await.expect("an answer");
    assert_eq!(answer.status(), 415);
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["code"], "unsupported_media_type");
    // The kind that a library says does not matter where it is JSON all the same.
    let json = posting(&hub, &dan, PATH, json!([at(1.0, 5)]).to_string());
    let json = json.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(json.send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn an_unknown_form_is_422_and_names_the_expected_ones() {
    let (hub, dan) = hub().await;
    let mauron85 = json!([{
        "provider": "gps", "locationProvider": 1, "time": ms_ago(5), "latitude": 45.2735,
        "longitude": 13.7142, "accuracy": 12, "speed": 8.2, "altitude": 12, "bearing": 270,
    }]);
    let capacitor = json!({
        "latitude": 45.2735, "longitude": 13.7142, "accuracy": 5, "altitude": null,
        "altitudeAccuracy": null, "simulated": false, "bearing": null, "speed": null, "time": ms_ago(5),
    });
    let geolocator = json!({
        "longitude": 13.7142, "latitude": 45.2735, "timestamp": ms_ago(5), "accuracy": 5.0,
        "altitude": 12.0, "heading": 270.0, "speed": 8.2, "is_mocked": false,
    });
    for body in [
        mauron85,
        json!([geolocator]),
        geolocator,
        capacitor,
        json!({}),
        json!(null),
        json!(7),
        json!([7]),
        json!({ "location": null }),
        json!({ "a": 1 }),
    ] {
        let answer = post_raw(&hub, &dan, PATH, body.to_string()).await;
        assert_eq!(answer.status(), 422, "{body}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(
            (&problem["code"], &problem["field"]),
            (&json!("invalid_payload"), &json!("body"))
        );
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("locations") && detail.contains("coords"), "{detail}");
    }
    let mixed = json!([{ "latitude": 1, "longitude": 2 }, at(1.0, 5)]);
    let answer = post(&hub, &dan, PATH, mixed).await;
    let lost = json!([{ "index": 0, "code": "invalid_payload", "field": "lat" }]);
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &lost));
}
