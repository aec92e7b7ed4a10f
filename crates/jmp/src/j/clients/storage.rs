//! Files and images on the exporter's side.
mod files;
mod images;
mod progress;

use clap::{ArgMatches, Command};

use super::Use;
use crate::failure::Failure;

/// What kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::j) enum Kind {
    /// Files in directories.
    Files,
    /// Images on a device.
    Flasher,
    /// A medium that belongs to the host or to the device.
    Mux,
    /// Such a medium, flashed as a whole.
    MuxFlasher,
}

impl Kind {
    /// By the import path of the client class.
    pub(super) fn of_class(class: &str) -> Option<Self> {
        match class {
            "jumpstarter_driver_opendal.client.OpendalClient" => Some(Self::Files),
            "jumpstarter_driver_opendal.client.FlasherClient" | "jumpstarter.client.flasher.FlasherClient" => {
                Some(Self::Flasher)
            }
            "jumpstarter_driver_opendal.client.StorageMuxClient" => Some(Self::Mux),
            "jumpstarter_driver_opendal.client.StorageMuxFlasherClient" => Some(Self::MuxFlasher),
            _ => None,
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Files => "Opendal Storage",
            Self::Flasher | Self::MuxFlasher => "Generic flasher interface",
            Self::Mux => "Storage operations",
        }
    }

    pub(super) fn commands(self) -> Vec<Command> {
        match self {
            Self::Files => files::commands(),
            Self::Flasher => images::flasher_commands(true),
            Self::Mux => images::mux_commands(),
            Self::MuxFlasher => images::flasher_commands(false).into_iter().chain(images::mux_commands()).collect(),
        }
    }

    pub(super) async fn run(self, driver: Use<'_>, name: &str, matches: &ArgMatches) -> Result<(), Failure> {
        match (self, name) {
            (Self::Files, _) => files::run(driver, name, matches).await,
            (Self::Flasher, _) => images::run_flasher(driver, name, matches).await,
            (Self::MuxFlasher, "flash" | "dump") => images::run_mux_flasher(driver, name, matches).await,
            (Self::Mux | Self::MuxFlasher, _) => images::run_mux(driver, name, matches).await,
        }
    }
}
