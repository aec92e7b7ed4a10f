//! `jumpstarter demo`: a lab with one mock device, a tour of it, and time to play.

mod tour;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use jumpstarter_config::{ClientConfig, Env, ExporterConfig};
use jumpstarter_exporter::Exporter as ExporterProcess;
use jumpstarter_model::{Client, Exporter};
use jumpstarter_store::{Key, Kind, Object, Store, Write};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::tour::Steps;
use super::{say, termination};
use crate::{
    service::Service,
    settings::{ServeArgs, Written},
};

const NAMESPACE: &str = "default";
const CLIENT: &str = "demo";
const EXPORTER: &str = "demo-board";
/// More than anything in the tour takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `jumpstarter demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Leave after the tour
    #[arg(long)]
    once: bool,

    /// Address of the service
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
}

/// Brings up the lab, shows it, and waits for Ctrl-C.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let home = tempfile::Builder::new().prefix("jumpstarter-demo-").tempdir().context("make a temporary directory")?;
    let mut steps = Steps::start();

    let settings = ServeArgs {
        config: None,
        written: Written {
            data_dir: Some(home.path().join("data")),
            listen: Some(args.listen),
            metrics_listen: Some("off".to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..Written::default()
        },
    };
    let service = Service::start(settings.resolve()?).await?;
    steps.done(format_args!("service up at {} (controller, router and store in this process)", service.listen));

    let stop = CancellationToken::new();
    let mut exporters = JoinSet::new();
    let shown = async {
        let configs = configs(&service, home.path()).await?;
        steps.done(format_args!("client `{CLIENT}` and exporter `{EXPORTER}` created, with tokens"));
        let exporter = ExporterProcess::from_config(configs.exporter)?;
        let reported = exporter.reported();
        let stop = stop.clone();
        exporters.spawn(async move { exporter.run(stop).await });
        tour::run(&mut steps, &configs.client, reported, EXPORTER).await
    };
    let shown = tokio::select! {
        shown = tokio::time::timeout(PATIENCE, shown) => match shown {
            Ok(shown) => shown.map(|()| true),
            Err(_) => Err(anyhow::anyhow!("the tour took longer than {} s", PATIENCE.as_secs())),
        },
        // A wait that is given up loses nothing.
        signal = termination() => signal.map(|_| false),
    };
    if matches!(shown, Ok(true)) {
        steps.total();
        if !args.once {
            invite(home.path());
            termination().await?;
        }
    }
    stop.cancel();
    while exporters.join_next().await.is_some() {}
    service.shutdown().await;
    shown.map(|_| ExitCode::SUCCESS)
}

fn invite(home: &std::path::Path) {
    let client = home.join("client.yaml");
    say(format_args!(
        "\nThe lab stays up until Ctrl-C. In another terminal:\n\n\
         \x20 jmp shell --client-config {client} -l board=demo -- j power on\n\
         \x20 jmp get exporters --client-config {client}\n\n\
         `jmp` and `j` of the Python packages work as they are (pip install jumpstarter-cli\n\
         jumpstarter-driver-power jumpstarter-driver-network).",
        client = client.display()
    ));
}

struct Configs {
    client: ClientConfig,
    exporter: ExporterConfig,
}

/// Creates the objects, waits for their tokens and writes the configuration files.
async fn configs(service: &Service, home: &std::path::Path) -> anyhow::Result<Configs> {
    let metadata = |name: &str, label: Option<(&str, &str)>| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        labels: label.map(|(key, value)| [(key.to_owned(), value.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let client = Client { metadata: metadata(CLIENT, None), ..Client::default() };
    let exporter = Exporter { metadata: metadata(EXPORTER, Some(("board", "demo"))), ..Exporter::default() };
    let writes = vec![Write::Create(Object::from_resource(&client)), Write::Create(Object::from_resource(&exporter))];
    service.store.transact(writes).await.context("create the client and the exporter")?;

    let ca = service.ca_pem.as_deref().unwrap_or_default();
    let tls = serde_json::json!({ "ca": base64(ca.as_bytes()), "insecure": false });
    let common = |kind: &str, name: &str, token: &str| {
        serde_json::json!({
            "apiVersion": jumpstarter_model::API_VERSION,
            "kind": kind,
            "metadata": { "namespace": NAMESPACE, "name": name },
            "endpoint": service.advertise,
            "tls": tls,
            "token": token,
        })
    };
    let token = token(&*service.store, &format!("{CLIENT}-client")).await?;
    let mut client = common("ClientConfig", CLIENT, &token);
    client["drivers"] = serde_json::json!({ "allow": [], "unsafe": true });
    let token = self::token(&*service.store, &format!("{EXPORTER}-exporter")).await?;
    let mut exporter = common("ExporterConfig", EXPORTER, &token);
    exporter["export"] = serde_json::json!({
        "power": { "type": "jumpstarter_driver_power.driver.MockPower" },
        "echo": { "type": "jumpstarter_driver_network.driver.EchoNetwork" },
    });

    let env = Env::empty();
    let client = ClientConfig::from_yaml(&client.to_string(), &env)?;
    let exporter = ExporterConfig::from_yaml(&exporter.to_string(), &env)?;
    client.save(&home.join("client.yaml"))?;
    exporter.save(&home.join("exporter.yaml"))?;
    Ok(Configs { client, exporter })
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// The token that the service issues to a new object.
async fn token(store: &dyn Store, secret: &str) -> anyhow::Result<String> {
    let key = Key::new(Kind::Secret, NAMESPACE, secret);
    loop {
        if let Some(object) = store.get(&key).await? {
            let secret: Secret = object.decode()?;
            let token = secret.data.and_then(|mut data| data.remove("token")).context("the Secret holds no token")?;
            return Ok(String::from_utf8(token.0)?);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
