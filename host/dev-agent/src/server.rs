//! Connections: so many and no more, in the clear or over TLS.

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

/// A connection that sends no request for so long is closed. Clients keep idle connections for
/// their next request, and Consul itself never closes one, so this is long.
const IDLE: Duration = Duration::from_secs(10 * 60);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest request line and headers together, and with it the longest key in a path.
const HEAD_BYTES: usize = 64 * 1024;
/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves until it is dropped, and all connections with it.
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
        // Those that ended while this one was accepted no longer count.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if connections.len() < agent.limits.connections => {
                let (agent, tls) = (agent.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(agent, stream).await,
                        Some(tls) => serve_tls(agent, stream, tls).await,
                    }
                });
            }
            // One too many: closed without an answer, as Consul does.
            Ok(_) => {}
            // Out of file descriptors, most likely; they come back when a connection ends.
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
    // A failed handshake has told the client what there is to tell.
    if let Ok(Ok(Some(stream))) = timeout(HANDSHAKE, handshake).await {
        serve(agent, stream).await;
    }
}

async fn serve(agent: Arc<Agent>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, std::convert::Infallible>(router::handle(&agent, request).await) }
    });
    // An error here is a client that broke off; nobody is left to hear of it.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_BYTES)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
