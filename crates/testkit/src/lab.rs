//! A whole lab: the service, and exporters and clients made with the operator's tool.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Done, Exporter, ExporterSetup, Jmp, Process, Sandbox, Service, cluster,
    cluster::Cluster,
    eventually,
    grpc::{Grpc, Identity},
    jmp::Release,
    service::binary,
    wait::MINUTE,
};
use jumpstarter_kube_testkit::ApiServer;
use jumpstarter_protocol::v1::ExporterStatus;

/// A lab with its service running.
#[derive(Debug)]
pub struct Lab {
    /// Where all of it lives.
    pub sandbox: Arc<Sandbox>,
    /// The service.
    pub service: Service,
    operator: Jmp,
    observer: Grpc,
}

impl Lab {
    /// A lab with a service and nothing else: on one machine, or on Kubernetes when `JUMPSTARTER_TEST_ON` says so.
    #[track_caller]
    pub fn start() -> Self {
        if cluster::wanted() { Self::on_kubernetes() } else { Self::with_flags(&[]) }
    }

    /// A lab whose service keeps its objects in a namespace of a real API server.
    #[track_caller]
    pub fn on_kubernetes() -> Self {
        Self::replicated(1)
    }

    /// The same with so many replicas of the controller behind one address.
    #[track_caller]
    pub fn replicated(replicas: usize) -> Self {
        Self::in_cluster(ApiServer::shared_blocking(), replicas)
    }

    /// The same on an API server of the caller's choice.
    #[track_caller]
    pub fn in_cluster(api: &'static ApiServer, replicas: usize) -> Self {
        Self::in_cluster_through(api, &api.url(), replicas)
    }

    /// The same with controllers that find the API server at `url`, which may be a proxy's.
    #[track_caller]
    pub fn in_cluster_through(api: &'static ApiServer, url: &str, replicas: usize) -> Self {
        let sandbox = Arc::new(Sandbox::new());
        let cluster = Cluster::install(&sandbox, api, url);
        let service = Service::on_kubernetes(&sandbox, cluster, replicas);
        Self::around(sandbox, service)
    }

    /// A lab whose service gets more flags.
    #[track_caller]
    pub fn with_flags(flags: &[&str]) -> Self {
        let sandbox = Arc::new(Sandbox::new());
        let service = Service::start(&sandbox, flags);
        Self::around(sandbox, service)
    }

    /// A lab whose service listens on a socket that outlives it.
    #[track_caller]
    pub fn activated() -> Self {
        let sandbox = Arc::new(Sandbox::new());
        let service = Service::start_activated(&sandbox, &[]);
        Self::around(sandbox, service)
    }

    /// Moves the service of one machine into the namespace `default` of an API server: export, apply, start, with the
    /// address and the certificate that its peers know.
    #[track_caller]
    pub fn move_to_kubernetes(&mut self, api: &'static ApiServer) {
        let manifests = self.service.export();
        let tls = self.service.data().join("tls");
        let ca = std::fs::read_to_string(tls.join("ca.crt")).expect("read the CA");
        let cluster = Cluster::install_in(&self.sandbox, api, &api.url(), "default".to_owned(), tls, &ca);
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        api.kubectl_with(&apply, &manifests).unwrap_or_else(|said| panic!("apply the manifests: {said}"));
        self.service.move_into(cluster);
    }

    #[track_caller]
    fn around(sandbox: Arc<Sandbox>, service: Service) -> Self {
        let blank = sandbox.path().join("operator.yaml");
        std::fs::write(&blank, "").expect("write a file");
        let operator = Jmp::new(&sandbox, Release::Rust, "operator", &blank);
        let config = sandbox.path().join("observer.yaml");
        admin(
            &operator,
            &service,
            &["create", "client", "observer", "--unsafe", "--nointeractive", "--out", text(&config)],
        )
        .ok();
        let observer = Grpc::from_config(&config);
        Self { sandbox, service, operator, observer }
    }

    /// `jmp admin` with `args`, on this service's data directory.
    #[track_caller]
    pub fn admin(&self, args: &[&str]) -> Done {
        admin(&self.operator, &self.service, args)
    }

    /// A new client with the newest Python `jmp`.
    #[track_caller]
    pub fn client(&self, name: &str) -> Jmp {
        let config = self.client_config(name);
        Jmp::new(&self.sandbox, Release::newest(), name, &config)
    }

    /// A new client's configuration file.
    #[track_caller]
    pub fn client_config(&self, name: &str) -> PathBuf {
        let config = self.sandbox.path().join(format!("{name}-client.yaml"));
        let _ = self.admin(&["create", "client", name, "--unsafe", "--nointeractive", "--out", text(&config)]).ok();
        config
    }

    /// A new client as the wire sees it.
    #[track_caller]
    pub fn grpc_client(&self, name: &str) -> Grpc {
        Grpc::from_config(&self.client_config(name))
    }

    /// A new exporter's configuration file, without drivers.
    #[track_caller]
    pub fn exporter_config(&self, name: &str, labels: &[(String, String)]) -> PathBuf {
        let config = self.sandbox.path().join(format!("{name}-exporter.yaml"));
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = vec!["create", "exporter", name, "--nointeractive", "--out", text(&config)];
        args.extend(labels.iter().flat_map(|label| ["--label", label]));
        self.admin(&args).ok();
        config
    }

    /// The identity of an exporter whose token is known.
    #[track_caller]
    pub fn exporter_identity(&self, name: &str, token: String) -> Identity {
        let identity: &Identity = &self.observer;
        Identity { kind: "Exporter", name: name.to_owned(), token, ..identity.clone() }
    }

    /// A new exporter, running and available.
    #[track_caller]
    pub fn exporter(&self, setup: ExporterSetup) -> Exporter {
        let mut exporter = self.exporter_without_phase(setup);
        self.await_available(&mut exporter);
        exporter
    }

    /// A running exporter whose configuration, but for drivers and hooks, is in `config`.
    #[track_caller]
    pub fn exporter_from(&self, setup: ExporterSetup, config: &Path) -> Exporter {
        setup.complete(config, self.namespace());
        Exporter::start(&self.sandbox, setup, config.to_owned())
    }

    /// A new exporter, running, but perhaps not yet heard of: the oldest release never says that it is available.
    #[track_caller]
    pub fn exporter_without_phase(&self, setup: ExporterSetup) -> Exporter {
        let config = self.exporter_config(&setup.name, &setup.labels);
        self.exporter_from(setup, &config)
    }

    /// Waits until the service has this exporter online and available.
    #[track_caller]
    pub fn await_available(&self, exporter: &mut Exporter) {
        eventually(&format!("{} available", exporter.name()), MINUTE, || {
            let ended = exporter.process().try_wait();
            assert!(ended.is_none(), "the exporter ended: {ended:?}");
            let seen = self.observer.exporter(exporter.name()).expect("look at an exporter");
            (seen.status() == ExporterStatus::Available).then_some(())
        });
    }

    /// Waits until the service has this exporter online, whatever its phase: the oldest release reports none.
    #[track_caller]
    pub fn await_online(&self, name: &str, online: bool) {
        eventually(&format!("{name} online: {online}"), MINUTE, || {
            let seen = self.observer.exporter(name).expect("look at an exporter");
            #[expect(deprecated, reason = "the only field that says it for a peer that reports no phase")]
            let found = seen.online;
            (found == online).then_some(())
        });
    }

    /// A router in a process of its own, with the keys and the certificate of this service.
    #[track_caller]
    pub fn router(&self, address: &str) -> Process {
        self.router_with(address, &[])
    }

    /// The same with more flags.
    #[track_caller]
    pub fn router_with(&self, address: &str, flags: &[&str]) -> Process {
        let data = self.service.data();
        let mut command = self.sandbox.command(&binary("jumpstarter"), "router");
        command
            .args(["router", "--listen", address])
            .arg("--router-key")
            .arg(data.join("keys/router.key"))
            .arg("--tls-cert")
            .arg(data.join("tls/server.crt"))
            .arg("--tls-key")
            .arg(data.join("tls/server.key"))
            .args(flags);
        let mut process = Process::start(&self.sandbox, "router", command);
        process.wait_line("router is ready");
        process
    }

    /// The namespace that the service serves.
    pub fn namespace(&self) -> &str {
        self.service.cluster().map_or("default", Cluster::namespace)
    }

    /// A client that only looks.
    pub fn observer(&self) -> &Grpc {
        &self.observer
    }
}

#[track_caller]
fn admin(operator: &Jmp, service: &Service, args: &[&str]) -> Done {
    let mut command = operator.command(&["admin"]);
    command.args(args);
    match service.cluster() {
        Some(cluster) => command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["-n", cluster.namespace()]),
        None => command.env("JUMPSTARTER_DATA_DIR", service.data()),
    };
    operator.run_command(command)
}

/// A path of the sandbox as an argument.
fn text(path: &Path) -> &str {
    path.to_str().expect("paths of a sandbox are plain")
}
