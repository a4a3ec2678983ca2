//! The first minute: started in an empty folder with nothing set, the hub says how to get in, and
//! what it says works when it is pasted.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::support::{Client, until};

/// A hub on a slow machine must have listened by then.
const SOON: Duration = Duration::from_secs(10);

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What the hub prints until it has said all.
fn banner(stdout: ChildStdout) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        lines.push(line.expect("text"));
        if lines.last().is_some_and(|line| line.contains("order:join")) {
            return lines;
        }
    }
    panic!("the hub ended: {lines:?}")
}

/// Runs lines of the banner in a shell that stands somewhere else, and gives what `variable` is
/// then.
fn pasted(lines: &[String], variable: &str) -> String {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let script = format!("{}\nprintf %s \"${variable}\"", lines.join("\n"));
    let mut shell = Command::new("sh");
    shell.args(["-euc", &script]).env_clear().current_dir(elsewhere.path());
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The address in the line of the banner that begins so.
fn address(lines: &[String], begins: &str) -> String {
    let line = lines.iter().find(|line| line.trim().starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no {begins} in {lines:?}"));
    let address = line.split([' ', '"']).find(|word| word.starts_with("ws://"));
    address.expect("an address").to_owned()
}

#[tokio::test]
async fn commands_that_a_first_start_prints_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = Instant::now();
    let mut hub = Command::new(env!("CARGO_BIN_EXE_orderhub"));
    // Nothing is set but the port: another hub may have the default one.
    hub.env_clear().env("BIND_ADDR", "127.0.0.1:0").current_dir(folder.path());
    let hub = hub.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program");
    let mut hub = Running(hub);
    let lines = banner(hub.0.stdout.take().expect("piped"));
    let http = lines[0].strip_prefix("orderhub listens on ").expect("the address");
    let pid = format!("version {}, pid {}", env!("CARGO_PKG_VERSION"), hub.0.id());
    assert_eq!(lines[1], pid);
    let ready = reqwest::get(format!("{http}/readyz")).await.expect("an answer");
    assert_eq!(ready.status().as_u16(), 200, "ready as soon as it says so");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());

    let commands: Vec<String> = lines.iter().filter(|line| line.contains("=$(")).cloned().collect();
    assert_eq!(commands.len(), 2, "{lines:?}");
    let (driver, customer) = (pasted(&commands, "DRIVER"), pasted(&commands, "CUSTOMER"));
    let mut request = address(&lines, "websocat ws:").into_client_request().expect("a request");
    let bearer = format!("Bearer {customer}").parse().expect("a header");
    request.headers_mut().insert("authorization", bearer);
    let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("an upgrade");
    let mut customer = Client::over(socket);
    let url = address(&lines, "websocat \"ws").replace("$DRIVER", &driver);
    let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("an upgrade");
    let mut driver = Client::over(socket);

    // The line to say, as it is printed.
    let join = lines.last().expect("lines").trim().to_owned();
    customer.socket.send(Message::text(join)).await.expect("sent");
    assert_eq!(customer.reply(1).await["ok"], true);
    let fix = json!({ "orderId": "order-1", "lat": 1.5, "lng": 2.0 });
    assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);
    assert_eq!(customer.expect("location:updated").await["driverId"], "driver-1");
}

#[tokio::test]
async fn with_json_logs_stdout_has_one_line_and_the_log_has_the_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let mut hub = Command::new(env!("CARGO_BIN_EXE_orderhub"));
    hub.env_clear().env("BIND_ADDR", "127.0.0.1:0").env("ADMIN_BIND", "127.0.0.1:0");
    hub.env("LOG_FORMAT", "json").current_dir(folder.path()).stdout(Stdio::piped());
    let log = std::fs::File::create(&path).expect("a file");
    let mut hub = Running(hub.stderr(log).spawn().expect("the program"));
    let read = || std::fs::read_to_string(&path).expect("a log");
    until("how to get in", async || read().contains("order:join")).await;
    let pid = hub.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    assert!(hub.0.wait().expect("its end").success());

    let mut stdout = String::new();
    hub.0.stdout.take().expect("piped").read_to_string(&mut stdout).expect("text");
    assert!(stdout.starts_with("orderhub listens on http://127.0.0.1:"), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let log = read();
    let records = log.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let records: Vec<Value> = records.collect();
    let said = |record: &&Value| record["msg"].as_str().is_some_and(|it| it.contains("Connect:"));
    let how = records.iter().find(said).unwrap_or_else(|| panic!("not told: {log}"));
    let text = how["msg"].as_str().expect("text");
    for part in ["admin on http://", &format!("pid {pid}"), "DRIVER=$(", "websocat ws://"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
