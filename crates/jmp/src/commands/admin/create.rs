//! `jmp admin create client|exporter`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use jumpstarter_model::{API_VERSION, labels};
use serde_json::{Value, json};

use super::{
    create_policy::{self, PolicyArgs},
    create_quota::{self, QuotaArgs},
    create_window::{self, WindowArgs},
    saved::{self, DriverArgs, TlsArgs},
};
use crate::{
    cluster::{Cluster, Kind, Place},
    commands::elsewhere,
    failure::Failure,
    output::{self, OutputMode},
    prompt,
    view::{self, Options},
};

/// What can be created.
#[derive(Debug, Subcommand)]
pub(super) enum CreateCommand {
    /// Create a client, and its configuration file if wanted.
    #[command(aliases = ["clients", "c"])]
    Client {
        #[command(flatten)]
        args: CreateArgs,
        /// Labels to set on the object; may be given more than once.
        #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        drivers: DriverArgs,
    },
    /// Create an exporter, and its configuration file if wanted.
    #[command(aliases = ["exporters", "e"])]
    Exporter {
        #[command(flatten)]
        args: CreateArgs,
        /// Labels to set on the object; may be given more than once.
        #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label, required = true)]
        labels: Vec<(String, String)>,
    },
    /// Refused: this program works on objects, not on clusters.
    #[command(alias = "clusters", hide = true, disable_help_flag = true)]
    Cluster(elsewhere::Words),
    /// Create an access policy of one rule.
    #[command(aliases = ["policies", "exporteraccesspolicy", "exporteraccesspolicies"])]
    Policy(PolicyArgs),
    /// Create a quota of leases: caps and the weight of accounts.
    #[command(aliases = ["quotas", "leasequota", "leasequotas"])]
    Quota(QuotaArgs),
    /// Create a maintenance window.
    #[command(aliases = ["windows", "maintenancewindow", "maintenancewindows"])]
    Window(WindowArgs),
}

/// Options of clients and exporters.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Name of the object.
    name: Option<String>,
    /// Save the configuration file.
    #[arg(short, long)]
    save: bool,
    /// Where to save the configuration file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    tls: TlsArgs,
    /// OIDC user name that may act as the object.
    #[arg(long, value_name = "NAME")]
    oidc_username: Option<String>,
    /// Disable interactive prompts (for use in scripts).
    #[arg(long)]
    nointeractive: bool,
    /// Output mode; `name` for shorter output.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<OutputMode>,
}

/// Reads `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("Invalid label '{text}', should be formatted as 'key=value'"))?;
    labels::validate_key(key).map_err(|error| error.to_string())?;
    labels::validate_value(value).map_err(|error| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Creates an object.
pub(super) async fn run(command: &CreateCommand) -> Result<(), Failure> {
    match command {
        CreateCommand::Client { args, labels, drivers } => create(Kind::Client, args, labels, Some(drivers)).await,
        CreateCommand::Exporter { args, labels } => create(Kind::Exporter, args, labels, None).await,
        CreateCommand::Cluster(_) => Err(elsewhere::clusters()),
        CreateCommand::Policy(args) => create_policy::run(args).await,
        CreateCommand::Quota(args) => create_quota::run(args).await,
        CreateCommand::Window(args) => create_window::run(args).await,
    }
}

async fn create(
    kind: Kind,
    args: &CreateArgs,
    labels: &[(String, String)],
    drivers: Option<&DriverArgs>,
) -> Result<(), Failure> {
    let name = super::required(args.name.as_ref(), kind.singular())?;
    let insecure = args.tls.confirmed(args.nointeractive)?;
    let cluster = args.place.connect().await?;
    let progress = |line: &str| {
        if args.output.is_none() {
            output::say(line);
        }
    };

    progress(&format!("Creating {} '{name}' in namespace '{}'", kind.singular(), cluster.namespace()));
    cluster.create(kind, manifest(kind, name, labels, args.oidc_username.as_deref())).await?;
    let created = cluster.await_credentials(kind, name).await?;

    let question = format!("Save {} configuration?", kind.singular());
    let wanted = args.save || args.out.is_some();
    if wanted || (!args.nointeractive && prompt::confirm(&question, false)?) {
        progress(&format!("Fetching {} credentials from cluster", kind.singular()));
        let path = save(kind, &cluster, name, args, drivers, insecure).await?;
        progress(&format!("{} configuration successfully saved to {}", kind.name(), path.display()));
    }
    output::print(&view::one(kind, &created, Options::now()), args.output, cluster.namespace())
}

async fn save(
    kind: Kind,
    cluster: &Cluster,
    name: &str,
    args: &CreateArgs,
    drivers: Option<&DriverArgs>,
    insecure: bool,
) -> Result<PathBuf, Failure> {
    let out = args.out.as_deref();
    if kind == Kind::Exporter {
        let mut config = saved::exporter_config(cluster, name).await?;
        config.tls.insecure = insecure;
        return saved::save_exporter(&config, out);
    }
    let mut config = saved::client_config(cluster, name).await?;
    config.tls.insecure = insecure;
    if let Some(drivers) = drivers {
        config.drivers = drivers.rules(args.nointeractive)?;
    }
    saved::save_client(&config, out)
}

fn manifest(kind: Kind, name: &str, labels: &[(String, String)], username: Option<&str>) -> Value {
    let labels = labels.iter().cloned().collect::<BTreeMap<_, _>>();
    let spec = username.map_or_else(|| json!({}), |username| json!({ "username": username }));
    json!({
        "apiVersion": API_VERSION,
        "kind": kind.name(),
        "metadata": { "name": name, "labels": labels },
        "spec": spec,
    })
}
