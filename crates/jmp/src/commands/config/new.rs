//! What new configs of clients and exporters have in common.
use clap::Args;
use jumpstarter_config::{ObjectMeta, Secret};

use crate::{
    commands::admin::saved::TlsArgs,
    failure::Failure,
    output::{OutputMode, PathArgs},
    prompt,
};

/// Options of `create`. What is left out is asked for.
#[derive(Args)]
pub(crate) struct New {
    /// Namespace of the client or exporter.
    #[arg(long)]
    namespace: Option<String>,
    /// Name of the client or exporter.
    #[arg(long)]
    name: Option<String>,
    /// HOST:PORT of the service.
    #[arg(short, long)]
    endpoint: Option<String>,
    /// Token of the client or exporter.
    #[arg(short, long)]
    token: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Do not ask about --insecure-tls (for use in scripts).
    #[arg(long)]
    nointeractive: bool,
    #[command(flatten)]
    pub(super) shown: PathArgs,
}

/// The answers.
pub(super) struct Answers {
    pub(super) metadata: ObjectMeta,
    pub(super) endpoint: String,
    pub(super) token: Secret,
}

impl New {
    /// Asks for what was not given; `kind` is whose config it is.
    pub(super) fn answers(&self, kind: &str) -> Result<Answers, Failure> {
        let asked = |given: &Option<String>, what: &str| {
            prompt::unless_given(given.clone(), &format!("Enter a valid Jumpstarter {what}"))
        };
        let namespace = asked(&self.namespace, &format!("{kind} namespace"))?;
        let name = asked(&self.name, &format!("{kind} name"))?;
        let endpoint = asked(&self.endpoint, "service endpoint")?;
        let token = match &self.token {
            Some(token) => token.clone(),
            None => prompt::hidden("Enter a Jumpstarter auth token (hidden)")?,
        };
        Ok(Answers { metadata: ObjectMeta::new(namespace, name), endpoint, token: Secret::new(token) })
    }

    /// Whether certificates are left unchecked, once that is confirmed.
    pub(super) fn insecure(&self) -> Result<bool, Failure> {
        self.tls.confirmed(self.nointeractive)
    }
}

/// Options of `list`.
#[derive(Args)]
pub(crate) struct Listed {
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    pub(super) output: Option<OutputMode>,
}
