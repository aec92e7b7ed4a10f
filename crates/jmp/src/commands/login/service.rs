//! The login service of a lab: what it tells about itself.
use jumpstarter_config::TlsConfig;
use serde::Deserialize;

use crate::{failure::Failure, oidc};

/// What a login service tells.
#[derive(Debug, Default)]
pub(super) struct Advertised {
    /// `host:port` of the service.
    pub(super) grpc_endpoint: Option<String>,
    /// The namespace that it serves.
    pub(super) namespace: Option<String>,
    /// Base64 of the PEM text to trust.
    pub(super) ca_bundle: Option<String>,
    /// URL of the first identity provider.
    pub(super) issuer: Option<String>,
    /// What this program is called there.
    pub(super) client_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    grpc_endpoint: String,
    namespace: Option<String>,
    ca_bundle: Option<String>,
    #[serde(default)]
    oidc: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    issuer: Option<String>,
    client_id: Option<String>,
}

impl Advertised {
    /// How the service is to be verified.
    pub(super) fn tls(&self, insecure: bool) -> TlsConfig {
        TlsConfig { ca: self.ca_bundle.clone().unwrap_or_default(), insecure }
    }
}

/// Client name and address of `[CLIENT@]ADDRESS`. The last `@` counts: names may look like mail addresses.
pub(super) fn parse(text: &str) -> Result<(Option<String>, String), Failure> {
    let text = text.trim();
    let (client, address) = match text.rsplit_once('@') {
        Some((client, address)) => (Some(client.trim()), address.trim()),
        None => (None, text),
    };
    if client == Some("") {
        return Err(Failure::new("Client name before '@' cannot be empty."));
    }
    if address.is_empty() {
        let what = if client.is_some() { "Login endpoint after '@'" } else { "Login target" };
        return Err(Failure::new(format!("{what} cannot be empty.")));
    }
    Ok((client.map(str::to_owned), address.to_owned()))
}

/// Asks the login service at `address`.
pub(super) async fn fetch(address: &str, insecure: bool) -> Result<Advertised, Failure> {
    let base = base(address, insecure)?;
    let url = format!("{base}/v1/auth/config");
    let answer: Answer = oidc::answer(&url, oidc::http(insecure)?.get(&url)).await?;
    if answer.grpc_endpoint.trim().is_empty() {
        return Err(Failure::new(format!(
            "Invalid auth config response from {url}: missing required field 'grpcEndpoint'."
        )));
    }
    let first = answer.oidc.into_iter().next();
    let (issuer, client_id) = first.map(|provider| (provider.issuer, provider.client_id)).unwrap_or_default();
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(Advertised {
        grpc_endpoint: Some(answer.grpc_endpoint),
        namespace: filled(answer.namespace),
        ca_bundle: filled(answer.ca_bundle),
        issuer: filled(issuer),
        client_id: filled(client_id),
    })
}

fn base(address: &str, insecure: bool) -> Result<String, Failure> {
    let url = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    match url.split_once("://") {
        Some(("http", _)) if !insecure => {
            Err(Failure::Usage("HTTP login endpoints require --insecure-tls / -k.".to_owned()))
        }
        Some(("http" | "https", host)) if host.trim_matches('/').is_empty() => {
            Err(Failure::new(format!("Invalid login endpoint '{url}': missing host.")))
        }
        Some(("http" | "https", _)) => Ok(url.trim_end_matches('/').to_owned()),
        Some((scheme, _)) => Err(Failure::new(format!(
            "Invalid login endpoint '{url}': unsupported URL scheme '{scheme}'. Use http or https."
        ))),
        None => Err(Failure::new(format!("Invalid login endpoint '{url}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_addresses() {
        let parsed = |text: &str| parse(text).map_err(|error| format!("{error:?}"));
        assert_eq!(parsed("lab.example"), Ok((None, "lab.example".to_owned())));
        assert_eq!(parsed(" me@site@lab "), Ok((Some("me@site".to_owned()), "lab".to_owned())));
        for bad in ["", " ", "@lab", "me@"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        for (address, insecure, expected) in [
            ("lab:8443", false, Some("https://lab:8443")),
            ("https://lab/", false, Some("https://lab")),
            ("http://lab", false, None),
            ("http://lab", true, Some("http://lab")),
            ("ftp://lab", true, None),
            ("https://", true, None),
        ] {
            assert_eq!(base(address, insecure).ok().as_deref(), expected, "{address}");
        }
    }
}
