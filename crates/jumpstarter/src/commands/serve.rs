//! `jumpstarter serve`.

use std::process::ExitCode;

use tracing::info;

use super::{say, termination};
use crate::{service::Service, settings::ServeArgs};

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = args.clone().resolve()?;
    let data_dir = settings.data_dir.clone();
    let stopped = termination();
    tokio::pin!(stopped);
    let mut service = Service::start(settings.clone()).await?;
    service.follow(args, settings)?;
    let metrics = service.metrics.map_or_else(|| "off".to_owned(), |address| address.to_string());
    say(format_args!(
        "jumpstarter is ready: listen={} advertise={} metrics={metrics} data-dir={}",
        service.listen,
        service.advertise,
        data_dir.display()
    ));
    // Fails only without a service manager.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        // Waited for once; `failed` is cancel safe.
        signal = &mut stopped => info!(signal = signal?, "stopping"),
        () = service.failed() => {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            service.shutdown().await;
            anyhow::bail!("a server ended unexpectedly");
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    service.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
