//! Every driver between all mixes of released peers and ours, with real things at the far end.

mod ours;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, thread};

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{ExporterSetup, Jmp, Lab, Process, free_address, jmp::Release};
use serde_json::Value;

/// Where scripts and Python modules of this test are.
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/drivers");

/// What the drivers lead to.
struct Bench {
    process: Process,
    told: Value,
    plugs: std::path::PathBuf,
}

impl Bench {
    fn start(lab: &Lab) -> Self {
        let room = lab.sandbox.dir("bench");
        let python = NEWEST.find().unwrap_or_else(|missing| panic!("{missing}")).program("python");
        let mut command = lab.sandbox.command(&python, "bench");
        command.arg(format!("{HERE}/bench.py")).arg(&room);
        let mut process = Process::start(&lab.sandbox, "bench", command);
        let told = serde_json::from_str(&process.wait_line("{\"echo\": ")).unwrap();
        Self { process, told, plugs: room.join("plugs") }
    }

    fn text(&self, key: &str) -> &str {
        self.told[key].as_str().unwrap_or_else(|| panic!("'{key}' in {}", self.told))
    }

    /// What all plugs were told, one order a line.
    fn orders(&self) -> String {
        fs::read_to_string(&self.plugs).unwrap()
    }

    /// What the plug `name` was told last.
    fn plug(&self, name: &str) -> String {
        self.orders()
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(&format!("{name} ")))
            .unwrap_or_default()
            .to_owned()
    }

    /// The drivers of the exporter `name`.
    fn drivers(&self, name: &str, files: &Path) -> String {
        let (echo, mqtt) = (&self.told["echo"], &self.told["mqtt"]);
        let (user, password) = (self.text("user"), self.text("password"));
        let (files, tftp) = (files.display(), free_address().rsplit_once(':').unwrap().1.to_owned());
        let network = "jumpstarter_driver_network.driver";
        let serial = "jumpstarter_driver_pyserial.driver.PySerial";
        let power = "jumpstarter_driver_power.driver";
        format!(
            "
power: {{ type: {power}.MockPower }}
sync: {{ type: {power}.SyncMockPower }}
group: {{ children: {{ power: {{ ref: power }} }} }}
tcp: {{ type: {network}.TcpNetwork, config: {{ host: 127.0.0.1, port: {echo} }} }}
udp: {{ type: {network}.UdpNetwork, config: {{ host: 127.0.0.1, port: {echo} }} }}
unix: {{ type: {network}.UnixNetwork, config: {{ path: {unix} }} }}
bus: {{ type: {network}.DbusNetwork, config: {{ kind: session }} }}
websocket: {{ type: {network}.WebsocketNetwork, config: {{ url: '{websocket}' }} }}
echo: {{ type: {network}.EchoNetwork }}
serial: {{ type: {serial}, config: {{ url: {tty}-{name}, check_present: false }} }}
remote: {{ type: {serial}, config: {{ url: 'socket://127.0.0.1:{echo}' }} }}
loop: {{ type: {serial}, config: {{ url: 'loop://', cps: 200 }} }}
plug:
  type: jumpstarter_driver_tasmota.driver.TasmotaPower
  config:
    {{ host: 127.0.0.1, port: {mqtt}, username: {user}, password: '{password}', cmnd_topic: cmnd/{name}/POWER,
      stat_topic: stat/{name}/POWER, timeout: 30 }}
webplug:
  type: jumpstarter_driver_http_power.driver.HttpPower
  config:
    power_on: {{ url: '{web_plug}/on', method: POST, data: '{name}' }}
    power_off: {{ url: '{web_plug}/off' }}
    power_read: {{ url: '{web_plug}/read', voltage_path: meters.0.v, current_path: meters.0.a }}
    auth: {{ basic: {{ user: {user}, password: '{password}' }} }}
http:
  type: jumpstarter_driver_http.driver.HttpServer
  config: {{ root_dir: {files}/http, host: 127.0.0.1, port: 0 }}
tftp:
  type: jumpstarter_driver_tftp.driver.Tftp
  config: {{ root_dir: {files}/tftp, host: 127.0.0.1, port: {tftp} }}
vnc: {{ type: jumpstarter_driver_vnc.driver.Vnc, config: {{ default_encrypt: true }}, children: {{ tcp: {{ ref: tcp }} }} }}
bucket:
  type: jumpstarter_driver_opendal.driver.Opendal
  config: {{ scheme: s3, kwargs: {s3} }}
flasher: {{ type: jumpstarter_driver_opendal.driver.MockFlasher }}
tool:
  type: jumpstarter_driver_shell.driver.Shell
  config: {{ methods: {{ hello: 'echo \"hello $1 $WHO\"', fails: 'echo no >&2; exit 4' }} }}
bench:
  type: lab_bench.Bench
  children: {{ other: {{ type: {power}.MockPower }} }}
wire: {{ type: lab_bench.Wire }}
hostedflasher: {{ type: lab_bench.Flasher }}
",
            unix = self.text("unix"),
            websocket = self.text("websocket"),
            tty = self.text("serial"),
            web_plug = self.text("web_plug"),
            s3 = self.told["s3_options"],
        )
    }
}

/// An interpreter that has the released packages and the drivers beside this file.
fn interpreter(dir: &Path) -> String {
    let python = NEWEST.find().unwrap().program("python");
    let path = dir.join("python-with-drivers");
    let script = format!("#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={HERE} exec {} \"$@\"\n", python.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// The released client in a shell of its own, through the released client classes.
#[track_caller]
fn use_with_python(alice: &Jmp, lab: &Lab, bench: &Bench, name: &str) {
    let (told, selector, script) = (bench.told.to_string(), format!("name={name}"), format!("{HERE}/use_drivers.py"));
    let mut command = alice.command(&["shell", "-l", &selector, "--", "python", &script, &told, name]);
    command.current_dir(lab.sandbox.dir(&format!("work-{name}")));
    let done = alice.run_command(command).ok();
    for story in ["power", "network", "serial", "shell", "servers", "cloud", "hosted"] {
        done.clone().says(&format!("{story} ok"));
    }
}

#[test]
fn every_driver_works_between_all_mixes_of_peers() {
    let lab = Lab::start();
    let bench = Bench::start(&lab);
    let python = interpreter(bench.plugs.parent().unwrap());
    let exporter = |name: &str, release| {
        ExporterSetup::new(name)
            .drivers(&bench.drivers(name, &lab.sandbox.dir(name)))
            .release(release)
            .env("JMP_PYTHON", &python)
            .env("PYTHONPATH", HERE)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SSL_CERT_FILE", bench.text("ca"))
            .env("DBUS_SESSION_BUS_ADDRESS", bench.text("bus"))
    };
    let mut ours = lab.exporter(exporter("ours", Release::Rust));
    let mut released = lab.exporter(exporter("released", Release::newest()));
    let clients = ["ours", "released"].map(|name| {
        let alice = lab.client(&format!("alice-{name}"));
        (name, alice, lab.client_config(&format!("bob-{name}")))
    });
    thread::scope(|both| {
        for (name, alice, bob) in &clients {
            let (lab, bench) = (&lab, &bench);
            both.spawn(move || {
                use_with_python(alice, lab, bench, name);
                ours::use_in_process(bob, bench, name);
                ours::use_with_j(alice, name);
            });
        }
    });
    lab.await_available(&mut ours);
    lab.await_available(&mut released);
    for name in ["ours", "released"] {
        assert_eq!(bench.plug(name), "OFF", "the end of a session leaves the plug of {name} off");
    }
    let logs = [ours.process(), released.process()].map(|process| process.output());
    assert!(logs.iter().all(|log| !log.contains(bench.text("password"))), "a password in a log");

    // Python dies in the middle of a session: what is native goes on, the next session has a new one.
    let (_, alice, bob) = &clients[0];
    ours::survive_the_end_of_python(bob);
    lab.await_available(&mut ours);
    alice.run(&["shell", "-l", "name=ours", "--", "j", "bench", "read"]).ok().says("voltage=7.0");
    lab.await_available(&mut ours);
    drop(bench.process);
}
