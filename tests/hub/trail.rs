//! The trail of an order: what of the positions is kept, for how long, and who may read it.

use diesel::RunQueryDsl;
use protocol::time::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::support::back_end::{call, put};
use super::support::fixes::{ago, at, ms_ago, post, row};
use super::support::rooms::fix;
use super::support::{Database, Hub, each_database, token, until};

async fn get(hub: &Hub, bearer: &str, query: &str, accept: Option<&str>) -> Response {
    let request =
        reqwest::Client::new().get(hub.url(&format!("/api/v1/orders/o1/locations{query}")));
    let request = request.bearer_auth(bearer);
    let request =
        if let Some(accept) = accept { request.header("accept", accept) } else { request };
    request.send().await.expect("an answer")
}

/// The whole answer to a back end.
async fn page(hub: &Hub, query: &str) -> Value {
    let response = get(hub, &token("shop", "service", &[]), query, None).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.expect("JSON")
}

fn lats(page: &Value) -> Vec<f64> {
    let points = page["locations"].as_array().expect("locations");
    points.iter().map(|point| point["lat"].as_f64().expect("a number")).collect()
}

#[tokio::test]
async fn points_are_thinned_and_a_repeated_batch_adds_none() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let dan = token("dan", "driver", &[]);
        let path = "/orders/o1/locations";
        let batch = row(31, 2);
        post(&hub, &dan, path, batch.clone()).await;
        let thinned = lats(&page(&hub, "").await);
        assert_eq!(thinned, [30.0, 25.0, 20.0, 15.0, 10.0, 5.0, 0.0]);
        post(&hub, &dan, path, batch).await;
        assert_eq!(lats(&page(&hub, "").await), thinned, "once more");
        // What comes late fills a gap, and nothing that is no gap.
        post(&hub, &dan, path, json!([at(70.0, 300), at(80.0, 33)])).await;
        let filled: Vec<f64> = std::iter::once(70.0).chain(thinned).collect();
        assert_eq!(lats(&page(&hub, "").await), filled);
    })
    .await;
}

#[tokio::test]
async fn live_positions_are_kept_every_so_often_and_survive_a_kill() {
    each_database(async |database: Database| {
        let hub = database.hub().env("EVENTS_PER_SECOND", 0).start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let mut dan = hub.connect("dan", "driver", &[]).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        bob.join("o1").await;
        let began = ms_ago(100);
        for number in 0..21_i32 {
            let at = Timestamp::from_millis(began + i64::from(number) * 1000).to_string();
            let fix = json!({ "orderId": "o1", "lat": number, "lng": 2, "recordedAt": at });
            assert_eq!(dan.request("driver:location", fix).await["accepted"], 1);
        }
        // Nobody is told when it is written; a kill may cost what is younger than that.
        until("the trail", async || lats(&page(&hub, "").await).len() >= 2).await;
        let hub = hub.kill_and_restart();
        let found = page(&hub, "").await;
        let kept = lats(&found);
        assert!([0.0, 10.0, 20.0].starts_with(&kept), "{kept:?}");
        let point = &found["locations"][0];
        assert_eq!((&point["driverId"], &point["lng"]), (&json!("dan"), &json!(2.0)));
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        let last = bob.join("o1").await["lastLocation"].take();
        assert!(last["lat"].as_f64() >= Some(10.0), "as behind as the trail: {last}");
    })
    .await;
}

#[tokio::test]
async fn a_trail_is_read_page_by_page() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        post(&hub, &token("dan", "driver", &[]), "/orders/o1/locations", row(10, 10)).await;
        let mut since = String::new();
        let mut found = Vec::new();
        loop {
            let page = page(&hub, &format!("?limit=4{since}")).await;
            assert_eq!(page["orderId"], "o1");
            found.push(lats(&page));
            let Some(next) = page["nextSince"].as_str() else { break };
            since = format!("&since={next}");
        }
        let expected = [vec![9.0, 8.0, 7.0, 6.0], vec![5.0, 4.0, 3.0, 2.0], vec![1.0, 0.0]];
        assert_eq!(found, expected);
        let all = page(&hub, "").await;
        let time = |place: usize| all["locations"][place]["recordedAt"].as_str().expect("a time");
        let stretch = format!("?since={}&until={}", time(3), time(6));
        assert_eq!(lats(&page(&hub, &stretch).await), [6.0, 5.0, 4.0], "until is not in it");
        let offset = time(8).replace('Z', "%2B00:00");
        assert_eq!(lats(&page(&hub, &format!("?since={offset}")).await), [1.0, 0.0]);
    })
    .await;
}

#[tokio::test]
async fn a_trail_is_json_or_geojson() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let path = "/orders/o1/locations";
    post(&hub, &token("dan", "driver", &[]), path, row(3, 20)).await;
    call(&hub, Method::POST, "/orders/o1/assign", json!({ "driverId": "ann" })).await;
    post(&hub, &token("ann", "driver", &[]), path, json!([at(50.0, 0)])).await;
    let service = token("shop", "service", &[]);
    let response = get(&hub, &service, "", Some("application/geo+json, */*;q=0.1")).await;
    assert_eq!(response.headers()["content-type"], "application/geo+json");
    let vary = response.headers()["vary"].to_str().expect("text");
    assert!(vary.split(", ").any(|name| name == "accept"), "{vary}");
    let body: Value = response.json().await.expect("JSON");
    assert_eq!((&body["type"], &body["nextSince"]), (&json!("FeatureCollection"), &Value::Null));
    let (line, point) = (&body["features"][0], &body["features"][1]);
    let places = json!([[13.7, 2.0], [13.7, 1.0], [13.7, 0.0]]);
    assert_eq!(line["geometry"], json!({ "type": "LineString", "coordinates": places }));
    assert_eq!(line["properties"]["times"].as_array().map(Vec::len), Some(3));
    assert_eq!(point["geometry"], json!({ "type": "Point", "coordinates": [13.7, 50.0] }));
    assert_eq!(point["properties"]["driverId"], "ann");
    let refused = get(&hub, &service, "", Some("text/html")).await;
    assert_eq!(refused.status(), 406);
    assert_eq!(refused.json::<Value>().await.expect("JSON")["code"], "not_acceptable");
    for query in [
        "?since=2026-11-22T20:18:20",
        "?until=yesterday",
        "?since=2026-11-22T20:18:20Z&until=2026-11-22T20:18:19Z",
        "?limit=0",
        "?limit=5001",
        "?colour=red",
    ] {
        let refused = get(&hub, &service, query, None).await;
        assert_eq!(refused.status(), 400, "{query}");
        assert_eq!(refused.json::<Value>().await.expect("JSON")["code"], "invalid_payload");
    }
}

#[tokio::test]
async fn a_line_across_180_degrees_is_cut_in_two() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let now = ms_ago(0);
    let fix = |lng: f64, secs: i64| {
        let at = Timestamp::from_millis(now - secs * 1000).to_string();
        json!({ "lat": -17.0, "lng": lng, "recordedAt": at })
    };
    let fixes = json!([fix(179.5, 60), fix(-179.5, 40), fix(-179.0, 20)]);
    post(&hub, &token("dan", "driver", &[]), "/orders/o1/locations", fixes).await;
    let service = token("shop", "service", &[]);
    let answer = get(&hub, &service, "", Some("application/geo+json")).await;
    let body: Value = answer.json().await.expect("JSON");
    let line = &body["features"][0];
    let parts = json!([
        [[179.5, -17.0], [180.0, -17.0]],
        [[-180.0, -17.0], [-179.5, -17.0], [-179.0, -17.0]]
    ]);
    assert_eq!(line["geometry"], json!({ "type": "MultiLineString", "coordinates": parts }));
    let time = |secs: i64| Timestamp::from_millis(now - secs * 1000).to_string();
    let times = json!([[time(60), time(50)], [time(50), time(40), time(20)]]);
    assert_eq!(line["properties"]["times"], times);
    assert_eq!(lats(&page(&hub, "").await), [-17.0; 3], "as JSON it has its own points only");
}

#[tokio::test]
async fn users_who_may_see_positions_read_the_trail_and_staff_also_after_the_end() {
    let hub = Hub::start();
    let bob = json!([{ "userId": "bob", "role": "customer" }]);
    put(&hub, "o1", json!({ "driverId": "dan", "participants": bob, "status": "NEW" })).await;
    let dan = token("dan", "driver", &[]);
    post(&hub, &dan, "/orders/o1/locations", row(2, 10)).await;
    let read = async |user: &str, role: &str| {
        get(&hub, &token(user, role, &[]), "", None).await.status().as_u16()
    };
    let all = [
        ("bob", "customer"),
        ("dan", "driver"),
        ("eve", "customer"),
        ("sue", "support"),
        ("x", "admin"),
        ("x", "service"),
    ];
    let ask = async || {
        let mut found = Vec::new();
        for (user, role) in all {
            found.push(read(user, role).await);
        }
        found
    };
    assert_eq!(ask().await, [200, 200, 403, 200, 200, 200]);
    call(&hub, Method::POST, "/orders/o1/status", json!({ "status": "DELIVERED" })).await;
    assert_eq!(ask().await, [409, 409, 403, 200, 200, 200]);
    call(&hub, Method::DELETE, "/orders/o1", Value::Null).await;
    assert_eq!(ask().await, [403, 403, 403, 404, 404, 404]);
}

#[tokio::test]
async fn a_customer_sees_only_the_shown_part_of_the_trail() {
    each_database(async |database: Database| {
        let hub = database.hub().env("LOCATION_VISIBLE_STATUSES", "NEAR,PICKED_UP").start();
        let bob = json!([{ "userId": "bob", "role": "customer" }]);
        put(&hub, "o1", json!({ "driverId": "dan", "participants": bob, "status": "NEW" })).await;
        let (bob, dan) = (token("bob", "customer", &[]), token("dan", "driver", &[]));
        let path = "/orders/o1/locations";
        post(&hub, &dan, path, row(5, 10)).await;
        assert_eq!(get(&hub, &bob, "", None).await.status(), 403);
        let status = async |status: &str| {
            call(&hub, Method::POST, "/orders/o1/status", json!({ "status": status })).await
        };
        status("PICKED_UP").await;
        let seen = async |bearer: &str| {
            lats(&get(&hub, bearer, "", None).await.json().await.expect("JSON")).len()
        };
        assert_eq!((seen(&bob).await, seen(&dan).await), (0, 5));
        // The next point is due only some seconds after the last, but another driver has none.
        status("NEAR").await;
        call(&hub, Method::POST, "/orders/o1/assign", json!({ "driverId": "ann" })).await;
        post(&hub, &token("ann", "driver", &[]), path, json!([at(1.0, 0)])).await;
        let staff = token("sue", "support", &[]);
        assert_eq!((seen(&bob).await, seen(&staff).await), (1, 6));
        status("NEW").await;
        assert_eq!(get(&hub, &bob, "", None).await.status(), 403);
    })
    .await;
}

#[tokio::test]
async fn without_retention_nothing_is_stored_but_the_last_position() {
    each_database(async |database: Database| {
        let hub = database.hub().env("LOCATION_RETENTION_HOURS", 0).start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let mut dan = hub.connect("dan", "driver", &[]).await;
        assert_eq!(dan.request("driver:location", fix("o1", 1.0)).await["accepted"], 1);
        let path = "/orders/o1/locations";
        let answer = post(&hub, &token("dan", "driver", &[]), path, row(9, 10)).await;
        assert_eq!(answer, json!({ "accepted": 9, "stale": 0, "rejected": [] }));
        assert_eq!(lats(&page(&hub, "").await), [0.0; 0]);
        let hub = hub.kill_and_restart();
        assert_eq!(rows(&database, &hub), 0);
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(bob.join("o1").await["lastLocation"]["lat"], 0.0);
    })
    .await;
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

/// How many points there are of any order.
fn rows(database: &Database, hub: &Hub) -> i64 {
    let query = diesel::sql_query("SELECT count(*) AS count FROM trail");
    query.get_result::<Count>(&mut database.connection(hub)).expect("a count").count
}

#[tokio::test]
async fn a_deleted_orders_trail_is_gone_and_does_not_come_back_with_it() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let dan = token("dan", "driver", &[]);
        for _ in 0..2 {
            post(&hub, &dan, "/orders/o1/locations", row(1000, 10)).await;
        }
        assert_eq!(rows(&database, &hub), 1000);
        let (status, _) = call(&hub, Method::DELETE, "/orders/o1", Value::Null).await;
        assert_eq!((status, rows(&database, &hub)), (200, 0));
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        assert_eq!(lats(&page(&hub, "").await), [0.0; 0]);
        let newer = json!([{ "lat": 3, "lng": 4, "recordedAt": ago(0) }]);
        post(&hub, &dan, "/orders/o1/locations", newer).await;
        assert_eq!(lats(&page(&hub, "").await), [3.0]);
    })
    .await;
}

#[tokio::test]
async fn expired_points_are_not_shown_and_deleted_at_the_next_start() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        post(&hub, &token("dan", "driver", &[]), "/orders/o1/locations", row(3, 10)).await;
        let old = ms_ago(24 * 3600 + 60);
        let insert = (0..1200).map(|n| format!("('o1', {}, 'dan', 1.0, 2.0)", old - n * 1000));
        let values = insert.collect::<Vec<_>>().join(", ");
        let insert =
            format!("INSERT INTO trail (order_id, at_ms, driver_id, lat, lng) VALUES {values}");
        let mut connection = database.connection(&hub);
        diesel::sql_query(insert).execute(&mut connection).expect("rows");
        assert_eq!((rows(&database, &hub), lats(&page(&hub, "").await).len()), (1203, 3));
        let hub = hub.kill_and_restart();
        until("the sweep", async || rows(&database, &hub) == 3).await;
        assert_eq!(lats(&page(&hub, "").await).len(), 3);
    })
    .await;
}
