//! A device in use: every style of call, a forwarded port, a large transfer.

use jumpstarter_testkit::{ExporterSetup, Jmp, Lab};

/// All of it, the parts of a real lab host among them.
pub(crate) fn drivers(root: &std::path::Path) -> String {
    format!(
        "
power: {{ type: jumpstarter_driver_power.driver.MockPower }}
echo: {{ type: jumpstarter_driver_network.driver.EchoNetwork }}
storage:
  type: jumpstarter_driver_opendal.driver.Opendal
  config: {{ scheme: fs, kwargs: {{ root: {} }} }}
tool:
  type: jumpstarter_driver_shell.driver.Shell
  config: {{ methods: {{ hello: \"echo hello from the host\" }} }}
",
        root.display()
    )
}

/// Runs the script that uses the device, with arguments for it, in a shell on `selector`.
#[track_caller]
pub(crate) fn use_device(client: &Jmp, selector: &str, args: &[&str]) -> jumpstarter_testkit::Done {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/use_device.py");
    let mut command = vec!["shell", "-l", selector, "--", "python", SCRIPT];
    command.extend(args);
    client.run(&command)
}

#[test]
fn a_shell_uses_a_device_in_every_way() {
    let lab = Lab::start();
    let setup = ExporterSetup::new("dut").drivers(&drivers(&lab.sandbox.dir("storage")));
    let mut dut = lab.exporter(setup);
    let alice = lab.client("alice");

    let done = use_device(&alice, "name=dut", &["100"]).ok();
    for line in ["power ok", "stream ok", "forward ok", "transfer ok"] {
        done.clone().says(line);
    }
    // One process after the other, each through a tunnel of its own, with the exit status handed on.
    let script = "j power on && j tool hello && test \"$JMP_EXPORTER\" = dut && test -n \"$JMP_LEASE\" && exit 7";
    let done = alice.run(&["shell", "-l", "name=dut", "--", "sh", "-c", script]).code(7);
    done.says("hello from the host");

    assert_eq!(dut.process().count("Registering exporter with controller"), 1, "the exporter never restarted");
    let with_name = alice.run(&["shell", "-n", "dut", "--", "j", "power", "off"]).ok();
    with_name.never_says("Error").never_says("unreachable");
    alice.run(&["get", "leases"]).ok().says("No resources found.");
}
