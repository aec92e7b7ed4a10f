//! Exporters of a service, all in this process.
use std::process::ExitCode;

use jumpstarter_config::ExporterConfig;
use jumpstarter_exporter::{DirectListener, ExitReason, Exporter, ExporterError, Stop};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{door::DoorOptions, failed, notify};
use crate::failure::{Failure, chain};

/// Serves all of `configs` until each has ended. One that fails leaves the others alone, and makes this fail at the end.
/// With `door`, clients may come to all of them without a router.
pub(super) async fn serve(
    configs: Vec<ExporterConfig>,
    door: Option<DoorOptions>,
    stop: Stop,
) -> Result<ExitCode, Failure> {
    let several = configs.len() > 1;
    let exporters = configs.into_iter().map(Exporter::from_config).collect::<Result<Vec<_>, _>>();
    let mut exporters = exporters.map_err(|error| failed(&error))?;
    let mut helpers = JoinSet::new();
    if let Some(DoorOptions { listen, addresses }) = door {
        let listener = DirectListener::bind(&listen, &addresses).await.map_err(|error| failed(&error))?;
        tracing::info!("taking direct connections on {}", listener.local_addr());
        exporters = exporters.into_iter().map(|exporter| exporter.with_door(listener.door())).collect();
        // It ends with this function, after the last exporter.
        helpers.spawn(listener.serve(CancellationToken::new()));
    }
    let reports: Vec<_> = exporters.iter().map(Exporter::reported).collect();
    let mut running = JoinSet::new();
    for exporter in exporters {
        let name = exporter.name().to_owned();
        let span = if several { tracing::info_span!("exporter", name) } else { tracing::Span::none() };
        let stop = stop.clone();
        running.spawn(async move { (name, exporter.run_with(stop).await) }.instrument(span));
    }
    helpers.spawn(tell_ready(reports));
    let mut failure = None;
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((name, Ok(reason))) => match reason {
                ExitReason::Stopped => tracing::info!(exporter = name, "exporter stopped"),
                ExitReason::LeaseEnded => tracing::info!(exporter = name, "exporter stopped after its lease"),
                ExitReason::HookFailed(text) => failure = Some(Failure::new(text)),
            },
            Ok((name, Err(error))) => {
                if several {
                    tracing::error!(exporter = name, "{}", chain(&error));
                }
                failure = Some(first_failure(failure, &error));
            }
            Err(error) => failure = Some(Failure::new(format!("an exporter ended by a fault of its own: {error}"))),
        }
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn first_failure(earlier: Option<Failure>, error: &ExporterError) -> Failure {
    earlier.unwrap_or_else(|| failed(error))
}

/// Tells the service manager once the controller knows all exporters. One that ends before is not waited for.
async fn tell_ready<T>(reports: Vec<watch::Receiver<Option<T>>>) {
    let mut known = 0;
    for mut report in reports {
        known += usize::from(report.wait_for(Option::is_some).await.is_ok());
    }
    if known > 0 {
        notify(sd_notify::NotifyState::Status(&format!("{known} exporter(s) registered")));
        notify(sd_notify::NotifyState::Ready);
    }
}
