//! What a saved configuration needs: endpoint, token and CA of a client or an exporter.

use std::time::Duration;

use jumpstarter_config::{Secret as Token, TlsConfig};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Cluster, Kind, objects::within};
use crate::failure::Failure;

/// Longest wait for the controller to write a token.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// `ConfigMap` with the CA of the service, in its key `ca.crt`.
const CA_CONFIG_MAP: &str = "jumpstarter-service-ca-cert";

/// How a client or an exporter reaches the service.
pub(crate) struct Credentials {
    /// `host:port` of the controller.
    pub(crate) endpoint: String,
    /// The bearer token.
    pub(crate) token: Token,
    /// The CA, when the service has one of its own.
    pub(crate) tls: TlsConfig,
}

impl Cluster {
    /// Waits until the controller has given a new object its credentials, and returns it.
    pub(crate) async fn await_credentials(&self, kind: Kind, name: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let object = self.get(kind, name).await?;
            if credential_name(&object).is_some() {
                return Ok(object);
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(format!(
                    "Timeout waiting for {} credentials: is the controller running?",
                    kind.singular()
                )));
            }
            sleep(PAUSE).await;
        }
    }

    /// Reads the credentials of an object.
    pub(crate) async fn credentials(&self, kind: Kind, name: &str) -> Result<Credentials, Failure> {
        let object = self.get(kind, name).await?;
        let secret = credential_name(&object).ok_or_else(|| no_credential(kind, name))?;
        let token = self.token(&secret).await?.ok_or_else(|| {
            Failure::new(format!("The Secret '{secret}' of {} '{name}' has no token", kind.singular()))
        })?;
        let endpoint = object.pointer("/status/endpoint").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Credentials { endpoint, token, tls: self.ca().await? })
    }

    /// Has a client's token replaced: its Secret is deleted, and the controller writes another.
    pub(crate) async fn rotate_token(&self, name: &str) -> Result<Token, Failure> {
        let client = self.get(Kind::Client, name).await?;
        let secret = credential_name(&client).ok_or_else(|| no_credential(Kind::Client, name))?;
        within(self.secrets().delete(&secret, &kube::api::DeleteParams::default())).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(token) = self.token(&secret).await? {
                return Ok(token);
            }
            if Instant::now() >= deadline {
                return Err(Failure::new("Timeout waiting for token regeneration: is the controller running?"));
            }
            sleep(PAUSE).await;
        }
    }

    async fn token(&self, secret: &str) -> Result<Option<Token>, Failure> {
        let secret = within(self.secrets().get_opt(secret)).await?;
        let token = secret.and_then(|secret| secret.data?.remove("token"));
        let text = token.map(|bytes| String::from_utf8(bytes.0)).transpose();
        text.map(|text| text.map(Token::new)).map_err(|_| Failure::new("The token in the Secret is not text"))
    }

    async fn ca(&self) -> Result<TlsConfig, Failure> {
        let map = within(self.config_maps().get_opt(CA_CONFIG_MAP)).await?;
        let pem = map.and_then(|map| map.data?.remove("ca.crt")).filter(|pem| !pem.trim().is_empty());
        Ok(pem.map_or_else(TlsConfig::default, |pem| TlsConfig::from_pem(pem.as_bytes())))
    }
}

fn credential_name(object: &Value) -> Option<String> {
    let name = object.pointer("/status/credential/name")?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn no_credential(kind: Kind, name: &str) -> Failure {
    Failure::new(format!("{} '{name}' has no credential secret", kind.name()))
}
