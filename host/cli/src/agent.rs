//! `consul-session agent`: the development agent in the foreground.

use crate::args::AgentArgs;
use crate::{executor, output};
use anyhow::Context;
use clap::ValueEnum;
use consul_session::Token;
use consul_session_dev_agent::{DevAgent, Version};
use std::io::Write;
use std::process::ExitCode;

/// The versions of Consul that the agent can imitate.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Imitated {
    /// 1.8.7, recorded from a running server
    #[value(name = "1.8")]
    V1_8,
    /// Like 1.22, but with few characters in keys
    #[value(name = "1.21.5")]
    V1_21_5,
    /// 1.22.0, read in its source
    #[value(name = "1.22")]
    V1_22,
}

impl From<Imitated> for Version {
    fn from(version: Imitated) -> Version {
        match version {
            Imitated::V1_8 => Version::V1_8,
            Imitated::V1_21_5 => Version::V1_21_5,
            Imitated::V1_22 => Version::V1_22,
        }
    }
}

/// Serves until a signal arrives.
pub(crate) fn serve(arguments: &AgentArgs, datacenter: Option<&str>) -> ExitCode {
    let served = executor()
        .map_err(anyhow::Error::from)
        .and_then(|executor| executor.block_on(run(arguments, datacenter)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&format!("{error:#}"));
            output::FAILURE
        }
    }
}

async fn run(arguments: &AgentArgs, datacenter: Option<&str>) -> anyhow::Result<()> {
    let listen = tokio::net::lookup_host(&arguments.listen)
        .await
        .with_context(|| format!("--listen must be HOST:PORT, not `{}`", arguments.listen))?
        .next()
        .with_context(|| format!("{} has no address", arguments.listen))?;
    let mut builder = DevAgent::builder()
        .imitate(arguments.imitate.into())
        .listen(listen)
        .node(&arguments.node);
    if let Some(datacenter) = datacenter {
        builder = builder.datacenter(datacenter);
    }
    if let Some(token) = &arguments.acl_token {
        anyhow::ensure!(!token.is_empty(), "--acl-token must not be empty");
        // A token that no client could send is refused here.
        Token::new(token.as_str())?;
        builder = builder.acl_token(token);
    }
    if let Some(file) = &arguments.tls {
        builder = builder.ca_file(file);
    }
    let agent = builder
        .start()
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    output::note(&format!("development agent ready on {}", agent.address()));
    if let Some(file) = &arguments.tls {
        let file = file.display();
        output::note(&format!(
            "clients need --ca-file {file} or CONSUL_CACERT={file}"
        ));
    }
    if !listen.ip().to_canonical().is_loopback() && arguments.acl_token.is_none() {
        output::note(
            "warning: whoever can reach this machine can use the agent; --acl-token restricts it",
        );
    }
    if !matches!(arguments.imitate, Imitated::V1_8) {
        output::note(
            "warning: only the responses of 1.8 were recorded; those of newer versions were read in Consul's source",
        );
    }
    output::note("all data is in memory; press Ctrl-C to stop");
    if listen.port() == 0 {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", agent.address())
            .and_then(|()| out.flush())
            .context("cannot write the address")?;
    }
    interrupted().await?;
    agent.shutdown().await;
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
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
