//! The library: typed operations, client settings, and the isolation of clients from each other.

use consul_session::{
    Behavior, Client, ErrorKind, NewSession, OnDifference, Policy, Report, Runtime, ServiceCheck,
    Token,
};
use consul_session_dev_agent::DevAgent;
use consul_session_tests::bad_server::{Request, Server};
use consul_session_tests::consul;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Returns the runtime that all tests share, as the clients of a real program do.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

fn named(name: &str) -> NewSession {
    NewSession::named(name)
}

/// Runs every typed operation against an agent, with the same expectations for Consul and for the development agent.
async fn every_operation(address: &str) {
    let consul = Client::builder().address(address).build(runtime()).unwrap();
    let id = consul
        .create(
            &NewSession::named("typed ü")
                .lock_delay(Duration::from_millis(500))
                .behavior(Behavior::Delete)
                .ttl(Duration::from_secs(30))
                .node_checks::<&str>([])
                .service_checks([]),
        )
        .await
        .unwrap();
    let session = consul.info(&id).await.unwrap().unwrap();
    assert_eq!(
        (session.name.as_str(), session.lock_delay),
        ("typed ü", Duration::from_millis(500))
    );
    assert_eq!(
        (session.behavior, session.ttl),
        (Behavior::Delete, Some(Duration::from_secs(30)))
    );
    assert_eq!(
        (
            session.node_checks.len(),
            session.service_checks,
            session.checks.len()
        ),
        (0, Vec::<ServiceCheck>::new(), 0)
    );
    assert!(session.create_index > 0 && session.create_index == session.modify_index);

    let of_node = consul.node(&session.node).await.unwrap();
    assert!(!of_node.filtered && of_node.sessions.iter().any(|listed| listed.id == id));
    assert!(
        consul
            .list()
            .await
            .unwrap()
            .sessions
            .iter()
            .any(|listed| listed.id == id)
    );
    assert_eq!(consul.renew(&id).await.unwrap().id, id);

    let twice = consul.create(&named("twice")).await.unwrap();
    let again = consul.create(&named("twice")).await.unwrap();
    assert_ne!(twice, again);
    let kept = consul
        .ensure(&named("twice"), OnDifference::Refuse)
        .await
        .unwrap();
    assert_eq!(
        (kept.session.id.as_str(), kept.created, kept.warnings.len()),
        (twice.as_str(), false, 1)
    );
    let differs = named("twice").ttl(Duration::from_secs(60));
    let refused = consul
        .ensure(&differs, OnDifference::Refuse)
        .await
        .unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Conflict);
    assert!(
        refused.message().contains("ttl is none instead of 60s"),
        "{refused}"
    );
    let replaced = consul
        .ensure(&differs, OnDifference::Recreate)
        .await
        .unwrap();
    assert_eq!((replaced.created, replaced.replaced.len()), (true, 2));
    assert_eq!(
        consul.remove("twice", None).await.unwrap(),
        [replaced.session.id]
    );
    assert!(consul.remove("twice", None).await.unwrap().is_empty());

    consul.destroy(&id).await.unwrap();
    consul.destroy(&id).await.unwrap();
    assert_eq!(consul.info(&id).await.unwrap(), None);
    let lost = consul.renew(&id).await.unwrap_err();
    assert_eq!(
        (lost.kind(), lost.exchange().unwrap().status),
        (&ErrorKind::NotFound, Some(404))
    );

    let nowhere = NewSession::new().node("no-such-node");
    assert_eq!(
        *consul.create(&nowhere).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    for (wrong, parameter) in [
        (NewSession::new().ttl(Duration::from_secs(1)), "ttl"),
        (
            NewSession::new().lock_delay(Duration::from_secs(61)),
            "delay",
        ),
    ] {
        let error = consul.create(&wrong).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid(parameter.to_owned()));
        assert!(error.exchange().is_none());
    }
    assert_eq!(
        *consul.info("../../agent/self").await.unwrap_err().kind(),
        ErrorKind::Invalid("id".to_owned())
    );
}

#[tokio::test]
async fn every_operation_against_consul() {
    if let Some(agent) = consul::plain() {
        every_operation(&agent.http).await;
    }
}

#[tokio::test]
async fn every_operation_against_the_development_agent() {
    let agent = DevAgent::start().await.unwrap();
    every_operation(agent.address()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_concurrent_ensures_create_one_session() {
    let Some(agent) = consul::plain() else { return };
    let consul = Client::builder()
        .address(&agent.http)
        .timeout(Duration::from_secs(60))
        .build(runtime())
        .unwrap();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let consul = consul.clone();
            tokio::spawn(async move {
                consul
                    .ensure(&named("typed race"), OnDifference::Refuse)
                    .await
            })
        })
        .collect();
    let mut ids = Vec::new();
    let mut created = 0;
    for call in calls {
        let ensured = call.await.unwrap().unwrap();
        created += usize::from(ensured.created);
        ids.push(ensured.session.id);
    }
    ids.dedup();
    assert_eq!((ids.len(), created), (1, 1));
    assert_eq!(consul.remove("typed race", None).await.unwrap(), ids);
}

#[tokio::test]
async fn token_is_sent_only_to_its_origin_and_never_printed() {
    let secret = "5f2c3a9e-token";
    let own = Server::answering(200, &[], "[]");
    let other = Server::answering(200, &[], "[]");
    let builder = Client::builder()
        .address(&own.url())
        .token(Token::new(secret).unwrap())
        .policy(Policy::deny_all().allow(&other.url()).unwrap());
    let consul = builder.build(runtime()).unwrap();
    consul.list().await.unwrap();
    assert_eq!(own.requests()[0].header("x-consul-token"), Some(secret));
    consul
        .action(&format!(r#"{{"state": "list", "url": "{}"}}"#, other.url()))
        .await
        .unwrap();
    assert_eq!(other.requests()[0].header("x-consul-token"), None);
    assert!(!format!("{:?}", Token::new(secret).unwrap()).contains(secret));
}

#[tokio::test]
async fn actions_cannot_override_settings_of_the_host() {
    let consul = Client::builder()
        .address("http://127.0.0.1:1")
        .token(Token::new("t").unwrap())
        .build(runtime())
        .unwrap();
    for parameters in [
        r#"{"state": "list", "token": "mine"}"#,
        r#"{"state": "list", "validate_certs": false}"#,
        r#"{"state": "list", "ca_path": "/etc/passwd"}"#,
        r#"{"state": "list", "client_cert": "/etc/passwd"}"#,
        r#"{"state": "list", "client_key": "/etc/passwd"}"#,
        r#"{"state": "list", "url": "http://127.0.0.1:2"}"#,
        r#"{"state": "list", "host": "localhost", "port": 1}"#,
        r#"{"state": "list", "scheme": "https", "host": "127.0.0.1", "port": 1}"#,
    ] {
        let error = consul.action(parameters).await.unwrap_err();
        assert!(error.is_denied(), "{parameters}: {error:?}");
    }
    // Missing and empty parameters default to the client's own address.
    for same in [
        r#"{"state": "list", "port": 1}"#,
        r#"{"state": "list", "url": "", "host": "", "ca_path": ""}"#,
    ] {
        let error = consul.action(same).await.unwrap_err();
        let message = error.message();
        assert!(
            message.contains("http://127.0.0.1:1/v1/session/list"),
            "{message}"
        );
    }
    // Spelling out the client's own address is allowed.
    let same = consul
        .action(r#"{"state": "list", "host": "127.0.0.1", "port": 1}"#)
        .await;
    assert_eq!(*same.unwrap_err().kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn actions_may_shorten_the_timeout_but_not_extend_it() {
    let silent = Server::silent();
    for (granted, asked) in [(120_000, "\"100ms\""), (100, "120")] {
        let consul = Client::builder()
            .address(&silent.url())
            .timeout(Duration::from_millis(granted))
            .build(runtime())
            .unwrap();
        let begun = Instant::now();
        let error = consul
            .action(&format!(r#"{{"state": "list", "timeout": {asked}}}"#))
            .await
            .unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{asked}: {:?}",
            begun.elapsed()
        );
    }
}

/// A body close to the size limit must fit into the component's memory, for typed operations and for actions.
#[tokio::test]
async fn largest_response() {
    let sessions: Vec<String> = (0..36_000)
        .map(|number| {
            format!(
                r#"{{"ID":"2d54d52a-8d7a-2c9f-7dc1-{number:012}","Name":"deploy-{number}","Node":"node-1","LockDelay":15000000000,"Behavior":"release","TTL":"30s","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":{number},"ModifyIndex":{number}}}"#
            )
        })
        .collect();
    let body = format!("[{}]", sessions.join(","));
    assert!((7 << 20..8 << 20).contains(&body.len()), "{}", body.len());
    let server = Server::answering(200, &[("Content-Type", "application/json")], body);
    let consul = Client::builder()
        .address(&server.url())
        .timeout(Duration::from_secs(60))
        .build(runtime())
        .unwrap();
    let listing = consul.list().await.unwrap();
    assert_eq!(listing.sessions.len(), sessions.len());
    let listed = consul.action(r#"{"state": "list"}"#).await.unwrap();
    assert!(listed.as_json().contains(sessions.last().unwrap()));
    let kept = consul
        .action(r#"{"name": "deploy-35999", "check_mode": true, "diff": true}"#)
        .await
        .unwrap();
    assert!(!kept.changed());
}

#[tokio::test]
async fn maximum_timeout_is_accepted() {
    let agent = DevAgent::start().await.unwrap();
    let patient = Client::builder()
        .address(agent.address())
        .timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .build(runtime())
        .unwrap();
    assert!(patient.list().await.is_ok());
}

#[tokio::test]
async fn connections_are_reused_but_not_shared_between_clients() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let server = Server::raw(move |mut stream, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        while Request::read(&mut stream)?.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")?;
        }
        Ok(())
    });
    for tenant in 1..=3 {
        let consul = Client::builder()
            .address(&server.url())
            .build(runtime())
            .unwrap();
        for _ in 0..5 {
            consul.list().await.unwrap();
        }
        assert_eq!(connections.load(Ordering::Relaxed), tenant);
    }
}

#[tokio::test]
async fn on_request_reports_every_request() {
    let agent = DevAgent::start().await.unwrap();
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let sink = reports.clone();
    let consul = Client::builder()
        .address(agent.address())
        .on_request(move |report| sink.lock().unwrap().push(report.clone()))
        .build(runtime())
        .unwrap();
    consul.list().await.unwrap();
    consul
        .destroy("00000000-0000-0000-0000-000000000000")
        .await
        .unwrap();
    let reports = reports.lock().unwrap();
    let seen: Vec<(&str, &str, Option<u16>)> = reports
        .iter()
        .map(|report| (report.method.as_str(), report.path.as_str(), report.status))
        .collect();
    assert_eq!(
        seen,
        [
            ("GET", "/v1/session/list", Some(200)),
            (
                "PUT",
                "/v1/session/destroy/00000000-0000-0000-0000-000000000000",
                Some(200)
            ),
        ]
    );
}

#[test]
fn invalid_settings_are_rejected() {
    let missing = Client::builder().build(runtime()).err().unwrap();
    assert!(missing.to_string().contains("no address"), "{missing}");
    for address in [
        "",
        "localhost:8500/x",
        "http://u:p@h:1",
        "unix:///x",
        "ftp://h:1",
    ] {
        assert!(
            Client::builder().address(address).build(runtime()).is_err(),
            "{address}"
        );
    }
    assert!(Token::new("with\nline").is_err());
    assert!(Runtime::from_bytes(b"not a component").is_err());
}

/// The server never responds, and the deadlines are far away: only the limits on concurrent calls let others proceed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_client_does_not_block_others() {
    const LONG: Duration = Duration::from_secs(60);
    let (hang_up, hanging) = std::sync::mpsc::channel::<()>();
    let hanging = Mutex::new(hanging);
    let silent = Server::after_request(move |_, _| {
        // Returns when the test drops its end of the channel.
        let _ = hanging.lock().unwrap().recv();
        Ok(())
    });
    let agent = DevAgent::start().await.unwrap();
    let runtime = Runtime::with_calls(4).unwrap();
    let tenant = |address: &str| {
        Client::builder()
            .address(address)
            .max_calls(2)
            .timeout(LONG)
            .build(&runtime)
            .unwrap()
    };
    let hanging = tenant(&silent.url());
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let hanging = hanging.clone();
            tokio::spawn(async move { hanging.list().await })
        })
        .collect();
    let both = async {
        while silent.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, both).await.unwrap();
    let other = tenant(agent.address());
    assert!(other.list().await.unwrap().sessions.is_empty());

    // The client is at its limit of two calls, so another call times out while it waits.
    let waiting = hanging
        .action(r#"{"state": "list", "timeout": "200ms"}"#)
        .await
        .unwrap_err();
    assert!(
        waiting.is_timeout() && waiting.message().contains("for its turn"),
        "{waiting:?}"
    );
    assert_eq!(silent.requests().len(), 2);
    for call in calls {
        call.abort();
    }
    drop(hang_up);
}

/// Large parameters of a tenant are read by a thread for such work, after the call's turn has come and its clock started.
#[tokio::test]
async fn large_parameters_hold_up_no_other_task() {
    let client = Client::builder()
        .address("http://127.0.0.1:1")
        .timeout(Duration::from_secs(60))
        .build(runtime())
        .unwrap();
    let members: Vec<String> = (0..400_000).map(|n| format!(r#""{n:x}":[]"#)).collect();
    let parameters = format!("{{{}}}", members.join(","));
    let mut call = std::pin::pin!(client.action(&parameters));
    tokio::select! {
        biased;
        result = &mut call => panic!("the call was complete at once: {result:?}"),
        () = std::future::ready(()) => {}
    }
    let error = call.await.unwrap_err();
    assert!(
        error.message().contains("more than 100 parameters"),
        "{error}"
    );
}
