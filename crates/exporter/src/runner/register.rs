//! The first call to the controller.
use jumpstarter_protocol::v1::RegisterRequest;
use tokio::time::sleep;
use tonic::{Code, Status, transport::Channel};

use super::{Exporter, Stop, chain};
use crate::{ControllerLink, ExporterError, backoff::Backoff};

/// Connects and registers, trying again while the controller cannot be reached. None when stopped meanwhile.
pub(super) async fn register(
    exporter: &Exporter,
    request: RegisterRequest,
    stop: &Stop,
) -> Result<Option<Channel>, ExporterError> {
    let endpoint = &exporter.endpoint;
    tracing::info!(%endpoint, exporter = %exporter.name(), "Registering exporter with controller");
    let mut backoff = Backoff::default();
    loop {
        let attempt = async {
            let channel = exporter.connector.connect(endpoint).await.map_err(|err| Err(chain(&*err)))?;
            let link = ControllerLink::with_identity(channel.clone(), exporter.identity.clone());
            link.register(request.clone()).await.map_err(Ok)?;
            Ok::<_, Result<Status, String>>(channel)
        };
        let failure = tokio::select! {
            // Registering is idempotent, so an attempt may be dropped.
            () = stop.any() => return Ok(None),
            outcome = attempt => match outcome {
                Ok(channel) => return Ok(Some(channel)),
                Err(Ok(status)) if refused(&status) => {
                    return Err(ExporterError::Refused { endpoint: endpoint.clone(), status: Box::new(status) });
                }
                Err(Ok(status)) => format!("{}: {}", status.code(), status.message()),
                Err(Err(error)) => error,
            },
        };
        let pause = backoff.next();
        tracing::warn!(%endpoint, error = %failure, ?pause, "the controller is not reachable; trying again");
        tokio::select! {
            () = stop.any() => return Ok(None),
            () = sleep(pause) => {}
        }
    }
}

/// An answer that trying again would not change.
pub(super) fn refused(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::InvalidArgument
            | Code::Unimplemented
            | Code::FailedPrecondition
            | Code::AlreadyExists
    )
}
