//! `jumpstarter_driver_qemu.driver.Qemu`: a virtual machine with power, disks, a console, a screen and forwarded ports.
mod cloud_init;
mod command;
mod config;
mod flasher;
mod guardian;
mod image;
mod machine;
mod oci;
mod power;
mod program;
mod qmp;
mod size;
mod vm;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::json;

use crate::{Build, Built, Driver, DriverError, Registry, Value, args::Args, network, serial};

use config::Settings;
use flasher::QemuFlasher;
use machine::Machine;
use power::QemuPower;

const CLASS: &str = "jumpstarter_driver_qemu.driver.Qemu";
/// Where a guest with a vsock listens for SSH.
const SSH_PORT: u32 = 22;

pub(crate) fn register(all: &mut Registry) {
    all.add_async(CLASS, build);
    // A machine in another container is what newer Python packages have.
    all.leave_to_host(CLASS, |config| config.get("launcher_socket").is_some_and(|socket| !socket.is_null()));
}

async fn build(mut build: Build) -> Result<Built, String> {
    let settings = Settings::new(&mut build)?;
    if let Err(absent) = program::find(&settings.program(), program::package_of(&settings.arch)) {
        build.log.warning(&format!("the virtual machine cannot be powered on yet: {absent}"));
    }
    let machine = Arc::new(Machine::new(settings, build.log.clone(), build.resources.clone())?);
    let console = machine.path("pty");
    let mut children = vec![
        ("power".to_owned(), Built::new(QemuPower(Arc::clone(&machine)))),
        ("flasher".to_owned(), Built::new(QemuFlasher::new(Arc::clone(&machine)))),
        ("console".to_owned(), serial::at(&console, build.log.clone(), build.resources.clone()).await?),
        ("vnc".to_owned(), network::unix(machine.path("vnc"))),
    ];
    if let Some(cid) = machine.settings.cid {
        children.push(("ssh".to_owned(), network::vsock(cid, SSH_PORT)));
    }
    for (name, forward) in &machine.settings.hostfwd {
        let child = network::tcp(forward.hostaddr.to_string(), forward.hostport);
        // A forwarded port stands in for a child of the same name.
        children.retain(|(other, _)| other != name);
        children.push((name.clone(), child));
    }
    let mut built = Built::new(Qemu(machine));
    built.children = children;
    Ok(built)
}

/// The machine as a whole.
struct Qemu(Arc<Machine>);

impl Driver for Qemu {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_qemu.client.QemuClient"
    }

    fn call<'a>(&'a self, method: &'a str, args: Vec<Value>) -> BoxFuture<'a, Result<Value, DriverError>> {
        async move {
            let mut args = Args::new(method, args);
            let settings = &self.0.settings;
            match method {
                "get_hostname" => args.end().map(|()| json!(settings.hostname)),
                "get_username" => args.end().map(|()| json!(settings.username)),
                "get_password" => args.end().map(|()| json!(settings.password)),
                "set_disk_size" | "set_memory_size" => {
                    let text = args.string("size")?;
                    args.end()?;
                    let bytes = size::parse(&text).map_err(DriverError::InvalidArgument)?;
                    if method == "set_disk_size" {
                        self.0.set_disk_size(bytes);
                    } else {
                        self.0.set_memory_size(bytes);
                    }
                    Ok(Value::Null)
                }
                _ => Err(DriverError::not_found(method)),
            }
        }
        .boxed()
    }

    /// The last of the machine's drivers to be closed: nothing of it stays.
    fn close(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.0.close().boxed()
    }
}
