//! `--tls-grpc-listener`: an exporter without a service.
use std::process::ExitCode;

use jumpstarter_config::ExporterConfig;
use jumpstarter_exporter::{ExitReason, Standalone, StandaloneOptions, Stop};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Run, failed, notify};
use crate::{failure::Failure, output};

/// What the options ask for; nothing when they ask for no listener.
pub(super) fn options(run: &Run) -> Result<Option<StandaloneOptions>, Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    let insecure = run.tls_grpc_insecure;
    let Some(listener) = &run.tls_grpc_listener else {
        if insecure || run.tls_cert.is_some() || run.tls_key.is_some() || run.passphrase.is_some() {
            return usage("--tls-grpc-insecure, --tls-cert, --tls-key, and --passphrase require --tls-grpc-listener");
        }
        return Ok(None);
    };
    let listen = address(listener, "--tls-grpc-listener")?;
    let tls = match (insecure, &run.tls_cert, &run.tls_key) {
        (true, None, None) => None,
        (true, ..) => return usage("--tls-grpc-insecure cannot be combined with --tls-cert / --tls-key"),
        (false, Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (false, ..) => {
            return usage("--tls-grpc-listener requires either --tls-grpc-insecure or --tls-cert and --tls-key");
        }
    };
    let passphrase = run.passphrase.clone().filter(|text| !text.is_empty());
    if insecure && passphrase.is_some() {
        output::complain(
            "WARNING: --passphrase has no effect without TLS; the passphrase will be transmitted in plaintext",
        );
    }
    Ok(Some(StandaloneOptions { listen, tls, passphrase }))
}

/// `[HOST:]PORT` with all addresses of this machine as default.
pub(super) fn address(text: &str, option: &str) -> Result<String, Failure> {
    let invalid = |reason: String| Failure::Usage(format!("Invalid value for '{option}': {reason}"));
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let number: u32 = port.parse().map_err(|_| invalid(format!("port must be an integer, got '{port}'")))?;
    if !(1..=65535).contains(&number) {
        return Err(invalid(format!("port must be between 1 and 65535, got {number}")));
    }
    let host = if host.trim().is_empty() { "0.0.0.0" } else { host.trim() };
    Ok(format!("{host}:{number}"))
}

/// Serves until told to stop.
pub(super) async fn serve(
    configs: Vec<ExporterConfig>,
    options: StandaloneOptions,
    stop: Stop,
) -> Result<ExitCode, Failure> {
    let one: Result<[ExporterConfig; 1], _> = configs.try_into();
    let Ok([config]) = one else {
        return Err(Failure::Usage("--tls-grpc-listener serves one exporter; more than one is named".to_owned()));
    };
    let name = config.metadata.name.clone();
    let exporter = Standalone::bind(config, options).await.map_err(|error| failed(&error))?;
    let address = exporter.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    tracing::info!(exporter = name, "Session server started on {address}");
    let ready = CancellationToken::new();
    let mut helpers = JoinSet::new();
    helpers.spawn({
        let ready = ready.clone();
        async move {
            ready.cancelled().await;
            notify(sd_notify::NotifyState::Ready);
        }
    });
    match exporter.run(stop, ready).await.map_err(|error| failed(&error))? {
        ExitReason::Stopped | ExitReason::LeaseEnded => Ok(ExitCode::SUCCESS),
        ExitReason::HookFailed(text) => Err(Failure::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_addresses() {
        for (text, expected) in
            [("1234", "0.0.0.0:1234"), (":99", "0.0.0.0:99"), ("[::1]:7", "[::1]:7"), ("lab:65535", "lab:65535")]
        {
            assert_eq!(address(text, "--x").unwrap(), expected);
        }
        for (text, expected) in
            [("x", "port must be an integer, got 'x'"), ("a:0", "between 1 and 65535"), ("70000", "between")]
        {
            let Err(Failure::Usage(message)) = address(text, "--x") else { panic!("{text} was taken") };
            assert!(message.contains(expected), "{message}");
        }
    }
}
