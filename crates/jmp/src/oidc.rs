//! Tokens of an external identity provider, by the grants that need no browser.
use std::time::Duration;

use jumpstarter_config::{ClientConfig, Secret};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    failure::{Failure, chain},
    token::Token,
};

/// The client that command lines are.
pub(crate) const CLIENT_ID: &str = "jumpstarter-cli";
/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(30);
/// Answers are small; more is not read.
const MAX_ANSWER: usize = 1024 * 1024;

/// A provider, and who asks it.
#[derive(Debug)]
pub(crate) struct Oidc {
    /// Its URL.
    pub(crate) issuer: String,
    /// Name of the client application.
    pub(crate) client_id: String,
    /// A refresh token is wanted too.
    pub(crate) offline_access: bool,
    /// Certificates are not checked.
    pub(crate) insecure_tls: bool,
}

/// What a grant gives.
#[derive(Deserialize)]
pub(crate) struct Tokens {
    /// For the service.
    pub(crate) access_token: Secret,
    /// For the next access token.
    pub(crate) refresh_token: Option<Secret>,
}

impl Tokens {
    /// Stores both; a refresh token that was not renewed stays.
    pub(crate) fn put_into(self, config: &mut ClientConfig) {
        config.token = Some(self.access_token);
        if self.refresh_token.is_some() {
            config.refresh_token = self.refresh_token;
        }
    }
}

#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

impl Oidc {
    /// The provider that signed a token.
    pub(crate) fn of_token(token: &str, insecure_tls: bool) -> Result<Self, Failure> {
        let claims = Token::decode(token)
            .map_err(|error| Failure::new(format!("Failed to decode the token to find its issuer: {error}")))?;
        let issuer = claims.text("iss").ok_or_else(|| Failure::new("Failed to determine issuer from access token."))?;
        Ok(Self { issuer: issuer.to_owned(), client_id: CLIENT_ID.to_owned(), offline_access: true, insecure_tls })
    }

    /// The provider that signed the token of a client.
    pub(crate) fn of_config(config: &ClientConfig) -> Result<Self, Failure> {
        let token = config.token.as_ref().map(Secret::expose).unwrap_or_default();
        Self::of_token(token, config.tls.insecure)
    }

    /// Exchanges a token of another provider.
    pub(crate) async fn exchange(&self, token: &Secret, connector_id: Option<&str>) -> Result<Tokens, Failure> {
        const TYPES: &str = "urn:ietf:params:oauth:token-type";
        let (subject, requested) = (format!("{TYPES}:id_token"), format!("{TYPES}:access_token"));
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token.expose()),
            ("subject_token_type", &subject),
            ("requested_token_type", &requested),
        ];
        form.extend(connector_id.map(|id| ("connector_id", id)));
        self.grant(form).await
    }

    /// Name and password.
    pub(crate) async fn password(&self, username: &str, password: &str) -> Result<Tokens, Failure> {
        self.grant(vec![("grant_type", "password"), ("username", username), ("password", password)]).await
    }

    /// A stored refresh token.
    pub(crate) async fn refresh(&self, token: &Secret) -> Result<Tokens, Failure> {
        self.grant(vec![("grant_type", "refresh_token"), ("refresh_token", token.expose())]).await
    }

    async fn grant(&self, mut form: Vec<(&str, &str)>) -> Result<Tokens, Failure> {
        let http = http(self.insecure_tls)?;
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let found: Discovered = answer(&url, http.get(&url)).await?;
        let scope = if self.offline_access { "openid profile offline_access" } else { "openid profile" };
        form.extend([("client_id", self.client_id.as_str()), ("scope", scope)]);
        answer(&found.token_endpoint, http.post(&found.token_endpoint).form(&form)).await
    }
}

/// An HTTP client with limits.
pub(crate) fn http(insecure_tls: bool) -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder().timeout(REQUEST).danger_accept_invalid_certs(insecure_tls);
    builder.build().map_err(|error| Failure::from_error("prepare HTTP requests", &error))
}

/// The JSON that a request is answered with.
pub(crate) async fn answer<T: DeserializeOwned>(url: &str, request: reqwest::RequestBuilder) -> Result<T, Failure> {
    let failed = |error: &reqwest::Error| {
        let text = chain(error);
        let hint = if error.is_timeout() {
            "check the network and try again"
        } else if text.contains("certificate") {
            "check the certificate of the server, or use --insecure-tls / -k only for testing"
        } else {
            "check the address and that the server runs"
        };
        Failure::new(format!("no answer from {url}: {text}; {hint}"))
    };
    let mut response = request.send().await.map_err(|error| failed(&error))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(Failure::new(format!("{url} answers with more than {MAX_ANSWER} bytes; check the address")));
        }
    }
    if !status.is_success() {
        let refused = serde_json::from_slice::<Refused>(&body).ok();
        let why = refused.map(|refused| match refused.error_description {
            Some(text) => format!(": {text} ({})", refused.error),
            None => format!(": {}", refused.error),
        });
        return Err(Failure::new(format!("{url} answers with HTTP {status}{}", why.unwrap_or_default())));
    }
    serde_json::from_slice(&body).map_err(|error| {
        Failure::new(format!("{url} answers with something else than expected: {error}; check the address or proxy"))
    })
}
