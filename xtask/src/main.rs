//! `cargo xtask`: what a developer and the CI run. It needs no tool that it cannot install by itself.

mod bench;
mod command;
mod deny;
mod go;
mod setup;
mod sim;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the tests need, outside the repository; quick when all of it is there
    Setup,
    /// Run every layer of tests, or the named ones
    Test {
        /// Layers to run, in this order
        #[arg(value_enum)]
        layers: Vec<test::Layer>,
    },
    /// Run every benchmark, or one; each prints ratios measured in one run
    Bench {
        /// Which benchmark
        #[arg(value_enum)]
        name: Option<bench::Name>,
    },
    /// Simulate whole labs with faults, deterministically: `cargo xtask sim --help` lists the options
    #[command(disable_help_flag = true)]
    Sim {
        /// Passed on to the simulator
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Setup => setup::run(),
        Task::Test { layers } => test::run(&layers),
        Task::Bench { name } => bench::run(name),
        Task::Sim { args } => sim::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
