//! One byte to a leased serial console and back: client, router, exporter, a pseudo-terminal that echoes, and the same
//! way back. Both peers ours, and both the released ones.

mod shared;

use std::{
    fs,
    fs::File,
    io::{Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use jumpstarter_testkit::{
    ExporterSetup, Lab,
    figures::{Samples, say},
    jmp::Release,
    terminal,
};
use rustix::termios::OptionalActions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::shared::leased;

const BYTES: usize = 2000;
const WARM: usize = 100;

/// Run inside a shell of the released client: nanoseconds of each byte's way there and back, one a line.
const SCRIPT: &str = r#"
import sys, time
from jumpstarter.utils.env import env
bytes, warm = int(sys.argv[1]), int(sys.argv[2])
with env() as client:
    with client.console.stream() as stream:
        for n in range(bytes + warm):
            begin = time.perf_counter_ns()
            stream.send(b"x")
            assert stream.receive() == b"x"
            took = time.perf_counter_ns() - begin
            if n >= warm:
                print("took", took)
"#;

fn main() {
    jumpstarter_transport::install_crypto_provider();
    let device = echoing_device();
    let python = in_lab(&device, Release::newest(), with_python);
    let rust = in_lab(&device, Release::Rust, with_rust);
    say("console, byte there and back, Python", &python);
    say("console, byte there and back, Rust", &rust);
    for percent in [50, 99] {
        let ratio = python.percentile(percent).as_secs_f64() / rust.percentile(percent).as_secs_f64();
        say(&format!("console, p{percent}, Python over Rust"), format_args!("{ratio:.1}"));
    }
}

/// A serial port whose device sends back what it gets, for ever; its path.
fn echoing_device() -> String {
    let (device, port, path) = terminal::pair();
    let mut modes = rustix::termios::tcgetattr(&port).expect("read the port's settings");
    modes.make_raw();
    rustix::termios::tcsetattr(&port, OptionalActions::Now, &modes).expect("set the port");
    let mut device = File::from(device);
    thread::spawn(move || {
        // Held open, so that the port outlives each of its users.
        let _port = port;
        let mut chunk = [0; 256];
        while let Ok(count @ 1..) = device.read(&mut chunk) {
            device.write_all(&chunk[..count]).expect("send back");
        }
    });
    path
}

fn in_lab(device: &str, release: Release, measure: impl FnOnce(&Lab) -> Samples) -> Samples {
    let lab = Lab::start();
    let drivers = format!(
        "console: {{ type: jumpstarter_driver_pyserial.driver.PySerial, config: {{ url: {device}, baudrate: 115200 }} }}"
    );
    let _dut = lab.exporter(ExporterSetup::new("dut").drivers(&drivers).release(release));
    measure(&lab)
}

fn with_python(lab: &Lab) -> Samples {
    let alice = lab.client("alice");
    let script = lab.sandbox.path().join("console.py");
    fs::write(&script, SCRIPT).expect("write a script");
    let script = script.to_str().expect("paths of a sandbox are plain");
    let (bytes, warm) = (BYTES.to_string(), WARM.to_string());
    let done = alice.run(&["shell", "-l", "name=dut", "--", "python", script, &bytes, &warm]).ok();
    let took = |line: &str| Some(Duration::from_nanos(line.strip_prefix("took ")?.trim().parse().ok()?));
    let samples: Samples = done.stdout.lines().filter_map(took).collect();
    assert_eq!(samples.len(), BYTES, "{}", done.report());
    samples
}

fn with_rust(lab: &Lab) -> Samples {
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(async {
        let (client, lease) = leased(lab).await;
        let session = client.session(&lease).await.expect("open a session");
        let mut stream = session.open("console", "connect").await.expect("open the console");
        let mut samples = Samples::default();
        for number in 0..BYTES + WARM {
            let begun = Instant::now();
            stream.write_all(b"x").await.expect("send a byte");
            stream.flush().await.expect("send a byte");
            let mut byte = [0];
            stream.read_exact(&mut byte).await.expect("the byte comes back");
            if number >= WARM {
                samples.extend([begun.elapsed()]);
            }
        }
        drop(stream);
        client.delete_lease(&lease).await.expect("release the lease");
        samples
    })
}
