//! `/api/v1/orders`: what back ends store and read, and how their mistakes are answered.

use orderhub::auth::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::{bulk, call, call_as, problem, problem_or_status};
use super::support::rooms::{fix, say};
use super::support::{Database, Hub, each_database, token};

fn ids(list: &Value) -> Vec<&str> {
    let orders = list["orders"].as_array().expect("orders");
    orders.iter().map(|order| order["orderId"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn an_order_is_made_merged_read_and_deleted() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let body = json!({
            "status": "NEW", "driverId": 7, "driverName": "Dan", "version": 3,
            "participants": [{ "userId": "bob", "role": "customer", "name": "Bob" }],
        });
        let (status, made) = call(&hub, Method::PUT, "/orders/o1", body).await;
        assert_eq!((status, &made["changed"]), (201, &json!(true)), "{made}");
        let (status, merged) = call(&hub, Method::PUT, "/orders/o1", json!({ "version": 4 })).await;
        assert_eq!((status, &merged["changed"]), (200, &json!(false)), "{merged}");
        let (status, found) = call(&hub, Method::GET, "/orders/o1", Value::Null).await;
        assert_eq!(status, 200);
        for (name, value) in [
            ("orderId", json!("o1")),
            ("status", json!("NEW")),
            ("driverId", json!("7")),
            ("driverName", json!("Dan")),
            ("participants", json!([{ "userId": "bob", "role": "customer", "name": "Bob" }])),
            ("version", json!(4)),
            ("rev", json!(1)),
            ("lastSeq", json!(0)),
            ("endedAt", Value::Null),
            ("lastLocation", Value::Null),
            ("members", json!([])),
        ] {
            assert_eq!(found[name], value, "{name} of {found}");
        }
        let (status, gone) = call(&hub, Method::DELETE, "/orders/o1", Value::Null).await;
        assert_eq!((status, gone), (200, json!({ "deleted": true })));
        assert_eq!(call(&hub, Method::GET, "/orders/o1", Value::Null).await.0, 404);
        assert_eq!(call(&hub, Method::DELETE, "/orders/o1", Value::Null).await.0, 404);
        let late = json!({ "status": "NEW", "version": 2 });
        let (status, late) = call(&hub, Method::PUT, "/orders/o1", late).await;
        assert_eq!((status, &late["code"]), (409, &json!("stale")), "older than the deletion");
        let (status, again) = call(&hub, Method::PUT, "/orders/o1", json!({})).await;
        assert_eq!((status, &again["rev"], &again["driverId"]), (201, &json!(3), &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn an_order_is_shown_with_its_room() {
    let hub = Hub::start();
    call(&hub, Method::PUT, "/orders/o1", json!({ "driverId": "ann" })).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    let mut twice = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    twice.join("o1").await;
    let mut ann = hub.connect("ann", "driver", &[]).await;
    ann.request("driver:location", fix("o1", 13.7)).await;
    say(&mut bob, "o1", "hello").await;
    let (_, found) = call(&hub, Method::GET, "/orders/o1", Value::Null).await;
    let bob = json!([{ "userId": "bob", "name": "Name of bob", "role": "customer" }]);
    assert_eq!((&found["members"], &found["lastSeq"]), (&bob, &json!(1)));
    assert_eq!(found["lastLocation"]["lng"], 13.7);
    call(&hub, Method::POST, "/orders/o1/status", json!({ "status": "DELIVERED" })).await;
    let (_, found) = call(&hub, Method::GET, "/orders/o1", Value::Null).await;
    assert_eq!((&found["lastLocation"], found["endedAt"].is_string()), (&Value::Null, true));
}

#[tokio::test]
async fn a_status_moves_on_and_never_back() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let set = async |body: Value| {
            let (status, answer) = call(&hub, Method::POST, "/orders/o1/status", body).await;
            (status, answer["changed"].as_bool(), answer["code"].as_str().map(ToOwned::to_owned))
        };
        let code = |code: &str| Some(code.to_owned());
        let new = json!({ "status": "NEW", "version": 5 });
        assert_eq!(set(new.clone()).await, (404, None, code("not_found")));
        call(&hub, Method::PUT, "/orders/o1", json!({})).await;
        assert_eq!(set(new.clone()).await, (200, Some(true), None));
        assert_eq!(set(new).await, (200, Some(false), None));
        let older = json!({ "status": "READY", "version": 4 });
        assert_eq!(set(older).await, (409, None, code("stale")));
        assert_eq!(set(json!({ "status": "CANCELLED" })).await, (200, Some(true), None));
        assert_eq!(set(json!({ "status": "CANCELLED" })).await, (200, Some(false), None));
        assert_eq!(set(json!({ "status": "NEW" })).await, (409, None, code("order_closed")));
    })
    .await;
}

#[tokio::test]
async fn only_the_statuses_of_a_list_are_taken_where_there_is_one() {
    let hub = Hub::builder().env("ORDER_STATUSES", "NEW,DONE").start();
    let put = async |status: &str| {
        let body = json!({ "status": status });
        problem_or_status(call_as(&hub, "service", Method::PUT, "/orders/o1", body).await).await
    };
    assert_eq!(put("NEW").await, "201");
    assert_eq!(put("DONE").await, "200");
    assert_eq!(put("DOEN").await, "400 invalid_payload status");
}

#[tokio::test]
async fn lists_are_filtered_and_paged_while_orders_are_made() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        for number in 0..7 {
            let status = if number % 2 == 0 { "NEW" } else { "READY" };
            let body = json!({
                "status": status, "driverId": format!("d{}", number % 3),
                "participants": [{ "userId": format!("u{}", number % 3), "role": "customer" }],
            });
            call(&hub, Method::PUT, &format!("/orders/o{number}"), body).await;
        }
        let list = async |query: &str| {
            let (status, list) =
                call(&hub, Method::GET, &format!("/orders?{query}"), Value::Null).await;
            assert_eq!(status, 200, "{list}");
            list
        };
        assert_eq!(ids(&list("status=READY").await), ["o1", "o3", "o5"]);
        assert_eq!(ids(&list("driver=d0").await), ["o0", "o3", "o6"]);
        assert_eq!(ids(&list("participant=u1").await), ["o1", "o4"]);
        assert_eq!(ids(&list("participant=u1&status=NEW&driver=d1").await), ["o4"]);
        assert_eq!(ids(&list("driver=nobody").await), Vec::<&str>::new());
        let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
        loop {
            let page = list(&query).await;
            seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
            // One before and one behind the place where the page ends.
            for id in ["a", "z"] {
                call(&hub, Method::PUT, &format!("/orders/{id}{}", seen.len()), json!({})).await;
            }
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            assert!(seen.len() < 99, "it ends");
            query = format!("limit=3&cursor={cursor}");
        }
        let whole = ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "z3", "z6"];
        assert_eq!(seen, whole, "each once, and those that were made behind the cursor");
    })
    .await;
}

#[tokio::test]
async fn a_bad_line_harms_no_other() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        call(&hub, Method::PUT, "/orders/old", json!({ "version": 9 })).await;
        let lines = [
            r#"{"orderId":"o1","status":"NEW"}"#,
            "not JSON",
            "",
            r#"{"status":"NEW"}"#,
            r#"{"orderId":"o2","status":"new"}"#,
            r#"{"orderId":"old","version":8}"#,
            r#"{"orderId":"o1","status":"NEW"}"#,
            r#"{"orderId":"o3","colour":"red"}"#,
            r#"{"orderId":4,"participants":[{"userId":"bob","role":"customer"}]}"#,
        ];
        let results = bulk(&hub, &lines.join("\n")).await;
        let short = |result: &Value| {
            let error = &result["error"];
            let of = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (code, field) = (of(&error["code"]), of(&error["field"]));
            (result["line"].as_u64(), result["ok"].as_bool(), code, field)
        };
        let good = |line| (Some(line), Some(true), "-".to_owned(), "-".to_owned());
        let bad =
            |line, code: &str, field: &str| (Some(line), Some(false), code.into(), field.into());
        let expected = [
            good(1),
            bad(2, "invalid_payload", "line"),
            bad(4, "invalid_payload", "orderId"),
            bad(5, "invalid_payload", "status"),
            bad(6, "stale", "-"),
            good(7),
            bad(8, "invalid_payload", "colour"),
            good(9),
        ];
        assert_eq!(results.iter().map(short).collect::<Vec<_>>(), expected);
        assert_eq!((&results[0]["created"], &results[0]["changed"]), (&json!(true), &json!(true)));
        assert_eq!(
            (&results[5]["created"], &results[5]["changed"]),
            (&json!(false), &json!(false))
        );
        assert_eq!(results[4]["orderId"], "old");
        let (_, list) = call(&hub, Method::GET, "/orders", Value::Null).await;
        assert_eq!(ids(&list), ["4", "o1", "old"]);
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_many_orders_is_stored_in_groups() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let line = |number: usize| format!(r#"{{"orderId":"o{number:04}","driverId":"dan"}}"#);
        let lines: Vec<_> = (0..1000).map(line).collect();
        let results = bulk(&hub, &lines.join("\n")).await;
        assert_eq!(results.len(), 1000);
        assert!(results.iter().all(|result| result["created"] == true));
        let (_, list) = call(&hub, Method::GET, "/orders?driver=dan&limit=100", Value::Null).await;
        assert_eq!(ids(&list).len(), 100);
    })
    .await;
}

#[tokio::test]
async fn a_batch_may_be_an_array_and_is_answered_by_one() {
    let hub = Hub::start();
    let order = |id: &str| json!({ "orderId": id, "status": "NEW" });
    let orders = json!([order("o1"), { "orderId": "o2", "status": "bad" }, 7, order("o3")]);
    let (status, results) = call(&hub, Method::POST, "/orders:batch", orders).await;
    assert_eq!(status, 200, "{results}");
    let results = results.as_array().expect("an array");
    let told = |result: &Value| (result["line"].clone(), result["ok"].clone());
    let told: Vec<_> = results.iter().map(told).collect();
    let expected = [(1, true), (2, false), (3, false), (4, true)];
    assert_eq!(told, expected.map(|(line, ok)| (json!(line), json!(ok))));
    assert_eq!(results[1]["error"]["field"], "status");
    let (_, shown) = call(&hub, Method::GET, "/orders/o3", Value::Null).await;
    assert_eq!(shown["status"], "NEW");
    let (status, results) = call(&hub, Method::POST, "/orders:batch", json!([])).await;
    assert_eq!((status, results), (200, json!([])));
    let many = vec![json!({ "orderId": "o1" }); 5001];
    let (status, problem) = call(&hub, Method::POST, "/orders:batch", json!(many)).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_payload")));
}

#[tokio::test]
async fn an_invalid_call_is_a_problem_with_its_field() {
    let hub = Hub::start();
    call(&hub, Method::PUT, "/orders/o1", json!({})).await;
    let person = "/orders/o1/participants/bob";
    for (method, path, body, expected) in [
        (Method::PUT, "/orders/no%20id", json!({}), "400 invalid_payload "),
        (Method::PUT, "/orders/o1", json!([]), "400 invalid_payload body"),
        (Method::PUT, "/orders/o1", json!({ "colour": 1 }), "400 invalid_payload colour"),
        (Method::PUT, "/orders/o1", json!({ "orderId": "o2" }), "400 invalid_payload orderId"),
        (Method::PUT, "/orders/o1", Value::Null, "415 unsupported_media_type "),
        (Method::PATCH, "/orders/o1", json!({}), "405 method_not_allowed "),
        (Method::POST, "/orders", json!({}), "405 method_not_allowed "),
        (Method::POST, "/orders:batch", json!({}), "400 invalid_payload body"),
        (Method::POST, "/orders:batch", Value::Null, "415 unsupported_media_type "),
        (Method::GET, "/orders:batch", Value::Null, "405 method_not_allowed "),
        (Method::GET, "/orders/o1/status", Value::Null, "405 method_not_allowed "),
        (Method::POST, "/orders/o1/status", json!({}), "400 invalid_payload status"),
        (Method::POST, "/orders/o1/assign", json!({}), "400 invalid_payload driverId"),
        (Method::POST, "/orders/none/assign", json!({ "driverId": "d" }), "404 not_found "),
        (Method::PUT, person, json!({ "role": "boss" }), "400 invalid_payload role"),
        (Method::POST, person, json!({}), "405 method_not_allowed "),
        (Method::DELETE, "/orders/none/participants/bob", Value::Null, "404 not_found "),
        (Method::GET, "/orders/none", Value::Null, "404 not_found "),
        (Method::GET, "/orders?limit=101", Value::Null, "400 invalid_payload limit"),
        (Method::GET, "/orders?cursor=%21", Value::Null, "400 invalid_payload cursor"),
        (Method::GET, "/orders?status=%00", Value::Null, "400 invalid_payload status"),
        (Method::GET, "/orders?colour=red", Value::Null, "400 invalid_payload colour"),
        (Method::GET, "/nothing", Value::Null, "404 not_found "),
    ] {
        let answer = call_as(&hub, "service", method.clone(), path, body.clone()).await;
        assert_eq!(problem_or_status(answer).await, expected, "{method} {path} {body}");
    }
    let large = json!({ "status": "X".repeat(1024 * 1024) });
    let answer = call_as(&hub, "service", Method::PUT, "/orders/o1", large).await;
    assert_eq!(problem_or_status(answer).await, "413 invalid_payload ");
}

#[tokio::test]
async fn back_ends_do_everything_and_participants_read_their_order() {
    let hub = Hub::start();
    let bob = json!({ "participants": [{ "userId": "bob", "role": "customer" }] });
    call(&hub, Method::PUT, "/orders/o1", bob).await;
    for (method, path, body) in [
        (Method::PUT, "/orders/o1", json!({})),
        (Method::GET, "/orders", Value::Null),
        (Method::POST, "/orders/o1/status", json!({ "status": "NEW" })),
        (Method::POST, "/orders/o1/assign", json!({ "driverId": null })),
        (Method::PUT, "/orders/o1/participants/eve", json!({ "role": "customer" })),
        (Method::DELETE, "/orders/o1/participants/eve", Value::Null),
        (Method::DELETE, "/orders/o1", Value::Null),
    ] {
        for role in ["customer", "driver", "support"] {
            let refused = call_as(&hub, role, method.clone(), path, body.clone()).await;
            let refused = problem_or_status(refused).await;
            assert_eq!(refused, "403 forbidden ", "{role} {method} {path}");
        }
        let allowed = call_as(&hub, "admin", method.clone(), path, body).await;
        assert_eq!(problem_or_status(allowed).await, "200", "{method} {path}");
        let nobody = reqwest::Client::new().request(method, hub.url(&format!("/api/v1{path}")));
        let nobody = problem(nobody.send().await.expect("an answer")).await;
        assert_eq!(nobody.0, 401, "{path}");
    }
    let bob = json!({ "participants": [{ "userId": "bob", "role": "customer" }] });
    call(&hub, Method::PUT, "/orders/o2", bob).await;
    let read = async |user: &str, role: &str, orders: &[&str], path: &str| {
        let request = reqwest::Client::new().get(hub.url(&format!("/api/v1/orders/{path}")));
        let request = request.bearer_auth(token(user, role, orders));
        problem_or_status(request.send().await.expect("an answer")).await
    };
    assert_eq!(read("bob", "customer", &[], "o2").await, "200", "by taking part");
    assert_eq!(read("eve", "customer", &["o2"], "o2").await, "200", "by the token");
    assert_eq!(read("sue", "support", &[], "o2").await, "200");
    assert_eq!(read("sue", "support", &[], "none").await, "404 not_found ");
    assert_eq!(read("eve", "customer", &[], "o2").await, "403 forbidden ");
    assert_eq!(read("eve", "customer", &[], "none").await, "403 forbidden ");
}

#[tokio::test]
async fn a_key_reads_or_changes_orders_by_its_scopes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let made = |name, scope| orderhub::auth::new_key(name, &[scope]).expect("random bytes");
    let (reads, writes) = (made("reads", Scope::OrdersRead), made("writes", Scope::OrdersWrite));
    std::fs::write(&path, format!("{}{}", reads.entry, writes.entry)).expect("writes");
    let hub = Hub::builder().env("API_KEYS_FILE", path.display()).start();
    let ask = async |key: &str, method: Method, path: &str, body: Value| {
        let request = reqwest::Client::new().request(method, hub.url(&format!("/api/v1{path}")));
        let request = request.bearer_auth(key);
        let request = if body.is_null() { request } else { request.json(&body) };
        problem_or_status(request.send().await.expect("an answer")).await
    };
    assert_eq!(ask(&reads.key, Method::PUT, "/orders/o1", json!({})).await, "403 forbidden ");
    assert_eq!(ask(&writes.key, Method::PUT, "/orders/o1", json!({})).await, "201");
    for path in ["/orders/o1", "/orders"] {
        assert_eq!(ask(&reads.key, Method::GET, path, Value::Null).await, "200");
        assert_eq!(ask(&writes.key, Method::GET, path, Value::Null).await, "403 forbidden ");
    }
}

#[tokio::test]
async fn an_id_of_digits_is_taken_as_it_stands_in_the_path() {
    let hub = Hub::start();
    let (status, made) = call(&hub, Method::PUT, "/orders/007", json!({})).await;
    assert_eq!((status, &made["orderId"]), (201, &json!("007")));
    let (status, other) = call(&hub, Method::PUT, "/orders/7", json!({})).await;
    assert_eq!((status, &other["orderId"]), (201, &json!("7")), "is another order");
    let body = json!({ "role": "customer" });
    for user in ["0042", "-0", "18446744073709551616"] {
        let path = format!("/orders/007/participants/{user}");
        let (_, changed) = call(&hub, Method::PUT, &path, body.clone()).await;
        assert_eq!(changed["participants"][0]["userId"], user);
        let (_, changed) = call(&hub, Method::DELETE, &path, Value::Null).await;
        assert_eq!(changed["participants"], json!([]));
    }
    let refused = call_as(&hub, "service", Method::GET, "/orders/+7", Value::Null).await;
    assert_eq!(problem(refused).await.0, 400, "no id has a plus");
}
