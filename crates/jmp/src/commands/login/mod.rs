//! `jmp login`: a configuration with a token in it.
mod service;
mod target;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::{Client, ClientError};
use jumpstarter_config::{ClientConfig, Env, Secret};
use tokio::time::timeout;

use self::{
    service::Advertised,
    target::{Known, Target},
};
use crate::{
    commands::admin::saved::{self, TlsArgs},
    complete,
    failure::{Failure, chain},
    oidc::{self, Oidc, Tokens},
    output, prompt,
    token::Token,
};

/// Limit for asking the service about a token.
const ASK: Duration = Duration::from_secs(15);

/// Options of the command.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(crate) struct Login {
    /// [CLIENT@]ADDRESS of the lab's login service, which tells the rest.
    #[arg(value_name = "LOGIN_TARGET")]
    target: Option<String>,
    /// HOST:PORT of the service.
    #[arg(short, long)]
    endpoint: Option<String>,
    /// Namespace of the client or exporter.
    #[arg(long)]
    namespace: Option<String>,
    /// Name of the client or exporter.
    #[arg(long)]
    name: Option<String>,
    /// URL of the identity provider.
    #[arg(long)]
    issuer: Option<String>,
    /// Name of this program at the identity provider.
    #[arg(long, default_value = oidc::CLIENT_ID)]
    client_id: String,
    /// A token of the lab, or of an identity provider that is to be exchanged for one.
    #[arg(long)]
    token: Option<String>,
    /// User name at the identity provider.
    #[arg(long)]
    username: Option<String>,
    /// Password at the identity provider.
    #[arg(long)]
    password: Option<String>,
    /// Connector for exchanging the token (Dex only).
    #[arg(long, value_name = "ID")]
    connector_id: Option<String>,
    /// Port on this machine for the browser's answer.
    #[arg(long, value_name = "PORT")]
    callback_port: Option<u16>,
    /// Ask for a refresh token too; this is the default.
    #[arg(long, overrides_with = "no_offline_access")]
    offline_access: bool,
    /// Do not ask for a refresh token.
    #[arg(long)]
    no_offline_access: bool,
    /// Log in on another device.
    #[arg(long)]
    device_flow: bool,
    /// A comma-separated list of driver client packages to load.
    #[arg(long, value_name = "CSV")]
    allow: Option<String>,
    /// Allow all driver client packages to load (UNSAFE!).
    #[arg(long)]
    r#unsafe: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Disable interactive prompts (for use in scripts).
    #[arg(long)]
    nointeractive: bool,
    /// Path of an exporter config.
    #[arg(long, value_name = "PATH")]
    exporter_config: Option<PathBuf>,
    /// Alias of an exporter config.
    #[arg(long, value_name = "ALIAS", add = ArgValueCandidates::new(complete::exporter_configs))]
    exporter: Option<String>,
    /// Path of a client config.
    #[arg(long, value_name = "PATH")]
    client_config: Option<PathBuf>,
    /// Alias of a client config.
    #[arg(long, value_name = "ALIAS", add = ArgValueCandidates::new(complete::clients))]
    client: Option<String>,
}

impl Login {
    /// Logs in.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let insecure = self.tls.confirmed(self.nointeractive)?;
        let mut named = None;
        let mut advertised = Advertised::default();
        if let Some(text) = &self.target {
            let (client, address) = service::parse(text)?;
            output::say(&format!("Fetching configuration from {address}..."));
            advertised = service::fetch(&address, insecure).await?;
            if advertised.ca_bundle.is_some() {
                output::say("Retrieved CA certificate from login service.");
            }
            named = client;
        }
        self.name = self.name.take().or_else(|| named.clone());
        let target = self.chosen(named.as_deref())?;
        let known = target.load(&Env::from_process())?;
        self.warn_of_client_options(&target);
        match known {
            Known::Client(config) => self.again(&target, *config, &advertised, insecure).await,
            Known::Exporter(mut config) => {
                let stored = config.token.clone();
                let tokens = self.tokens(stored.as_ref(), None, &advertised, insecure).await?;
                config.token = Some(tokens.access_token);
                target.save_exporter(&config)
            }
            Known::Nothing if target.is_exporter() => {
                let (metadata, endpoint) = self.who_and_where(&advertised)?;
                let mut config = jumpstarter_config::ExporterConfig::new(target.alias(), metadata);
                config.endpoint = Some(endpoint);
                config.tls = advertised.tls(insecure);
                let tokens = self.tokens(None, None, &advertised, insecure).await?;
                config.token = Some(tokens.access_token);
                target.save_exporter(&config)
            }
            Known::Nothing => {
                let (metadata, endpoint) = self.who_and_where(&advertised)?;
                let rules = self.rules()?;
                let mut config = ClientConfig::new(target.alias(), metadata, endpoint, Secret::new(""));
                config.tls = advertised.tls(insecure);
                config.drivers = rules;
                self.tokens(None, None, &advertised, insecure).await?.put_into(&mut config);
                accepted(&config).await?;
                target.save_client(&config)
            }
        }
    }

    /// Another login of a client that has a configuration: only its token changes.
    async fn again(
        &self,
        target: &Target,
        mut config: ClientConfig,
        advertised: &Advertised,
        insecure: bool,
    ) -> Result<(), Failure> {
        if config.token.is_none() && self.token.is_none() {
            return Err(Failure::new("No token set in client config. Please login again."));
        }
        let refreshable = config.refresh_token.clone().filter(|_| self.token.is_none() && self.username.is_none());
        let from_refresh = refreshable.is_some();
        let tokens = self.tokens(config.token.as_ref(), refreshable.as_ref(), advertised, insecure).await?;
        tokens.put_into(&mut config);
        accepted(&config).await?;
        target.save_client(&config)?;
        if from_refresh {
            output::say("Refreshed access token using stored refresh token.");
        }
        Ok(())
    }

    /// The configuration that is meant: as chosen, else of the client named in the target, else the current one.
    fn chosen(&self, named: Option<&str>) -> Result<Target, Failure> {
        let given = [
            self.client.clone().map(Target::Client),
            self.client_config.clone().map(Target::ClientFile),
            self.exporter.clone().map(Target::Exporter),
            self.exporter_config.clone().map(Target::ExporterFile),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(_), Some(_)) => Err(Failure::Usage(
                "Invalid value: only one of --client, --client-config, --exporter, --exporter-config should be \
                 specified"
                    .to_owned(),
            )),
            (Some(target), None) => Ok(target),
            (None, _) => {
                let home = saved::home()?;
                let current = home.load_user()?.current_client().map(str::to_owned);
                let alias = named.map(str::to_owned).or(current).unwrap_or_else(|| "default".to_owned());
                Ok(Target::Client(alias))
            }
        }
    }

    fn who_and_where(&self, advertised: &Advertised) -> Result<(jumpstarter_config::ObjectMeta, String), Failure> {
        let asked = |given: Option<String>, name: &str, question: &str| match given {
            Some(given) => Ok(given),
            None if self.nointeractive => Err(Failure::Usage(format!("{name} is required in non-interactive mode."))),
            None => prompt::unless_given(None, question),
        };
        let namespace = self.namespace.clone().or_else(|| advertised.namespace.clone());
        let namespace = asked(namespace, "Namespace", "Enter the Jumpstarter exporter namespace")?;
        let name = asked(self.name.clone(), "Name", "Enter the Jumpstarter exporter name")?;
        let endpoint = self.endpoint.clone().or_else(|| advertised.grpc_endpoint.clone());
        let endpoint = asked(endpoint, "Endpoint", "Enter the Jumpstarter service endpoint")?;
        Ok((jumpstarter_config::ObjectMeta::new(namespace, name), endpoint))
    }

    fn rules(&self) -> Result<jumpstarter_config::DriverRules, Failure> {
        if self.nointeractive && self.allow.is_none() && !self.r#unsafe {
            let text = "--allow TEXT or --unsafe is required in non-interactive mode.";
            return Err(Failure::Usage(text.to_owned()));
        }
        saved::rules(self.allow.as_deref(), self.r#unsafe, self.nointeractive)
    }

    fn warn_of_client_options(&self, target: &Target) {
        for (given, option) in [(self.allow.is_some(), "--allow"), (self.r#unsafe, "--unsafe")] {
            if given && target.is_exporter() {
                output::warn(&format!("{option} is ignored for exporter configs (only applies to client configs)."));
            }
        }
    }

    /// The tokens, by whichever grant the options allow.
    async fn tokens(
        &self,
        stored: Option<&Secret>,
        refresh: Option<&Secret>,
        advertised: &Advertised,
        insecure: bool,
    ) -> Result<Tokens, Failure> {
        let issuer_of = |token: &str| Token::decode(token).ok()?.text("iss").map(str::to_owned);
        let of_stored = stored.and_then(|token| issuer_of(token.expose()));
        let issuer = self.issuer.clone().or_else(|| advertised.issuer.clone()).or_else(|| of_stored.clone());
        if let Some(token) = &self.token {
            let own = issuer_of(token);
            // A token that the lab signed itself, or will take as it is, needs no exchange.
            let external = issuer.clone().filter(|issuer| {
                issuer.starts_with("http") && (own.as_deref() != Some(issuer) || self.issuer.is_some())
            });
            let external = external.filter(|_| self.issuer.is_some() || advertised.issuer.is_some());
            return match external {
                Some(issuer) => {
                    self.oidc(issuer, advertised, insecure)
                        .exchange(&Secret::new(token.as_str()), self.connector_id.as_deref())
                        .await
                }
                None => Ok(Tokens { access_token: Secret::new(token.as_str()), refresh_token: None }),
            };
        }
        let Some(issuer) = issuer else {
            return Err(Failure::new(
                "this lab has no identity provider to log in with: give the token that its operator made with \
                 `jmp admin create client NAME --save`, as `jmp login … --token TOKEN`; or name a provider with --issuer",
            ));
        };
        let oidc = self.oidc(issuer, advertised, insecure);
        match (refresh, &self.username, &self.password) {
            (Some(refresh), ..) => oidc.refresh(refresh).await,
            (None, Some(username), Some(password)) => oidc.password(username, password).await,
            (None, Some(username), None) if !self.nointeractive => {
                let password = prompt::hidden(&format!("Password of {username}"))?;
                oidc.password(username, &password).await
            }
            _ => Err(Failure::new(
                "logging in with a browser or on another device is not available yet: give --token TOKEN, or \
                 --username and --password",
            )),
        }
    }

    fn oidc(&self, issuer: String, advertised: &Advertised, insecure_tls: bool) -> Oidc {
        let default = self.client_id == oidc::CLIENT_ID;
        let told = advertised.client_id.clone().filter(|_| default);
        Oidc {
            issuer,
            client_id: told.unwrap_or_else(|| self.client_id.clone()),
            offline_access: !self.no_offline_access,
            insecure_tls,
        }
    }
}

/// Asks the service whether it takes the token: one that it refuses must not replace one that works.
async fn accepted(config: &ClientConfig) -> Result<(), Failure> {
    let asked = async { Client::from_config(config).await?.list_leases(true).await };
    match timeout(ASK, asked).await {
        Ok(Err(error)) if refused(&error) => {
            Err(Failure::new(format!("{}; the configuration was left as it was", chain(&error))))
        }
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            output::warn(&format!("the token could not be tried: {}", chain(&error)));
            Ok(())
        }
        Err(_) => {
            output::warn(&format!(
                "the token could not be tried: the service did not answer within {} s",
                ASK.as_secs()
            ));
            Ok(())
        }
    }
}

fn refused(error: &ClientError) -> bool {
    matches!(error, ClientError::Controller { status, .. } if status.code() == tonic::Code::Unauthenticated)
}
