//! A shell on an exporter that listens by itself.
use std::process::ExitCode;

use jumpstarter_client::{ClientError, DirectTls, Session};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    Shell,
    around::{Before, show_logs, wait_for_exporter},
    child::Told,
    signals::Signals,
};
use crate::failure::Failure;

impl Shell {
    pub(super) async fn direct(&self, address: &str) -> Result<ExitCode, Failure> {
        let (stop, child) = (CancellationToken::new(), watch::Sender::new(None));
        let mut signals = Signals::catch()?;
        let receiver = child.subscribe();
        tokio::select! {
            // Signals only fire `stop` and tell the program: the work goes on to its orderly end.
            () = signals.handle(&stop, &receiver) => unreachable!("it handles signals for ever"),
            outcome = self.on_exporter(address, &stop, &child) => {
                if stop.is_cancelled() { Ok(ExitCode::from(2)) } else { outcome }
            }
        }
    }

    async fn on_exporter(
        &self,
        address: &str,
        stop: &CancellationToken,
        child: &watch::Sender<Option<u32>>,
    ) -> Result<ExitCode, Failure> {
        let tls = if self.tls_grpc_insecure { DirectTls::Plaintext } else { DirectTls::Tls { ca_pem: None } };
        let reached = async {
            let session = Session::direct(address, &tls, self.passphrase.as_deref()).await?;
            session.report().await?;
            Ok(session)
        };
        let session = tokio::select! {
            () = stop.cancelled() => return Ok(ExitCode::from(2)),
            reached = reached => reached.map_err(|error| explained(address, &error))?,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(show_logs(session.clone(), self.exporter_logs));
        let before = tokio::select! {
            () = stop.cancelled() => return Ok(ExitCode::from(2)),
            before = wait_for_exporter(&session, async || false) => before?,
        };
        debug_assert_eq!(before, Before::Ready);
        let told = Told {
            host: address.into(),
            allow: "UNSAFE".to_owned(),
            exporter: Some("direct".to_owned()),
            lease: Some("direct".to_owned()),
            insecure: self.tls_grpc_insecure,
            passphrase: self.passphrase.clone(),
            context: "direct".to_owned(),
            ..Told::default()
        };
        let ended = told.run(&self.command, child).await;
        tasks.shutdown().await;
        ended
    }
}

fn explained(address: &str, error: &ClientError) -> Failure {
    match error {
        ClientError::Exporter { status, .. } if status.code() == Code::Unauthenticated => {
            Failure::new("Authentication failed: invalid or missing passphrase; give the exporter's with --passphrase")
        }
        other => {
            let reason = crate::failure::chain(other);
            let hint = if reason.contains("certificate") {
                "have SSL_CERT_FILE name the file with the certificate authority that signed the exporter's certificate"
            } else {
                "check the address, and that both sides use TLS or both do without (--tls-grpc-insecure)"
            };
            Failure::new(format!("Exporter did not respond to initial connection at {address}: {reason}; {hint}"))
        }
    }
}
