//! The benchmarks. They assert nothing about time: they print ratios of things measured in the same run.

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    command::{cargo, run as run_command},
    setup,
};

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Full lease cycles a second against the store's durable commits, and create → ready with idle exporters
    Leases,
    /// Release → next waiting lease granted, with a thousand waiting
    Handover,
    /// Memory of the service per connected idle exporter
    Idle,
    /// `jmp shell … -- true` through the service against local mode
    Shell,
    /// On a real API server: requests of an idle lab, create → ready, and the death of a leader
    Kubernetes,
    /// What decisions cost in labs of growing size, and what a day comes to by three rules
    Scheduler,
    /// The router against splices and a router that decodes: throughput, latency, memory, set-ups
    Router,
    /// A gibibyte stored and read back through exporter, router and client, for every mix of Python and Rust peers
    Transfer,
    /// Driver calls and a byte stream of one client, straight to the exporter and through the router
    Direct,
    /// Durable claims a second
    CommitRate,
    /// `jmp get leases` and `jmp shell … -- true` of ours beside the released ones
    Cli,
    /// Memory and start of our exporter beside the released one
    Exporter,
    /// A byte to a leased serial console and back, ours beside the released peers
    Console,
}

impl Name {
    /// Where it lives: a bench target of the test kit, which starts our programs, or an example of one crate.
    fn target(self) -> [&'static str; 4] {
        match self {
            Self::Leases => ["bench", "--workspace", "--bench", "leases"],
            Self::Handover => ["bench", "--workspace", "--bench", "handover"],
            Self::Idle => ["bench", "--workspace", "--bench", "idle"],
            Self::Shell => ["bench", "--workspace", "--bench", "shell"],
            Self::Kubernetes => ["bench", "--workspace", "--bench", "kubernetes"],
            Self::Scheduler => ["run", "--package=jumpstarter-scheduler", "--example", "scheduler"],
            Self::Router => ["bench", "--package=jumpstarter-router", "--bench", "router"],
            Self::Transfer => ["bench", "--workspace", "--bench", "transfer"],
            Self::Cli => ["bench", "--workspace", "--bench", "cli"],
            Self::Exporter => ["bench", "--workspace", "--bench", "exporter"],
            Self::Console => ["bench", "--workspace", "--bench", "console"],
            Self::Direct => ["bench", "--workspace", "--bench", "direct"],
            Self::CommitRate => ["run", "--package=jumpstarter-store", "--example", "commit_rate"],
        }
    }
}

/// Runs `name`, or all of them one after the other.
pub(crate) fn run(name: Option<Name>) -> Result<()> {
    // Optimised, without link-time optimisation: seconds after an edit instead of minutes.
    const PROFILE: [&str; 2] = ["--profile", "fastrel"];
    setup::run()?;
    run_command(cargo().args(["build", "--workspace", "--bins", "--locked"]).args(PROFILE))?;
    let names = name.map_or_else(|| Name::value_variants().to_vec(), |name| vec![name]);
    for name in names {
        run_command(cargo().args(name.target()).arg("--locked").args(PROFILE))?;
    }
    Ok(())
}
