//! The description of the HTTP API: it has every call, and its page loads nothing from other hosts.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::support::{Hub, token};

async fn get(hub: &Hub, path: &str) -> Response {
    reqwest::get(hub.url(path)).await.expect("an answer")
}

async fn document(hub: &Hub) -> Value {
    let answer = get(hub, "/openapi.json").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.expect("JSON")
}

/// The paths of the document, and the methods of each.
fn described(document: &Value) -> Vec<(String, BTreeSet<String>)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        item.as_object().expect("methods").keys().map(|name| name.to_uppercase()).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// A path with an id in each of its places.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_described_call_is_there_and_no_other_method_is() {
    let hub = Hub::start();
    for (path, methods) in described(&document(&hub).await) {
        let mut taken = BTreeSet::new();
        let mut allowed = None;
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let verb: Method = method.parse().expect("a method");
            let request = reqwest::Client::new().request(verb, hub.url(&filled(&path)));
            let request = request.bearer_auth(token("root", "admin", &[]));
            let answer = request.send().await.expect("an answer");
            if answer.status() == 405 {
                allowed = Some(answer.headers()["allow"].to_str().expect("text").to_owned());
                continue;
            }
            taken.insert(method.to_owned());
            let status = answer.status();
            let text = answer.text().await.expect("text");
            assert!(!text.contains("nothing is here"), "{method} {path}: {status} {text}");
        }
        assert_eq!(taken, methods, "{path}");
        let allowed = allowed.expect("a method that is not there");
        let allowed: BTreeSet<String> = allowed.split(", ").map(ToOwned::to_owned).collect();
        assert_eq!(allowed, methods, "what {path} says it allows");
    }
}

/// The texts of all files below a folder.
fn texts(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts(&path, found);
        } else {
            found.push_str(&std::fs::read_to_string(&path).expect("a text"));
        }
    }
}

#[test]
fn only_routes_that_are_not_of_the_api_are_registered_by_hand() {
    let mut source = String::new();
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut source);
    let routes: BTreeSet<&str> = source
        .split("resource(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    let demo = ["/demo", "/demo/demo.js", "/demo/demo.css", "/demo/token", "/demo/status"];
    let others = ["/ws", "/docs", "/docs/", "/docs/{file}"];
    assert_eq!(routes, demo.into_iter().chain(others).collect());
}

#[test]
fn ids_in_paths_are_taken_as_they_stand() {
    let mut source = String::new();
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut source);
    assert!(source.contains("web::Path<PathId<OrderId>>"));
    for risky in ["web::Path<OrderId>", "web::Path<UserId>", "web::Path<(OrderId"] {
        assert!(!source.contains(risky), "{risky} takes 007 for 7: use PathId");
    }
}

#[tokio::test]
async fn every_call_has_a_summary_and_its_failures() {
    let hub = Hub::start();
    let document = document(&hub).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut ids = BTreeSet::new();
    for (path, methods) in described(&document) {
        for method in methods {
            let call = &document["paths"][&path][method.to_lowercase()];
            let id = call["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(call["summary"].is_string() && call["tags"].is_array(), "{method} {path}");
            let tag = &call["tags"][0];
            let tags = document["tags"].as_array().expect("tags");
            assert!(tags.iter().any(|known| known["name"] == *tag), "{tag} is not described");
            let answers = call["responses"].as_object().expect("responses");
            assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
            if path.starts_with("/api") || path.starts_with("/admin") {
                for status in ["401", "403", "500", "503"] {
                    assert!(answers.contains_key(status), "{method} {path} can be {status}");
                }
            }
            for (status, answer) in answers.iter().filter(|(status, _)| status.as_str() >= "400") {
                let name = answer["$ref"].as_str().and_then(|name| name.rsplit('/').next());
                let shared = &document["components"]["responses"][name.expect("a shared one")];
                let content = &shared["content"]["application/problem+json"];
                assert_eq!(content["example"]["status"].to_string(), *status);
            }
        }
    }
}

#[tokio::test]
async fn unauthenticated_clients_on_a_public_address_get_neither_page_nor_description() {
    let hub = Hub::builder().env("BIND_ADDR", "0.0.0.0:0").start();
    for path in ["/openapi.json", "/asyncapi.json", "/docs", "/docs/swagger-ui.css"] {
        assert_eq!(get(&hub, path).await.status(), 401, "{path}");
        let as_role = async |role: &str| {
            let request = reqwest::Client::new().get(hub.url(path));
            let request = request.bearer_auth(token("someone", role, &[]));
            request.send().await.expect("an answer").status()
        };
        assert_eq!(as_role("customer").await, 403, "{path}");
        assert_eq!(as_role("admin").await, 200, "{path}");
    }
}

/// The file is what tools read that have no hub, such as the client kit.
#[tokio::test]
async fn the_events_are_described_as_in_the_file_of_the_documents() {
    let hub = Hub::start();
    let served: Value = get(&hub, "/asyncapi.json").await.json().await.expect("JSON");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/asyncapi.json");
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("JSON");
    let hint = "write it anew: curl http://127.0.0.1:8080/asyncapi.json >docs/asyncapi.json";
    assert!(served == written, "docs/asyncapi.json is not what the hub serves; {hint}");
}

/// What a page loads.
fn loaded(page: &str) -> Vec<&str> {
    let parts = page.split(['"']).collect::<Vec<_>>();
    let is_link = |before: &str| before.ends_with("href=") || before.ends_with("src=");
    parts.windows(2).filter(|two| is_link(two[0])).map(|two| two[1]).collect()
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let hub = Hub::start();
    let answer = get(&hub, "/docs").await;
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("http"), "{policy}");
    let page = answer.text().await.expect("text");
    let parts = loaded(&page);
    assert!(parts.len() >= 4, "{parts:?}");
    for part in parts {
        assert!(part.starts_with("docs/"), "{part} is elsewhere");
        let answer = get(&hub, &format!("/{part}")).await;
        assert_eq!(answer.status(), 200, "{part}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{part}");
    }
    let setup = get(&hub, "/docs/swagger-initializer.js").await.text().await.expect("text");
    assert!(setup.contains("\"/openapi.json\""), "{setup}");
    assert!(setup.contains("\"validatorUrl\": \"none\""), "{setup}");
    for path in ["/docs/nothing.js", "/docs/../Cargo.toml", "/docs/%2e%2e%2fCargo.toml"] {
        let answer = get(&hub, path).await;
        assert_eq!(answer.status(), 404, "{path}");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["code"], json!("not_found"), "{path}");
    }
}
