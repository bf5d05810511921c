//! `consul-session agent`: the development agent in the foreground.

use super::args::AgentArgs;
use super::{FAILED, complain, executor};
use crate::Token;
use anyhow::Context;
use consul_session_dev_agent::DevAgent;
use std::io::Write;
use std::process::ExitCode;

/// Serves until a signal.
pub(super) fn serve(arguments: &AgentArgs, datacenter: Option<&str>) -> ExitCode {
    let served = executor()
        .map_err(anyhow::Error::from)
        .and_then(|executor| executor.block_on(run(arguments, datacenter)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(arguments: &AgentArgs, datacenter: Option<&str>) -> anyhow::Result<()> {
    let listen = tokio::net::lookup_host(&arguments.listen)
        .await
        .with_context(|| format!("--listen takes HOST:PORT, not `{}`", arguments.listen))?
        .next()
        .with_context(|| format!("{} has no address", arguments.listen))?;
    let mut builder = DevAgent::builder().listen(listen).node(&arguments.node);
    if let Some(datacenter) = datacenter {
        builder = builder.datacenter(datacenter);
    }
    if let Some(token) = &arguments.acl_token {
        anyhow::ensure!(
            !token.is_empty(),
            "--acl-token is empty: nobody could present it"
        );
        // As a client would refuse it.
        Token::new(token.as_str())?;
        builder = builder.acl_token(token);
    }
    if let Some(file) = &arguments.tls {
        builder = builder.ca_file(file);
    }
    let agent = builder
        .start()
        .await
        .with_context(|| format!("cannot serve on {}", arguments.listen))?;
    note(&format!("development agent ready on {}", agent.address()));
    if let Some(file) = &arguments.tls {
        note(&format!(
            "trust it with --ca-file {} or CONSUL_CACERT",
            file.display()
        ));
    }
    note("everything is in memory; stop with Ctrl-C");
    if listen.port() == 0 {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", agent.address())?;
        out.flush()?;
    }
    interrupted().await?;
    agent.shutdown().await;
    Ok(())
}

/// Notes are for whoever reads them; an agent serves without readers too.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Waits for the signal to stop.
async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
