//! `consul-session agent`: the development agent in the foreground.

use super::args::AgentArgs;
use super::{FAILED, complain, executor};
use crate::dev_agent::DevAgent;
use std::io::Write;
use std::process::ExitCode;

/// Serves until a signal.
pub(super) fn serve(arguments: &AgentArgs) -> ExitCode {
    let served = executor()
        .map_err(anyhow::Error::from)
        .and_then(|executor| executor.block_on(run(arguments)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(arguments: &AgentArgs) -> anyhow::Result<()> {
    let mut builder = DevAgent::builder()
        .listen(arguments.listen)
        .node(&arguments.node)
        .datacenter(&arguments.dc);
    if let Some(token) = &arguments.acl_token {
        builder = builder.acl_token(token);
    }
    if let Some(file) = &arguments.tls {
        builder = builder.ca_file(file);
    }
    let agent = builder
        .start()
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {}: {error}", arguments.listen))?;
    let mut notes = std::io::stderr().lock();
    writeln!(notes, "development agent ready on {}", agent.address())?;
    if let Some(file) = &arguments.tls {
        writeln!(
            notes,
            "trust it with --ca-file {} or CONSUL_CACERT",
            file.display()
        )?;
    }
    writeln!(notes, "everything is in memory; stop with Ctrl-C")?;
    drop(notes);
    if arguments.listen.port() == 0 {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", agent.address())?;
        out.flush()?;
    }
    interrupted().await?;
    agent.shutdown().await;
    Ok(())
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
