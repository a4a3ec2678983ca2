//! The first thing that the hub is for: a driver's positions and chat reach the others.

use serde_json::json;

use super::support::Hub;

#[tokio::test]
async fn clients_get_the_same_with_and_without_io_uring() {
    for io_uring in [true, false] {
        let hub = Hub::builder().env("IO_URING", io_uring).env("EVENTS_PER_SECOND", 0).start();
        let mut members = Vec::new();
        for n in 0..70 {
            let mut member = hub.connect(&format!("user-{n}"), "customer", &["o1"]).await;
            member.join("o1").await;
            members.push(member);
        }
        let mut driver = hub.connect("driver", "driver", &["o1"]).await;
        driver.join("o1").await;
        for n in 0..3 {
            let fix = json!({ "orderId": "o1", "lat": f64::from(n), "lng": 13.7 });
            driver.request("driver:location", fix).await;
            let said = json!({ "orderId": "o1", "content": n.to_string() });
            driver.request("chat:message", said).await;
        }
        for member in &mut members {
            for n in 0..3 {
                let update = member.expect("location:updated").await;
                assert_eq!(update["lat"], f64::from(n));
                let said = member.expect("chat:message").await;
                assert_eq!(
                    (&said["content"], &said["seq"]),
                    (&json!(n.to_string()), &json!(n + 1))
                );
            }
        }
    }
}

#[tokio::test]
async fn a_position_reaches_every_member_including_its_driver() {
    let hub = Hub::start();
    let mut driver = hub.connect("driver", "driver", &["o1"]).await;
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    customer.join("o1").await;
    driver.join("o1").await;
    let fix = json!({ "orderId": "o1", "lat": 45.273_518, "lng": 13.714_209, "speed": 3.5 });
    let taken = driver.request("driver:location", fix).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 1 }));
    for client in [&mut driver, &mut customer] {
        let update = client.expect("location:updated").await;
        assert_eq!(update["lat"], 45.273_518);
        assert_eq!(update["driverId"], "driver");
        assert_eq!(update["speed"], 3.5);
    }
}

#[tokio::test]
async fn chat_is_acknowledged_with_its_seq_and_reaches_every_member_once() {
    let hub = Hub::start();
    let mut driver = hub.connect("driver", "driver", &["o1"]).await;
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    customer.join("o1").await;
    driver.join("o1").await;
    let said = json!({ "orderId": "o1", "content": "at the door", "clientMsgId": "m1" });
    let ack = driver.request("chat:message", said).await;
    assert_eq!(ack["seq"], 1);
    let heard = customer.expect("chat:message").await;
    assert_eq!((&heard["id"], &heard["senderName"]), (&ack["id"], &json!("Name of driver")));
    assert_eq!(driver.drain("chat:message").await.len(), 1);
    assert_eq!(customer.drain("chat:message").await.len(), 0, "heard once");
}
