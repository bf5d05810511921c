//! What the machine may refuse: descriptors, address space, threads, room for the output. Each ends in a message and an
//! exit status, never in a panic.

use consul_session_dev_agent::DevAgent;
use consul_session_tests::bad_server::Server;
use consul_session_tests::program::{Program, Run, path};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// The program either works, or says in a line what is missing.
#[track_caller]
fn ended_well(what: &str, run: &Run) {
    assert!(matches!(run.code, 0 | 1), "{what}: {run:?}");
    assert!(!run.stderr.contains("panicked"), "{what}: {run:?}");
    if run.code == 1 {
        let mut lines = run.stderr.lines();
        assert!(
            lines.any(|line| line.starts_with("error: ")),
            "{what}: {run:?}"
        );
        assert!(run.stderr.len() < 1_000, "{what}: {run:?}");
    }
}

/// Runs `list` in a shell that has set a limit before.
#[cfg(unix)]
fn limited(limit: &str, url: &str) -> Run {
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    let program = path();
    let arguments = [
        "-c",
        &script,
        program.to_str().unwrap(),
        "--address",
        url,
        "--timeout",
        "100s",
        "list",
    ];
    Program::other("/bin/sh", arguments).run()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn few_descriptors() {
    let agent = DevAgent::start().await.unwrap();
    let mut codes = Vec::new();
    // With 3 the loader fails.
    for limit in 4..24 {
        let run = limited(&format!("-n {limit}"), agent.address());
        ended_well(&format!("{limit} descriptors"), &run);
        if run.code == 1 {
            assert!(run.stderr.contains("open"), "{run:?}");
        }
        codes.push(run.code);
    }
    assert_eq!((codes[0], codes[19]), (1, 0), "{codes:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn little_address_space() {
    let agent = DevAgent::start().await.unwrap();
    let mut codes = Vec::new();
    for kib in (100_000..700_000).step_by(25_000) {
        let run = limited(&format!("-v {kib}"), agent.address());
        ended_well(&format!("{kib} KiB of address space"), &run);
        if run.code == 1 {
            assert!(run.stderr.contains("ulimit -v"), "{run:?}");
        }
        codes.push(run.code);
    }
    assert_eq!(
        (codes.first(), codes.last()),
        (Some(&1), Some(&0)),
        "{codes:?}"
    );
}

/// A part of a body that is one byte may hold a buffer of hundreds of KiB: hyper reads any number of zeros before a length.
#[cfg(target_os = "linux")]
#[test]
fn small_parts_of_a_body_hold_no_large_buffers() {
    let empty = Server::answering(200, &[("Content-Type", "application/json")], "[]");
    let enough = (100..1_000)
        .step_by(25)
        .find(|mib| limited(&format!("-v {}", mib << 10), &empty.url()).code == 0);
    let limit = format!("-v {}", (enough.unwrap() + 10) << 10);
    let server = Server::after_request(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        let space = format!("{}1\r\n \r\n", "0".repeat(300_000));
        for _ in 0..150 {
            stream.write_all(space.as_bytes())?;
        }
        stream.write_all(b"2\r\n[]\r\n0\r\n\r\n")
    });
    let run = limited(&limit, &server.url());
    assert_eq!(run.code, 0, "{run:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn full_disk() {
    let agent = DevAgent::start().await.unwrap();
    for arguments in [
        vec!["--address", agent.address(), "list"],
        vec!["--address", agent.address(), "--output", "json", "list"],
        vec!["component", "--output-file", "-"],
        vec!["component", "--output-file", "/dev/full"],
        vec!["--help"],
        vec!["help", "list"],
        vec!["--version"],
        vec!["agent", "--listen", "127.0.0.1:0"],
        vec!["demo"],
    ] {
        let run = Program::new(&arguments).output_to("/dev/full").run();
        ended_well(&format!("{arguments:?}"), &run);
        assert_eq!(run.code, 1, "{arguments:?}: {run:?}");
    }
}

/// A component is written whole or not at all.
#[test]
fn no_half_component_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("embedded.wasm");
    let write = || {
        let file = file.to_str().unwrap();
        Program::new(["component", "embedded", "--output-file", file]).run()
    };
    fs::write(&file, "the old one").unwrap();
    assert_eq!(write().code, 0);
    assert!(fs::read(&file).unwrap().starts_with(b"\0asm"));
    fs::remove_file(&file).unwrap();
    // Nothing else is left, and others may read it like any new file.
    assert_eq!(write().code, 0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_ne!(fs::metadata(&file).unwrap().permissions().mode() & 0o044, 0);
        let program = path();
        // The disk is full, as far as this process may write.
        fs::write(&file, "the old one").unwrap();
        let script = "ulimit -f 8 && trap '' XFSZ && exec \"$0\" component embedded -o \"$1\"";
        let arguments = [
            "-c",
            script,
            program.to_str().unwrap(),
            file.to_str().unwrap(),
        ];
        let run = Program::other("/bin/sh", arguments).run();
        ended_well("a full disk", &run);
        assert_eq!(run.code, 1, "{run:?}");
        assert_eq!(fs::read(&file).unwrap(), b"the old one");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}

/// Each use of a system call fails once, in a run of its own.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_system_call_may_fail() {
    if Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        #[expect(clippy::print_stderr, reason = "tells why nothing was tested")]
        {
            eprintln!("skipped: strace is not installed");
        }
        return;
    }
    let agent = DevAgent::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let program = path();
    for (call, error) in [
        ("socket", "EMFILE"),
        ("bind", "EADDRNOTAVAIL"),
        ("socketpair", "EMFILE"),
        ("epoll_create1", "EMFILE"),
        ("epoll_ctl", "ENOMEM"),
        ("eventfd2", "EMFILE"),
        ("memfd_create", "EMFILE"),
        ("openat", "EMFILE"),
        ("fcntl", "EMFILE"),
        ("clone3", "EAGAIN"),
        ("connect", "ENETUNREACH"),
        ("sendto", "EPIPE"),
        ("recvfrom", "ECONNRESET"),
        ("read", "EIO"),
        ("ioctl", "ENOTTY"),
    ] {
        let mut failed = 0;
        for number in 1.. {
            let inject = format!("inject={call}:error={error}:when={number}");
            let only = format!("trace={call}");
            let arguments = [
                "-f",
                "-q",
                "-o",
                trace.to_str().unwrap(),
                "-e",
                &only,
                "-e",
                &inject,
            ];
            let own = [
                program.to_str().unwrap(),
                "--address",
                agent.address(),
                "list",
            ];
            let run = Program::other("strace", arguments.into_iter().chain(own)).run();
            if !fs::read_to_string(&trace).unwrap().contains("INJECTED") {
                break;
            }
            // The loader's own failure.
            if run.code != 127 {
                ended_well(&format!("{call} number {number} fails with {error}"), &run);
            }
            failed += 1;
        }
        assert!((1..100).contains(&failed), "{call}: {failed}");
    }
}
