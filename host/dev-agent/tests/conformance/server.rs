//! The servers under test, and a plain client for them.
//!
//! Every test runs against the development agent, and against a real Consul if there is one.

use std::io::Cursor;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consul_session_dev_agent::{DevAgent, DevAgentBuilder};
use consul_session_tests::consul::{self, Agent};
use serde_json::Value;

/// The token that permits everything, on either server.
pub static TOKEN: LazyLock<String> = LazyLock::new(|| match consul::with_acl() {
    Some(agent) => agent.management.clone(),
    None => "root-token".to_owned(),
});
pub const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Held while a test uses the real Consul, so that each sees only its own changes.
static REAL: Mutex<()> = Mutex::new(());

pub struct Server {
    pub base_url: String,
    pub token: Option<String>,
    /// The name of the server in messages.
    pub name: &'static str,
    client: ureq::Agent,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

pub fn start(builder: DevAgentBuilder) -> (DevAgent, Server) {
    let agent = RUNTIME.block_on(builder.start()).unwrap();
    let server = Server::at(agent.address(), "development agent");
    (agent, server)
}

/// Runs a test on all servers without access control.
pub fn everywhere(test: impl Fn(&Server)) {
    let (_agent, server) = start(DevAgent::builder());
    test(&server);
    on_real(consul::real(), test);
}

/// Runs a test on all servers with access control.
pub fn everywhere_with_acl(test: impl Fn(&Server)) {
    let (_agent, server) = start(DevAgent::builder().acl_token(TOKEN.as_str()));
    test(&server);
    on_real(consul::with_acl().map(|acl| &acl.agent), test);
}

fn on_real(agent: Option<&Agent>, test: impl Fn(&Server)) {
    let _turn = REAL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(agent) = agent {
        test(&Server::at(&agent.http, "real Consul"));
    }
}

/// Runs a test on both servers at once, if there is a real Consul. Their nodes have the same name.
/// The Consul is a new one: sessions left by other tests would expire and change its indexes.
pub fn pair(test: impl Fn(&Server, &Server)) {
    if let Some(agent) = Agent::start() {
        let real = Server::at(&agent.http, "real Consul");
        settle(&real);
        let (_agent, server) = start(DevAgent::builder().node(real.node()));
        test(&server, &real);
    }
}

/// A new Consul goes on registering its own node for a while, which moves the indexes of all nodes. First the leader
/// registers it, then the agent itself, which alone knows the segment; and then there is calm.
fn settle(real: &Server) {
    let segment = "/Meta/consul-network-segment";
    until(Duration::from_secs(60), || {
        let nodes = real.get("/v1/catalog/nodes").json();
        nodes[0].pointer(segment).is_some()
    });
    let index = || real.get("/v1/catalog/nodes").index();
    let (mut last, mut since) = (index(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(100));
        let now = index();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

impl Server {
    pub fn at(base_url: &str, name: &'static str) -> Server {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        Server {
            base_url: base_url.trim_end_matches('/').into(),
            token: None,
            name,
            client: config.into(),
        }
    }

    /// Returns a client of the same server that sends a token.
    pub fn with_token(&self, token: &str) -> Server {
        let mut server = Server::at(&self.base_url, self.name);
        server.token = Some(token.into());
        server
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let uri = format!("{}{path}", self.base_url);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        request
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut answer = answer.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let headers = answer.headers().iter();
        let text = |value: &ureq::http::HeaderValue| value.to_str().unwrap().to_owned();
        Answer {
            status: answer.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), text(value)))
                .collect(),
            body: answer.body_mut().read_to_string().unwrap(),
        }
    }

    pub fn call(&self, method: &str, path: &str) -> Answer {
        self.call_with(method, path, &[])
    }

    pub fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method == "PUT" || method == "POST" {
            let request = request.body(Vec::<u8>::new()).unwrap();
            return self.answer(self.client.run(request));
        }
        self.answer(self.client.run(request.body(()).unwrap()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path)
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        let request = self.request("PUT", path).body(body.as_ref().to_vec());
        self.answer(self.client.run(request.unwrap()))
    }

    pub fn put_chunked(&self, path: &str, body: &[u8]) -> Answer {
        let mut reader = Cursor::new(body.to_vec());
        let body = ureq::SendBody::from_reader(&mut reader);
        let request = self.request("PUT", path).body(body).unwrap();
        self.answer(self.client.run(request))
    }

    /// Creates a session and returns its id.
    pub fn create(&self, body: &str) -> String {
        let answer = self.put("/v1/session/create", body);
        assert_eq!(answer.status, 200, "{}: {body}: {}", self.name, answer.body);
        answer.json()["ID"].as_str().unwrap().to_owned()
    }

    /// Returns a session, if it exists.
    pub fn info(&self, id: &str) -> Option<Value> {
        let mut sessions = self.get(&format!("/v1/session/info/{id}")).json();
        sessions.as_array_mut().unwrap().pop()
    }

    pub fn destroy(&self, id: &str) {
        let answer = self.put(&format!("/v1/session/destroy/{id}"), "");
        answer.is(200, "true");
    }

    /// Returns the entry of a key, or null.
    pub fn key(&self, key: &str) -> Value {
        let answer = self.get(&format!("/v1/kv/{key}"));
        if answer.status == 404 {
            return Value::Null;
        }
        answer.json()[0].clone()
    }

    /// Returns a prefix that no other test uses, after deleting all keys with it.
    pub fn prefix(&self, test: &str) -> String {
        let prefix = format!("conformance/{test}/");
        self.delete(&format!("/v1/kv/{prefix}?recurse"))
            .is(200, "true");
        prefix
    }

    pub fn node(&self) -> String {
        let about = self.get("/v1/agent/self").json();
        about["Config"]["NodeName"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn index(&self) -> u64 {
        let index = self.header("X-Consul-Index");
        index.expect("X-Consul-Index").parse().unwrap()
    }

    /// Checks the status and the body, except for a trailing newline.
    #[track_caller]
    pub fn is(&self, status: u16, text: &str) -> &Answer {
        assert_eq!((self.status, self.body.trim_end()), (status, text));
        self
    }

    /// Checks the status and the beginning of the body.
    #[track_caller]
    pub fn begins(&self, status: u16, text: &str) -> &Answer {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.body.starts_with(text), "{:?}", self.body);
        self
    }
}

/// How long something takes.
pub fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = run();
    (start.elapsed(), result)
}

/// Tries until it is so, and says how long that took.
#[track_caller]
pub fn until(limit: Duration, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}
