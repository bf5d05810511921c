//! The server: accepts a bounded number of connections, with or without TLS.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::agent::Agent;
use crate::router;

/// How long a connection may be idle before it is closed. Clients reuse idle connections, and
/// Consul never closes one, so this is long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the request line with all headers, and so of a key in a path.
const HEAD_BYTES: usize = 64 * 1024;
/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves until the future is dropped, which also ends all connections.
pub(crate) async fn run(agent: Arc<Agent>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    tokio::join!(accept(&agent, listener, tls), agent.state.run_clock());
}

async fn accept(agent: &Arc<Agent>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        // Connections that have ended by now do not count.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if connections.len() < agent.limits.connections => {
                // A response may be written in parts, and Nagle's algorithm would delay the last.
                let _ = stream.set_nodelay(true);
                let (agent, tls) = (agent.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(agent, stream).await,
                        Some(tls) => serve_tls(agent, stream, tls).await,
                    }
                });
            }
            // Over the limit: closed without a response, as Consul does.
            Ok(_) => {}
            // Most likely out of file descriptors, which come back as connections end.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve_tls(agent: Arc<Agent>, mut stream: TcpStream, tls: TlsAcceptor) {
    let handshake = async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
            let text = "HTTP/1.0 400 Bad Request\r\n\r\n\
                        Client sent an HTTP request to an HTTPS server.\n";
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        tls.accept(stream).await.map(Some)
    };
    // The TLS layer has reported a failed handshake to the client already.
    if let Ok(Ok(Some(stream))) = timeout(HANDSHAKE_TIMEOUT, handshake).await {
        serve(agent, stream).await;
    }
}

async fn serve(agent: Arc<Agent>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, std::convert::Infallible>(router::handle(&agent, request).await) }
    });
    // The only errors are those of the connection, so there is nobody left to report them to.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
