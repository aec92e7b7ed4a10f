//! Our exporter's drivers with the released client classes.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
};

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{ExporterSetup, Lab, jmp::Release};

/// Sends back what comes to one port, by TCP and UDP, for as long as the test program runs.
fn echo_servers() -> u16 {
    // A port that is free for both; ports given out at random seldom clash.
    let (tcp, udp, port) = (0..20)
        .find_map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            Some((tcp, UdpSocket::bind(("127.0.0.1", port)).ok()?, port))
        })
        .unwrap();
    thread::spawn(move || {
        for mut io in tcp.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut buffer = vec![0; 65536];
                while let Ok(n) = io.read(&mut buffer)
                    && n > 0
                    && io.write_all(&buffer[..n]).is_ok()
                {}
            });
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((n, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..n], peer);
        }
    });
    port
}

/// An interpreter that has the released packages and the drivers beside this file.
fn interpreter(dir: &Path) -> String {
    let python = NEWEST.find().unwrap().program("python");
    let path = dir.join("python-with-drivers");
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
    let script =
        format!("#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={modules} exec {} \"$@\"\n", python.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn drivers(port: u16, unix: &Path, serial: &Path) -> String {
    let (unix, serial) = (unix.display(), serial.display());
    format!(
        "
power: {{ type: jumpstarter_driver_power.driver.MockPower }}
sync: {{ type: jumpstarter_driver_power.driver.SyncMockPower }}
group: {{ children: {{ power: {{ ref: power }} }} }}
tcp: {{ type: jumpstarter_driver_network.driver.TcpNetwork, config: {{ host: 127.0.0.1, port: {port} }} }}
udp: {{ type: jumpstarter_driver_network.driver.UdpNetwork, config: {{ host: 127.0.0.1, port: {port} }} }}
unix: {{ type: jumpstarter_driver_network.driver.UnixNetwork, config: {{ path: {unix} }} }}
echo: {{ type: jumpstarter_driver_network.driver.EchoNetwork }}
serial:
  type: jumpstarter_driver_pyserial.driver.PySerial
  config: {{ url: {serial}, check_present: false }}
loop:
  type: jumpstarter_driver_pyserial.driver.PySerial
  config: {{ url: 'loop://', cps: 200 }}
tool:
  type: jumpstarter_driver_shell.driver.Shell
  config: {{ methods: {{ hello: 'echo \"hello $1 $WHO\"', fails: 'echo no >&2; exit 4' }} }}
bench:
  type: lab_bench.Bench
  children: {{ other: {{ type: jumpstarter_driver_power.driver.MockPower }} }}
wire: {{ type: lab_bench.Wire }}
flasher: {{ type: lab_bench.Flasher }}
"
    )
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/use_drivers.py");

#[test]
fn a_released_client_uses_native_and_hosted_drivers_of_one_exporter() {
    let lab = Lab::start();
    let dir = lab.sandbox.dir("bench");
    let (unix, serial) = (dir.join("unix.sock"), dir.join("tty"));
    let port = echo_servers();
    let setup = ExporterSetup::new("dut")
        .drivers(&drivers(port, &unix, &serial))
        .release(Release::Rust)
        .env("JMP_PYTHON", &interpreter(&dir));
    let mut dut = lab.exporter(setup);
    let alice = lab.client("alice");

    let port = port.to_string();
    let (unix, serial) = (unix.display().to_string(), serial.display().to_string());
    let mut command = alice.command(&["shell", "-l", "name=dut", "--", "python", SCRIPT, &port, &unix, &serial]);
    command.current_dir(&dir).env("TERM", "dumb");
    let done = alice.run_command(command).ok();
    for line in ["power ok", "network ok", "serial ok", "shell ok", "hosted ok"] {
        done.clone().says(line);
    }
    lab.await_available(&mut dut);
    // The second lease has fresh instances in the same Python process.
    alice.run(&["shell", "-l", "name=dut", "--", "j", "bench", "read"]).ok().says("voltage=7.0");
    lab.await_available(&mut dut);
}
