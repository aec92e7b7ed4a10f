//! What the router costs, in ratios: against a plain TCP splice (a), a TLS splice (b) and a router that decodes and
//! encodes every message (c), all in one run on one machine.
//!
//! ```sh
//! cargo xtask bench router                                              # everything, some eight minutes
//! cargo bench -p jumpstarter-router --bench router --profile fastrel -- --quick small   # one part, one short round
//! … -- --only=router,tls --seconds=5 bulk                                # some of those that are compared, for longer
//! ROUTER_PEER=127.0.0.1:8083 ROUTER_PEER_KEY=FILE [ROUTER_PEER_PID=PID] …               # against another router, too
//! ```
//!
//! `ROUTER_PEER_KEY` names a file with the key that the other router verifies tickets with (white space around it does
//! not count); `ROUTER_PEER_PID` lets its processor time and memory be read when it runs on this machine.
//!
//! Every router under test is a process of its own (this program again), on the first core; the peers of its streams
//! are in this process, on the second. Where both have something to do, the figure to trust is work per second of the
//! router's processor time: the peers' half of the work is as large as the router's, so that two cores cannot show what
//! two cores of router do by the wall clock. Everything goes over TLS 1.3 but (a).

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints, stops at the first trouble, and shows three digits"
)]

mod bulk;
mod child;
mod decoding;
mod delay;
mod fairness;
mod idle;
mod latency;
mod link;
mod setup;
mod splice;
mod stats;
mod subject;
mod table;

use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long and how often things are measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Measurements of each thing; their median counts.
    rounds: usize,
    /// Length of one.
    span: Duration,
    idle_pairs: usize,
    /// Below 1,024: as many streams may be dropped on one connection before h2 ends it.
    setups: usize,
}

fn main() {
    jumpstarter_transport::install_crypto_provider();
    jumpstarter_transport::listen::raise_file_limit();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some((role, rest)) = arguments.split_first()
        && let Some(role) = role.strip_prefix("--child=")
    {
        child::main(role, rest);
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let parts: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let effort = if quick {
        Effort { rounds: 1, span: Duration::from_millis(500), idle_pairs: 1_000, setups: 500 }
    } else {
        Effort { rounds: 3, span: Duration::from_millis(1500), idle_pairs: 10_000, setups: 900 }
    };
    let span = arguments.iter().find_map(|argument| argument.strip_prefix("--seconds="));
    let effort =
        Effort { span: span.map_or(effort.span, |span| Duration::from_secs_f64(span.parse().unwrap())), ..effort };
    subject::pin_to_second_core();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let wanted = |name: &str| parts.is_empty() || parts.contains(&name);
        let mut table = table::Table::new();
        if wanted("bulk") {
            bulk::bulk(&effort, &mut table).await;
        }
        if wanted("small") {
            bulk::small(&effort, &mut table).await;
        }
        if wanted("scaling") {
            bulk::scaling(&effort, &mut table).await;
        }
        if wanted("pingpong") {
            latency::ping_pong(&effort, &mut table).await;
        }
        if wanted("fairness") {
            fairness::console_beside_bulk(&effort, &mut table).await;
        }
        if wanted("setup") {
            setup::setup(&effort, &mut table).await;
        }
        if wanted("delay") {
            delay::long_link(&effort, &mut table).await;
        }
        if wanted("idle") {
            idle::idle(&effort, &mut table).await;
        }
        table.print();
    });
}
