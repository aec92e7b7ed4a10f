//! The examples of the client library, run as they stand.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use jumpstarter_testkit::{ExporterSetup, Lab, jmp::Release, service::binary};

#[test]
fn the_examples_of_the_client_library_run() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut").release(Release::Rust));
    let alice = lab.client("alice").with(Release::Rust);

    let output = Command::new(binary("examples/lease")).arg(alice.config()).arg("name=dut").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.trim_end().ends_with("holds dut"), "{said}");
    assert_eq!(alice.run(&["get", "leases", "-o", "name"]).ok().text(), "");
    lab.await_available(&mut dut);

    let program = |name: &str| binary(&format!("examples/{name}")).to_str().unwrap().to_owned();
    let lease = alice.run(&["create", "lease", "-n", "dut", "--duration", "10m", "--wait", "-o", "name"]).ok();
    let shell = |name: &str| alice.run(&["shell", "--lease", lease.text(), "--", &program(name)]).ok();
    shell("call").says("driver 'power' for jumpstarter_driver_power.client.PowerClient").says("5.0 V");
    shell("stream").says("the device says hello");

    let mut command = alice.command(&["shell", "--lease", lease.text(), "--", &program("forward")]);
    let mut forward = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(forward.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut there = TcpStream::connect(line.trim().strip_prefix("connect to ").unwrap()).unwrap();
    there.write_all(b"and back").unwrap();
    let mut answer = [0; 8];
    there.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"and back");
    forward.kill().unwrap();
    forward.wait().unwrap();
    alice.run(&["delete", "leases", lease.text()]).ok();
}
