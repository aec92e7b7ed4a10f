//! `cargo xtask sim`: simulates labs and says what is wrong with them.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use jumpstarter_sim::{Faults, Flaw, Plan, Report, run};

/// Simulate whole labs, deterministically. Each seed is another lab with other faults
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// The first seed; a failing one replays exactly
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of seeds, from the first on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Seeds among them to leave out
    #[arg(long, value_delimiter = ',', value_name = "SEED")]
    except: Vec<u64>,
    /// Simulated hours of work [default: half an hour, or a fifth of one in small labs]
    #[arg(long)]
    hours: Option<f64>,
    /// Number of exporters [default: what the seed says]
    #[arg(long)]
    exporters: Option<usize>,
    /// Number of clients [default: what the seed says, or as many as exporters]
    #[arg(long)]
    clients: Option<usize>,
    /// Labs of a few for some minutes, so that thousands of seeds take minutes
    #[arg(long)]
    small: bool,
    /// What goes wrong
    #[arg(long, value_enum, default_value_t)]
    faults: Weather,
    /// A mistake to build in, to see that it is found
    #[arg(long, value_enum, default_value_t)]
    flaw: Flaw,
    /// Threads; each simulates a lab of its own [default: one a processor]
    #[arg(long)]
    threads: Option<usize>,
    /// Print everything that happens
    #[arg(long)]
    trace: bool,
    /// Print what the service logs, too, as `RUST_LOG` says
    #[arg(long)]
    service_log: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Weather {
    /// Whatever the seed says
    #[default]
    Swarm,
    /// Nothing
    None,
}

impl Args {
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = if self.small { Plan::small(seed) } else { Plan::swarm(seed) };
        if let Some(exporters) = self.exporters {
            plan.exporters = exporters.max(1);
            plan.clients = exporters.max(1);
        }
        plan.clients = self.clients.map_or(plan.clients, |clients| clients.max(1));
        if let Some(hours) = self.hours {
            plan.length = Duration::from_secs_f64(hours.clamp(0.0, 10_000.0) * 3600.0);
        }
        if self.faults == Weather::None {
            plan.faults = Faults::none();
        }
        plan.flaw = self.flaw;
        plan.trace = self.trace;
        plan
    }
}

/// Most memory that this process has used, where the system says so.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.service_log {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .init();
    }
    let began = Instant::now();
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let next = AtomicU64::new(args.seed);
    let end = args.seed.saturating_add(args.seeds);
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let work = || {
            let mut reports = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return reports;
                }
                if args.except.contains(&seed) {
                    continue;
                }
                let report = run(&args.plan(seed));
                if args.seeds == 1 || report.violation.is_some() {
                    eprintln!("{report}");
                }
                reports.push(report);
            }
        };
        let workers: Vec<_> =
            (0..threads.min(usize::try_from(args.seeds).unwrap_or(1)).max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let mut failed: Vec<u64> =
        reports.iter().filter(|report| report.violation.is_some()).map(|report| report.seed).collect();
    failed.sort_unstable();
    let hours: f64 = reports.iter().map(|report| report.simulated.as_secs_f64() / 3600.0).sum();
    let leases: u64 = reports.iter().map(|report| report.counts.ended).sum();
    let preempted: u64 = reports.iter().map(|report| report.counts.preempted).sum();
    eprintln!(
        "{} seeds, {hours:.0} simulated hours, {leases} leases, {preempted} of them preempted, in {:.1} s, at most {}; {} failed{}",
        reports.len(),
        began.elapsed().as_secs_f64(),
        peak_memory().map_or("some memory".to_owned(), |mebibytes| format!("{mebibytes} MiB")),
        failed.len(),
        if failed.is_empty() { String::new() } else { format!(": {failed:?}") }
    );
    let left_out = args.except.iter().filter(|seed| (args.seed..end).contains(seed)).count();
    if u64::try_from(reports.len() + left_out).unwrap_or(u64::MAX) == args.seeds && failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
