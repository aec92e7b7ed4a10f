//! The operator's tool as it was released, against a cluster that our controller serves.

use std::path::{Path, PathBuf};

use jumpstarter_testkit::{Done, ExporterSetup, Jmp, Lab, MINUTE, eventually, jmp::Release};
use serde_json::json;

struct Operator<'a> {
    lab: &'a Lab,
    jmp: Jmp,
}

impl<'a> Operator<'a> {
    fn new(lab: &'a Lab) -> Self {
        let blank = lab.sandbox.path().join("blank.yaml");
        std::fs::write(&blank, "").unwrap();
        Self { lab, jmp: Jmp::new(&lab.sandbox, Release::newest(), "python-operator", &blank) }
    }

    #[track_caller]
    fn admin(&self, args: &[&str]) -> Done {
        let cluster = self.lab.service.cluster().unwrap();
        let mut command = self.jmp.command(&["admin"]);
        command.args(args).arg("--kubeconfig").arg(cluster.kubeconfig()).args(["-n", cluster.namespace()]);
        self.jmp.run_command(command)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.lab.sandbox.path().join(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_released_operators_tool_works_on_the_cluster() {
    let lab = Lab::on_kubernetes();
    let operator = Operator::new(&lab);
    let (client, exporter) = (operator.file("bob.yaml"), operator.file("board.yaml"));

    let create = ["create", "client", "bob", "--unsafe", "--nointeractive", "-l", "team=a", "--out", text(&client)];
    let created = operator.admin(&[&create[..], &["-o", "json"]].concat()).ok().json();
    assert_eq!(created["metadata"]["name"], "bob", "{created}");
    assert_eq!(created["metadata"]["namespace"], json!(lab.namespace()), "{created}");
    assert_eq!(created["status"]["credential"]["name"], "bob-client", "{created}");
    assert_eq!(created["status"]["endpoint"], json!(lab.service.address()), "{created}");
    let create = ["create", "exporter", "board", "--nointeractive", "-l", "name=board", "--out", text(&exporter)];
    operator.admin(&[&create[..], &["-o", "name"]].concat()).ok().says("exporter.jumpstarter.dev/board");

    // What it wrote works.
    let setup = ExporterSetup::new("board");
    let mut board = lab.exporter_from(setup, &exporter);
    lab.await_available(&mut board);
    let bob = Jmp::new(&lab.sandbox, Release::newest(), "bob", &client);
    bob.run(&["shell", "-l", "name=board", "--", "j", "power", "on"]).ok();

    operator.admin(&["get", "clients"]).ok().says("bob").says(lab.service.address());
    operator.admin(&["get", "client", "bob", "-o", "name"]).ok().says("client.jumpstarter.dev/bob");
    operator.admin(&["get", "exporters"]).ok().says("board").says(lab.service.address());
    let shown = operator.admin(&["get", "exporter", "board", "--devices"]).ok();
    shown.says("jumpstarter_driver_power.client.PowerClient");
    let one = operator.admin(&["get", "exporter", "board", "-o", "json"]).ok().json();
    assert_eq!(one["status"]["credential"]["name"], "board-exporter", "{one}");
    assert_eq!(one["status"]["exporterStatus"], "Available", "{one}");

    let lease = bob.run(&["create", "lease", "-l", "name=board", "--duration", "10m", "-o", "name"]).ok();
    let lease = lease.text().to_owned();
    eventually("the lease", MINUTE, || {
        let shown = operator.admin(&["get", "lease", &lease]).ok();
        shown.stdout.contains("board").then_some(())
    });
    operator.admin(&["get", "leases", "-o", "yaml"]).ok().says(&lease).says("observedGeneration");
    bob.run(&["delete", "leases", &lease]).ok();

    // A rotation is the removal of the Secret; the controller makes another.
    let rotated = operator.admin(&["rotate", "client", "bob", "--out", text(&client)]);
    rotated.ok();
    let bob = Jmp::new(&lab.sandbox, Release::newest(), "bob", &client);
    bob.run(&["get", "leases"]).ok();

    operator.admin(&["delete", "client", "bob", "--nointeractive"]).ok();
    operator.admin(&["delete", "exporter", "board", "--nointeractive"]).ok();
    operator.admin(&["get", "client", "bob"]).code(1);
    let cluster = lab.service.cluster().unwrap();
    eventually("the Secrets' end", MINUTE, || {
        let left = cluster.api().kubectl(&["get", "secrets", "-n", cluster.namespace(), "-o", "name"]);
        (!left.contains("bob-client") && !left.contains("board-exporter")).then_some(())
    });
    bob.run(&["get", "leases"]).code(1);
}
