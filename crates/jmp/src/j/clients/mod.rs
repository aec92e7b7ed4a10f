//! The commands of each client class.
mod network;
mod power;
mod qemu;
mod serial;
mod shell;
pub(super) mod ssh;
mod storage;

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use jumpstarter_client::{DriverNode, Session, Value};

use crate::failure::Failure;

/// A driver in use.
#[derive(Clone, Copy)]
pub(super) struct Use<'a> {
    /// The exporter.
    pub(super) session: &'a Session,
    /// Dotted path of the driver.
    pub(super) path: &'a str,
}

impl Use<'_> {
    /// Calls a method.
    async fn call(&self, method: &str, arguments: &[Value]) -> Result<Value, Failure> {
        Ok(self.session.call(self.path, method, arguments).await?)
    }
}

/// What a driver's client can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Client {
    /// Nothing but its children.
    Composite,
    /// Switches power.
    Power {
        /// The device can be destroyed too.
        virtual_machine: bool,
    },
    /// Leads to a network.
    Network,
    /// A serial port.
    Serial,
    /// Runs the operator's scripts.
    Shell {
        /// Their names, once the driver has been asked.
        methods: Vec<String>,
    },
    /// A virtual machine: a group with sizes.
    Qemu,
    /// The disks of one.
    QemuFlasher,
    /// Logs in to the device; a command of its own rather than a group.
    Ssh,
    /// Stores files or images.
    Storage(storage::Kind),
    /// Known to nobody here.
    Unknown,
}

impl Client {
    /// By the import path of the class.
    pub(super) fn of_class(class: &str) -> Self {
        match class {
            "jumpstarter_driver_composite.client.CompositeClient" => Self::Composite,
            "jumpstarter_driver_power.client.PowerClient" | "jumpstarter_driver_snmp.client.SNMPServerClient" => {
                Self::Power { virtual_machine: false }
            }
            "jumpstarter_driver_power.client.VirtualPowerClient" => Self::Power { virtual_machine: true },
            "jumpstarter_driver_network.client.NetworkClient"
            | "jumpstarter_driver_network.client.DbusNetworkClient" => Self::Network,
            "jumpstarter_driver_pyserial.client.PySerialClient" => Self::Serial,
            "jumpstarter_driver_shell.client.ShellClient" => Self::Shell { methods: Vec::new() },
            "jumpstarter_driver_qemu.client.QemuClient" => Self::Qemu,
            "jumpstarter_driver_qemu.client.QemuFlasherClient" => Self::QemuFlasher,
            "jumpstarter_driver_ssh.client.SSHWrapperClient" => Self::Ssh,
            class => storage::Kind::of_class(class).map_or(Self::Unknown, Self::Storage),
        }
    }

    /// Asks the driver what its commands are, where only it knows.
    pub(super) async fn learn(&mut self, session: &Session, path: &str) -> Result<(), Failure> {
        if let Self::Shell { methods } = self {
            *methods = shell::methods(Use { session, path }).await?;
        }
        Ok(())
    }

    /// One line about it.
    pub(super) fn about(&self) -> &'static str {
        match self {
            Self::Composite | Self::Qemu => "Generic composite device",
            Self::Power { .. } => "Generic power",
            Self::Network => "Generic Network Connection",
            Self::Serial => "Serial port client",
            Self::Shell { .. } => "Shell command executor",
            Self::QemuFlasher => storage::Kind::Flasher.about(),
            Self::Ssh => "Run SSH command with arguments",
            Self::Storage(kind) => kind.about(),
            Self::Unknown => "Driver without commands of its own; use `call`",
        }
    }

    /// Its commands.
    pub(super) fn commands(&self, node: &DriverNode) -> Vec<Command> {
        match self {
            Self::Composite | Self::Ssh | Self::Unknown => Vec::new(),
            Self::Qemu => qemu::commands(),
            Self::QemuFlasher => storage::Kind::Flasher.commands(),
            Self::Power { virtual_machine } => power::commands(*virtual_machine),
            Self::Network => network::commands(),
            Self::Serial => serial::commands(),
            Self::Shell { methods } => shell::commands(methods, node),
            Self::Storage(kind) => kind.commands(),
        }
    }

    /// Does what one of its commands says.
    pub(super) async fn run(&self, driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<ExitCode, Failure> {
        let done = |outcome: Result<(), Failure>| outcome.map(|()| ExitCode::SUCCESS);
        match self {
            Self::Qemu => done(qemu::run(driver, matches).await),
            Self::QemuFlasher => qemu::run_flasher(driver, name, matches).await,
            Self::Composite | Self::Ssh | Self::Unknown => Err(Failure::new(format!("there is no command '{name}'"))),
            Self::Power { virtual_machine } => done(power::run(driver, *virtual_machine, name, matches).await),
            Self::Network => done(network::run(driver, name, matches).await),
            Self::Serial => done(serial::run(driver, name, matches).await),
            Self::Shell { .. } => shell::run(driver, name, matches).await,
            Self::Storage(kind) => done(kind.run(driver, name, matches).await),
        }
    }
}
