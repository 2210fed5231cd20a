//! A browser on a leash: Chromium without a window, driven over the DevTools protocol.
//!
//! Protocol: <https://chromedevtools.github.io/devtools-protocol/>; one message, one answer, events in between are kept.

use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tungstenite::Message;
use tungstenite::WebSocket;

/// How often a condition is asked for before the test gives up; each round waits for the browser's next frame.
const POLLS: u32 = 2_000;

/// A running browser with one page.
pub(crate) struct Browser {
    process: Child,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    next_id: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser with an empty page; nothing if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let profile = tempfile::tempdir().expect("a directory for the browser's profile");
        let child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-port=0",
                "--window-size=1200,900",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut process = match child {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("chromium does not start: {error}"),
        };
        let address = devtools_address(&mut process);
        let host = address.trim_start_matches("ws://").split('/').next().expect("host and port").to_owned();
        let stream = TcpStream::connect(host).expect("the browser listens");
        let (socket, _) = tungstenite::client(&address, stream).expect("the browser speaks the DevTools protocol");
        let mut browser = Self { process, socket, session: None, next_id: 0, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let session = browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    /// Opens a file and waits until `ready` holds on it.
    pub(crate) fn open(&mut self, file: &Path, ready: &str) {
        self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        self.wait_until(ready);
    }

    /// Waits until the expression holds on the page.
    pub(crate) fn wait_until(&mut self, condition: &str) {
        // A page that lies in the background has no frames, so the next turn of its event loop has to do.
        let guarded = format!(
            "new Promise(next => {{ let holds = false; try {{ holds = !!({condition}) }} catch {{}} setTimeout(() => next(holds)) }})"
        );
        for _ in 0..POLLS {
            if self.value(&guarded) == json!(true) {
                return;
            }
        }
        panic!("the page never came to {condition}; console: {:?}", self.complaints());
    }

    /// The value of an expression on the page. A promise is awaited.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The same for an expression that yields numbers.
    pub(crate) fn numbers(&mut self, expression: &str) -> Vec<f64> {
        let value = self.value(expression);
        let list = value.as_array().unwrap_or_else(|| panic!("{expression}: {value}"));
        list.iter().map(|number| number.as_f64().unwrap_or_else(|| panic!("{expression}: {value}"))).collect()
    }

    /// One movement of the mouse, as from the device itself: `mouseMoved`, `mousePressed`, `mouseReleased`.
    pub(crate) fn mouse(&mut self, action: &str, (x, y): (f64, f64)) {
        let held = if action == "mouseReleased" { 0 } else { 1 };
        let (button, buttons) = if action == "mouseMoved" { ("none", 0) } else { ("left", held) };
        let event = json!({ "type": action, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Presses at one point, moves in steps and releases at another.
    pub(crate) fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.mouse("mouseMoved", from);
        self.mouse("mousePressed", from);
        for step in 1..=8 {
            let part = f64::from(step) / 8.0;
            let at = (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
            let event = json!({ "type": "mouseMoved", "x": at.0, "y": at.1, "button": "left", "buttons": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
        self.mouse("mouseReleased", to);
    }

    /// Shows the page as a reader with this colour scheme sees it.
    pub(crate) fn colour_scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// What the page complained about on its console, exceptions included.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let told = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => matches!(event["params"]["type"].as_str(), Some("error" | "warning")),
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.events.iter().filter(told).map(Value::to_string).collect()
    }

    /// What the page asked the network for.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).map(str::to_owned).collect()
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next_id += 1;
        let mut message = json!({ "id": self.next_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(message.to_string())).expect("the browser listens");
        loop {
            let Message::Text(text) = self.socket.read().expect("the browser answers") else { continue };
            let answer: Value = serde_json::from_str(&text).expect("the protocol is JSON");
            if answer["id"] == json!(self.next_id) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail only if the browser is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address the browser prints once it listens.
fn devtools_address(process: &mut Child) -> String {
    let mut lines = BufReader::new(process.stderr.take().expect("a piped stderr")).lines();
    let mark = "DevTools listening on ";
    let found = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix(mark).map(str::to_owned));
    // Someone has to read on, or the browser stops when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    found.expect("chromium ended before it listened")
}
