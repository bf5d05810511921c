//! TLS: which servers are trusted, which are not, and what the errors say.

use consul_session_tests::bad_server::Server;
use consul_session_tests::ca::{Authority, Identity};
use consul_session_tests::consul;
use consul_session_tests::program::{Failure, Program, apply};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

const TOKEN: &str = "0b7e5a4c-3f5d-4a35-9d6e-1f2a3b4c5d6e";

/// A directory for the PEM files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, pem: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, pem).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

fn localhost(server: &Server) -> String {
    format!("https://localhost:{}", server.port())
}

fn address(server: &Server) -> String {
    format!("https://127.0.0.1:{}", server.port())
}

#[track_caller]
fn trusted(url: &str, mut parameters: Value) {
    parameters["state"] = "list".into();
    assert_eq!(apply(url, parameters).success()["sessions"], json!([]));
}

/// Checks that the program does not trust the server and sends no request, so the server never receives the token.
#[track_caller]
fn distrusted(server: &Server, url: &str, mut parameters: Value) -> Failure {
    let before = server.requests();
    parameters["token"] = TOKEN.into();
    for state in ["list", "present"] {
        parameters["state"] = state.into();
        let failure = apply(url, parameters.clone()).failure("tls");
        assert_eq!(failure.get("maybe_applied"), false, "{failure:?}");
        failure.says(&[url]);
        assert_eq!(server.requests(), before);
    }
    apply(url, parameters).failure("tls")
}

#[test]
fn server_with_a_certificate_from_the_given_ca_is_trusted() {
    let (files, authority) = (Files::new(), Authority::new("one"));
    let ca = files.write("ca.pem", &authority.pem());
    let server = authority.certify(&["localhost", "127.0.0.1"]).serve();
    for url in [localhost(&server), address(&server)] {
        trusted(&url, json!({"ca_path": ca}));
        let by_variable = Program::new(["--address", &url, "list"])
            .env("CONSUL_CACERT", &ca)
            .run();
        assert_eq!(by_variable.success()["sessions"], json!([]));
        let by_option = Program::new(["--address", &url, "--ca-file", &ca, "list"]).run();
        assert_eq!(by_option.success()["sessions"], json!([]));
    }
    // A file may contain several certificates, with text between them.
    let both = format!(
        "The old one:\n{}\nand the new one:\n{}",
        Authority::new("other").pem(),
        authority.pem()
    );
    trusted(
        &localhost(&server),
        json!({"ca_path": files.write("both.pem", &both)}),
    );
}

#[test]
fn server_with_a_certificate_from_another_ca_is_not_trusted() {
    let (files, authority) = (Files::new(), Authority::new("one"));
    let other = files.write("other.pem", &Authority::new("other").pem());
    let server = authority.certify(&["localhost"]).serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": other}))
        .says(&["not signed by a trusted CA", "ca_path"]);
    // The system's roots do not include the authority.
    distrusted(&server, &localhost(&server), json!({}));
    // An authority with the same name but another key is not trusted either.
    let namesake = files.write("namesake.pem", &Authority::new("one").pem());
    distrusted(&server, &localhost(&server), json!({"ca_path": namesake}));
}

#[test]
fn certificate_for_another_name_is_not_trusted() {
    let (files, authority) = (Files::new(), Authority::new("one"));
    let ca = files.write("ca.pem", &authority.pem());
    let server = authority.certify(&["consul.example", "127.0.0.2"]).serve();
    for url in [localhost(&server), address(&server)] {
        distrusted(&server, &url, json!({"ca_path": ca})).says(&["another name"]);
        // The certificate is accepted if its name is given as the server name.
        let named = [
            "--address",
            &url,
            "--ca-file",
            &ca,
            "--tls-server-name",
            "consul.example",
            "list",
        ];
        Program::new(named).run().success();
        let list = ["--address", &url, "--ca-file", &ca, "list"];
        Program::new(list)
            .env("CONSUL_TLS_SERVER_NAME", "consul.example")
            .run()
            .success();
        assert_eq!(
            Program::new(list)
                .env("CONSUL_TLS_SERVER_NAME", "consul2.example")
                .run()
                .code,
            1
        );
    }
}

#[test]
fn expired_certificate_is_not_trusted() {
    let (files, authority) = (Files::new(), Authority::new("one"));
    let ca = files.write("ca.pem", &authority.pem());
    let server = authority.certify_expired(&["localhost"]).serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": ca})).says(&["expired"]);
}

/// OpenSSL accepts this too, and users with a single self-signed certificate rely on it.
#[test]
fn self_signed_certificate_in_the_ca_file_is_trusted() {
    let (files, identity) = (Files::new(), Identity::self_signed(&["localhost"]));
    let own = files.write("own.pem", &identity.certificate);
    let server = identity.serve();
    trusted(&localhost(&server), json!({"ca_path": own}));
    // It is not trusted for another name.
    distrusted(&server, &address(&server), json!({"ca_path": own})).says(&["another name"]);
    // It is not trusted if the file does not contain it.
    distrusted(&server, &localhost(&server), json!({}));
    let another = files.write(
        "another.pem",
        &Identity::self_signed(&["localhost"]).certificate,
    );
    distrusted(&server, &localhost(&server), json!({"ca_path": another}));
    // It is not trusted once it has expired.
    let expired = Identity::self_signed_expired(&["localhost"]);
    let own = files.write("expired.pem", &expired.certificate);
    let server = expired.serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": own})).says(&["expired"]);
}

/// A certificate in the CA file that is not a CA's vouches for itself and nothing else, as with OpenSSL.
#[test]
fn server_certificate_in_the_ca_file_signs_for_no_other() {
    let (files, authority) = (Files::new(), Authority::new("one"));
    let pinned = authority.certify(&["consul.example"]);
    let ca = files.write("pinned.pem", &pinned.certificate);
    // Its owner signs a certificate for another host.
    let server = pinned.certify(&["localhost"]).serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": ca}))
        .says(&["not signed by a trusted CA"]);
    let own = Identity::self_signed(&["consul.example"]);
    let ca = files.write("own.pem", &own.certificate);
    let server = own.certify(&["localhost"]).serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": ca}))
        .says(&["not signed by a trusted CA"]);
}

#[test]
fn certificate_for_clients_is_no_servers() {
    let (files, authority) = (Files::new(), Authority::new("one"));
    let ca = files.write("ca.pem", &authority.pem());
    let server = authority.certify_client(&["localhost"]).serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": ca})).says(&["not for servers"]);
    let own = Identity::self_signed_client(&["localhost"]);
    let ca = files.write("own.pem", &own.certificate);
    let server = own.serve();
    distrusted(&server, &localhost(&server), json!({"ca_path": ca})).says(&["not for servers"]);
}

#[test]
fn verification_is_skipped_only_on_request() {
    let server = Identity::self_signed_expired(&["elsewhere"]).serve();
    let url = localhost(&server);
    trusted(&url, json!({"validate_certs": false}));
    trusted(&url, json!({"validate_certs": "no"}));
    Program::new(["--address", &url, "--insecure", "list"])
        .run()
        .success();
    let list = || Program::new(["apply", "state=list", &format!("url={url}")]);
    list()
        .env("CONSUL_HTTP_SSL_VERIFY", "false")
        .run()
        .success();
    list()
        .env("CONSUL_HTTP_SSL_VERIFY", "true")
        .run()
        .failure("tls");
    distrusted(&server, &url, json!({"validate_certs": true}));
    // A parameter overrides the variable.
    let strict = Program::new([
        "apply",
        "state=list",
        "validate_certs=yes",
        &format!("url={url}"),
    ]);
    strict
        .env("CONSUL_HTTP_SSL_VERIFY", "false")
        .run()
        .failure("tls");
}

const GARBAGE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn invalid_certificate_files_are_rejected() {
    let files = Files::new();
    let server = Authority::new("one").certify(&["localhost"]).serve();
    let key = Identity::self_signed(&["x"]);
    let certificate = files.write("certificate.pem", &key.certificate);
    let foreign_key = files.write("foreign-key.pem", &Identity::self_signed(&["x"]).key);
    for (parameters, parameter) in [
        (json!({"ca_path": "/nowhere/ca.pem"}), "ca_path"),
        (json!({"ca_path": files.write("empty.pem", "")}), "ca_path"),
        (
            json!({"ca_path": files.write("key.pem", &key.key)}),
            "ca_path",
        ),
        (
            json!({"ca_path": files.write("garbage.pem", GARBAGE)}),
            "ca_path",
        ),
        (json!({"client_cert": "/nowhere/cert.pem"}), "client_cert"),
        (
            json!({"client_cert": files.write("no-cert.pem", "x"), "client_key": foreign_key}),
            "client_cert",
        ),
        (json!({"client_key": foreign_key}), "client_key"),
    ] {
        let mut parameters = parameters;
        parameters["state"] = "list".into();
        let run = apply(&localhost(&server), parameters.clone());
        assert_eq!(
            run.failure("invalid").get("parameter"),
            parameter,
            "{parameters}"
        );
        run.never_says("PRIVATE KEY");
    }
    // A key that does not belong to the certificate is reported before anything is sent, with any kind of error.
    let parameters = json!({"state": "list", "client_cert": certificate, "client_key": foreign_key, "validate_certs": false});
    let run = apply(&localhost(&server), parameters);
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stdout.contains("do not belong together"), "{run:#?}");
    assert_eq!(server.requests(), []);
}

#[test]
fn tls_to_a_plain_http_port() {
    // The server waits for the end of a request, which never arrives.
    let server = Server::after_request(|_, _| Ok(()));
    for state in ["list", "present"] {
        // The program stops connecting 60 ms before the deadline of the call. If it is not scheduled within that time,
        // it cannot tell that nothing was sent, so only one of ten runs has to.
        let sure = (0..10).any(|_| {
            let parameters = json!({"state": state, "timeout": "1s"});
            let failure = apply(&address(&server), parameters).failure("timeout");
            failure.get("maybe_applied") == false
        });
        assert!(sure, "{state}");
    }
    let Some(agent) = consul::plain() else { return };
    let url = agent.http.replace("http:", "https:");
    for parameters in [
        json!({"state": "list"}),
        json!({"state": "list", "validate_certs": false}),
        json!({}),
    ] {
        let failure = apply(&url, parameters).failure("tls");
        failure.says(&["does not speak TLS", "scheme"]);
        assert_eq!(failure.get("maybe_applied"), false);
    }
}

#[test]
fn plain_http_to_a_tls_port() {
    let Some(tls) = consul::with_tls() else {
        return;
    };
    let url = tls.agent.https.replace("https:", "http:");
    for parameters in [json!({"state": "list"}), json!({})] {
        let failure = apply(&url, parameters).failure("tls");
        failure.says(&["https"]);
        assert_eq!(failure.get("maybe_applied"), false);
    }
}

/// Uses a real Consul with `verify_incoming`.
#[test]
fn client_certificate_is_presented() {
    let Some(tls) = consul::with_tls() else {
        return;
    };
    let files = Files::new();
    let ca = files.write("ca.pem", &tls.authority.pem());
    let client = tls.authority.certify(&["client.dc1.consul"]);
    let (certificate, key) = (
        files.write("client.pem", &client.certificate),
        files.write("client-key.pem", &client.key),
    );
    let both = files.write(
        "client-both.pem",
        &format!("{}{}", client.key, client.certificate),
    );
    for parameters in [
        json!({"ca_path": ca, "client_cert": certificate, "client_key": key}),
        json!({"ca_path": ca, "client_cert": both}),
        json!({"validate_certs": false, "client_cert": both}),
    ] {
        let mut parameters = parameters;
        parameters["name"] = "tls-client".into();
        let result = apply(&tls.agent.https, parameters).success();
        assert_eq!(
            json!(tls.agent.api.named("tls-client")),
            json!([result["session"]])
        );
    }
    let list = Program::new(["list"])
        .env("CONSUL_HTTP_ADDR", &tls.agent.https)
        .env("CONSUL_CACERT", &ca)
        .env("CONSUL_CLIENT_CERT", &certificate)
        .env("CONSUL_CLIENT_KEY", &key)
        .run();
    assert!(!list.success()["sessions"].as_array().unwrap().is_empty());
    let options = [
        "--address",
        &tls.agent.https,
        "--ca-file",
        &ca,
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
    ];
    Program::new(options.iter().chain(&["list"]))
        .run()
        .success();

    let stranger = Authority::new("another").certify(&["client.dc1.consul"]);
    let stranger = files.write(
        "stranger.pem",
        &format!("{}{}", stranger.key, stranger.certificate),
    );
    for parameters in [
        json!({"ca_path": ca}),
        json!({"ca_path": ca, "client_cert": stranger}),
    ] {
        for state in ["list", "present"] {
            let mut parameters = parameters.clone();
            parameters["state"] = state.into();
            let failure = apply(&tls.agent.https, parameters).failure("tls");
            failure.says(&["certificate"]);
            assert_eq!(failure.get("maybe_applied"), false, "{failure:?}");
        }
    }
}
